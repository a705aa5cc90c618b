// Deadlines: absolute, sticky, of one direction, stronger than ready data, noticed by calls that wait already.
#include <cerrno>
#include <limits>
#include <random>

#include "base/clock.h"
#include "conformance/conn_suite.h"

namespace roost::test {
namespace {

ROOST_SUITE(Deadlines);

std::array<std::byte, 64> room;  // where it does not matter what is read

// DL-01
ROOST_CASE(Deadlines, APastOneBeatsReadyData) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    ASSERT_OK(server.write("data"));
    ASSERT_OK(client.wait_readable());
    ASSERT_OK(client.set_read_deadline(Deadline::after(-5s)));
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(timed_out(client.read(room)));
    ASSERT_OK(client.set_read_deadline(Deadline::none()));
    EXPECT_EQ(client.read(room).value_or(0), 4u);
  }
}

// DL-01: however far in the past.
ROOST_CASE(Deadlines, TheEarliestPointIsPastToo) {
  auto [client, server] = tcp_pair();
  ASSERT_OK(server.write("data"));
  for (const Deadline deadline : {Deadline::at(Deadline::Clock::time_point::min()), Deadline::from_ns(0), Deadline::from_ns(-1),
                                  Deadline::after(Nanoseconds::min()), Deadline::past()}) {
    ASSERT_OK(client.set_deadline(deadline));
    EXPECT_TRUE(timed_out(client.read(room)));
    EXPECT_TRUE(timed_out(client.write("x")));
    EXPECT_TRUE(timed_out(client.wait_readable()));
  }
}

// DL-02
ROOST_CASE(Deadlines, ReadsSucceedUntilItPasses) {
  auto [client, server] = tcp_pair();
  ASSERT_OK(server.write("seventeen bytes!!"));
  ASSERT_OK(client.set_read_deadline(Deadline::after(50ms)));
  std::array<std::byte, 1> one;
  int read = 0;
  auto got = client.read(one);
  for (; got; got = client.read(one)) ++read;
  EXPECT_LE(read, 17);
  EXPECT_TRUE(timed_out(got));
  EXPECT_TRUE(timed_out(client.read(one)));
}

// DL-04
ROOST_CASE(Deadlines, APastOneBeatsRoomToWrite) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    ASSERT_OK(client.set_write_deadline(Deadline::past()));
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(timed_out(client.write("hello")));
  }
}

// DL-05
ROOST_CASE(Deadlines, AWriteWhoseDeadlineWasLiftedWaitsUntilClose) {
  auto [client, server] = tcp_pair();
  ASSERT_OK(client.set_deadline(Deadline::past()));
  ASSERT_OK(client.set_write_deadline(Deadline::none()));
  auto writer = go([&conn = client] {
    const auto bytes = some_bytes();
    auto wrote = conn.write(bytes);
    while (wrote) wrote = conn.write(bytes);
    return wrote;
  });
  ASSERT_TRUE(writing());
  ASSERT_OK(sleep_for(100ms));
  EXPECT_FALSE(writer.done());
  EXPECT_OK(client.close());
  EXPECT_TRUE(reports_closed(writer.join()));
}

// DL-07
ROOST_CASE(Deadlines, AcceptTimesOut) {
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  ASSERT_OK(listener.set_deadline(Deadline::none()));
  ASSERT_OK(listener.set_deadline(Deadline::after(10ms)));
  within(5s, [&] { EXPECT_TRUE(timed_out(listener.accept())); });
  EXPECT_TRUE(timed_out(listener.accept()));
}

// DL-08
ROOST_CASE(Deadlines, AnAcceptWhoseDeadlineWasLiftedWaitsUntilClose) {
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  ASSERT_OK(listener.set_deadline(Deadline::past()));
  EXPECT_TRUE(timed_out(listener.accept()));
  ASSERT_OK(listener.set_deadline(Deadline::none()));
  auto accepting = go([&] { return listener.accept(); });
  ASSERT_TRUE(reading());
  ASSERT_OK(sleep_for(100ms));
  EXPECT_FALSE(accepting.done());
  EXPECT_OK(listener.close());
  EXPECT_TRUE(reports_closed(accepting.join()));
}

// A waiting accept notices a deadline that is set meanwhile.
ROOST_CASE(Deadlines, AListenersDeadlineReachesAPendingAccept) {
  auto listener = must(net::listen("unix", fresh_path()));
  auto accepting = go([&] { return listener.accept(); });
  ASSERT_TRUE(reading());
  ASSERT_OK(listener.set_deadline(Deadline::past()));
  within(5s, [&] { EXPECT_TRUE(timed_out(accepting.join())); });
}

// DL-11
ROOST_CASE(Deadlines, AReadEndsNeitherBeforeNorLongAfter) {
  auto [client, server] = tcp_pair();
  with_growing_spans(1ms, [&, &conn = client](Nanoseconds span) {
    const auto start = now();
    static_cast<void>(conn.set_read_deadline(Deadline::after(span)));
    EXPECT_TRUE(timed_out(conn.read(room)));
    const auto took = since(start);
    EXPECT_GE(took, span);
    return took <= span + span / 10;
  });
}

// DL-13
ROOST_CASE(Deadlines, ADatagramReadEndsNeitherBeforeNorLongAfter) {
  auto peer = must(net::listen_packet("udp4", "127.0.0.1:0"));
  auto conn = must(net::dial_packet("udp4", must(peer.local_address()).to_string()));
  with_growing_spans(1ms, [&](Nanoseconds span) {
    const auto start = now();
    static_cast<void>(conn.set_read_deadline(Deadline::after(span)));
    EXPECT_TRUE(timed_out(conn.read_from(room)));
    const auto took = since(start);
    EXPECT_GE(took, span);
    return took <= span + span / 10;
  });
}

// A write likewise.
ROOST_CASE(Deadlines, AWriteEndsNeitherBeforeNorLongAfter) {
  auto [client, server] = tcp_pair();
  with_growing_spans(8ms, [&, &conn = client](Nanoseconds span) {
    const auto start = now();
    static_cast<void>(conn.set_write_deadline(Deadline::after(span)));
    const auto bytes = some_bytes();
    auto wrote = conn.write(bytes);
    while (wrote) wrote = conn.write(bytes);
    EXPECT_TRUE(timed_out(wrote));
    const auto took = since(start);
    EXPECT_GE(took, span);
    return took <= span + span / 10;
  });
}

// DL-14
ROOST_CASE(Deadlines, EverySpanEndsInATimeOut) {
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  auto serving = go([&] {
    std::vector<net::Conn> silent;
    for (auto conn = listener.accept(); conn; conn = listener.accept()) silent.push_back(std::move(*conn));
  });
  for (const Nanoseconds span : {1ns, 2ns, 5ns, 50ns, 100ns, 200ns, 500ns, 750ns, 1'000ns, 5'000ns, 25'000ns, 250'000ns,
                                 500'000ns, 1'000'000ns, 5'000'000ns, 100'000'000ns, 250'000'000ns, 500'000'000ns,
                                 1'000'000'000ns}) {
    auto conn = must(net::dial(must(listener.local_endpoint())));
    ASSERT_OK(conn.set_deadline(Deadline::after(span)));
    within(span + 4s, [&] { EXPECT_TRUE(timed_out(conn.read(room))); });
  }
  EXPECT_OK(listener.close());
  serving.join();
}

// DL-16
ROOST_CASE(Deadlines, ProlongingThemAllTheTimeDisturbsNothing) {
  auto [client, server] = tcp_pair();
  constexpr int rounds = 1000;
  auto answering = go([&conn = server] {
    for (int i = 0; i < rounds; ++i) {
      if (!read_exactly(conn, 1) || !conn.write("a")) return false;
    }
    return true;
  });
  auto reading_fiber = go([&conn = client] {
    for (int i = 0; i < rounds; ++i) {
      if (!conn.set_read_deadline(Deadline::after(1h)) || !read_exactly(conn, 1)) return false;
    }
    return true;
  });
  for (int i = 0; i < rounds; ++i) {
    ASSERT_OK(client.set_write_deadline(Deadline::after(1h)));
    ASSERT_OK(client.write("q"));
  }
  within(20s, [&] {
    EXPECT_TRUE(reading_fiber.join());
    EXPECT_TRUE(answering.join());
  });
}

// DL-18
ROOST_CASE(Deadlines, MovingThemEarlierFromManyFibersKeepsTimersSound) {
  constexpr int conns = 10;
  constexpr int fibers = 8;
  constexpr int moves = 200;
  std::vector<Pair> pairs;
  for (int i = 0; i < conns; ++i) pairs.push_back(tcp_pair());
  // Readers that wait, so that timers are armed.
  std::vector<Handle<void>> running;
  for (auto& pair : pairs) {
    running.push_back(go([&conn = pair.client] { static_cast<void>(conn.read(room)); }));
  }
  ASSERT_TRUE(reading(conns));
  std::vector<Handle<void>> movers;
  for (int f = 0; f < fibers; ++f) {
    movers.push_back(go([&pairs] {
      for (int i = 0; i < moves; ++i) {
        for (auto& pair : pairs) {
          static_cast<void>(pair.client.set_deadline(Deadline::after(std::chrono::hours(1000 - i))));
        }
        yield();
      }
    }));
  }
  for (auto& mover : movers) mover.join();
  for (auto& pair : pairs) EXPECT_OK(pair.client.close());
  for (auto& fiber : running) fiber.join();
}

// DL-19
ROOST_CASE(Deadlines, APastOneUnblocksAPendingRead) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    auto reader = go([&conn = client] { return conn.read(room); });
    ASSERT_TRUE(reading());
    ASSERT_OK(client.set_read_deadline(Deadline::past()));
    within(5s, [&] { EXPECT_TRUE(timed_out(reader.join())); });
  }
}

// A pending call follows its deadline both ways.
ROOST_CASE(Deadlines, APendingReadFollowsAMovedDeadline) {
  auto [client, server] = tcp_pair();
  ASSERT_OK(client.set_read_deadline(Deadline::after(1h)));
  auto reader = go([&conn = client] { return conn.read(room); });
  ASSERT_TRUE(reading());
  ASSERT_OK(client.set_read_deadline(Deadline::after(2h)));
  ASSERT_OK(client.set_read_deadline(Deadline::after(10ms)));
  within(5s, [&] { EXPECT_TRUE(timed_out(reader.join())); });
  // Lifted before it comes: the read goes on.
  with_growing_spans(50ms, [&, &conn = client, &peer = server](Nanoseconds span) {
    EXPECT_OK(conn.set_read_deadline(Deadline::after(span)));
    auto patient = go([&conn] { return conn.read(room); });
    if (!eventually([&] { return patient.done() || parked_now(runtime::WaitReason::io_read) > 0; })) return false;
    EXPECT_OK(conn.set_read_deadline(Deadline::none()));
    if (patient.done()) return false;  // the machine was too slow for the span
    EXPECT_OK(sleep_for(span + span / 2));
    EXPECT_FALSE(patient.done());
    EXPECT_OK(peer.write("x"));
    EXPECT_EQ(patient.join().value_or(0), 1u);
    return true;
  });
}

// DL-27
ROOST_CASE(Deadlines, RawCallsHeedThemAndDoNotRun) {
  auto [client, server] = tcp_pair();
  ASSERT_OK(client.set_deadline(Deadline::past()));
  int calls = 0;
  const auto count = [&](int) { return ++calls, true; };
  EXPECT_TRUE(timed_out(client.raw_read(count)));
  EXPECT_TRUE(timed_out(client.raw_write(count)));
  EXPECT_EQ(calls, 0);
}

// DL-28
ROOST_CASE(Deadlines, OfAClosedConnectionCannotBeSet) {
  auto [client, server] = tcp_pair();
  ASSERT_OK(client.close());
  EXPECT_TRUE(reports_closed(client.set_deadline(Deadline::none())));
  EXPECT_TRUE(reports_closed(client.set_read_deadline_after(1s)));
  EXPECT_TRUE(reports_closed(client.set_idle_timeout(1s)));
  net::Conn never_open;
  EXPECT_TRUE(reports_closed(never_open.set_deadline(Deadline::none())));
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  ASSERT_OK(listener.close());
  EXPECT_TRUE(reports_closed(listener.set_deadline(Deadline::none())));
}

// DL-10, DL-29
ROOST_CASE(Deadlines, HoldForDatagrams) {
  auto socket = must(net::listen_packet("udp4", "127.0.0.1:0"));
  const auto self = must(socket.local_address());
  ASSERT_OK(socket.set_write_deadline(Deadline::past()));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(timed_out(socket.write_to("x", self)));
  ASSERT_OK(socket.set_read_deadline(Deadline::after(0s)));
  EXPECT_TRUE(timed_out(socket.read_from(room)));  // and so there is no address either
  ASSERT_OK(socket.set_deadline(Deadline::none()));
  ASSERT_OK(socket.write_to("x", self));
  EXPECT_OK(socket.read_from(room));
}

// DL-31
ROOST_CASE(Deadlines, APipeThatWasCopiedFromStillHeedsThem) {
  auto [client, server] = tcp_pair();
  auto pipe = must(net::os_pipe());
  ASSERT_OK(pipe.write_end.write("x"));
  EXPECT_EQ(io::copy_n(client, pipe.read_end, 1).value_or(0), 1u);
  ASSERT_OK(pipe.read_end.set_read_deadline(Deadline::after(1us)));
  EXPECT_TRUE(timed_out(pipe.read_end.read(room)));
  EXPECT_TRUE(timed_out(io::copy(client, pipe.read_end)));
}

// DL-33
ROOST_CASE(Deadlines, TheLongestSpanNeverPasses) {
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  auto echoing = go([&] {
    auto conn = must(listener.accept());
    echo(conn);
  });
  const net::Dialer dialer{.timeout = Nanoseconds::max(), .deadline = Deadline::after(Nanoseconds::max())};
  auto conn = must(dialer.dial(must(listener.local_endpoint())));
  ASSERT_OK(conn.set_deadline(Deadline::after(Nanoseconds::max())));
  conn_suite::expect_round_trip(conn, "still here");
  ASSERT_OK(conn.set_deadline(Deadline::from_ns(std::numeric_limits<std::int64_t>::max() - 1)));
  conn_suite::expect_round_trip(conn, "and here");
  ASSERT_OK(conn.set_read_deadline_after(Nanoseconds::max()));
  ASSERT_OK(conn.set_write_deadline_after(std::chrono::hours(24 * 365 * 200)));
  conn_suite::expect_round_trip(conn, "to the end");
  EXPECT_OK(conn.close());
  echoing.join();
}

// An idle time-out runs anew with every byte, in either direction.
ROOST_CASE(Deadlines, AnIdleTimeoutCountsFromTheLastByte) {
  with_growing_spans(40ms, [&](Nanoseconds span) {
    auto [client, server] = tcp_pair();
    EXPECT_OK(client.set_idle_timeout(span));
    auto reader = go([&conn = client] {
      auto got = conn.read(room);
      while (got && *got > 0) got = conn.read(room);
      return std::pair(got, now());
    });
    auto last = now();
    for (int i = 0; i < 6; ++i) {
      static_cast<void>(sleep_for(span / 3));
      last = now();
      static_cast<void>(server.write("x"));
    }
    const auto [got, ended] = reader.join();
    EXPECT_TRUE(timed_out(got));
    if (ended < last) return false;  // the machine was too slow for the span
    EXPECT_GE(ended - last, span - 2 * Nanoseconds(base::coarse_tick_ns()));
    return ended - last <= span + span / 2;
  });
}

// A canceled fiber's calls fail, and other fibers' calls on the same connection do not.
ROOST_CASE(Deadlines, CancelEndsThePendingCallOfThatFiberAlone) {
  auto [client, server] = tcp_pair();
  auto canceled = go([&conn = client] { return conn.read(room); });
  ASSERT_TRUE(reading());
  canceled.cancel();
  within(5s, [&] { EXPECT_ERROR(canceled.join(), std::errc::operation_canceled); });
  ASSERT_OK(server.write("x"));
  EXPECT_EQ(client.read(room).value_or(0), 1u);
}

}  // namespace
}  // namespace roost::test
