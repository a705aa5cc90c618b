// What `roost load` leaves behind and tells meanwhile: --record, --junit, --summary, --metrics.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "tools/program.h"

namespace roost::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

class LoadOutput : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "roost-load-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  [[nodiscard]] std::string path(const char* name) const { return (folder_ / name).string(); }
  [[nodiscard]] std::string text_of(const char* name) const {
    std::stringstream text;
    text << std::ifstream(path(name)).rdbuf();
    return text.str();
  }
  // A short load of five connections.
  static std::vector<std::string> load(const std::string& target, std::vector<std::string> more) {
    more.insert(more.begin(), {"load", "--target", target, "--connections", "5", "--interval", "50ms", "--duration", "200ms", "--quiet"});
    return more;
  }
  static void expect_refused(const std::vector<std::string>& arguments, const std::string& why) {
    Program program(arguments);
    EXPECT_EQ(program.wait(), 2) << program.out();
    EXPECT_THAT(program.err(), HasSubstr(why));
    EXPECT_EQ(count_lines(program.err()), 1u) << program.err();
  }

  fs::path folder_;
};

TEST_F(LoadOutput, ARecordRepeatsTheLoadThatItWasMadeOf) {
  EchoServer echo;
  Program first(load(echo.target(), {"--size", "64:9,1000:1", "--churn", "3/s", "--record", path("run")}));
  EXPECT_EQ(first.wait(), 0) << first.err();
  EXPECT_THAT(text_of("run/README.txt"), HasSubstr("roost load --scenario scenario.json --processes 1\n"));

  Program again({"load", "--scenario", path("run/scenario.json"), "--processes", "1", "--quiet", "--json", path("again.json")});
  EXPECT_EQ(again.wait(), 0) << again.err();
  const json recorded = json::parse(text_of("run/report.json"));
  const json repeated = json::parse(text_of("again.json"));
  EXPECT_EQ(recorded["scenario"], repeated["scenario"]);
  EXPECT_EQ(recorded["messages"]["run_sent"], repeated["messages"]["run_sent"]);
  EXPECT_EQ(echo.stop(), 0);
}

TEST_F(LoadOutput, AFolderWithSomethingInItIsRefusedBeforeTheLoad) {
  std::ofstream(path("precious")) << "mine";
  // Nothing listens there: the load would tell of that if it had begun.
  expect_refused(load("127.0.0.1:9", {"--record", folder_.string()}), "it is there already and not empty; name a new folder");
  EXPECT_EQ(text_of("precious"), "mine");
  expect_refused(load("127.0.0.1:9", {"--record", path("no/where")}), "No such file or directory; name a folder");
}

TEST_F(LoadOutput, JunitAndSummaryTellWhatFailed) {
  EchoServer echo;
  std::ofstream(path("summary.md")) << "# job\n";
  Program program(load(echo.target(), {"--junit", path("junit.xml"), "--summary", path("summary.md"), "--fail-if", "received >= 1"}));
  EXPECT_EQ(program.wait(), 1) << program.err();
  EXPECT_THAT(text_of("junit.xml"), HasSubstr("failures=\"1\""));
  EXPECT_THAT(text_of("junit.xml"), HasSubstr("<testcase classname=\"roost load\" name=\"not received &gt;= 1\"><failure message="));
  EXPECT_THAT(text_of("summary.md"), StartsWith("# job\n### roost load " + echo.target()));
  EXPECT_EQ(echo.stop(), 0);
}

TEST_F(LoadOutput, MetricsAreServedWhileTheLoadGoesOn) {
  EchoServer echo;
  Program program({"load", "--target", echo.target(), "--connections", "50", "--rate", "5000", "--interval", "50ms", "--duration", "10m", "--quiet",
                   "--processes", "2", "--fault", "silent:3", "--metrics", "127.0.0.1:0"});
  ASSERT_TRUE(program.wait_for_error("/metrics\n")) << program.err();
  const std::string before = "metrics on http://127.0.0.1:";
  const auto port = static_cast<std::uint16_t>(std::stoi(program.err().substr(program.err().find(before) + before.size())));
  const auto get = [port] {
    const Socket client = Socket::connect(port);
    EXPECT_TRUE(client.send("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
    return client.receive(1 << 20);
  };
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::string text;
  const auto has_all = [&text] {
    for (const char* part : {"roost_load_connections{state=\"open\"} 50\n", "roost_load_phase{phase=\"running\"} 1\n", "roost_load_attackers{fault=\"silent\"} 3\n",
                             "roost_load_processes 3\n", "roost_load_message_rate_wanted 1000\n"}) {
      if (text.find(part) == std::string::npos) return false;
    }
    return text.find("roost_load_latency_seconds_count 0\n") == std::string::npos;
  };
  do text = get();
  while (!has_all() && std::chrono::steady_clock::now() < deadline);
  EXPECT_TRUE(has_all()) << text;
  program.send_signal(SIGINT);
  EXPECT_EQ(program.wait(), 1);
  EXPECT_EQ(echo.stop(), 0);
}

TEST_F(LoadOutput, APortForMetricsThatIsTakenIsOneLineAndCostsNoFile) {
  EchoServer taken;
  std::ofstream(path("report.json")) << "of yesterday";
  expect_refused(load("127.0.0.1:9", {"--metrics", taken.target(), "--json", path("report.json")}), "--metrics " + taken.target() + ": the port is in use");
  EXPECT_EQ(text_of("report.json"), "of yesterday");
  expect_refused(load("127.0.0.1:9", {"--metrics", "nowhere"}), "--metrics: `nowhere` is not an address");
  EXPECT_EQ(taken.stop(), 0);
}

}  // namespace
}  // namespace roost::test
