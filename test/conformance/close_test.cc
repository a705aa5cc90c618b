// Closing, whole and by halves: what pending and later calls report, and what the peer sees.
#include <sys/socket.h>

#include "conformance/conn_suite.h"

namespace roost::test {
namespace {

ROOST_CONN_SUITE(TcpConn, [] { return streams(tcp_pair()); })
ROOST_CONN_SUITE(UnixConn, [] { return streams(unix_pair()); })

ROOST_SUITE(Closing);

std::array<std::byte, 64> room;

// CL-01
ROOST_CASE(Closing, AReadAfterCloseReportsIt) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    ASSERT_OK(client.close());
    EXPECT_TRUE(reports_closed(client.read(room)));
    EXPECT_TRUE(reports_closed(client.write("x")));
    EXPECT_TRUE(reports_closed(client.wait_readable()));
    EXPECT_FALSE(client.is_open());
    EXPECT_EQ(client.native_handle(), -1);
    EXPECT_TRUE(reports_closed(client.remote_address()));
  }
}

// CL-02
ROOST_CASE(Closing, AnAcceptAfterCloseReportsIt) {
  for (const auto& [network, address] : {std::pair<std::string, std::string>{"tcp", "127.0.0.1:0"},
                                         {"unix", fresh_path()},
                                         {"unixpacket", fresh_path()}}) {
    auto listener = must(net::listen(network, address));
    ASSERT_OK(listener.close());
    EXPECT_TRUE(reports_closed(listener.accept()));
    EXPECT_TRUE(reports_closed(listener.local_address()));
  }
}

// CL-03
ROOST_CASE(Closing, ADatagramReadAfterCloseReportsIt) {
  for (const auto& [network, address] :
       {std::pair<std::string, std::string>{"udp", "127.0.0.1:0"}, {"unixgram", fresh_path()}}) {
    auto socket = must(net::listen_packet(network, address));
    const auto self = must(socket.local_address());
    ASSERT_OK(socket.close());
    EXPECT_TRUE(reports_closed(socket.read_from(room)));
    EXPECT_TRUE(reports_closed(socket.write_to("x", self)));
    EXPECT_TRUE(reports_closed(socket.close()));
  }
}

// CL-04
ROOST_CASE(Closing, ThePeersCloseEndsAPendingReadWithTheEndOfTheStream) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    auto reader = go([&conn = client] { return conn.read(room); });
    ASSERT_TRUE(reading());
    ASSERT_OK(server.close());
    within(5s, [&] { EXPECT_EQ(reader.join().value_or(99), 0u); });
    EXPECT_EQ(client.read(room).value_or(99), 0u);
  }
}

// CL-06
ROOST_CASE(Closing, OnlyTheFirstCloseSucceeds) {
  auto [client, server] = tcp_pair();
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  EXPECT_OK(client.close());
  EXPECT_OK(listener.close());
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(reports_closed(client.close()));
    EXPECT_TRUE(reports_closed(listener.close()));
  }
  EXPECT_FALSE(client.close().error().message().empty());
  EXPECT_EQ(client.describe("close", Errc::closed), "close: use of a closed connection, listener, socket or channel (closed)");
}

// CL-08
ROOST_CASE(Closing, AListenerHandsOutNothingAfterClose) {
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  const auto where = must(listener.local_endpoint());
  auto first = must(net::dial(where));
  auto second = must(net::dial(where));
  auto accepted = must(listener.accept());
  ASSERT_OK(listener.close());
  const auto none = listener.accept();
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error(), make_error_code(Errc::closed));
  // Whoever was not accepted learns it.
  within(5s, [&] {
    const auto got = second.read(room);
    EXPECT_TRUE(!got || *got == 0);
  });
}

// Many calls inside, one close: all of them end, and close() returns when they have left.
ROOST_CASE(Closing, CloseWaitsForCallsToLeave) {
  auto [client, server] = tcp_pair();
  std::atomic<int> left{0};
  std::vector<Handle<void>> readers;
  for (int i = 0; i < 8; ++i) {
    readers.push_back(go([&, &conn = client] {
      EXPECT_TRUE(reports_closed(conn.read(room)));
      ++left;
    }));
  }
  ASSERT_TRUE(parked(runtime::WaitReason::io_turn, 7));
  within(5s, [&, &conn = client] { EXPECT_OK(conn.close()); });
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(left.load(), 8);
}

// CL-15
ROOST_CASE(Closing, RawControlWorksUntilClose) {
  auto listener = must(net::listen("tcp", "127.0.0.1:0"));
  auto [client, server] = tcp_pair();
  int seen = 0;
  const auto look = [&](int fd) { seen += fd >= 0; };
  EXPECT_OK(client.raw_control(look));
  EXPECT_OK(listener.raw_control(look));
  EXPECT_EQ(seen, 2);
  ASSERT_OK(client.close());
  ASSERT_OK(listener.close());
  EXPECT_TRUE(reports_closed(client.raw_control(look)));
  EXPECT_TRUE(reports_closed(listener.raw_control(look)));
  EXPECT_TRUE(reports_closed(client.raw_read([](int) { return true; })));
  EXPECT_TRUE(reports_closed(client.raw_write([](int) { return true; })));
  EXPECT_TRUE(reports_closed(client.duplicate()));
  EXPECT_EQ(seen, 2);
}

// CL-16
ROOST_CASE(Closing, AResetIsAnErrorAndNoPassingOne) {
  auto [client, server] = tcp_pair();
  ASSERT_OK(server.set_linger(0));
  ASSERT_OK(server.close());
  within(5s, [&, &conn = client] {
    const auto got = conn.read(room);
    EXPECT_ERROR(got, std::errc::connection_reset);
    EXPECT_FALSE(is_temporary(got.error()));
    EXPECT_FALSE(is_timeout(got.error()));
  });
  EXPECT_NE(client.describe("read", std::make_error_code(std::errc::connection_reset)).find("read tcp 127.0.0.1:"),
            std::string::npos);
}

// CL-18
ROOST_CASE(Closing, EveryErrorSaysWhetherItIsATimeOut) {
  EXPECT_FALSE(is_timeout(Errc::closed));
  EXPECT_FALSE(is_temporary(Errc::closed));
  EXPECT_TRUE(is_timeout(Errc::deadline_exceeded));
  EXPECT_EQ(make_error_code(Errc::closed), std::errc::bad_file_descriptor);
  EXPECT_EQ(make_error_code(Errc::deadline_exceeded), std::errc::timed_out);
  for (const Errc error : {Errc::closed, Errc::canceled, Errc::bad_address, Errc::unknown_network, Errc::no_suitable_address,
                           Errc::missing_address}) {
    EXPECT_FALSE(is_timeout(error));
    EXPECT_FALSE(make_error_code(error).message().empty());
  }
}

// HC-01
ROOST_CASE(Closing, ByHalvesReadingEnds) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    ASSERT_OK(client.close_read());
    within(5s, [&, &conn = client] {
      const auto got = conn.read(room);
      EXPECT_EQ(got.value_or(0), 0u);
    });
  }
}

// A read that waits is ended by close_read, too.
ROOST_CASE(Closing, CloseReadEndsAPendingRead) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    auto reader = go([&conn = client] { return conn.read(room); });
    ASSERT_TRUE(reading());
    ASSERT_OK(client.close_read());
    within(5s, [&] { EXPECT_EQ(reader.join().value_or(99), 0u); });
  }
}

// HC-02
ROOST_CASE(Closing, ByHalvesEachSideSeesTheOthersEnd) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    EXPECT_OK(client.close_write());
    EXPECT_EQ(server.read(room).value_or(99), 0u);
    EXPECT_OK(server.write("back"));
    EXPECT_EQ(client.read(room).value_or(99), 4u);
    EXPECT_OK(server.close_write());
    EXPECT_EQ(client.read(room).value_or(99), 0u);
    EXPECT_ERROR(client.write("x"), std::errc::broken_pipe);
    EXPECT_ERROR(server.write("x"), std::errc::broken_pipe);
  }
}

// HC-03
ROOST_CASE(Closing, RepeatingEveryCloseIsHarmless) {
  auto [client, server] = tcp_pair();
  for (int i = 0; i < 3; ++i) {
    const auto read = client.close_read();
    EXPECT_TRUE(read || !read.error().message().empty());
  }
  for (int i = 0; i < 3; ++i) {
    const auto write = client.close_write();
    EXPECT_TRUE(write || !write.error().message().empty());
  }
  EXPECT_OK(client.close());
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(reports_closed(client.close()));
  EXPECT_TRUE(reports_closed(client.close_read()));
  EXPECT_TRUE(reports_closed(client.close_write()));
}

// Data and the end of the stream may come as one edge; the end must not be lost after a short read.
ROOST_CASE(Closing, DataAndEndInOneEdgeAreBothSeen) {
  for (int i = 0; i < 50; ++i) {
    auto [client, server] = tcp_pair();
    ASSERT_OK(server.write("bye"));
    ASSERT_OK(server.close());
    within(5s, [&, &conn = client] {
      EXPECT_EQ(conn.read(room).value_or(99), 3u);
      EXPECT_EQ(conn.read(room).value_or(99), 0u);
    });
  }
}

// A close that lingers waits in the kernel, and that must not be a worker's thread.
ROOST_CASE(Closing, ALingeringCloseHoldsUpNobodyElse) {
  auto [client, server] = tcp_pair();
  auto stuffing = go([&conn = client] {
    const auto bytes = some_bytes();
    while (conn.write(bytes)) {
    }
  });
  ASSERT_TRUE(writing());
  ASSERT_OK(client.set_linger(1));
  auto closing = go([&conn = client] {
    const auto start = now();
    EXPECT_OK(conn.close());
    return since(start);
  });
  Nanoseconds longest{};
  for (auto last = now(); !closing.done(); last = now()) {
    static_cast<void>(sleep_for(1ms));
    longest = std::max(longest, since(last));
  }
  EXPECT_GE(closing.join(), 900ms);
  EXPECT_LT(longest, 800ms);
  stuffing.join();
}

// --- misuse --------------------------------------------------------------------------------------------------------

void destroy_under_a_call() {
  run([] {
    auto pair = std::make_unique<Pair>(tcp_pair());
    auto reader = go({.name = "reader"}, [&conn = pair->client] { static_cast<void>(conn.read(room)); });
    static_cast<void>(reading());
    this_fiber::set_name("destroyer");
    pair.reset();
  });
}
void own_one_descriptor_twice() {
  run([] {
    this_fiber::set_name("second owner");
    auto pair = tcp_pair();
    static_cast<void>(net::Conn::adopt(pair.client.native_handle()));
  });
}
void read_outside_a_fiber() {
  run([] {
    auto pair = tcp_pair();
    std::thread([&conn = pair.client] { static_cast<void>(conn.read(room)); }).join();
  });
}

TEST(ClosingDeathTest, NamesTheMistakeAndTheFiber) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(destroy_under_a_call(), "destroyed while a call on it was under way(.|\n)*destroyer");
  EXPECT_DEATH(own_one_descriptor_twice(), "descriptor [0-9]+ has two owners(.|\n)*second owner");
  EXPECT_DEATH(read_outside_a_fiber(), "outside a fiber");
}

}  // namespace
}  // namespace roost::test
