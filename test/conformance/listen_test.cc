// Listening: addresses, limits, and what happens when descriptors run out.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <roost/net/resolver.h>

#include "conformance/conn_suite.h"

namespace roost::test {
namespace {

ROOST_SUITE(Listening);

std::array<std::byte, 64> room;

// LI-01
ROOST_CASE(Listening, OneAddressHasOneListener) {
  for (const auto& [network, address] : {std::pair<std::string, std::string>{"tcp", ":0"},
                                         {"tcp", "127.0.0.1:0"},
                                         {"tcp", "[::]:0"},
                                         {"tcp", "[::1]:0"},
                                         {"tcp4", ":0"},
                                         {"tcp4", "0.0.0.0:0"},
                                         {"tcp6", ":0"},
                                         {"tcp6", "[::1]:0"},
                                         {"unix", fresh_path()},
                                         {"unixpacket", "@" + fresh_path()}}) {
    auto first = must(net::listen(network, address));
    const auto where = must(first.local_address());
    if (where.is_ip()) {
      EXPECT_NE(where.endpoint().port, 0) << address;
    }
    EXPECT_ERROR(net::listen(network, where.to_string()), std::errc::address_in_use) << network << " " << address;
  }
}

// LI-02
ROOST_CASE(Listening, OneAddressHasOneDatagramSocket) {
  for (const auto& [network, address] : {std::pair<std::string, std::string>{"udp", ":0"},
                                         {"udp", "127.0.0.1:0"},
                                         {"udp4", "127.0.0.1:0"},
                                         {"udp6", "[::1]:0"},
                                         {"unixgram", fresh_path()}}) {
    auto first = must(net::listen_packet(network, address));
    const auto where = must(first.local_address());
    if (where.is_ip()) {
      EXPECT_NE(where.endpoint().port, 0) << address;
    }
    EXPECT_ERROR(net::listen_packet(network, where.to_string()), std::errc::address_in_use) << network << " " << address;
  }
}

// A dual-stack listener serves both families, and shows IPv4 peers as what they are; one of a family serves that one.
ROOST_CASE(Listening, BothFamiliesOrOne) {
  const auto reaches = [](net::Listener& listener, const char* host) {
    const auto port = std::to_string(must(listener.local_endpoint()).port);
    auto conn = net::dial("tcp", std::string(host) + ":" + port);
    if (!conn) return false;
    const auto accepted = must(listener.accept());
    EXPECT_EQ(must(accepted.remote_endpoint()), must(conn->local_endpoint()));
    return true;
  };
  auto both = must(net::listen("tcp", ":0"));
  EXPECT_TRUE(reaches(both, "127.0.0.1"));
  EXPECT_TRUE(reaches(both, "[::1]"));
  auto v4 = must(net::listen("tcp4", ":0"));
  EXPECT_TRUE(reaches(v4, "127.0.0.1"));
  EXPECT_FALSE(reaches(v4, "[::1]"));
  auto v6 = must(net::listen("tcp6", ":0"));
  EXPECT_FALSE(reaches(v6, "127.0.0.1"));
  EXPECT_TRUE(reaches(v6, "[::1]"));
}

// LI-04
ROOST_CASE(Listening, TheControlHookComesBeforeBind) {
  struct Case {
    std::string network;
    std::string address;
    std::string told;
  };
  for (const Case& one : {Case{"tcp", "127.0.0.1:0", "tcp4"}, Case{"tcp", ":0", "tcp6"}, Case{"tcp6", "[::1]:0", "tcp6"},
                          Case{"udp", "127.0.0.1:0", "udp4"}, Case{"udp6", "[::1]:0", "udp6"},
                          Case{"unix", fresh_path(), "unix"}, Case{"unixpacket", fresh_path(), "unixpacket"},
                          Case{"unixgram", fresh_path(), "unixgram"}}) {
    int calls = 0;
    net::ListenConfig config;
    config.control = [&](int fd, std::string_view network, std::string_view) -> Result<void> {
      ++calls;
      EXPECT_EQ(network, one.told);
      sockaddr_storage name{};
      socklen_t length = sizeof name;
      EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length), 0);
      if (name.ss_family != AF_UNIX) {
        EXPECT_EQ(must(net::Endpoint::from_sockaddr(reinterpret_cast<sockaddr*>(&name), length)).port, 0);
        const int on = 1;
        EXPECT_EQ(::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
      } else {
        EXPECT_LE(length, sizeof(sa_family_t));
      }
      return {};
    };
    const bool packets = one.network.starts_with("udp") || one.network == "unixgram";
    const auto listen_once = [&](const std::string& address) -> Result<std::string> {
      if (packets) {
        auto socket = net::listen_packet(one.network, address, config);
        if (!socket) return fail(socket.error());
        const auto name = must(socket->local_address()).to_string();
        // With SO_REUSEPORT set by the hook the same address can be had again.
        if (!one.network.starts_with("unix")) {
          EXPECT_OK(net::listen_packet(one.network, name, config));
        }
        return name;
      }
      auto listener = net::listen(one.network, address, config);
      if (!listener) return fail(listener.error());
      const auto name = must(listener->local_address()).to_string();
      if (!one.network.starts_with("unix")) {
        EXPECT_OK(net::listen(one.network, name, config));
      }
      return name;
    };
    EXPECT_OK(listen_once(one.address)) << one.network;
    EXPECT_EQ(calls, one.network.starts_with("unix") ? 1 : 2);
    config.control = [](int, std::string_view, std::string_view) { return Result<void>(fail(std::errc::owner_dead)); };
    EXPECT_ERROR(listen_once(one.network.starts_with("unix") ? fresh_path() : one.address), std::errc::owner_dead);
  }
}

ROOST_CASE(Listening, AReusedPortIsShared) {
  net::ListenConfig config;
  config.reuse_port = true;
  auto first = must(net::listen("tcp", "127.0.0.1:0", config));
  const auto where = must(first.local_address()).to_string();
  EXPECT_OK(net::listen("tcp", where, config));
  EXPECT_ERROR(net::listen("tcp", where), std::errc::address_in_use);
}

// LI-06
ROOST_CASE(Listening, ManyFibersAcceptOnOneListener) {
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  const auto where = must(listener.local_endpoint());
  constexpr int acceptors = 10;
  constexpr int dials = 100;
  std::atomic<int> accepted{0};
  std::vector<Handle<std::error_code>> accepting;
  for (int i = 0; i < acceptors; ++i) {
    accepting.push_back(go([&] {
      for (;;) {
        auto conn = listener.accept();
        if (!conn) return conn.error();
        ++accepted;
      }
    }));
  }
  int connected = 0;
  with_growing_spans(200ms, [&](Nanoseconds span) {
    int failed = 0;
    std::vector<Handle<bool>> dialing;
    for (int i = 0; i < dials; ++i) {
      dialing.push_back(go([&, span] { return net::Dialer{.timeout = span}.dial(where).has_value(); }));
    }
    for (auto& dial : dialing) failed += !dial.join();
    connected += dials - failed;
    return failed <= dials / 9;
  });
  EXPECT_TRUE(eventually([&] { return accepted >= connected; }));
  ASSERT_OK(listener.close());
  within(5s, [&] {
    for (auto& fiber : accepting) EXPECT_EQ(fiber.join(), make_error_code(Errc::closed));
  });
}

// LI-08
ROOST_CASE(Listening, EveryFormOfAddressServes) {
  for (const auto& [network, address, target] :
       {std::array<std::string, 3>{"tcp", ":0", "127.0.0.1"}, std::array<std::string, 3>{"tcp", "0.0.0.0:0", "127.0.0.1"},
        std::array<std::string, 3>{"tcp", "[::ffff:0.0.0.0]:0", "127.0.0.1"},
        std::array<std::string, 3>{"tcp", "[::]:0", "[::1]"}, std::array<std::string, 3>{"tcp", "127.0.0.1:0", "127.0.0.1"},
        std::array<std::string, 3>{"tcp", "localhost:0", "localhost"}, std::array<std::string, 3>{"tcp4", ":0", ""},
        std::array<std::string, 3>{"tcp6", ":0", "[::1]"}, std::array<std::string, 3>{"tcp6", "[::1]:0", "[::1]"}}) {
    auto listener = must(net::listen(network, address));
    auto serving = go([&] {
      std::vector<Handle<void>> handlers;
      for (auto conn = listener.accept(); conn; conn = listener.accept()) {
        handlers.push_back(go([held = std::move(*conn)]() mutable { echo(held); }));
      }
      for (auto& handler : handlers) handler.join();
    });
    {
      std::vector<net::Conn> clients;
      const auto port = std::to_string(must(listener.local_endpoint()).port);
      for (int i = 0; i < 3; ++i) clients.push_back(must(net::dial("tcp", target + ":" + port)));
      for (auto& client : clients) conn_suite::expect_round_trip(client, "GET / HTTP/1.0");
    }
    ASSERT_OK(listener.close());
    serving.join();
  }
}

// LI-09
ROOST_CASE(Listening, NonsenseIsTold) {
  EXPECT_ERROR(net::listen("foo", "127.0.0.1:0"), Errc::unknown_network);
  EXPECT_ERROR(net::listen("udp", "127.0.0.1:0"), Errc::unknown_network);
  EXPECT_ERROR(net::listen_packet("tcp", "127.0.0.1:0"), Errc::unknown_network);
  for (const char* address : {"", "127.0.0.1", ":-1", ":65536", ":1e3", "127.0.0.1:0x50", "[::1", "1.2.3.4.5:0", "nohost:0"}) {
    EXPECT_ERROR(net::listen("tcp", address), Errc::bad_address) << address;
    EXPECT_ERROR(net::listen_packet("udp", address), Errc::bad_address) << address;
  }
  EXPECT_ERROR(net::listen("tcp6", "127.0.0.1:0"), Errc::no_suitable_address);
  EXPECT_ERROR(net::listen("tcp4", "[::1]:0"), Errc::no_suitable_address);
  EXPECT_ERROR(net::listen("tcp", "192.0.2.1:0"), std::errc::address_not_available);
  EXPECT_ERROR(net::listen("unix", "/nonexistent/directory/socket"), std::errc::no_such_file_or_directory);
  const auto refused = net::listen("tcp", "192.0.2.1:0");
  EXPECT_EQ(net::describe_failure("listen", "tcp", "192.0.2.1:0", refused.error()),
            "listen tcp 192.0.2.1:0: Cannot assign requested address (EADDRNOTAVAIL)");
}

// LI-09: a port that is left out is one of the kernel's choice (as in Go).
ROOST_CASE(Listening, NoPortIsAnyPort) {
  for (const char* address : {"127.0.0.1:", ":", "[::1]:", "localhost:"}) {
    const auto listener = net::listen("tcp", address);
    ASSERT_OK(listener) << address;
    EXPECT_NE(must(listener->local_endpoint()).port, 0) << address;
    const auto socket = net::listen_packet("udp", address);
    ASSERT_OK(socket) << address;
    EXPECT_NE(must(socket->local_endpoint()).port, 0) << address;
  }
}

// LI-09: a port may be the name of a service.
ROOST_CASE(Listening, AServiceIsAPort) {
  if (!net::Resolver::system().port_of("tcp", "domain")) GTEST_SKIP() << "/etc/services is not here (package netbase)";
  net::ListenConfig config;
  std::string wanted;
  config.control = [&](int, std::string_view, std::string_view address) -> Result<void> {
    wanted = address;
    return fail(std::errc::operation_canceled);  // far enough: the port itself may be taken
  };
  for (const auto& [address, port] : {std::pair<std::string, std::string>{"127.0.0.1:domain", "127.0.0.1:53"},
                                      {"[::1]:Domain", "[::1]:53"},
                                      {"localhost:domain", "127.0.0.1:53"}}) {
    EXPECT_ERROR(net::listen("tcp", address, config), std::errc::operation_canceled) << address;
    EXPECT_EQ(wanted, port);
    EXPECT_ERROR(net::listen_packet("udp", address, config), std::errc::operation_canceled) << address;
    EXPECT_EQ(wanted, port);
  }
  EXPECT_ERROR(net::listen("tcp", ":no-such-service"), Errc::bad_address);
}

// LI-10
ROOST_CASE(Listening, ALentDescriptorListensOn) {
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  const auto where = must(listener.local_endpoint());
  const int copy = must(listener.duplicate());
  ASSERT_OK(listener.close());
  auto adopted = must(net::Listener::adopt(copy));
  EXPECT_EQ(must(adopted.local_endpoint()), where);
  auto accepting = go([&] { return adopted.accept(); });
  ASSERT_TRUE(reading());
  auto client = must(net::dial(where));
  auto server = must(accepting.join());
  ASSERT_OK(client.write("x"));
  EXPECT_EQ(server.read(room).value_or(0), 1u);
  const int released = must(adopted.release());
  EXPECT_TRUE(reports_closed(adopted.accept()));
  EXPECT_EQ(::close(released), 0);

  const int file = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  EXPECT_ERROR(net::Listener::adopt(file), std::errc::not_a_socket);
  EXPECT_ERROR(net::Conn::adopt(file), std::errc::not_a_socket);
  EXPECT_ERROR(net::PacketConn::adopt(file), std::errc::not_a_socket);
  EXPECT_EQ(::close(file), 0);  // still ours
  EXPECT_ERROR(net::Listener::adopt(1'000'000), std::errc::bad_file_descriptor);
  const int no_listener = must(client.duplicate());
  EXPECT_ERROR(net::Listener::adopt(no_listener), std::errc::invalid_argument);
  EXPECT_EQ(::close(no_listener), 0);
}

// --- limits --------------------------------------------------------------------------------------------------------

ROOST_CASE(Listening, AFullListenerWaitsUntilOneLeaves) {
  net::ListenConfig config;
  config.limits.connections = 2;
  auto listener = must(net::listen("tcp", "127.0.0.1:0", config));
  const auto where = must(listener.local_endpoint());
  std::vector<net::Conn> clients;
  for (int i = 0; i < 4; ++i) clients.push_back(must(net::dial(where)));  // the backlog holds the others
  auto first = must(listener.accept());
  auto second = must(listener.accept());
  EXPECT_EQ(listener.stats().open, 2u);
  auto third = go([&] { return listener.accept(); });
  ASSERT_TRUE(reading());
  EXPECT_GE(listener.stats().full_total, 1u);
  ASSERT_OK(first.close());
  const auto held = third.join();
  ASSERT_OK(held);
  // Deadline, close and cancel reach an accept that waits for room.
  ASSERT_OK(listener.set_deadline(Deadline::after(5ms)));
  EXPECT_TRUE(timed_out(listener.accept()));
  ASSERT_OK(listener.set_deadline(Deadline::none()));
  auto fourth = go([&] { return listener.accept(); });
  ASSERT_TRUE(reading());
  ASSERT_OK(listener.close());
  within(5s, [&] { EXPECT_TRUE(reports_closed(fourth.join())); });
  // Connections may outlive their listener.
  { const net::Listener gone = std::move(listener); }
  ASSERT_OK(second.close());
}

ROOST_CASE(Listening, NoPeerHasMoreThanItsShare) {
  net::ListenConfig config;
  config.limits.connections_per_peer = 2;
  auto listener = must(net::listen("tcp", ":0", config));
  const auto port = must(listener.local_endpoint()).port;
  const auto dial_from = [&](const char* source) {
    net::Dialer dialer;
    dialer.local = net::Endpoint{must(net::IpAddress::parse(source)), 0};
    return must(dialer.dial(net::Endpoint{net::IpAddress::loopback_v4(), port}));
  };
  auto a = dial_from("127.0.0.2");
  auto b = dial_from("127.0.0.2");
  auto first = must(listener.accept());
  auto second = must(listener.accept());
  auto surplus = dial_from("127.0.0.2");
  auto other = dial_from("127.0.0.3");
  auto third = must(listener.accept());  // not the surplus one
  EXPECT_EQ(must(third.remote_endpoint()).address.to_string(), "127.0.0.3");
  within(5s, [&] { EXPECT_ERROR(surplus.read(room), std::errc::connection_reset); });
  EXPECT_EQ(listener.stats().turned_away_total, 1u);
  // One leaves, another may come.
  ASSERT_OK(first.close());
  auto again = dial_from("127.0.0.2");
  EXPECT_EQ(must(must(listener.accept()).remote_endpoint()), must(again.local_endpoint()));
}

ROOST_CASE(Listening, AcceptsKeepTheirRate) {
  net::ListenConfig config;
  config.limits.accepts_per_second = 200;
  config.limits.accept_burst = 3;
  auto listener = must(net::listen("tcp", "127.0.0.1:0", config));
  std::vector<net::Conn> clients;
  for (int i = 0; i < 13; ++i) clients.push_back(must(net::dial(must(listener.local_endpoint()))));
  const auto start = now();
  for (int i = 0; i < 13; ++i) ASSERT_OK(listener.accept());
  // Three at once, ten at 5 ms each.
  EXPECT_GE(since(start), 45ms);
  // One that waits for its turn heeds close.
  clients.push_back(must(net::dial(must(listener.local_endpoint()))));
  ASSERT_OK(listener.accept());
  clients.push_back(must(net::dial(must(listener.local_endpoint()))));
  auto waiting = go([&] { return listener.accept(); });
  ASSERT_OK(listener.close());
  within(5s, [&] { static_cast<void>(waiting.join()); });
}

// Out of descriptors: the listener turns peers away instead of letting them wait, does not spin, and is back when there are
// descriptors again. In a process of its own, since the limit is the process's.
void run_out_of_descriptors() {
  run([] {
    auto listener = must(net::listen("tcp", "127.0.0.1:0"));
    const auto where = must(listener.local_endpoint());
    constexpr int many = 8;
    std::vector<int> sockets;
    for (int i = 0; i < many; ++i) sockets.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int top = ::dup(0);
    ::close(top);
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const rlimit tight{.rlim_cur = static_cast<rlim_t>(top), .rlim_max = limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &tight);
    sockaddr_storage storage{};
    const socklen_t length = where.to_sockaddr(storage);
    for (const int fd : sockets) {
      if (::connect(fd, reinterpret_cast<sockaddr*>(&storage), length) != 0) std::abort();
    }
    auto accepting = go([&] { return listener.accept(); });
    if (!eventually([&] { return listener.stats().turned_away_total >= 3; })) std::abort();
    const auto switches = runtime_stats().switches;
    static_cast<void>(sleep_for(50ms));
    if (runtime_stats().switches - switches > 2000) {
      std::fprintf(stderr, "spinning\n");
      std::abort();
    }
    ::setrlimit(RLIMIT_NOFILE, &limit);
    for (const int fd : sockets) ::close(fd);
    auto client = must(net::dial(where));
    auto server = must(accepting.join());
    // What is accepted first may be a peer that has left; the listener goes on anyway.
    while (must(server.remote_endpoint()) != must(client.local_endpoint())) server = must(listener.accept());
    std::fprintf(stderr, "back again\n");
  });
  std::_Exit(0);
}
TEST(ListeningDeathTest, RunsOutOfDescriptorsAndRecovers) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run_out_of_descriptors(), testing::ExitedWithCode(0), "back again");
}

}  // namespace
}  // namespace roost::test
