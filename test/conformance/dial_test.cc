// Dialling: errors, deadlines, cancellation, addresses to dial from, racing both families, keep-alive.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>
#include <set>

#include <roost/sync/context.h>

#include "conformance/conn_suite.h"
#include "net/dial_race.h"

namespace roost::test {
namespace {

ROOST_SUITE(Dialling);

std::array<std::byte, 64> room;

// An address that answers nothing: a listener whose backlog is full, so that the kernel drops what else arrives.
class BlackHole {
 public:
  explicit BlackHole(const char* host = "127.0.0.1") {
    const auto where = must(net::Endpoint::parse(std::string(host) + ":0"));
    fd_ = socket_for(where);
    sockaddr_storage storage{};
    socklen_t length = where.to_sockaddr(storage);
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&storage), length) != 0 || ::listen(fd_, 0) != 0) std::abort();
    length = sizeof storage;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&storage), &length);
    at = must(net::Endpoint::from_sockaddr(reinterpret_cast<sockaddr*>(&storage), length));
    for (int i = 0; i < 3; ++i) {
      fillers_.push_back(socket_for(at));
      static_cast<void>(::connect(fillers_.back(), reinterpret_cast<sockaddr*>(&storage), length));
    }
  }
  ~BlackHole() {
    for (const int filler : fillers_) ::close(filler);
    ::close(fd_);
  }
  BlackHole(const BlackHole&) = delete;
  BlackHole& operator=(const BlackHole&) = delete;

  net::Endpoint at;

 private:
  static int socket_for(const net::Endpoint& where) {
    return ::socket(where.address.is_v6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  }
  int fd_ = -1;
  std::vector<int> fillers_;
};

// An address where nobody listens.
net::Endpoint refusing(const char* host = "127.0.0.1") {
  auto listener = must(net::listen("tcp", std::string(host) + ":0"));
  return must(listener.local_endpoint());
}

// A server that accepts and keeps what it accepts, on both loopback addresses and one port.
class Server {
 public:
  explicit Server(std::string_view address = "127.0.0.1:0") : listener_(must(net::listen("tcp", address))) {
    accepting_ = go([this] {
      for (auto conn = listener_.accept(); conn; conn = listener_.accept()) {
        conns.push_back(std::move(*conn));
        ++count;
      }
    });
  }
  ~Server() {
    static_cast<void>(listener_.close());
    accepting_.join();
  }
  [[nodiscard]] net::Endpoint at() const { return must(listener_.local_endpoint()); }

  std::vector<net::Conn> conns;  // to be looked at when `count` stands still
  std::atomic<int> count{0};

 private:
  net::Listener listener_;
  Handle<void> accepting_;
};

// DI-01
ROOST_CASE(Dialling, EndsWhenItsTimeIsUp) {
  const BlackHole hole;
  for (const Nanoseconds span : std::vector<Nanoseconds>{-5s, -1s, Nanoseconds::min(), 0s, 1ns, 5ms, 50ms}) {
    for (const bool as_deadline : {false, true}) {
      net::Dialer dialer;
      const auto start = now();
      if (as_deadline) {
        dialer.deadline = Deadline::after(span);
      } else {
        dialer.timeout = span;
      }
      within(4s, [&] { EXPECT_TRUE(timed_out(dialer.dial(hole.at))); });
      EXPECT_GE(since(start), std::max(span, Nanoseconds(0)));
    }
  }
  // The earlier of the two counts.
  const net::Dialer both{.timeout = 10ms, .deadline = Deadline::after(1h)};
  within(4s, [&] { EXPECT_TRUE(timed_out(both.dial(hole.at))); });
}

// DI-02
ROOST_CASE(Dialling, TheLongestTimeIsNone) {
  const Server server;
  EXPECT_OK(net::Dialer{.timeout = Nanoseconds::max()}.dial(server.at()));
  EXPECT_OK(net::Dialer{.deadline = Deadline::after(std::chrono::hours(24 * 365 * 290))}.dial(server.at()));
  EXPECT_OK(net::Dialer{.timeout = Nanoseconds::max() - 1ns}.dial("tcp", server.at().to_string()));
}

// DI-03
ROOST_CASE(Dialling, IsCanceled) {
  const BlackHole hole;
  auto dialing = go([&] { return net::dial(hole.at); });
  ASSERT_TRUE(writing());
  const auto start = now();
  dialing.cancel();
  const auto conn = dialing.join();
  EXPECT_ERROR(conn, std::errc::operation_canceled);
  EXPECT_LT(since(start), 4s);
  EXPECT_EQ(net::describe_failure("dial", "tcp", "127.0.0.1:1", conn.error()), "dial tcp 127.0.0.1:1: canceled (canceled)");
}

// DI-05
ROOST_CASE(Dialling, ACancelAfterwardsLeavesTheConnectionAlone) {
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  auto serving = go([&] {
    for (auto conn = listener.accept(); conn; conn = listener.accept()) {
      go([held = std::move(*conn)]() mutable { echo(held); }).detach();
    }
  });
  for (int i = 0; i < 10; ++i) {
    auto dialing = go([&] { return net::dial(must(listener.local_endpoint())); });
    auto conn = must(dialing.join());
    dialing = go([&] { return net::dial(must(listener.local_endpoint())); });
    while (!dialing.done()) yield();
    dialing.cancel();
    auto canceled_late = dialing.join();
    ASSERT_OK(canceled_late);
    conn_suite::expect_round_trip(conn, "hello");
    conn_suite::expect_round_trip(*canceled_late, "hello");
  }
  ASSERT_OK(listener.close());
  serving.join();
}

// DI-07
ROOST_CASE(Dialling, ARefusingPortNeverConnectsHoweverItIsCanceled) {
  const auto nobody = refusing();
  std::mt19937 random(11);
  constexpr int tries = 2000;  // on each of six set-ups
  int succeeded = 0;
  std::vector<Handle<bool>> dials;
  for (int i = 0; i < tries; ++i) {
    dials.push_back(go([&nobody] { return net::dial(nobody).has_value(); }));
    if (random() % 2 == 0) yield();
    if (random() % 2 == 0) dials.back().cancel();
    if (dials.size() == 20) {
      for (auto& dial : dials) succeeded += dial.join();
      dials.clear();
    }
  }
  for (auto& dial : dials) succeeded += dial.join();
  EXPECT_EQ(succeeded, 0);
}

// --- both families -------------------------------------------------------------------------------------------------

// DI-08
ROOST_CASE(Dialling, TheTwoFamiliesRace) {
  const Server v4("127.0.0.1:0");
  const Server v6("[::1]:0");
  const BlackHole slow4;
  const BlackHole slow6("[::1]");
  const auto refused4 = refusing();
  const auto refused6 = refusing("[::1]");
  const std::vector<net::Endpoint> tons(1000, refused4);
  constexpr Nanoseconds delay = 60ms;
  struct Case {
    std::vector<net::Endpoint> primaries;
    std::vector<net::Endpoint> fallbacks;
    bool succeeds;
    Nanoseconds takes;  // zero: at once
  };
  const std::vector<Case> cases{
      {{v4.at()}, {}, true, 0ns},
      {{v6.at()}, {}, true, 0ns},
      {{v4.at(), v4.at()}, {slow6.at}, true, 0ns},
      {{v6.at(), v6.at()}, {slow4.at}, true, 0ns},
      // The primary is slow: the fallback comes after its delay.
      {{slow4.at}, {v6.at()}, true, delay},
      {{slow6.at}, {v4.at()}, true, delay},
      // One that refuses is passed over, on either side.
      {{refused4, v4.at()}, {}, true, 0ns},
      {{slow4.at, v4.at()}, {refused6, v6.at()}, true, delay},
      // A primary that fails lets the fallback begin at once.
      {{refused4}, {v6.at()}, true, 0ns},
      {{refused6}, {v4.at()}, true, 0ns},
      {{}, {v4.at()}, true, 0ns},
      // Nobody.
      {{refused4}, {}, false, 0ns},
      {{refused4}, {refused6}, false, 0ns},
      {{}, {}, false, 0ns},
      {tons, {}, false, 0ns},
      {tons, {v6.at()}, true, 0ns},
  };
  net::Dialer dialer;
  dialer.fallback_delay = delay;
  int number = 0;
  for (const Case& one : cases) {
    ++number;
    bool in_time = false;
    for (int tries = 0; tries < 6 && !in_time; ++tries) {
      const auto start = now();
      const auto conn = net::dial_parallel(dialer, one.primaries, one.fallbacks, Deadline::after(10s));
      const auto took = since(start);
      EXPECT_EQ(conn.has_value(), one.succeeds) << "case " << number;
      if (!conn && !one.primaries.empty()) {
        EXPECT_ERROR(conn, std::errc::connection_refused);
      }
      if (!conn && one.primaries.empty()) {
        EXPECT_ERROR(conn, Errc::no_suitable_address);
      }
      EXPECT_GE(took, one.takes) << "case " << number;
      // At once means: without waiting for the delay. A thousand refusals take their own time.
      in_time = one.primaries.size() > 10 || took < one.takes + delay;
    }
    EXPECT_TRUE(in_time) << "case " << number << " never in time";

    // Every case can be canceled.
    auto canceled = go([&] { return net::dial_parallel(dialer, one.primaries, one.fallbacks, Deadline::none()); });
    yield();
    canceled.cancel();
    const auto start = now();
    static_cast<void>(canceled.join());
    EXPECT_LT(since(start), 4s) << "case " << number;
  }
}

// DI-08: a race that only time ends.
ROOST_CASE(Dialling, ARaceNobodyWinsEndsWithItsDeadlineOrItsCancellation) {
  const BlackHole slow4;
  const BlackHole slow6("[::1]");
  net::Dialer dialer;
  dialer.fallback_delay = 1ms;
  dialer.timeout = 30ms;
  const std::array remotes{slow4.at, slow6.at};
  within(4s, [&] { EXPECT_TRUE(timed_out(dialer.dial_any(remotes))); });
  dialer.timeout = Nanoseconds::max();
  auto dialing = go([&] { return dialer.dial_any(remotes); });
  ASSERT_TRUE(writing(3));  // both runners, and who waits for them
  dialing.cancel();
  within(4s, [&] { EXPECT_ERROR(dialing.join(), std::errc::operation_canceled); });
  // Without a race: one after the other, each with its share of the time.
  dialer.fallback_delay = -1ns;
  dialer.timeout = 30ms;
  within(4s, [&] { EXPECT_TRUE(timed_out(dialer.dial_any(remotes))); });
  EXPECT_ERROR(dialer.dial_any({}), Errc::no_suitable_address);
}

// DI-10
ROOST_CASE(Dialling, TheLoserOfARaceIsClosed) {
  Server v4("127.0.0.1:0");
  Server v6("[::1]:0");
  // Both reach the point where they connect before either does.
  std::atomic<int> arrived{0};
  net::Dialer dialer;
  dialer.fallback_delay = 0ns;
  dialer.control = [&](int, std::string_view, std::string_view) -> Result<void> {
    ++arrived;
    for (const auto start = now(); arrived < 2 && since(start) < 4s;) yield();
    return {};
  };
  const std::array remotes{v4.at(), v6.at()};
  auto conn = must(dialer.dial_any(remotes));
  EXPECT_EQ(arrived.load(), 2);
  const bool v6_won = must(conn.remote_endpoint()).address.is_v6();
  Server& winner = v6_won ? v6 : v4;
  Server& loser = v6_won ? v4 : v6;
  ASSERT_TRUE(eventually([&] { return winner.count == 1; }));
  // The loser may have been too late to connect at all.
  static_cast<void>(eventually([&] { return loser.count == 1; }, 200ms));
  if (loser.count == 1) {
    within(5s, [&] {
      const auto got = loser.conns[0].read(room);
      EXPECT_TRUE(got ? *got == 0 : got.error() == std::errc::connection_reset);
    });
  }
  ASSERT_OK(conn.write("x"));
  EXPECT_EQ(winner.conns[0].read(room).value_or(0), 1u);
}

ROOST_CASE(Dialling, AddressesAreSplitByTheFamilyThatComesFirst) {
  const auto at = [](const char* text) { return must(net::Endpoint::parse(text)); };
  const std::array remotes{at("[::1]:1"), at("127.0.0.1:2"), at("[::1]:3"), at("127.0.0.1:4")};
  const auto split = net::split_by_family(remotes);
  EXPECT_EQ(split.primaries, (std::vector{remotes[0], remotes[2]}));
  EXPECT_EQ(split.fallbacks, (std::vector{remotes[1], remotes[3]}));
  EXPECT_TRUE(net::split_by_family({}).primaries.empty());
}

// --- from where ----------------------------------------------------------------------------------------------------

// DI-13
ROOST_CASE(Dialling, TheLocalAddressMustSuit) {
  const Server v4("127.0.0.1:0");
  const Server v6("[::1]:0");
  const auto port4 = std::to_string(v4.at().port);
  const auto port6 = std::to_string(v6.at().port);
  const std::string to4 = "127.0.0.1:" + port4;
  const std::string to6 = "[::1]:" + port6;
  const auto ip = [](const char* text) { return net::Address(must(net::Endpoint::parse(text))); };
  const net::Address unix_name = must(net::UnixName::parse("@x"));
  const std::error_code fine{};
  const std::error_code mismatch = Errc::no_suitable_address;
  const std::error_code wrong_kind = Errc::bad_address;
  struct Case {
    const char* network;
    std::string remote;
    std::optional<net::Address> local;
    std::error_code error;
  };
  const std::vector<Case> cases{
      {"tcp4", to4, std::nullopt, fine},
      {"tcp4", to4, net::Address(), fine},
      {"tcp4", to4, ip("0.0.0.0:0"), fine},
      {"tcp4", to4, ip("[::]:0"), mismatch},
      {"tcp4", to4, ip("127.0.0.1:0"), fine},
      {"tcp4", to4, ip("127.0.0.9:0"), fine},
      {"tcp4", to4, ip("[::1]:0"), mismatch},
      {"tcp4", to4, unix_name, wrong_kind},
      {"tcp6", to6, std::nullopt, fine},
      {"tcp6", to6, ip("0.0.0.0:0"), fine},
      {"tcp6", to6, ip("[::]:0"), fine},
      {"tcp6", to6, ip("127.0.0.1:0"), mismatch},
      {"tcp6", to6, ip("[::1]:0"), fine},
      {"tcp6", to6, unix_name, wrong_kind},
      {"tcp", to4, ip("0.0.0.0:0"), fine},
      {"tcp", to4, ip("[::]:0"), fine},
      {"tcp", to4, ip("127.0.0.1:0"), fine},
      {"tcp", to4, ip("[::1]:0"), mismatch},
      {"tcp", to6, ip("0.0.0.0:0"), fine},
      {"tcp", to6, ip("[::]:0"), fine},
      {"tcp", to6, ip("127.0.0.1:0"), mismatch},
      {"tcp", to6, ip("[::1]:0"), fine},
      {"tcp", to4, ip("[::ffff:127.0.0.1]:0"), fine},
      {"udp", to4, ip("[::1]:0"), mismatch},
      {"unix", "@nowhere", ip("127.0.0.1:0"), wrong_kind},
  };
  int number = 0;
  for (const Case& one : cases) {
    ++number;
    net::Dialer dialer;
    dialer.local = one.local;
    const auto conn = dialer.dial(one.network, one.remote);
    if (one.error) {
      EXPECT_ERROR(conn, one.error) << "case " << number;
    } else {
      EXPECT_OK(conn) << "case " << number;
    }
  }
  net::Dialer dialer;
  dialer.local = ip("127.0.0.9:0");
  EXPECT_EQ(must(must(dialer.dial("tcp", to4)).local_endpoint()).address.to_string(), "127.0.0.9");
}

// DI-15
ROOST_CASE(Dialling, AnEmptyHostIsThisMachine) {
  const Server server;
  const std::string port = ":" + std::to_string(server.at().port);
  for (const char* network : {"tcp", "tcp4"}) EXPECT_OK(net::dial(network, port));
  EXPECT_OK(net::dial("tcp", "localhost" + port));
  const Server v6("[::1]:0");
  EXPECT_OK(net::dial("tcp6", ":" + std::to_string(v6.at().port)));
  EXPECT_OK(net::dial_packet("udp", port));
}

// --- the control hook ----------------------------------------------------------------------------------------------

// DI-16
ROOST_CASE(Dialling, TheControlHookSeesEverySocketOnceBeforeItConnects) {
  const Server v4;
  const Server v6("[::1]:0");
  auto unix_listener = must(net::listen("unix", fresh_path()));
  auto packet_listener = must(net::listen("unixpacket", fresh_path()));
  auto datagrams = must(net::listen_packet("unixgram", fresh_path()));
  const auto name_of = [](auto& socket) { return must(socket.local_address()).to_string(); };
  struct Case {
    std::string network;
    std::string remote;
    std::string told;
  };
  const std::vector<Case> cases{{"tcp", v4.at().to_string(), "tcp4"},
                                {"tcp4", v4.at().to_string(), "tcp4"},
                                {"tcp", v6.at().to_string(), "tcp6"},
                                {"tcp6", v6.at().to_string(), "tcp6"},
                                {"udp", v4.at().to_string(), "udp4"},
                                {"udp4", v4.at().to_string(), "udp4"},
                                {"udp6", v6.at().to_string(), "udp6"},
                                {"unix", name_of(unix_listener), "unix"},
                                {"unixpacket", name_of(packet_listener), "unixpacket"},
                                {"unixgram", name_of(datagrams), "unixgram"}};
  for (const Case& one : cases) {
    int calls = 0;
    net::Dialer dialer;
    dialer.control = [&](int fd, std::string_view network, std::string_view address) -> Result<void> {
      ++calls;
      EXPECT_EQ(network, one.told);
      EXPECT_EQ(address, one.remote);
      sockaddr_storage peer{};
      socklen_t length = sizeof peer;
      EXPECT_NE(::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length), 0) << "connected already";
      return {};
    };
    EXPECT_OK(dialer.dial(one.network, one.remote)) << one.network;
    EXPECT_EQ(calls, 1) << one.network;
    // Its error ends the attempt.
    dialer.control = [](int, std::string_view, std::string_view) { return Result<void>(fail(std::errc::owner_dead)); };
    EXPECT_ERROR(dialer.dial(one.network, one.remote), std::errc::owner_dead) << one.network;
  }
}

// DI-17
ROOST_CASE(Dialling, TheControlHookRunsWhereItsCallerIs) {
  const Server server;
  const std::uint64_t caller = this_fiber::id();
  std::uint64_t seen = 0;
  net::Dialer dialer;
  dialer.control = [&](int, std::string_view, std::string_view) -> Result<void> {
    seen = this_fiber::id();
    return {};
  };
  EXPECT_OK(dialer.dial("tcp", server.at().to_string()));
  EXPECT_EQ(seen, caller);
}

// DI-17: and under its caller's context, also where a race runs it on fibers of its own.
ROOST_CASE(Dialling, TheControlHookSeesItsCallersContext) {
  const Server v4;
  const Server v6("[::1]:0");
  const BlackHole slow4;
  struct Tag {
    int value = 0;
  };
  std::atomic<int> calls{0};
  int wanted = 1;
  net::Dialer dialer;
  dialer.fallback_delay = 0ns;
  dialer.control = [&](int, std::string_view, std::string_view) -> Result<void> {
    const Tag* tag = this_fiber::context().value<Tag>();
    EXPECT_TRUE(tag != nullptr && tag->value == 42);
    ++calls;
    // Neither runner wins before the other has come this far.
    for (const auto start = now(); calls < wanted && since(start) < 4s;) yield();
    return {};
  };
  with_context(with_value(Context(), Tag{42}), [&] {
    EXPECT_OK(dialer.dial(v4.at()));
    wanted = 3;
    EXPECT_OK(dialer.dial_any(std::array{slow4.at, v6.at()}));
  });
  EXPECT_EQ(calls.load(), 3);
}

// DI-03: a context's end ends a dial as well, with its own reason.
ROOST_CASE(Dialling, EndsWithItsContext) {
  const BlackHole hole;
  const BlackHole hole6("[::1]");
  const std::array both{hole.at, hole6.at};
  auto [context, cancel] = with_cancel(Context());
  auto dialing = go(context, [&] { return net::dial(hole.at); });
  auto racing = go(context, [&] { return net::Dialer{.fallback_delay = 1ms}.dial_any(both); });
  ASSERT_TRUE(writing(4));
  cancel();
  within(4s, [&] {
    EXPECT_ERROR(dialing.join(), std::errc::operation_canceled);
    EXPECT_ERROR(racing.join(), std::errc::operation_canceled);
  });
  auto timed = with_timeout(Context(), 10ms);
  within(4s, [&] { EXPECT_TRUE(timed_out(go(timed.context, [&] { return net::dial(hole.at); }).join())); });
}

// --- errors --------------------------------------------------------------------------------------------------------

// DI-15: "localhost" finds a server that listens on either of the loopback addresses.
ROOST_CASE(Dialling, LocalhostIsEitherLoopbackAddress) {
  auto v6 = net::listen("tcp6", "[::1]:0");
  if (!v6) GTEST_SKIP() << "no IPv6 here: " << v6.error().message();
  const auto conn = net::dial("tcp", "localhost:" + std::to_string(must(v6->local_endpoint()).port));
  ASSERT_OK(conn);
  EXPECT_TRUE(must(conn->remote_endpoint()).address.is_v6());
  const auto v4 = must(net::listen("tcp4", "127.0.0.1:0"));
  const auto other = net::dial("tcp", "localhost:" + std::to_string(must(v4.local_endpoint()).port));
  ASSERT_OK(other);
  EXPECT_TRUE(must(other->remote_endpoint()).address.is_v4());
}

// DI-19
ROOST_CASE(Dialling, ARefusalComesAtOnce) {
  bool at_once = false;
  for (int tries = 0; tries < 4 && !at_once; ++tries) {  // a machine that is busy elsewhere may take its time
    const auto start = now();
    const auto conn = net::dial("tcp", refusing().to_string());
    EXPECT_ERROR(conn, std::errc::connection_refused);
    EXPECT_EQ(error_name(conn.error()), "ECONNREFUSED");
    at_once = since(start) < 1s;
  }
  EXPECT_TRUE(at_once);
}

// DI-20
ROOST_CASE(Dialling, NonsenseIsToldBeforeASocketIsMade) {
  // Without a descriptor to be had, whoever made a socket first would report that.
  static_cast<void>(net::dial("tcp", "127.0.0.1:no-such-service"));  // has read the services' file, if there is one
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  EXPECT_ERROR(net::dial("tcp", "127.0.0.1:1"), std::errc::too_many_files_open);
  EXPECT_ERROR(net::dial("foo+net", "127.0.0.1:1"), Errc::unknown_network);
  EXPECT_ERROR(net::dial("", "127.0.0.1:1"), Errc::unknown_network);
  EXPECT_ERROR(net::dial_packet("tcp", "127.0.0.1:1"), Errc::unknown_network);
  for (const char* address : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1:65536", "127.0.0.1:123456789",
                              "127.0.0.1:80:", "[::1]", "[::1", "[::1]80", "::1:80", "]:80", ""}) {
    EXPECT_ERROR(net::dial("tcp", address), Errc::bad_address) << address;
  }
  EXPECT_ERROR(net::dial("tcp6", "127.0.0.1:1"), Errc::no_suitable_address);
  EXPECT_ERROR(net::dial("tcp4", "[::1]:1"), Errc::no_suitable_address);
  EXPECT_ERROR(net::dial("udp4", "[::1]:1"), Errc::no_suitable_address);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// A dial that fails leaves nothing behind.
ROOST_CASE(Dialling, FailuresLeaveNoDescriptorOpen) {
  const auto nobody = refusing();
  const BlackHole hole;
  static_cast<void>(net::dial(nobody));
  const auto before = runtime_stats().descriptors;
  const int next_number = ::dup(0);
  ::close(next_number);
  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(net::dial(nobody));
    EXPECT_TRUE(timed_out(net::Dialer{.timeout = 1ms}.dial(hole.at)));
  }
  const int same_number = ::dup(0);
  ::close(same_number);
  EXPECT_EQ(next_number, same_number);
  EXPECT_EQ(runtime_stats().descriptors, before);
}

// --- keep-alive ----------------------------------------------------------------------------------------------------

struct KeepAliveOptions {
  int enabled, idle, interval, count;
  friend bool operator==(const KeepAliveOptions&, const KeepAliveOptions&) = default;
};
void PrintTo(const KeepAliveOptions& options, std::ostream* out) {
  *out << options.enabled << "/" << options.idle << "/" << options.interval << "/" << options.count;
}
int option_of(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  ::getsockopt(fd, level, name, &value, &length);
  return value;
}
KeepAliveOptions keep_alive_of(const net::Conn& conn) {
  const int fd = conn.native_handle();
  return {option_of(fd, SOL_SOCKET, SO_KEEPALIVE), option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE),
          option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), option_of(fd, IPPROTO_TCP, TCP_KEEPCNT)};
}
KeepAliveOptions system_keep_alive() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const KeepAliveOptions options{option_of(fd, SOL_SOCKET, SO_KEEPALIVE), option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE),
                                 option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), option_of(fd, IPPROTO_TCP, TCP_KEEPCNT)};
  ::close(fd);
  return options;
}

struct KeepAliveCase {
  net::KeepAlive asked;
  KeepAliveOptions seen;
};
std::vector<KeepAliveCase> keep_alive_cases() {
  const auto system = system_keep_alive();
  return {
      {{}, {1, 15, 15, 9}},
      {{.enable = true, .idle = 5s, .interval = 3s, .count = 10}, {1, 5, 3, 10}},
      {{.enable = true, .idle = 30s}, {1, 30, 15, 9}},
      {{.enable = true, .idle = 0s, .interval = 0s, .count = 0}, {1, 15, 15, 9}},
      {{.enable = true, .idle = -1s, .interval = -1s, .count = -1}, {1, system.idle, system.interval, system.count}},
      {{.enable = true, .idle = -1s, .interval = 3s, .count = 10}, {1, system.idle, 3, 10}},
      {{.enable = true, .idle = 5s, .interval = -1s, .count = 10}, {1, 5, system.interval, 10}},
      {{.enable = true, .idle = 5s, .interval = 3s, .count = -1}, {1, 5, 3, system.count}},
  };
}

// KA-01, KA-02, KA-05
ROOST_CASE(Dialling, KeepAliveIsOnAndFollowsTheDialer) {
  const Server server;
  EXPECT_EQ(keep_alive_of(must(net::dial(server.at()))), (KeepAliveOptions{1, 15, 15, 9}));
  EXPECT_EQ(keep_alive_of(must(net::dial("tcp", server.at().to_string()))), (KeepAliveOptions{1, 15, 15, 9}));
  for (const auto& one : keep_alive_cases()) {
    EXPECT_EQ(keep_alive_of(must(net::Dialer{.keep_alive = one.asked}.dial(server.at()))), one.seen);
  }
  // Off: nothing is touched.
  const auto system = system_keep_alive();
  EXPECT_EQ(keep_alive_of(must(net::Dialer{.keep_alive = {.enable = false}}.dial(server.at()))), system);
}

// KA-02, on the side that accepts.
ROOST_CASE(Dialling, KeepAliveFollowsTheListener) {
  for (const auto& one : keep_alive_cases()) {
    net::ListenConfig config;
    config.keep_alive = one.asked;
    auto listener = must(net::listen("tcp", "127.0.0.1:0", config));
    auto client = must(net::dial(must(listener.local_endpoint())));
    EXPECT_EQ(keep_alive_of(must(listener.accept())), one.seen);
  }
}

// KA-04
ROOST_CASE(Dialling, KeepAliveCanBeChangedLater) {
  auto [client, server] = tcp_pair();
  for (const auto& one : keep_alive_cases()) {
    // A negative value keeps what was set before, and that is not the system's here.
    if (one.asked.idle < 0s || one.asked.interval < 0s || one.asked.count < 0) continue;
    ASSERT_OK(client.set_keep_alive(one.asked));
    EXPECT_EQ(keep_alive_of(client), one.seen);
  }
  ASSERT_OK(client.set_keep_alive({.enable = true, .idle = -1s, .interval = -1s, .count = -1}));
  EXPECT_EQ(keep_alive_of(client), (KeepAliveOptions{1, 15, 15, 9}));
  ASSERT_OK(client.set_keep_alive({.enable = false}));
  EXPECT_EQ(keep_alive_of(client).enabled, 0);
}

// KA-06
ROOST_CASE(Dialling, AConnectionWithEveryOptionSetStillEchoes) {
  auto [client, server] = tcp_pair();
  EXPECT_EQ(option_of(client.native_handle(), IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(option_of(server.native_handle(), IPPROTO_TCP, TCP_NODELAY), 1);
  for (net::Conn* conn : {&client, &server}) {
    ASSERT_OK(conn->set_no_delay(false));
    ASSERT_OK(conn->set_linger(0));
    ASSERT_OK(conn->set_keep_alive({.enable = false}));
    ASSERT_OK(conn->set_user_timeout(5s));
    ASSERT_OK(conn->set_read_buffer(100'000));
    ASSERT_OK(conn->set_write_buffer(100'000));
    ASSERT_OK(conn->set_deadline(Deadline::after(1h)));
    ASSERT_OK(conn->set_idle_timeout(1h));
    EXPECT_EQ(option_of(conn->native_handle(), IPPROTO_TCP, TCP_NODELAY), 0);
    EXPECT_EQ(option_of(conn->native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
    EXPECT_GE(option_of(conn->native_handle(), SOL_SOCKET, SO_RCVBUF), 100'000);
  }
  auto echoing = go([&conn = server] { echo(conn); });
  conn_suite::expect_round_trip(client, "COMPLETE");
  const auto info = must(client.tcp_info());
  EXPECT_EQ(info.state, 1);
  EXPECT_EQ(info.bytes_received, 8u);
  EXPECT_GT(info.send_segment_bytes, 0u);
  ASSERT_OK(client.close());
  echoing.join();
}

}  // namespace
}  // namespace roost::test
