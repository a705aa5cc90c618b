// Unix sockets: stream, datagram and seqpacket; names, and descriptors that are passed.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>

#include "conformance/conn_suite.h"

namespace roost::test {
namespace {

ROOST_SUITE(Unix);

std::array<std::byte, 2048> room;

// UX-01
ROOST_CASE(Unix, AnUnnamedSenderHasNoAddress) {
  auto socket = must(net::listen_packet("unixgram", fresh_path()));
  auto sender = must(net::dial_packet("unixgram", must(socket.local_address()).to_string()));
  ASSERT_OK(sender.write("who am I?"));
  const auto got = must(socket.read_from(room));
  EXPECT_EQ(got.bytes, 9u);
  EXPECT_TRUE(got.from.is_none());
  EXPECT_EQ(got.from.to_string(), "");
  EXPECT_TRUE(must(sender.local_address()).is_none());
}

// UX-02
ROOST_CASE(Unix, EmptyDatagramsAndEmptyBuffersAreFine) {
  auto socket = must(net::listen_packet("unixgram", fresh_path()));
  auto sender = must(net::dial_packet("unixgram", must(socket.local_address()).to_string()));
  EXPECT_EQ(sender.write("").value_or(9), 0u);
  auto got = socket.read_from(room);
  ASSERT_OK(got);
  EXPECT_EQ(got->bytes, 0u);
  EXPECT_EQ(sender.write("full").value_or(9), 4u);
  got = socket.read_from(std::span<std::byte>());
  ASSERT_OK(got);
  EXPECT_EQ(got->bytes, 0u);
  EXPECT_EQ(sender.write("").value_or(9), 0u);
  EXPECT_EQ(socket.read(std::span<std::byte>()).value_or(9), 0u);
}

// UX-03
ROOST_CASE(Unix, ADestinationIsWantedOnceAndOnlyOnce) {
  auto socket = must(net::listen_packet("unixgram", fresh_path()));
  const auto self = must(socket.local_address());
  auto connected = must(net::dial_packet("unixgram", self.to_string()));
  EXPECT_ERROR(connected.write_to("x", self), std::errc::already_connected);
  EXPECT_ERROR(connected.write_message(io::as_bytes("x"), {}, self), std::errc::already_connected);
  EXPECT_ERROR(socket.write("x"), Errc::missing_address);
  EXPECT_ERROR(socket.write_message(io::as_bytes("x"), {}), Errc::missing_address);
  EXPECT_OK(connected.write("x"));
}

// A peer whose queue is full: the writer waits, though no poller tells, and heeds deadline and close meanwhile.
ROOST_CASE(Unix, AWriterWaitsForAPeerWhoseQueueIsFull) {
  auto slow = must(net::listen_packet("unixgram", fresh_path()));
  auto sender = must(net::listen_packet("unixgram", ""));
  const auto target = must(slow.local_address());
  constexpr int many = 2000;
  auto writer = go([&] {
    for (int i = 0; i < many; ++i) {
      if (!sender.write_to("datagram", target)) return false;
    }
    return true;
  });
  ASSERT_TRUE(writing());
  for (int i = 0; i < many; ++i) ASSERT_OK(slow.read_from(room));
  EXPECT_TRUE(writer.join());

  ASSERT_OK(sender.set_write_deadline(Deadline::after(20ms)));
  Result<std::size_t> wrote = 0;
  within(5s, [&] {
    while (wrote) wrote = sender.write_to("datagram", target);
  });
  EXPECT_TRUE(timed_out(wrote));
  ASSERT_OK(sender.set_write_deadline(Deadline::none()));
  auto stuck = go([&] { return sender.write_to("datagram", target); });
  ASSERT_TRUE(writing());
  ASSERT_OK(sender.close());
  within(5s, [&] { EXPECT_TRUE(reports_closed(stuck.join())); });
}

// And a connected one waits by the poller.
ROOST_CASE(Unix, AConnectedWriterWaitsForItsPeer) {
  auto slow = must(net::listen_packet("unixgram", fresh_path()));
  auto sender = must(net::dial_packet("unixgram", must(slow.local_address()).to_string()));
  constexpr int many = 2000;
  auto writer = go([&] {
    for (int i = 0; i < many; ++i) {
      if (!sender.write("datagram")) return false;
    }
    return true;
  });
  ASSERT_TRUE(writing());
  for (int i = 0; i < many; ++i) ASSERT_OK(slow.read_from(room));
  within(5s, [&] { EXPECT_TRUE(writer.join()); });
}

// UX-05
ROOST_CASE(Unix, TheFirstCloseRemovesTheFileAndNoLaterOneDoes) {
  for (const std::string_view network : {"unix", "unixpacket"}) {
    const std::string path = fresh_path();
    auto listener = must(net::listen(network, path));
    EXPECT_TRUE(std::filesystem::exists(path));
    ASSERT_OK(listener.close());
    EXPECT_FALSE(std::filesystem::exists(path));
    std::ofstream(path) << "somebody else's";
    EXPECT_TRUE(reports_closed(listener.close()));
    { const net::Listener gone = std::move(listener); }
    EXPECT_TRUE(std::filesystem::exists(path));
    std::filesystem::remove(path);
  }
  // A destructor removes it as well, unless it was told not to.
  const std::string path = fresh_path();
  { auto listener = must(net::listen("unix", path)); }
  EXPECT_FALSE(std::filesystem::exists(path));
  {
    auto listener = must(net::listen("unix", path));
    listener.set_unlink_on_close(false);
  }
  EXPECT_TRUE(std::filesystem::exists(path));
  // A file that is there already is not overwritten.
  EXPECT_ERROR(net::listen("unix", path), std::errc::address_in_use);
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(path);
  // An adopted listener's file belongs to whoever made it.
  auto listener = must(net::listen("unix", path));
  listener.set_unlink_on_close(false);
  const int copy = must(listener.duplicate());
  ASSERT_OK(listener.close());
  ASSERT_OK(must(net::Listener::adopt(copy)).close());
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(path);
}

// UX-05: a successor that has taken the path over keeps its file when the first listener goes.
ROOST_CASE(Unix, AFileThatSomebodyElseMadeAtThePathStays) {
  const std::string path = fresh_path();
  auto first = must(net::listen("unix", path));
  std::filesystem::remove(path);
  auto successor = must(net::listen("unix", path));
  ASSERT_OK(first.close());
  EXPECT_OK(net::dial("unix", path));
  ASSERT_OK(successor.close());
  EXPECT_FALSE(std::filesystem::exists(path));
}

// UX-05: an adopted listener removes the file if it is told to.
ROOST_CASE(Unix, AnAdoptedListenerRemovesTheFileOnRequest) {
  const std::string path = fresh_path();
  auto listener = must(net::listen("unix", path));
  auto adopted = must(net::Listener::adopt(must(listener.release())));
  EXPECT_TRUE(std::filesystem::exists(path));
  adopted.set_unlink_on_close(true);
  ASSERT_OK(adopted.close());
  EXPECT_FALSE(std::filesystem::exists(path));
}

// UX-07
ROOST_CASE(Unix, AnEmptyNameIsOneOfTheKernelsChoice) {
  for (const std::string_view network : {"unix", "unixpacket"}) {
    auto listener = must(net::listen(network, ""));
    const std::string name = must(listener.local_address()).to_string();
    EXPECT_TRUE(name.starts_with("@"));
    EXPECT_GT(name.size(), 1u);
    EXPECT_OK(net::dial(network, name));
    EXPECT_OK(listener.close());
  }
  auto socket = must(net::listen_packet("unixgram", ""));
  const std::string name = must(socket.local_address()).to_string();
  EXPECT_TRUE(name.starts_with("@"));
  EXPECT_GT(name.size(), 1u);
  auto sender = must(net::dial_packet("unixgram", name));
  EXPECT_OK(sender.write("x"));
  EXPECT_OK(socket.close());
}

// UX-10
ROOST_CASE(Unix, ServersOfEveryKindOfNameEcho) {
  for (const std::string_view network : {"unix", "unixpacket"}) {
    for (const std::string& address : {fresh_path(), std::string("@roost-test-") + std::to_string(::getpid()), std::string()}) {
      auto listener = must(net::listen(network, address));
      const std::string name = must(listener.local_address()).to_string();
      auto serving = go([&] {
        std::vector<Handle<void>> handlers;
        for (auto conn = listener.accept(); conn; conn = listener.accept()) {
          handlers.push_back(go([held = std::move(*conn)]() mutable { echo(held); }));
        }
        for (auto& handler : handlers) handler.join();
      });
      std::vector<Handle<bool>> clients;
      for (int i = 0; i < 5; ++i) {
        clients.push_back(go([&network, &name] {
          auto conn = net::dial(network, name);
          if (!conn) return false;
          EXPECT_EQ(must(conn->remote_address()).to_string(), name);
          EXPECT_TRUE(must(conn->local_address()).is_none());
          bool all = true;
          for (int k = 0; k < 10; ++k) all = all && conn->write("message") && read_exactly(*conn, 7) == "message";
          return all;
        }));
      }
      for (auto& client : clients) EXPECT_TRUE(client.join());
      ASSERT_OK(listener.close());
      serving.join();
    }
  }
}

ROOST_CASE(Unix, NamesAreChecked) {
  EXPECT_ERROR(net::listen("unix", std::string(108, 'x')), std::errc::filename_too_long);
  EXPECT_ERROR(net::dial("unix", std::string(200, 'x')), std::errc::filename_too_long);
  EXPECT_ERROR(net::listen("unix", std::string("a\0b", 3)), Errc::bad_address);
  EXPECT_ERROR(net::dial("unix", ""), Errc::bad_address);
  EXPECT_ERROR(net::dial("unix", fresh_path()), std::errc::no_such_file_or_directory);
  const auto name = must(net::UnixName::parse("@a"));
  EXPECT_TRUE(name.is_abstract());
  EXPECT_EQ(name.text(), "@a");
  EXPECT_TRUE(net::UnixName().empty());
}

// A backlog that is full lets dial wait; Linux reports EAGAIN there and nothing when there is room again.
ROOST_CASE(Unix, DialWaitsForAFullBacklog) {
  net::ListenConfig config;
  config.backlog = 1;
  auto listener = must(net::listen("unix", fresh_path(), config));
  const std::string name = must(listener.local_address()).to_string();
  std::vector<net::Conn> held;
  const net::Dialer impatient{.timeout = 50ms};
  for (auto conn = impatient.dial("unix", name);; conn = impatient.dial("unix", name)) {
    if (!conn) {
      EXPECT_TRUE(timed_out(conn));
      break;
    }
    held.push_back(std::move(*conn));
    ASSERT_LT(held.size(), 10u);
  }
  auto dialing = go([&] { return net::dial("unix", name); });
  ASSERT_OK(listener.accept());
  within(5s, [&] { EXPECT_OK(dialing.join()); });
  auto canceled = go([&] {
    for (;;) {
      auto conn = net::dial("unix", name);
      if (!conn) return conn.error();
      held.push_back(std::move(*conn));
    }
  });
  ASSERT_TRUE(parked(runtime::WaitReason::sleep));
  canceled.cancel();
  EXPECT_EQ(canceled.join(), std::errc::operation_canceled);
}

// A datagram socket dialled with a name of its own can be answered.
ROOST_CASE(Unix, ADialledDatagramSocketMayHaveAName) {
  auto socket = must(net::listen_packet("unixgram", fresh_path()));
  net::Dialer dialer;
  dialer.local = must(net::UnixName::parse(fresh_path()));
  auto conn = must(dialer.dial("unixgram", must(socket.local_address()).to_string()));
  ASSERT_OK(conn.write("ping"));
  const auto got = must(socket.read_from(room));
  EXPECT_EQ(got.from, *dialer.local);
  ASSERT_OK(socket.write_to("pong", got.from));
  EXPECT_EQ(conn.read(room).value_or(0), 4u);
}

// A pending message must not be lost behind a short read of the one before it.
ROOST_CASE(Unix, MessagesThatCameTogetherAreAllRead) {
  for (int round = 0; round < 20; ++round) {
    auto [client, server] = unixpacket_pair();
    auto reader = go([&conn = client] {
      std::array<std::byte, 64> out;
      int count = 0;
      while (count < 10) {
        const auto got = conn.read(out);
        if (!got || *got == 0) break;
        ++count;
      }
      return count;
    });
    for (int i = 0; i < 10; ++i) ASSERT_OK(server.write("message"));
    within(5s, [&] { EXPECT_EQ(reader.join(), 10); });
  }
}

// --- descriptors ---------------------------------------------------------------------------------------------------

ROOST_CASE(Unix, DescriptorsArePassed) {
  for (const auto make : {&unix_pair, &unixpacket_pair}) {
    auto [client, server] = make();
    auto pipe = must(net::os_pipe());
    const std::array<int, 2> sent{pipe.read_end.native_handle(), pipe.write_end.native_handle()};
    ASSERT_EQ(client.send_descriptors(io::as_bytes("two"), sent).value_or(0), 3u);
    std::array<int, 8> got{};
    std::array<std::byte, 16> data;
    const auto received = must(server.receive_descriptors(data, got));
    EXPECT_EQ(received.bytes, 3u);
    ASSERT_EQ(received.descriptors, 2u);
    EXPECT_FALSE(received.truncated);
    EXPECT_NE(::fcntl(got[0], F_GETFD) & FD_CLOEXEC, 0);
    auto write_end = must(net::Descriptor::adopt(got[1]));
    EXPECT_EQ(::close(got[0]), 0);
    ASSERT_OK(write_end.write("through"));
    EXPECT_EQ(read_exactly(pipe.read_end, 7).value_or(""), "through");
    // No descriptors, no room, too little room.
    ASSERT_OK(client.send_descriptors(io::as_bytes("none"), {}));
    EXPECT_EQ(must(server.receive_descriptors(data, got)).descriptors, 0u);
    ASSERT_OK(client.send_descriptors(io::as_bytes("cut"), sent));
    const auto cut = must(server.receive_descriptors(data, std::span(got).first(1)));
    EXPECT_EQ(cut.descriptors, 1u);
    EXPECT_TRUE(cut.truncated);
    EXPECT_EQ(::close(got[0]), 0);
    EXPECT_ERROR(client.send_descriptors({}, sent), std::errc::invalid_argument);
  }
}

// A whole connection goes over: it works for the new owner, and ends only when both have closed it.
ROOST_CASE(Unix, AConnectionIsPassed) {
  auto [client, server] = unix_pair();
  auto [far, near] = tcp_pair();
  const std::array<int, 1> sent{near.native_handle()};
  ASSERT_OK(client.send_descriptors(io::as_bytes("c"), sent));
  std::array<int, 1> got{};
  ASSERT_EQ(must(server.receive_descriptors(room, got)).descriptors, 1u);
  auto passed = must(net::Conn::adopt(got[0]));
  ASSERT_OK(near.close());
  ASSERT_OK(far.write("still"));
  EXPECT_EQ(read_exactly(passed, 5).value_or(""), "still");
  ASSERT_OK(passed.close());
  EXPECT_EQ(far.read(room).value_or(9), 0u);
}

// A stream stops where descriptors were passed: the short read there must not be taken for an empty socket.
ROOST_CASE(Unix, BytesBehindPassedDescriptorsAreRead) {
  auto [client, server] = unix_pair();
  const std::array<int, 1> sent{1};
  ASSERT_OK(client.write("before"));
  ASSERT_OK(client.send_descriptors(io::as_bytes("with"), sent));
  ASSERT_OK(client.write("after"));
  within(5s, [&, &conn = server] { EXPECT_EQ(read_exactly(conn, 15).value_or(""), "beforewithafter"); });
}

ROOST_CASE(Unix, ThePeerIsKnown) {
  auto [client, server] = unix_pair();
  const auto peer = must(server.peer_credentials());
  EXPECT_EQ(peer.process_id, ::getpid());
  EXPECT_EQ(peer.user_id, ::getuid());
  EXPECT_EQ(peer.group_id, ::getgid());
  EXPECT_ERROR(tcp_pair().server.peer_credentials(), std::errc::operation_not_supported);  // and not user 4294967295
  EXPECT_ERROR(client.remote_endpoint(), std::errc::wrong_protocol_type);
  EXPECT_FALSE(client.set_no_delay(true));
  const std::string text = client.describe("read", Errc::deadline_exceeded);
  EXPECT_TRUE(text.starts_with("read unix ")) << text;
  EXPECT_TRUE(text.ends_with(": deadline exceeded (timed_out)")) << text;
}

}  // namespace
}  // namespace roost::test
