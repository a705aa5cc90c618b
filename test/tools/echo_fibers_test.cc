// What `roost echo` tells of its fibers: at SIGQUIT, and at /fibers.
#include <gmock/gmock.h>

#include <roost/metrics.h>

#include "tools/program.h"

namespace roost::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

std::uint16_t port_after(const std::string& text, const std::string& before) {
  const std::size_t at = text.find(before);
  return at == std::string::npos ? std::uint16_t{0} : static_cast<std::uint16_t>(std::stoi(text.substr(at + before.size())));
}

std::string get(std::uint16_t port, const std::string& path) {
  const Socket client = Socket::connect(port);
  EXPECT_TRUE(client.send("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
  const std::string answer = client.receive(1 << 22);  // until the end
  const std::size_t head_end = answer.find("\r\n\r\n");
  EXPECT_THAT(answer, testing::StartsWith("HTTP/1.1 200 "));
  return head_end == std::string::npos ? "" : answer.substr(head_end + 4);
}

class EchoFibers : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Processes, EchoFibers, testing::Values("1", "3"));

TEST_P(EchoFibers, AreToldOfAllProcessesAndNoneIsStopped) {
  Program echo({"echo", "--listen", "127.0.0.1:0", "--metrics", ":0", "--processes", GetParam(), "--report-interval", "0"});
  ASSERT_TRUE(echo.wait_for_output("/metrics\n"));
  const std::uint16_t port = port_after(echo.out(), "listening on 127.0.0.1:");
  const std::uint16_t metrics_port = port_after(echo.out(), "metrics on http://127.0.0.1:");
  std::vector<Socket> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(Socket::connect(port));
    ASSERT_TRUE(clients.back().send("hello\n"));
    ASSERT_EQ(clients.back().receive(6), "hello\n");
  }
  // Those that have just answered may not have parked yet; and an answer stands for a second.
  std::uint64_t waiting = 0;
  for (int tries = 0; tries < 100 && waiting < 20; ++tries) {
    const auto dump = metrics::parse_fibers(get(metrics_port, "/fibers.json"));
    ASSERT_TRUE(dump);
    EXPECT_EQ(dump->processes, static_cast<std::uint64_t>(std::stoi(GetParam())));
    waiting = 0;
    for (const FiberGroup& group : dump->groups) {
      if (group.name == "connection" && group.reason == "read") waiting += group.count;
    }
    if (waiting < 20) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_EQ(waiting, 20u);
  const std::string text = get(metrics_port, "/fibers");
  EXPECT_THAT(text, HasSubstr("20 fibers (connection), parked: read"));
  EXPECT_THAT(text, HasSubstr("roost::echo::Server::serve"));
  EXPECT_THAT(text, ContainsRegex("descriptor [0-9]+: 127.0.0.1:" + std::to_string(port) + " from 127.0.0.1:[0-9]+"));

  echo.send_signal(SIGQUIT);
  EXPECT_TRUE(echo.wait_for_error("roost::echo::Server::serve"));
  EXPECT_THAT(echo.err(), ContainsRegex("roost: SIGQUIT: [0-9]+ fibers in"));
  EXPECT_THAT(echo.err(), HasSubstr("20 fibers (connection), parked: read"));
  for (const Socket& client : clients) {
    ASSERT_TRUE(client.send("again\n"));
    ASSERT_EQ(client.receive(6), "again\n");
  }
  echo.send_signal(SIGTERM);
  EXPECT_EQ(echo.wait(), 0);
}

TEST(EchoFibersOnDemand, ConnectionsThatSleepAreCounted) {
  Program echo({"echo", "--listen", "127.0.0.1:0", "--metrics", ":0", "--handler", "on-demand", "--report-interval", "0"});
  ASSERT_TRUE(echo.wait_for_output("/metrics\n"));
  const std::uint16_t port = port_after(echo.out(), "listening on 127.0.0.1:");
  const std::uint16_t metrics_port = port_after(echo.out(), "metrics on http://127.0.0.1:");
  std::vector<Socket> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(Socket::connect(port));
    ASSERT_TRUE(clients.back().send("hello\n"));
    ASSERT_EQ(clients.back().receive(6), "hello\n");
  }
  std::string text;
  for (int tries = 0; tries < 100 && text.find("5 connections wait without a fiber") == std::string::npos; ++tries) {
    text = get(metrics_port, "/fibers");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_THAT(text, HasSubstr("5 connections wait without a fiber"));
  EXPECT_THAT(get(metrics_port, "/metrics"), HasSubstr("roost_connections{state=\"asleep\"} 5\n"));
  clients.clear();
  for (int tries = 0; tries < 100 && text.find("roost_connections{state=\"asleep\"} 0\n") == std::string::npos; ++tries) {
    text = get(metrics_port, "/metrics");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_THAT(text, HasSubstr("roost_connections{state=\"asleep\"} 0\n"));
}

}  // namespace
}  // namespace roost::test
