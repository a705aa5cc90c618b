#include "tools/common/listen.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace roost::tools {
namespace {

TEST(Listen, AnAddressForMetricsWithoutAHostIsTheLoopbacks) {
  EXPECT_EQ(parse_metrics_address(":9100").value()->to_string(), "127.0.0.1:9100");
  EXPECT_EQ(parse_metrics_address("0.0.0.0:9100").value()->to_string(), "0.0.0.0:9100");
  EXPECT_FALSE(parse_metrics_address("9100"));
}

TEST(Listen, APortThatIsTakenIsOneLineWithARemedy) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  const std::string taken = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  const auto claimed = claim_port(parse_listen_address(taken).value(), "--metrics");
  ASSERT_FALSE(claimed);
  EXPECT_EQ(claimed.error().find("--metrics " + taken + ": the port is in use; choose another"), 0u) << claimed.error();
  EXPECT_EQ(claimed.error().find('\n'), std::string::npos);
  ::close(fd);
}

TEST(Listen, Port0BecomesOneThatIsFree) {
  const auto claimed = claim_port(parse_listen_address("127.0.0.1:0").value(), "--listen");
  ASSERT_TRUE(claimed);
  EXPECT_NE(claimed->port, 0);
}

}  // namespace
}  // namespace roost::tools
