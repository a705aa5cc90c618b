#include "examples/example_test.h"

namespace roost::test {
namespace {

TEST(UdpEcho, SendsEveryDatagramBack) {
  ExampleServer server({"127.0.0.1:0"});
  const Socket socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Socket::loopback(server.port());
  ASSERT_EQ(::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  for (const std::size_t bytes : {1u, 0u, 1400u, 60'000u}) {
    const std::string sent(bytes, 'd');
    ASSERT_EQ(::send(socket.fd(), sent.data(), bytes, 0), static_cast<ssize_t>(bytes));
    std::string got(65536, '\0');
    const ssize_t n = ::recv(socket.fd(), got.data(), got.size(), 0);
    ASSERT_EQ(n, static_cast<ssize_t>(bytes));
    EXPECT_EQ(got.substr(0, bytes), sent);
  }
  // Many at once: whole batches. Fewer than a socket's buffer holds, so that none is lost.
  for (char c = 'a'; c <= 'z'; ++c) ASSERT_EQ(::send(socket.fd(), &c, 1, 0), 1);
  for (char c = 'a'; c <= 'z'; ++c) {
    char got = 0;
    ASSERT_EQ(::recv(socket.fd(), &got, 1, 0), 1);
    EXPECT_EQ(got, c);
  }
}

TEST(UdpEcho, TellsHowItIsCalled) {
  Program asked({"--help"});
  EXPECT_EQ(asked.wait(), 0);
  EXPECT_TRUE(asked.out().starts_with("usage: udp_echo [ADDRESS]")) << asked.out();
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--port"}, {"127.0.0.1:0", "more"}}) {
    Program wrong(arguments);
    EXPECT_EQ(wrong.wait(), 2);
    EXPECT_TRUE(wrong.err().starts_with("usage: udp_echo [ADDRESS]")) << wrong.err();
  }
  Program malformed({"127.0.0.1"});
  EXPECT_EQ(malformed.wait(), 2);
  EXPECT_TRUE(malformed.err().starts_with("listen udp 127.0.0.1: ")) << malformed.err();
}

}  // namespace
}  // namespace roost::test
