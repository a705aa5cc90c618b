// Datagrams over UDP.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <set>

#include "conformance/pairs.h"

namespace roost::test {
namespace {

ROOST_SUITE(Udp);

std::array<std::byte, 2048> room;

std::string text_in(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// UD-01
ROOST_CASE(Udp, AnEmptyDatagramIsNoEnd) {
  auto socket = must(net::listen_packet("udp4", "127.0.0.1:0"));
  const auto self = must(socket.local_address());
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(socket.write_to("", self).value_or(9), 0u);
    EXPECT_EQ(socket.read(room).value_or(9), 0u);
    EXPECT_EQ(socket.write_to(std::span<const std::byte>(), self).value_or(9), 0u);
    const auto got = socket.read_from(room);
    ASSERT_OK(got);
    EXPECT_EQ(got->bytes, 0u);
    EXPECT_EQ(got->from, self);
  }
  // Connected as well.
  auto dialled = must(net::dial_packet("udp4", self.to_string()));
  EXPECT_EQ(dialled.write("").value_or(9), 0u);
  EXPECT_EQ(socket.read_from(room).value_or(net::Datagram{.bytes = 9, .from = {}}).bytes, 0u);
}

// UD-03
ROOST_CASE(Udp, ADatagramThatIsTooLongIsCut) {
  auto socket = must(net::listen_packet("udp4", "127.0.0.1:0"));
  const auto self = must(socket.local_address());
  std::array<std::byte, 19> short_room;
  for (int i = 0; i < 4; ++i) ASSERT_OK(socket.write_to("twenty bytes in all.", self));
  EXPECT_EQ(socket.read(short_room).value_or(0), 19u);
  const auto got = socket.read_from(short_room);
  ASSERT_OK(got);
  EXPECT_EQ(got->bytes, 19u);
  EXPECT_TRUE(got->truncated);
  const auto message = socket.read_message(short_room, {});
  ASSERT_OK(message);
  EXPECT_EQ(message->bytes, 19u);
  EXPECT_NE(message->flags & MSG_TRUNC, 0);
  const auto whole = socket.read_from(room);
  ASSERT_OK(whole);
  EXPECT_EQ(whole->bytes, 20u);
  EXPECT_FALSE(whole->truncated);
}

// UD-05
ROOST_CASE(Udp, AnUnconnectedSocketWantsADestination) {
  auto socket = must(net::listen_packet("udp", "127.0.0.1:0"));
  const auto self = must(socket.local_address());
  EXPECT_ERROR(socket.write("x"), Errc::missing_address);
  EXPECT_ERROR(socket.write_message(io::as_bytes("x"), {}), Errc::missing_address);
  EXPECT_ERROR(socket.write_to("x", net::Address()), Errc::missing_address);
  EXPECT_OK(socket.write_to("x", self));
  // A connected one has its destination.
  auto dialled = must(net::dial_packet("udp", self.to_string()));
  EXPECT_ERROR(dialled.write_to("x", self), std::errc::already_connected);
  EXPECT_ERROR(dialled.write_message(io::as_bytes("x"), {}, self), std::errc::already_connected);
  EXPECT_OK(dialled.write("x"));
  // An address of another kind.
  EXPECT_ERROR(socket.write_to("x", must(net::UnixName::parse("/tmp/x"))), Errc::no_suitable_address);
  EXPECT_ERROR(socket.write_to("x", must(net::Endpoint::parse("[::1]:9"))), Errc::no_suitable_address);
}

// UD-06
ROOST_CASE(Udp, NamesBothEnds) {
  for (const auto& [network, address] : {std::pair<std::string, std::string>{"udp", "127.0.0.1:0"},
                                         {"udp4", "127.0.0.1:0"},
                                         {"udp6", "[::1]:0"},
                                         {"udp", ":0"},
                                         {"udp", "localhost:0"}}) {
    auto listening = must(net::listen_packet(network, address));
    const auto local = must(listening.local_endpoint());
    EXPECT_NE(local.port, 0) << address;
    EXPECT_FALSE(listening.remote_address()) << address;

    const std::string target = (local.address.is_v6() ? "[::1]:" : "127.0.0.1:") + std::to_string(local.port);
    auto dialled = must(net::dial_packet(network, target));
    EXPECT_NE(must(dialled.local_endpoint()).port, 0);
    EXPECT_EQ(must(dialled.remote_address()).to_string(), target);
  }
  // With a local address of one's own.
  auto listening = must(net::listen_packet("udp4", "127.0.0.1:0"));
  const net::Dialer dialer{.local = net::Address(must(net::Endpoint::parse("127.0.0.2:0")))};
  auto dialled = must(dialer.dial_packet("udp4", must(listening.local_address()).to_string()));
  EXPECT_EQ(must(dialled.local_endpoint()).address.to_string(), "127.0.0.2");
  ASSERT_OK(dialled.write("x"));
  EXPECT_EQ(must(listening.read_from(room)).from, must(dialled.local_address()));
}

// UD-08
ROOST_CASE(Udp, ADualStackSocketReachesBothFamilies) {
  auto socket = must(net::listen_packet("udp", ":0"));
  ASSERT_TRUE(must(socket.local_endpoint()).address.is_v6());
  auto v4 = must(net::listen_packet("udp4", "127.0.0.1:0"));
  auto v6 = must(net::listen_packet("udp6", "[::1]:0"));
  const auto v4_at = must(v4.local_endpoint());
  const auto mapped = must(net::Endpoint::parse("[::ffff:127.0.0.1]:" + std::to_string(v4_at.port)));

  for (const net::Endpoint& target : {v4_at, mapped}) {
    EXPECT_OK(socket.write_to("to", target));
    EXPECT_OK(socket.write_message(io::as_bytes("msg"), {}, target));
    const auto got = must(v4.read_from(room));
    EXPECT_EQ(got.bytes, 2u);
    EXPECT_EQ(must(v4.read_from(room)).bytes, 3u);
    // The sender is told as what it is, and can be answered.
    EXPECT_OK(v4.write_to("back", got.from));
    const auto back = must(socket.read_from(room));
    EXPECT_EQ(back.bytes, 4u);
    EXPECT_EQ(back.from, net::Address(v4_at));
  }
  EXPECT_OK(socket.write_message(io::as_bytes("msg"), {}, must(v6.local_address())));
  EXPECT_EQ(must(v6.read_from(room)).bytes, 3u);
  // A v4 socket takes a v4-mapped address for the v4 one it is; a v6-only one takes none.
  EXPECT_OK(v4.write_to("self", mapped));
  EXPECT_EQ(must(v4.read_from(room)).bytes, 4u);
  EXPECT_ERROR(v6.write_to("x", v4_at), Errc::no_suitable_address);
}

// UD-10
ROOST_CASE(Udp, TwoSocketsExchangeBothWays) {
  for (const auto& [network, a_at, b_at] :
       {std::array<std::string, 3>{"udp", "127.0.0.1:0", "127.0.0.1:0"},
        std::array<std::string, 3>{"udp6", "[::1]:0", "[::1]:0"},
        std::array<std::string, 3>{"unixgram", fresh_path(), fresh_path()},
        std::array<std::string, 3>{"unixgram", "", ""}}) {
    auto a = must(net::listen_packet(network, a_at));
    auto b = must(net::listen_packet(network, b_at));
    for (int i = 0; i < 3; ++i) {
      ASSERT_OK(a.write_to("ping", must(b.local_address())));
      const auto ping = must(b.read_from(room));
      EXPECT_EQ(text_in({room.data(), ping.bytes}), "ping");
      EXPECT_EQ(ping.from, must(a.local_address()));
      ASSERT_OK(b.write_to("pong", ping.from));
      const auto pong = must(a.read_from(room));
      EXPECT_EQ(text_in({room.data(), pong.bytes}), "pong");
      EXPECT_EQ(pong.from, must(b.local_address()));
    }
  }
}

// A reader that waits gets each datagram, however they bunch up: a short read of one proves nothing about the next.
ROOST_CASE(Udp, DatagramsThatCameTogetherAreAllRead) {
  auto socket = must(net::listen_packet("udp4", "127.0.0.1:0"));
  auto sender = must(net::dial_packet("udp4", must(socket.local_address()).to_string()));
  for (int round = 0; round < 20; ++round) {
    auto reader = go([&] {
      std::array<std::byte, 16> out;
      int count = 0;
      for (; count < 10; ++count) {
        if (!socket.read_from(out)) break;
      }
      return count;
    });
    for (int i = 0; i < 10; ++i) ASSERT_OK(sender.write("datagram"));
    within(5s, [&] { EXPECT_EQ(reader.join(), 10); });
  }
}

// The peer's refusal comes as an error of a later call, once, and does no lasting harm.
ROOST_CASE(Udp, ARefusalIsReportedAndTheSocketLivesOn) {
  net::Endpoint nobody;
  {
    auto gone = must(net::listen_packet("udp4", "127.0.0.1:0"));
    nobody = must(gone.local_endpoint());
  }
  auto socket = must(net::dial_packet("udp4", nobody.to_string()));
  ASSERT_OK(socket.set_read_deadline(Deadline::after(4s)));
  ASSERT_OK(socket.write("anybody?"));
  EXPECT_ERROR(socket.read(room), std::errc::connection_refused);
  // The error was taken: the next read waits, and does not spin.
  auto back = must(net::listen_packet("udp4", nobody.to_string()));
  auto reader = go([&] { return socket.read(room); });
  ASSERT_TRUE(reading());
  const auto polls = runtime_stats().switches;
  ASSERT_OK(sleep_for(20ms));
  EXPECT_LT(runtime_stats().switches - polls, 1000u);
  ASSERT_OK(back.write_to("here", must(socket.local_address())));
  EXPECT_EQ(reader.join().value_or(0), 4u);
}

// A Conn that was dialled over UDP reads and writes datagrams.
ROOST_CASE(Udp, AConnOverUdpKeepsMessages) {
  auto socket = must(net::listen_packet("udp", "127.0.0.1:0"));
  auto conn = must(net::dial("udp", must(socket.local_address()).to_string()));
  ASSERT_OK(conn.write("one"));
  const std::array<std::span<const std::byte>, 2> pieces{io::as_bytes("tw"), io::as_bytes("o!")};
  EXPECT_EQ(conn.write_vectored(pieces).value_or(0), 4u);
  const auto first = must(socket.read_from(room));
  EXPECT_EQ(first.bytes, 3u);
  EXPECT_EQ(must(socket.read_from(room)).bytes, 4u);
  ASSERT_OK(socket.write_to("abc", first.from));
  ASSERT_OK(socket.write_to("defg", first.from));
  EXPECT_EQ(conn.read(room).value_or(0), 3u);
  EXPECT_EQ(conn.read(room).value_or(0), 4u);
  net::PacketConn again(std::move(conn));
  EXPECT_TRUE(reports_closed(conn.write("x")));  // NOLINT: on purpose
  EXPECT_OK(again.write("x"));
}

// --- control messages, batches -------------------------------------------------------------------------------------

ROOST_CASE(Udp, ControlMessagesComeAlong) {
  auto socket = must(net::listen_packet("udp4", "0.0.0.0:0"));
  must(socket.raw_control([](int fd) {
    const int on = 1;
    ASSERT_EQ(::setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on), 0);
  }));
  const auto port = must(socket.local_endpoint()).port;
  auto sender = must(net::listen_packet("udp4", "127.0.0.1:0"));
  ASSERT_OK(sender.write_to("which way?", net::Endpoint{net::IpAddress::v4(127, 0, 0, 7), port}));
  alignas(cmsghdr) std::array<std::byte, 256> control;
  const auto got = must(socket.read_message(room, control));
  EXPECT_EQ(got.bytes, 10u);
  EXPECT_EQ(got.flags & MSG_CTRUNC, 0);
  msghdr message{};
  message.msg_control = control.data();
  message.msg_controllen = got.control_bytes;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  ASSERT_NE(header, nullptr);
  EXPECT_EQ(header->cmsg_type, IP_PKTINFO);
  in_pktinfo info;
  std::memcpy(&info, CMSG_DATA(header), sizeof info);
  EXPECT_EQ(ntohl(info.ipi_addr.s_addr), 0x7f000007u);
  // And back from the address it was sent to, by the same control message.
  info.ipi_ifindex = 0;
  info.ipi_spec_dst = info.ipi_addr;
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof info)> out{};
  message.msg_control = out.data();
  message.msg_controllen = out.size();
  cmsghdr* reply = CMSG_FIRSTHDR(&message);
  reply->cmsg_level = IPPROTO_IP;
  reply->cmsg_type = IP_PKTINFO;
  reply->cmsg_len = CMSG_LEN(sizeof info);
  std::memcpy(CMSG_DATA(reply), &info, sizeof info);
  ASSERT_OK(socket.write_message(io::as_bytes("this way"), out, got.from));
  EXPECT_EQ(must(sender.read_from(room)).from.endpoint().address.to_string(), "127.0.0.7");
  // Too little room for control data is told.
  ASSERT_OK(sender.write_to("x", net::Endpoint{net::IpAddress::v4(127, 0, 0, 7), port}));
  EXPECT_NE(must(socket.read_message(room, std::span(control).first(sizeof(cmsghdr)))).flags & MSG_CTRUNC, 0);
}

ROOST_CASE(Udp, PeekingTakesNothing) {
  auto socket = must(net::listen_packet("udp4", "127.0.0.1:0"));
  ASSERT_OK(socket.write_to("peek", must(socket.local_address())));
  EXPECT_EQ(must(socket.read_message(room, {}, MSG_PEEK)).bytes, 4u);
  EXPECT_EQ(must(socket.read_from(room)).bytes, 4u);
}

ROOST_CASE(Udp, ABatchIsOneCallEachWay) {
  auto receiver = must(net::listen_packet("udp4", "127.0.0.1:0"));
  auto sender = must(net::listen_packet("udp", ":0"));
  must(receiver.set_read_buffer(4 << 20));
  const auto target = must(receiver.local_address());
  constexpr std::size_t count = 150;  // more than one batch
  std::vector<std::string> texts;
  std::vector<net::PacketOut> out;
  for (std::size_t i = 0; i < count; ++i) texts.push_back("datagram " + std::to_string(i));
  for (const auto& text : texts) out.push_back({io::as_bytes(text), target});
  EXPECT_EQ(sender.write_batch(out).value_or(0), count);
  EXPECT_EQ(sender.write_batch({}).value_or(9), 0u);

  std::vector<std::array<std::byte, 32>> memory(100);
  std::vector<net::PacketSlot> slots;
  for (auto& buffer : memory) slots.push_back({.buffer = buffer, .bytes = 0, .from = {}, .truncated = false});
  std::set<std::string> seen;
  while (seen.size() < count) {
    const auto got = receiver.read_batch(slots);
    ASSERT_OK(got);
    ASSERT_GE(*got, 1u);
    ASSERT_LE(*got, net::PacketConn::batch_max);
    for (std::size_t i = 0; i < *got; ++i) {
      seen.insert(text_in({slots[i].buffer.data(), slots[i].bytes}));
      EXPECT_EQ(slots[i].from.endpoint().port, must(sender.local_endpoint()).port);
      EXPECT_FALSE(slots[i].truncated);
    }
  }
  EXPECT_TRUE(seen.contains("datagram 149"));

  // Empty ones, ones that are cut, and a batch that waits.
  auto waiting = go([&] { return receiver.read_batch(slots); });
  ASSERT_TRUE(reading());
  const std::string long_text(100, 'l');
  const std::array<net::PacketOut, 2> two{net::PacketOut{{}, target}, net::PacketOut{io::as_bytes(long_text), target}};
  EXPECT_EQ(sender.write_batch(two).value_or(0), 2u);
  std::size_t got = must(waiting.join());
  EXPECT_EQ(slots[0].bytes, 0u);
  if (got == 1) {
    got = must(receiver.read_batch(slots));
    EXPECT_TRUE(slots[0].truncated);
    EXPECT_EQ(slots[0].bytes, 32u);
  } else {
    EXPECT_TRUE(slots[1].truncated);
  }
  ASSERT_OK(receiver.set_read_deadline(Deadline::after(1ms)));
  EXPECT_TRUE(timed_out(receiver.read_batch(slots)));
  // A bad address in the middle: what stood before it goes, and the next call tells.
  const std::array<net::PacketOut, 2> bad{net::PacketOut{io::as_bytes("ok"), target},
                                          net::PacketOut{io::as_bytes("no"), net::Address()}};
  EXPECT_EQ(sender.write_batch(bad).value_or(0), 1u);
  EXPECT_ERROR(sender.write_batch(std::span(bad).subspan(1)), Errc::missing_address);
}

ROOST_CASE(Udp, LentAndAdopted) {
  auto socket = must(net::listen_packet("udp4", "127.0.0.1:0"));
  const auto self = must(socket.local_address());
  const int copy = must(socket.duplicate());
  ASSERT_OK(socket.close());
  auto adopted = must(net::PacketConn::adopt(copy));
  EXPECT_EQ(must(adopted.local_address()), self);
  ASSERT_OK(adopted.write_to("x", self));
  EXPECT_OK(adopted.read_from(room));
  const int released = must(adopted.release());
  EXPECT_TRUE(reports_closed(adopted.write_to("x", self)));
  EXPECT_EQ(::close(released), 0);
  auto [client, server] = tcp_pair();
  const int stream = must(client.duplicate());
  EXPECT_ERROR(net::PacketConn::adopt(stream), std::errc::wrong_protocol_type);
  EXPECT_EQ(::close(stream), 0);
}

}  // namespace
}  // namespace roost::test
