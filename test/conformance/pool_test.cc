// The connection pool: who gets which connection, in which order, and which connections are not used again.
#include <roost/pool/conn_pool.h>
#include <roost/sync/chan.h>

#include <stdexcept>
#include <thread>

#include "conformance/pairs.h"

namespace roost::test {
namespace {

using pool::PoolOptions;
using Pool = pool::ConnPool<net::Conn>;
using Lease = pool::Lease<net::Conn>;

// Echoes, and keeps its ends of the connections, so that a test can close them or send on them.
class EchoServer {
 public:
  EchoServer() : listener_(must(net::listen("tcp4", "127.0.0.1:0"))), where_(must(listener_.local_endpoint())) {
    accepting_ = go([this] {
      while (auto conn = listener_.accept()) {
        conns_.push_back(std::make_unique<net::Conn>(std::move(*conn)));
        fibers_.push_back(go([&own = *conns_.back()] { echo(own); }));
        accepted_.fetch_add(1);
      }
    });
  }
  ~EchoServer() {
    EXPECT_OK(listener_.close());
    accepting_.join();
    close_conns();
    for (auto& fiber : fibers_) fiber.join();
  }

  [[nodiscard]] auto dialer() const {
    return [this](Deadline deadline) { return net::dial(where_, deadline); };
  }
  [[nodiscard]] int accepted() const { return accepted_.load(); }
  [[nodiscard]] bool has_accepted(int count) const {
    return eventually([&] { return accepted() >= count; });
  }
  // Only once has_accepted(number + 1).
  [[nodiscard]] net::Conn& conn(std::size_t number) const { return *conns_[number]; }
  void close_conns() {
    for (auto& conn : conns_) static_cast<void>(conn->close());
  }

 private:
  net::Listener listener_;
  net::Endpoint where_;
  std::atomic<int> accepted_{0};
  std::vector<std::unique_ptr<net::Conn>> conns_;
  std::vector<Handle<void>> fibers_;
  Handle<void> accepting_;
};

// One request; true if its answer came.
bool ping(Lease& lease) {
  if (!lease.check(lease->write("ping"))) return false;
  const auto answer = lease.check(read_exactly(*lease, 4));
  return answer && *answer == "ping";
}
bool ping(Pool& pool, Deadline deadline = Deadline::none()) {
  auto lease = pool.acquire(deadline);
  return lease && ping(*lease);
}

// How an attempt ended; no error if it got a connection.
std::error_code acquire_error(Pool& pool) {
  const auto lease = pool.acquire();
  return lease ? std::error_code() : lease.error();
}

std::string name_of(const Lease& lease) { return must(lease->local_endpoint()).to_string(); }
bool waiting(const Pool& pool, std::size_t count) {
  return eventually([&] { return pool.stats().waiting == count; });
}

ROOST_SUITE(ConnPool);

// HP-01
ROOST_CASE(ConnPool, KeepsAConnectionAfterItsRequestAndCloseIdleEmptiesIt) {
  EchoServer server;
  Pool pool(server.dialer());
  EXPECT_TRUE(ping(pool));
  EXPECT_EQ(pool.stats().idle, 1u);
  EXPECT_EQ(pool.stats().open, 1u);
  pool.close_idle();
  EXPECT_EQ(pool.stats().idle, 0u);
  EXPECT_EQ(pool.stats().open, 0u);
  EXPECT_TRUE(ping(pool));
  EXPECT_EQ(server.accepted(), 2);
}

// HP-02
ROOST_CASE(ConnPool, SendsRequestsOneAfterTheOtherOverOneConnection) {
  EchoServer server;
  Pool pool(server.dialer());
  std::vector<std::string> addresses;
  for (int i = 0; i < 3; ++i) {
    auto lease = must(pool.acquire());
    EXPECT_EQ(lease.is_reused(), i > 0);
    addresses.push_back(name_of(lease));
    EXPECT_TRUE(ping(lease));
  }
  EXPECT_EQ(addresses[0], addresses[1]);
  EXPECT_EQ(addresses[0], addresses[2]);
  EXPECT_EQ(pool.stats().dialed_total, 1u);
  EXPECT_EQ(pool.stats().reused_total, 2u);
  EXPECT_EQ(pool.stats().acquired_total, 3u);
}

// HP-03
ROOST_CASE(ConnPool, KeepsNoMoreIdleConnectionsThanMaxIdle) {
  EchoServer server;
  Pool pool(server.dialer(), {.max_idle = 2});
  std::vector<Lease> leases;
  for (int i = 0; i < 3; ++i) leases.push_back(must(pool.acquire()));
  std::vector<std::size_t> idle;
  for (auto& lease : leases) {
    EXPECT_TRUE(ping(lease));
    lease.release();
    idle.push_back(pool.stats().idle);
  }
  EXPECT_EQ(idle, (std::vector<std::size_t>{1, 2, 2}));
  EXPECT_EQ(pool.stats().closed_surplus_total, 1u);
}

// HP-05
ROOST_CASE(ConnPool, DialsOnceForTenRequestsWhenOneConnectionIsAllowed) {
  EchoServer server;
  Pool pool(server.dialer(), {.max_open = 1});
  std::vector<Handle<bool>> requests;
  for (int i = 0; i < 10; ++i) requests.push_back(go([&] { return ping(pool); }));
  for (auto& request : requests) EXPECT_TRUE(request.join());
  EXPECT_EQ(pool.stats().dialed_total, 1u);
  EXPECT_EQ(server.accepted(), 1);
  pool.close_idle();
  EXPECT_TRUE(ping(pool));
  EXPECT_EQ(pool.stats().dialed_total, 2u);
}

// HP-07
ROOST_CASE(ConnPool, NoticesWithoutARequestThatTheServerClosedIdleConnections) {
  EchoServer server;
  Pool pool(server.dialer(), {.sweep_interval = 2ms});
  {
    auto one = must(pool.acquire());
    auto two = must(pool.acquire());
    EXPECT_TRUE(ping(one) && ping(two));
  }
  EXPECT_EQ(pool.stats().idle, 2u);
  ASSERT_TRUE(server.has_accepted(2));
  server.close_conns();
  EXPECT_TRUE(eventually([&] { return pool.stats().open == 0; }));
  EXPECT_EQ(pool.stats().closed_dead_total, 2u);
  EXPECT_TRUE(ping(pool));
}

// HP-07: without the sweep they are found out when they are wanted.
ROOST_CASE(ConnPool, HandsOutNoConnectionThatTheServerHasClosed) {
  EchoServer server;
  Pool pool(server.dialer(), {.sweep_interval = 0ms});
  EXPECT_TRUE(ping(pool));
  ASSERT_TRUE(server.has_accepted(1));
  server.close_conns();
  EXPECT_TRUE(eventually([&] { return !must(pool.acquire()).is_reused(); }));  // as soon as the end has come in
  EXPECT_EQ(pool.stats().closed_dead_total, 1u);
  EXPECT_EQ(pool.stats().dialed_total, 2u);
}

// HP-08: what a caller does whose request can be repeated without harm.
ROOST_CASE(ConnPool, ARequestThatFailedOnAReusedConnectionCanBeRepeatedOnAFreshOne) {
  EchoServer server;
  // Nothing is known of these connections: they are handed out dead.
  struct Blind {
    net::Conn conn;
    [[nodiscard]] bool is_reusable() const { return true; }
  };
  pool::ConnPool<Blind> pool([dial = server.dialer()](Deadline deadline) -> Result<Blind> {
    auto conn = dial(deadline);
    if (!conn) return fail(conn.error());
    return Blind{std::move(*conn)};
  });
  const auto request = [](pool::Lease<Blind>& lease) -> Result<std::string> {
    if (auto wrote = lease.check(lease->conn.write("ping")); !wrote) return fail(wrote.error());
    return lease.check(read_exactly(lease->conn, 4));
  };
  {
    auto one = must(pool.acquire());
    auto two = must(pool.acquire());
    EXPECT_OK(request(one));
    EXPECT_OK(request(two));
  }
  ASSERT_TRUE(server.has_accepted(2));
  server.close_conns();
  {
    auto lease = must(pool.acquire());
    EXPECT_TRUE(lease.is_reused());
    EXPECT_FALSE(request(lease).has_value());
    EXPECT_TRUE(lease.has_failed());
  }
  EXPECT_EQ(pool.stats().idle, 1u);  // the failed one is gone, and the other one as dead as it was
  auto lease = must(pool.acquire({.fresh = true}));
  EXPECT_FALSE(lease.is_reused());
  EXPECT_OK(request(lease));
}

// HP-11
ROOST_CASE(ConnPool, ClosesAConnectionAfterItsIdleTimeoutAndNoSooner) {
  with_growing_spans(40ms, [](Nanoseconds span) {
    EchoServer server;
    Pool pool(server.dialer(), {.idle_timeout = span});
    auto last_use = now();  // before it: the connection is given back at some time after that
    bool in_time = ping(pool);
    for (int i = 0; i < 4; ++i) {
      static_cast<void>(sleep_for(span / 2));
      const auto next_use = now();
      in_time = in_time && ping(pool) && since(last_use) < span - 8ms;
      last_use = next_use;
    }
    if (!in_time) return false;
    EXPECT_EQ(pool.stats().dialed_total, 1u);
    EXPECT_TRUE(eventually([&] { return pool.stats().open == 0; }));
    EXPECT_GE(since(last_use), span - 10ms);
    EXPECT_EQ(pool.stats().closed_idle_total, 1u);
    return true;
  });
}

// HP-15
ROOST_CASE(ConnPool, DoesNotKeepAConnectionThatIsMarkedAsFailed) {
  EchoServer server;
  Pool pool(server.dialer());
  {
    auto lease = must(pool.acquire());
    EXPECT_TRUE(ping(lease));
    lease.mark_failed();
  }
  EXPECT_EQ(pool.stats().open, 0u);
  EXPECT_EQ(pool.stats().closed_failed_total, 1u);
  EXPECT_TRUE(ping(pool));
  EXPECT_EQ(server.accepted(), 2);
}

ROOST_CASE(ConnPool, CheckMarksAConnectionWhoseCallFailed) {
  EchoServer server;
  Pool pool(server.dialer());
  auto lease = must(pool.acquire());
  EXPECT_OK(lease.check(lease->write("ping")));
  EXPECT_FALSE(lease.has_failed());
  EXPECT_OK(lease->set_write_deadline(Deadline::past()));
  EXPECT_TRUE(timed_out(lease.check(lease->write("ping"))));
  EXPECT_TRUE(lease.has_failed());
}

ROOST_CASE(ConnPool, AnExceptionThatPassesThroughALeaseClosesItsConnection) {
  EchoServer server;
  Pool pool(server.dialer());
  try {
    auto lease = must(pool.acquire());
    throw std::runtime_error("in the middle of a request");
  } catch (const std::runtime_error&) {
    EXPECT_TRUE(ping(pool));  // while one is being handled, all is as ever
    EXPECT_EQ(pool.stats().idle, 1u);
  }
  EXPECT_EQ(pool.stats().closed_failed_total, 1u);
}

ROOST_CASE(ConnPool, AConnectionWithStrayDataIsNotUsedAgain) {
  EchoServer server;
  Pool pool(server.dialer());
  {
    auto lease = must(pool.acquire());
    EXPECT_OK(lease->write("nobody reads the answer to this"));
    EXPECT_OK(lease->wait_readable());
  }
  EXPECT_EQ(pool.stats().closed_dead_total, 1u);
  EXPECT_TRUE(ping(pool));
  ASSERT_TRUE(server.has_accepted(2));
  EXPECT_OK(server.conn(1).write("unasked for"));
  EXPECT_TRUE(eventually([&] {
    auto lease = must(pool.acquire());
    return !lease.is_reused();
  }));
}

ROOST_CASE(ConnPool, ReusesTheConnectionThatWasUsedLast) {
  EchoServer server;
  Pool pool(server.dialer());
  auto one = must(pool.acquire());
  auto two = must(pool.acquire());
  auto three = must(pool.acquire());
  const std::vector<std::string> wanted{name_of(two), name_of(three), name_of(one)};
  one.release();
  three.release();
  two.release();
  std::vector<std::string> got;
  std::vector<Lease> leases;
  for (int i = 0; i < 3; ++i) {
    leases.push_back(must(pool.acquire()));
    got.push_back(name_of(leases.back()));
  }
  EXPECT_EQ(got, wanted);
}

ROOST_CASE(ConnPool, DeadlinesOfOneUserDoNotConcernTheNext) {
  EchoServer server;
  Pool pool(server.dialer());
  {
    auto lease = must(pool.acquire());
    EXPECT_OK(lease->set_deadline(Deadline::past()));
  }
  auto lease = must(pool.acquire());
  EXPECT_TRUE(lease.is_reused());
  EXPECT_TRUE(ping(lease));
}

ROOST_CASE(ConnPool, ServesThoseWhoWaitInTheOrderOfComing) {
  EchoServer server;
  Pool pool(server.dialer(), {.max_open = 1});
  auto held = must(pool.acquire());
  std::vector<int> order;
  std::vector<Handle<void>> fibers;
  for (int i = 0; i < 8; ++i) {
    fibers.push_back(go([&, i] {
      auto lease = must(pool.acquire());
      order.push_back(i);  // one at a time: max_open is 1
      // Every other one fails: the next in line dials then.
      if (i % 2 == 0) lease.mark_failed();
    }));
    ASSERT_TRUE(waiting(pool, static_cast<std::size_t>(i) + 1));
  }
  held.release();
  for (auto& fiber : fibers) fiber.join();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(pool.stats().waited_total, 8u);
  EXPECT_GT(pool.stats().wait_time.count(), 0);
}

ROOST_CASE(ConnPool, AcquireGivesUpAtItsDeadline) {
  EchoServer server;
  Pool pool(server.dialer(), {.max_open = 1});
  auto held = must(pool.acquire());
  const auto start = now();
  EXPECT_TRUE(timed_out(pool.acquire(Deadline::after(20ms))));
  EXPECT_GE(since(start), 20ms);
  EXPECT_EQ(pool.stats().waiting, 0u);
  EXPECT_EQ(pool.stats().gave_up_total, 1u);
  held.release();
  EXPECT_TRUE(ping(pool));
  EXPECT_TRUE(timed_out(pool.acquire(Deadline::past())));  // an expired deadline beats an idle connection
}

ROOST_CASE(ConnPool, AcquireEndsWhenItsFiberIsCanceledAndTheNextInLineIsServed) {
  EchoServer server;
  Pool pool(server.dialer(), {.max_open = 1});
  auto held = must(pool.acquire());
  auto first = go([&] { return acquire_error(pool); });
  ASSERT_TRUE(waiting(pool, 1));
  auto second = go([&] { return ping(pool); });
  ASSERT_TRUE(waiting(pool, 2));
  first.cancel();
  EXPECT_EQ(first.join(), std::errc::operation_canceled);
  held.release();
  EXPECT_TRUE(second.join());
}

ROOST_CASE(ConnPool, AFailedDialIsReportedAndTheNextInLineDials) {
  EchoServer server;
  std::atomic<int> dials{0};
  Chan<std::monostate> gate;
  Pool pool(
      [&](Deadline deadline) -> Result<net::Conn> {
        if (dials.fetch_add(1) > 0) return server.dialer()(deadline);
        static_cast<void>(gate.receive());
        return fail(std::errc::connection_refused);
      },
      {.max_open = 1});
  auto first = go([&] { return acquire_error(pool); });
  ASSERT_TRUE(eventually([&] { return pool.stats().dialing == 1; }));
  auto second = go([&] { return ping(pool); });
  ASSERT_TRUE(waiting(pool, 1));
  EXPECT_OK(gate.send({}));
  EXPECT_EQ(first.join(), std::errc::connection_refused);
  EXPECT_TRUE(second.join());
  EXPECT_EQ(pool.stats().dial_failures_total, 1u);
  EXPECT_EQ(pool.stats().open, 1u);
}

ROOST_CASE(ConnPool, AFactoryThatThrowsLeavesThePoolInOrder) {
  EchoServer server;
  bool throws = true;
  Pool pool(
      [&](Deadline deadline) -> Result<net::Conn> {
        if (throws) throw std::runtime_error("no");
        return server.dialer()(deadline);
      },
      {.max_open = 1});
  EXPECT_THROW(static_cast<void>(pool.acquire()), std::runtime_error);
  throws = false;
  EXPECT_TRUE(ping(pool));
}

ROOST_CASE(ConnPool, WhoDialsKeepsNobodyFromUsingAnIdleConnection) {
  EchoServer server;
  std::atomic<bool> slow{false};
  Chan<std::monostate> gate;
  Pool pool([&](Deadline deadline) {
    if (slow) static_cast<void>(gate.receive());
    return server.dialer()(deadline);
  });
  EXPECT_TRUE(ping(pool));
  slow = true;
  auto dialing = go([&] { return pool.acquire({.fresh = true}).has_value(); });
  ASSERT_TRUE(eventually([&] { return pool.stats().dialing == 1; }));
  EXPECT_TRUE(ping(pool));
  gate.close();
  EXPECT_TRUE(dialing.join());
}

ROOST_CASE(ConnPool, AFreshConnectionTakesThePlaceOfAnIdleOneWhenThePoolIsFull) {
  EchoServer server;
  Pool pool(server.dialer(), {.max_open = 1});
  EXPECT_TRUE(ping(pool));
  {
    auto lease = must(pool.acquire({.fresh = true}));
    EXPECT_FALSE(lease.is_reused());
    EXPECT_EQ(pool.stats().open, 1u);
    // And one who waits for a fresh one does not get what comes back, but its place.
    auto waits = go([&] { return must(pool.acquire({.fresh = true})).is_reused(); });
    ASSERT_TRUE(waiting(pool, 1));
    lease.release();
    EXPECT_FALSE(waits.join());
  }
  EXPECT_EQ(pool.stats().dialed_total, 3u);
}

ROOST_CASE(ConnPool, AConnectionIsNotUsedBeyondItsLifetime) {
  EchoServer server;
  Pool pool(server.dialer(), {.max_lifetime = 30ms, .lifetime_jitter = 1, .sweep_interval = 0ms});
  EXPECT_TRUE(ping(pool));
  static_cast<void>(sleep_for(40ms));
  EXPECT_FALSE(must(pool.acquire()).is_reused());
  EXPECT_EQ(pool.stats().closed_lifetime_total, 1u);
}

ROOST_CASE(ConnPool, ConnectionsMadeTogetherDoNotEndTogether) {
  // A machine that does not look for the whole of the span sees none of them go by itself.
  with_growing_spans(400ms, [](Nanoseconds span) {
    EchoServer server;
    Pool pool(server.dialer(), {.max_lifetime = span, .lifetime_jitter = 0.9});
    {
      std::vector<Lease> leases;
      for (int i = 0; i < 16; ++i) leases.push_back(must(pool.acquire()));
    }
    bool some_gone_some_not = false;
    EXPECT_TRUE(eventually([&] {
      const auto idle = pool.stats().idle;
      some_gone_some_not = some_gone_some_not || (idle > 0 && idle < 16);
      return pool.stats().open == 0;
    }));
    EXPECT_EQ(pool.stats().closed_lifetime_total, 16u);
    return some_gone_some_not;
  });
}

ROOST_CASE(ConnPool, CloseTurnsAwayThoseWhoWaitAndWaitsForThoseWhoUse) {
  EchoServer server;
  Pool pool(server.dialer(), {.max_open = 2});
  EXPECT_TRUE(ping(pool));
  auto held = must(pool.acquire());
  auto other = must(pool.acquire());
  auto waits = go([&] { return acquire_error(pool); });
  ASSERT_TRUE(waiting(pool, 1));
  EXPECT_TRUE(timed_out(pool.close(Deadline::after(5ms))));
  EXPECT_EQ(waits.join(), Errc::pool_closed);
  EXPECT_TRUE(is_error(pool.acquire(), Errc::pool_closed));
  EXPECT_TRUE(is_error(pool.acquire(), std::errc::operation_canceled));
  EXPECT_TRUE(ping(held));  // those in use go on
  other.release();
  auto closing = go([&] { return pool.close(); });
  ASSERT_TRUE(parked(runtime::WaitReason::pool));
  EXPECT_EQ(pool.stats().open, 1u);
  held.release();
  EXPECT_OK(closing.join());
  EXPECT_EQ(pool.stats().open, 0u);
  EXPECT_OK(pool.close());
}

ROOST_CASE(ConnPool, WhatIsDialedWhileThePoolClosesIsClosed) {
  EchoServer server;
  Chan<std::monostate> gate;
  Pool pool([&](Deadline deadline) {
    static_cast<void>(gate.receive());
    return server.dialer()(deadline);
  });
  auto dialing = go([&] { return acquire_error(pool); });
  ASSERT_TRUE(eventually([&] { return pool.stats().dialing == 1; }));
  auto closing = go([&] { return pool.close(); });
  ASSERT_TRUE(parked(runtime::WaitReason::pool));
  gate.close();
  EXPECT_EQ(dialing.join(), Errc::pool_closed);
  EXPECT_OK(closing.join());
  EXPECT_EQ(pool.stats().open, 0u);
}

ROOST_CASE(ConnPool, ALeaseMayOutliveItsPool) {
  EchoServer server;
  Lease lease;
  EXPECT_FALSE(lease);
  {
    Pool pool(server.dialer());
    lease = must(pool.acquire());
  }
  EXPECT_TRUE(ping(lease));
  lease.release();
  EXPECT_FALSE(lease);
}

ROOST_CASE(ConnPool, TakeRemovesAConnectionFromThePool) {
  EchoServer server;
  Pool pool(server.dialer(), {.max_open = 1});
  net::Conn conn = must(pool.acquire()).take();
  EXPECT_EQ(pool.stats().open, 0u);
  EXPECT_EQ(pool.stats().taken_total, 1u);
  EXPECT_OK(conn.write("mine"));
  EXPECT_EQ(read_exactly(conn, 4).value_or("?"), "mine");
  EXPECT_TRUE(ping(pool));
}

// Everything at once: connections never exceed max_open, nobody is forgotten, and the sums agree in the end.
ROOST_CASE(ConnPool, BearsEverythingAtOnce) {
  EchoServer server;
  std::atomic<int> alive{0};
  std::atomic<int> alive_most{0};
  struct Counted {
    net::Conn conn;
    std::atomic<int>* alive = nullptr;
    Counted(net::Conn&& from, std::atomic<int>* counter) : conn(std::move(from)), alive(counter) {}
    Counted(Counted&& other) noexcept : conn(std::move(other.conn)), alive(std::exchange(other.alive, nullptr)) {}
    ~Counted() {
      if (alive != nullptr) alive->fetch_sub(1);
    }
    [[nodiscard]] bool is_reusable() const { return pool::is_quiet(conn); }
  };
  pool::ConnPool<Counted> pool(
      [&](Deadline deadline) -> Result<Counted> {
        const int now_alive = alive.fetch_add(1) + 1;
        for (int most = alive_most; most < now_alive && !alive_most.compare_exchange_weak(most, now_alive);) {
        }
        auto conn = server.dialer()(deadline);
        if (!conn) {
          alive.fetch_sub(1);
          return fail(conn.error());
        }
        return Counted(std::move(*conn), &alive);
      },
      {.max_open = 4, .max_idle = 3, .idle_timeout = 2ms, .max_lifetime = 20ms, .lifetime_jitter = 0.5, .sweep_interval = 1ms});
  std::atomic<int> served{0};
  std::vector<Handle<void>> fibers;
  for (int i = 0; i < 24; ++i) {
    fibers.push_back(go([&, i] {
      for (int round = 0; round < 40; ++round) {
        auto lease = pool.acquire({.deadline = round % 8 == 7 ? Deadline::after(200us) : Deadline::none(),
                                   .fresh = (i + round) % 16 == 0});
        if (!lease) {
          EXPECT_TRUE(timed_out(lease));
          continue;
        }
        EXPECT_OK((*lease)->conn.write("ping"));
        EXPECT_EQ(read_exactly((*lease)->conn, 4).value_or("?"), "ping");
        served.fetch_add(1);
        if ((i + round) % 11 == 0) lease->mark_failed();
        if (round % 10 == 9) static_cast<void>(sleep_for(1ms));
      }
    }));
  }
  auto closing = go([&] {
    for (int i = 0; i < 20; ++i) {
      pool.close_idle();
      static_cast<void>(sleep_for(500us));
    }
  });
  for (auto& fiber : fibers) fiber.join();
  closing.join();
  EXPECT_OK(pool.close());
  const auto stats = pool.stats();
  EXPECT_EQ(stats.open, 0u);
  EXPECT_EQ(stats.in_use + stats.idle + stats.dialing + stats.waiting, 0u);
  EXPECT_EQ(alive.load(), 0);
  EXPECT_LE(alive_most.load(), 4);
  EXPECT_EQ(static_cast<std::uint64_t>(served.load()), stats.acquired_total);
  EXPECT_EQ(stats.dialed_total, stats.closed_failed_total + stats.closed_dead_total + stats.closed_idle_total +
                                    stats.closed_lifetime_total + stats.closed_surplus_total);
}

ROOST_CASE(ConnPool, APlainThreadMayWaitForAConnectionAndGiveItBack) {
  EchoServer server;
  Pool pool(server.dialer(), {.max_open = 1});
  auto held = must(pool.acquire());
  std::atomic<bool> reused{false};
  std::thread thread([&] { reused = must(pool.acquire()).is_reused(); });
  const bool came = waiting(pool, 1);
  held.release();
  blocking([&] { thread.join(); });
  EXPECT_TRUE(came);
  EXPECT_TRUE(reused.load());
  EXPECT_EQ(pool.stats().idle, 1u);
}

}  // namespace
}  // namespace roost::test
