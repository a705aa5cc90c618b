// Server: a fiber a connection, and fibers on demand; stopping in good order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <roost/net/server.h>
#include <roost/roost.h>

#include "conformance/pairs.h"

namespace roost::net {
namespace {

using namespace std::chrono_literals;

enum class Way { fiber, on_demand };

struct Setup {
  const char* name;
  Way way;
  PollerKind poller;
  unsigned workers;
  const char* network = "tcp";

  friend void PrintTo(const Setup& setup, std::ostream* out) { *out << setup.name; }
};

struct Session {
  int rounds = 0;
};

class Servers : public testing::TestWithParam<Setup> {
 protected:
  // Runs `body` as the first fiber of a runtime of the wanted kind.
  static void in_runtime(const std::function<void()>& body) {
    if (const auto error = test::opening_error(GetParam().poller))
      GTEST_SKIP() << "no io_uring here: " << error.message();
    RuntimeOptions options;
    options.workers = GetParam().workers;
    options.poller = GetParam().poller;
    run(options, body);
  }

  // Runs `body(address, server, served)` beside an echo server of the wanted kind; `served` joins to serve()'s result.
  template <class F>
  static void with_server(ServerOptions wanted, F body) {
    with_handler(wanted, &Servers::echo_some, body);
  }
  // The same with a handler that is called for each request and says whether there may be another.
  template <class Handler, class F>
  static void with_handler(ServerOptions wanted, Handler handler, F body) {
    in_runtime([&] {
      const std::string network = GetParam().network;
      const std::string path = test::fresh_path();
      auto listener = listen(network, network == "unix" ? path : "127.0.0.1:0").value();
      const std::string address = network == "unix" ? path : listener.local_endpoint()->to_string();
      Server server(wanted);
      auto served = go([&] {
        if (GetParam().way == Way::fiber) {
          return server.serve(listener, [&](Conn& conn) {
            while (handler(conn)) {}
          });
        }
        return server.serve_on_demand<Session>(listener, [&](Conn& conn, Session& session) {
          ++session.rounds;
          return handler(conn) ? Round::wait : Round::close;
        });
      });
      body(address, server, served);
      server.close();
      served.detach();
    });
  }

  static bool echo_some(Conn& conn) {
    std::byte buffer[256];
    const auto got = conn.read(buffer);
    return got && *got > 0 && conn.write(std::span<const std::byte>(buffer, *got)).has_value();
  }

  static std::string exchange(Conn& conn, std::string_view text) {
    if (!conn.write(text)) return "write failed";
    std::string back(text.size(), '\0');
    io::Reader reader(conn);
    const auto got = reader.read_full(std::as_writable_bytes(std::span(back)));
    return got ? back : got.error().message();
  }
};

INSTANTIATE_TEST_SUITE_P(
    Ways, Servers,
    testing::Values(Setup{"fiber", Way::fiber, PollerKind::epoll, 1},
                    Setup{"fiber_several_workers", Way::fiber, PollerKind::epoll, 3},
                    Setup{"fiber_io_uring", Way::fiber, PollerKind::io_uring, 1},
                    Setup{"fiber_io_uring_several_workers", Way::fiber, PollerKind::io_uring, 3},
                    Setup{"on_demand", Way::on_demand, PollerKind::epoll, 1},
                    Setup{"on_demand_several_workers", Way::on_demand, PollerKind::epoll, 3},
                    Setup{"on_demand_unix", Way::on_demand, PollerKind::epoll, 2, "unix"},
                    Setup{"on_demand_io_uring", Way::on_demand, PollerKind::io_uring, 1},
                    Setup{"on_demand_io_uring_several_workers", Way::on_demand, PollerKind::io_uring, 3},
                    Setup{"on_demand_io_uring_unix", Way::on_demand, PollerKind::io_uring, 2, "unix"}),
    [](const auto& setup) { return setup.param.name; });

TEST_P(Servers, AnswersManyConnectionsOverManyRounds) {
  with_server({}, [](const std::string& address, Server& server, auto&) {
    std::vector<Conn> conns;
    for (int i = 0; i < 100; ++i) conns.push_back(dial(GetParam().network, address).value());
    for (int round = 0; round < 20; ++round) {
      for (std::size_t i = 0; i < conns.size(); ++i) {
        const std::string text = std::to_string(i) + ":" + std::to_string(round);
        ASSERT_EQ(exchange(conns[i], text), text);
      }
    }
    EXPECT_EQ(server.stats().accepted, 100u);
    EXPECT_EQ(server.stats().open, 100u);
  });
}

TEST_P(Servers, ASleepingConnectionHoldsNoFiber) {
  if (GetParam().way == Way::fiber) GTEST_SKIP() << "of on-demand handlers only";
  with_server({}, [](const std::string& address, Server& server, auto&) {
    std::vector<Conn> conns;
    for (int i = 0; i < 50; ++i) conns.push_back(dial(GetParam().network, address).value());
    for (auto& conn : conns) ASSERT_EQ(exchange(conn, "x"), "x");
    while (server.stats().asleep < 50) yield();
    // main, and the one that serves; the on-demand ones have gone.
    while (runtime_stats().fibers > 2) yield();
    for (auto& conn : conns) ASSERT_EQ(exchange(conn, "again"), "again");
  });
}

// Bytes that arrive during a round are read by it, or by the next one; what the poller says of them afterwards is old news.
TEST_P(Servers, AConnectionSleepsAgainAfterBytesThatCameDuringARound) {
  if (GetParam().way == Way::fiber) GTEST_SKIP() << "of on-demand handlers only";
  with_server({}, [](const std::string& address, Server& server, auto&) {
    std::vector<Conn> conns;
    for (int i = 0; i < 20; ++i) conns.push_back(dial(GetParam().network, address).value());
    constexpr int bytes = 50;
    for (int i = 0; i < bytes; ++i) {
      for (auto& conn : conns) ASSERT_TRUE(conn.write(std::string_view("x")));
    }
    for (auto& conn : conns) {
      std::array<std::byte, bytes> back;
      io::Reader reader(conn);
      ASSERT_TRUE(reader.read_full(back));
    }
    while (server.stats().asleep < conns.size()) yield();
    while (runtime_stats().fibers > 2) yield();
  });
}

TEST_P(Servers, TheEndOfAClientEndsItsConnection) {
  with_server({}, [](const std::string& address, Server& server, auto&) {
    for (int i = 0; i < 20; ++i) {
      auto conn = dial(GetParam().network, address).value();
      ASSERT_EQ(exchange(conn, "x"), "x");
    }
    while (server.stats().open > 0) yield();
    EXPECT_EQ(server.stats().asleep, 0u);
  });
}

TEST_P(Servers, ASilentConnectionEndsAfterTheIdleTimeout) {  // HS-03
  test::with_growing_spans(50ms, [](std::chrono::nanoseconds span) {
    bool in_time = true;
    with_server({.idle_timeout = span}, [&](const std::string& address, Server& server, auto&) {
      auto conn = dial(GetParam().network, address).value();
      const auto start = std::chrono::steady_clock::now();  // before the last byte moves at the server's end
      if (exchange(conn, "x") != "x") {
        in_time = false;
        return;
      }
      std::byte byte;
      EXPECT_EQ(conn.read({&byte, 1}).value(), 0u);
      EXPECT_GE(std::chrono::steady_clock::now() - start, span - 10ms);
      while (server.stats().open > 0) yield();
    });
    return in_time;
  });
}

TEST_P(Servers, ConnectionsBeyondTheLimitAreTurnedAwayAtOnce) {
  with_server({.connections_max = 2}, [](const std::string& address, Server& server, auto&) {
    auto first = dial(GetParam().network, address).value();
    auto second = dial(GetParam().network, address).value();
    ASSERT_EQ(exchange(first, "1"), "1");
    ASSERT_EQ(exchange(second, "2"), "2");
    auto third = dial(GetParam().network, address).value();
    std::byte byte;
    const auto got = third.read({&byte, 1});
    EXPECT_TRUE(!got || *got == 0);
    EXPECT_EQ(server.stats().refused, 1u);
  });
}

// Of a burst, too, that is accepted before any of its handlers gets to run.
TEST_P(Servers, ABurstDoesNotPassTheLimit) {
  with_server({.connections_max = 2}, [](const std::string& address, Server& server, auto&) {
    std::vector<Result<Conn>> conns;  // one that is turned away at once may already fail to dial
    for (int i = 0; i < 40; ++i) conns.push_back(dial(GetParam().network, address));
    const auto deadline = Deadline::after(10s);
    while (server.stats().accepted + server.stats().refused < 40 && !deadline.has_passed()) sleep_for(1ms);
    EXPECT_EQ(server.stats().accepted, 2u);
    EXPECT_EQ(server.stats().refused, 38u);
  });
}

// HS-01: the listener goes first, then requests in progress finish, then shutdown returns.
TEST_P(Servers, ShutdownRefusesNewOnesAndEndsTheIdle) {
  with_server({}, [](const std::string& address, Server& server, auto& served) {
    std::vector<Conn> conns;
    for (int i = 0; i < 30; ++i) conns.push_back(dial(GetParam().network, address).value());
    for (auto& conn : conns) ASSERT_EQ(exchange(conn, "x"), "x");
    EXPECT_TRUE(server.shutdown(Deadline::after(10s)));
    EXPECT_EQ(served.join().error(), Errc::closed);
    const auto refused = dial(GetParam().network, address).error();
    EXPECT_TRUE(refused == std::errc::connection_refused || refused == std::errc::no_such_file_or_directory) << refused;
    std::byte byte;
    for (auto& conn : conns) EXPECT_EQ(conn.read({&byte, 1}).value(), 0u);
    EXPECT_EQ(server.stats().open, 0u);
  });
}

// HS-01: what has been asked is answered, and only then is the shutdown over.
TEST_P(Servers, ShutdownWaitsForARequestUnderWay) {
  std::atomic<bool> inside{false};
  std::atomic<bool> may_answer{false};
  const auto answer_late = [&](Conn& conn) {
    std::array<std::byte, 16> request;
    const auto got = conn.read(request);
    if (!got || *got == 0) return false;
    inside = true;
    while (!may_answer && !this_fiber::is_canceled()) static_cast<void>(sleep_for(1ms));
    return conn.write(std::span<const std::byte>(request.data(), *got)).has_value();
  };
  with_handler({}, answer_late, [&](const std::string& address, Server& server, auto& served) {
    auto conn = dial(GetParam().network, address).value();
    ASSERT_TRUE(conn.write(std::string_view("late")));
    ASSERT_TRUE(test::eventually([&] { return inside.load(); }));
    auto ending = go([&] { return server.shutdown(Deadline::after(60s)); });
    EXPECT_EQ(served.join().error(), Errc::closed);
    EXPECT_FALSE(dial(GetParam().network, address));  // the listener went first
    EXPECT_FALSE(ending.done());
    may_answer = true;
    io::Reader answer(conn);
    EXPECT_EQ(answer.read_line().value_or(""), "late");
    EXPECT_EQ(answer.read_byte().error(), Errc::end_of_stream);
    EXPECT_TRUE(ending.join());
    EXPECT_EQ(server.stats().open, 0u);
  });
}

// A handler that has closed its connection is not run again, even if it asks to wait.
TEST_P(Servers, AConnectionThatItsHandlerClosedIsDone) {
  std::atomic<int> rounds{0};
  const auto close_it = [&](Conn& conn) {
    ++rounds;
    return conn.close().has_value();  // true, as if there were another request
  };
  with_handler({}, close_it, [&](const std::string& address, Server& server, auto&) {
    auto conn = dial(GetParam().network, address).value();
    ASSERT_TRUE(conn.write(std::string_view("x")));
    EXPECT_TRUE(test::eventually([&] { return server.stats().accepted == 1 && server.stats().open == 0; }));
    EXPECT_EQ(rounds.load(), GetParam().way == Way::fiber ? 2 : 1);  // a loop of its own sees for itself
    EXPECT_EQ(server.stats().asleep, 0u);
  });
}

// HS-03: a client that sends half of its request and then nothing is not waited for.
TEST_P(Servers, HalfARequestEndsAfterTheIdleTimeout) {
  std::atomic<int> timed_out{0};
  const auto read_line = [&](Conn& conn) {
    io::Reader in(conn);
    const auto line = in.read_line();
    if (!line && line.error() == std::errc::timed_out) ++timed_out;
    return line.has_value() && conn.write(*line).has_value();
  };
  with_handler({.idle_timeout = 50ms}, read_line, [&](const std::string& address, Server& server, auto&) {
    auto conn = dial(GetParam().network, address).value();
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(conn.write(std::string_view("half a li")));
    EXPECT_TRUE(test::eventually([&] { return timed_out == 1 && server.stats().open == 0; }));
    EXPECT_GE(std::chrono::steady_clock::now() - start, 40ms);
  });
}

TEST_P(Servers, ShutdownGivesUpAtItsDeadlineAndClosesTheRest) {
  in_runtime([&] {
    auto listener = listen("tcp", "127.0.0.1:0").value();
    const std::string address = listener.local_endpoint()->to_string();
    std::atomic<bool> inside{false};
    Server server;
    auto served = go([&] {
      return server.serve(listener, [&](Conn&) {
        inside = true;
        while (!this_fiber::is_canceled() && inside) static_cast<void>(sleep_for(1ms));
      });
    });
    auto conn = dial("tcp", address).value();
    while (!inside) yield();
    EXPECT_EQ(server.shutdown(Deadline::after(20ms)).error(), std::errc::timed_out);
    inside = false;
    static_cast<void>(served.join());
  });
}

// HS-05: stopping twice, and serving after a stop.
TEST_P(Servers, ServingAfterAShutdownReturnsAtOnce) {
  with_server({}, [](const std::string&, Server& server, auto& served) {
    server.close();
    server.close();
    EXPECT_TRUE(server.shutdown());
    EXPECT_EQ(served.join().error(), Errc::closed);
    auto another = listen("tcp", "127.0.0.1:0").value();
    EXPECT_EQ(server.serve(another, [](Conn&) {}).error(), Errc::closed);
    EXPECT_FALSE(another.is_open());
  });
}

// HS-07: idle clients' connections end on request, the server goes on.
TEST_P(Servers, CloseIdleEndsTheSleepingOnly) {
  if (GetParam().way == Way::fiber) GTEST_SKIP() << "of on-demand handlers only";
  with_server({}, [](const std::string& address, Server& server, auto&) {
    auto conn = dial(GetParam().network, address).value();
    ASSERT_EQ(exchange(conn, "x"), "x");
    while (server.stats().asleep < 1) yield();
    server.close_idle();
    std::byte byte;
    EXPECT_EQ(conn.read({&byte, 1}).value(), 0u);
    auto next = dial(GetParam().network, address).value();
    EXPECT_EQ(exchange(next, "y"), "y");
  });
}

TEST_P(Servers, TheEndOfMainEndsAServerThatIsNotStopped) {
  std::string address;
  std::atomic<bool> listening{false};
  std::atomic<bool> left{false};
  in_runtime([&] {
    go([&] {
      auto listener = listen("tcp", "127.0.0.1:0").value();
      address = listener.local_endpoint()->to_string();
      listening = true;
      Server server;
      const auto end = server.serve_on_demand<Session>(
          listener, [](Conn& conn, Session&) { return echo_some(conn) ? Round::wait : Round::close; });
      EXPECT_EQ(end.error(), std::errc::operation_canceled);
      left = true;
    });
    while (!listening) yield();
    auto conn = dial("tcp", address).value();
    EXPECT_EQ(exchange(conn, "x"), "x");
  });
  if (IsSkipped()) return;
  EXPECT_TRUE(left.load());
}

}  // namespace
}  // namespace roost::net
