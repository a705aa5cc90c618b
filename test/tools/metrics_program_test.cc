// `roost echo --metrics`, seen from outside.
#include <gmock/gmock.h>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include <nlohmann/json.hpp>
#include <roost/metrics.h>

#include "tools/program.h"

namespace roost::test {
namespace {

using testing::HasSubstr;

// The port in "metrics on http://127.0.0.1:PORT/metrics".
std::uint16_t metrics_port(const std::string& output) {
  const std::string before = "metrics on http://127.0.0.1:";
  const std::size_t at = output.find(before);
  return at == std::string::npos ? std::uint16_t{0} : static_cast<std::uint16_t>(std::stoi(output.substr(at + before.size())));
}

metrics::Families scrape(std::uint16_t port) {
  const Socket client = Socket::connect(port);
  EXPECT_TRUE(client.send("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
  std::string answer = client.receive(1 << 20);  // until the end
  const std::size_t head_end = answer.find("\r\n\r\n");
  if (head_end == std::string::npos) return {};
  const auto families = metrics::parse_text(answer.substr(head_end + 4));
  EXPECT_TRUE(families) << answer;
  return families.value_or(metrics::Families{});
}

double value_of(const metrics::Families& families, std::string_view name) {
  double sum = 0;
  for (const auto& family : families) {
    if (family.name != name) continue;
    for (const auto& metric : family.metric) sum += metric.counter.value + metric.gauge.value;
  }
  return sum;
}

class MetricsProgram : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Processes, MetricsProgram, testing::Values("1", "3"));

TEST_P(MetricsProgram, TellsWhatAllProcessesServe) {
  Program echo({"echo", "--listen", "127.0.0.1:0", "--metrics", ":0", "--processes", GetParam(), "--report-interval", "0", "--max-connections", "50"});
  ASSERT_TRUE(echo.wait_for_output("/metrics\n"));
  const std::string output = echo.out();
  const std::string before = "listening on 127.0.0.1:";
  const auto port = static_cast<std::uint16_t>(std::stoi(output.substr(output.find(before) + before.size())));
  std::vector<Socket> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(Socket::connect(port));
    ASSERT_TRUE(clients.back().send("hello\n"));
    ASSERT_EQ(clients.back().receive(6), "hello\n");
  }
  // Several processes tell their figures once a second.
  metrics::Families families;
  for (int tries = 0; tries < 100; ++tries) {
    families = scrape(metrics_port(output));
    if (value_of(families, "roost_received_bytes_total") >= 60 && value_of(families, "roost_echo_messages_total") == 10) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_EQ(value_of(families, "roost_echo_connections"), 10);
  EXPECT_EQ(value_of(families, "roost_echo_connections_max"), 50) << "of all processes together";
  // One process serves the scrape itself. A child's link to its parent is no connection.
  EXPECT_EQ(value_of(families, "roost_connections"), std::string_view(GetParam()) == "1" ? 11 : 10);
  EXPECT_EQ(value_of(families, "roost_echo_connections_accepted_total"), 10);
  EXPECT_EQ(value_of(families, "roost_echo_messages_total"), 10);
  EXPECT_EQ(value_of(families, "roost_echo_message_bytes_total"), 60);
  EXPECT_GE(value_of(families, "roost_received_bytes_total"), 60);
  EXPECT_GE(value_of(families, "roost_fibers"), 10);
  // Nor does a process that waits for its parent's word count as a client that timed out.
  EXPECT_EQ(value_of(families, "roost_io_failures_total"), 0);
  EXPECT_GT(value_of(families, "process_resident_memory_bytes"), 0);
  echo.send_signal(SIGTERM);
  EXPECT_EQ(echo.wait(), 0);
}

TEST_P(MetricsProgram, SaysThatThePortIsTaken) {
  Program first({"echo", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--report-interval", "0"});
  ASSERT_TRUE(first.wait_for_output("/metrics\n"));
  const std::string taken = "127.0.0.1:" + std::to_string(metrics_port(first.out()));
  Program second({"echo", "--listen", "127.0.0.1:0", "--metrics", taken, "--processes", GetParam()});
  EXPECT_EQ(second.wait(), 2);
  EXPECT_THAT(second.err(), HasSubstr("roost echo: --metrics " + taken + ": the port is in use"));
  first.send_signal(SIGTERM);
  EXPECT_EQ(first.wait(), 0);
}

TEST(MetricsDocs, ListEveryMetric) {
  Program echo({"echo", "--listen", "127.0.0.1:0", "--metrics", ":0", "--report-interval", "0", "--max-connections", "50"});
  ASSERT_TRUE(echo.wait_for_output("/metrics\n"));
  std::ifstream file(ROOST_METRICS_DOC);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  for (const auto& family : scrape(metrics_port(echo.out()))) {
    EXPECT_THAT(text, HasSubstr("| `" + family.name + "` |")) << "docs/metrics.md lacks it";
    EXPECT_THAT(text, HasSubstr(" | " + family.help + " |")) << "docs/metrics.md says something else";
  }
}

// Prometheus's own rules for names and units; the Debian package `prometheus` has the program.
TEST(MetricsLint, PromtoolFindsNothingToSay) {
  if (std::system("command -v promtool >/dev/null") != 0) GTEST_SKIP() << "promtool is not installed";
  Program echo({"echo", "--listen", "127.0.0.1:0", "--metrics", ":0", "--report-interval", "0", "--max-connections", "50"});
  ASSERT_TRUE(echo.wait_for_output("/metrics\n"));
  const std::string path = testing::TempDir() + "roost-metrics-" + std::to_string(::getpid());
  std::ofstream(path) << metrics::to_text(scrape(metrics_port(echo.out())));
  EXPECT_EQ(std::system(("promtool check metrics < " + path).c_str()), 0);
  std::remove(path.c_str());
}

TEST(MetricsDashboard, AsksForMetricsThatExist) {
  Program echo({"echo", "--listen", "127.0.0.1:0", "--metrics", ":0", "--report-interval", "0"});
  ASSERT_TRUE(echo.wait_for_output("/metrics\n"));
  std::set<std::string> known;
  for (const auto& family : scrape(metrics_port(echo.out()))) {
    known.insert(family.name);
    if (family.type != prometheus::MetricType::Histogram) continue;
    for (const char* part : {"_bucket", "_sum", "_count"}) known.insert(family.name + part);
  }
  std::ifstream file(ROOST_DASHBOARD);
  const auto dashboard = nlohmann::json::parse(file);
  std::set<std::string> asked;
  const std::regex name("(roost|process)_[a-z_]+");
  const auto flat = dashboard.flatten();
  for (const auto& node : flat.items()) {
    if (!node.key().ends_with("/expr")) continue;
    const auto expression = node.value().get<std::string>();
    for (std::sregex_iterator at(expression.begin(), expression.end(), name), end; at != end; ++at) asked.insert(at->str());
  }
  EXPECT_GT(asked.size(), 20u);
  for (const std::string& one : asked) EXPECT_TRUE(known.contains(one)) << "docs/grafana-dashboard.json asks for " << one;
}

TEST(MetricsProgramOptions, RefusesAnAddressThatIsNone) {
  Program echo({"echo", "--metrics", "nowhere"});
  EXPECT_EQ(echo.wait(), 2);
  EXPECT_THAT(echo.err(), HasSubstr("--metrics"));
}

}  // namespace
}  // namespace roost::test
