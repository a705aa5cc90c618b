// `roost cases --quick`: each experiment runs, and shows what must hold on any machine however busy: counts, never times.
#include <gmock/gmock.h>

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tools/program.h"

namespace roost::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// The report of one case.
json run_quick(const std::string& number) {
  Program program({"cases", "--quick", "--case", number, "--json"});
  const int status = program.wait();
  const json report = json::parse(program.out(), nullptr, false);
  EXPECT_TRUE(report.is_object()) << program.out() << program.err();
  if (!report.is_object()) return {};
  EXPECT_EQ(report["schema"], "roost.cases/1");
  EXPECT_EQ(report["quick"], true);
  EXPECT_EQ(report["cases"].size(), 1u);
  const json one = report["cases"][0];
  EXPECT_EQ(std::to_string(one["number"].get<int>()), number);
  EXPECT_EQ(status, one["verdict"] == "not shown" ? 1 : 0);
  EXPECT_THAT(program.err(), HasSubstr("case " + number));  // progress
  if (one["verdict"] != "could not be tried") {
    EXPECT_FALSE(one["chart"]["bars"].empty());
    for (const json& claim : one["claims"]) {
      EXPECT_TRUE(claim["holds"] || !claim["counted"]) << claim["text"];
    }
  }
  return one;
}

// The row that is labelled so.
json row(const json& one, const std::string& label) {
  for (const json& found : one["rows"]) {
    if (found["label"] == label) return found;
  }
  ADD_FAILURE() << "no row " << label << " in " << one["rows"];
  return {};
}

TEST(CasesProgram, TwoFibersAndTwoDescriptorsAConnectionAreCounted) {
  const json one = run_quick("1");
  ASSERT_EQ(one["rows"].size(), 3u);
  EXPECT_NEAR(row(one, "one fiber")["descriptors_per_connection"], 1, 0.02);
  EXPECT_NEAR(row(one, "two fibers")["descriptors_per_connection"], 1, 0.02);
  EXPECT_NEAR(row(one, "two fibers, two descriptors")["descriptors_per_connection"], 2, 0.02);
  EXPECT_GT(row(one, "one fiber")["connections_at_limit"], 500);
  EXPECT_LT(row(one, "two fibers, two descriptors")["connections_at_limit"], 301);
}

TEST(CasesProgram, SmallBuffersTakeMoreCalls) {
  const json one = run_quick("2");
  ASSERT_EQ(one["rows"].size(), 18u);
  // A message of 64 bytes is one read and one write whatever the buffer: 31,250 calls for a MB. What is under way at either end of
  // the stretch counts for one and not for the other.
  EXPECT_GT(row(one, "64 B messages, 128 KiB buffer")["calls_per_mb"], 15'000);
  // 128 bytes at a time are 7,812 reads and as many writes; again but for the ends.
  EXPECT_GT(row(one, "256 KiB messages, 128 B buffer")["calls_per_mb"], 7'800);
  EXPECT_LT(row(one, "256 KiB messages, 64 KiB buffer")["calls_per_mb"], 7'800);
}

TEST(CasesProgram, AnAttackIsHeldOffByDeadlinesAlone) {
  const json one = run_quick("3");
  ASSERT_EQ(one["rows"].size(), 3u);
  EXPECT_GE(row(one, "no time-out")["held_at_end"], 85);
  EXPECT_EQ(row(one, "no time-out")["freed_after_s"], "never");
  EXPECT_TRUE(row(one, "1.5 s a line")["freed_after_s"].is_number());
  EXPECT_EQ(one["chart"]["lines"].size(), 3u);
}

TEST(CasesProgram, APoolDialsOnceAFiber) {
  const json one = run_quick("4");
  EXPECT_EQ(row(one, "dialled for each request")["dials"], 300);
  EXPECT_LE(row(one, "from a pool")["dials"], 4);
}

TEST(CasesProgram, TheDoctorsSettingsLetMoreIn) {
  const json one = run_quick("5");
  if (one["verdict"] == "could not be tried") GTEST_SKIP() << one["untried"];
  EXPECT_EQ(row(one, "backlog 128")["stood_at_once"], 129);
  EXPECT_EQ(row(one, "the doctor's somaxconn")["stood_at_once"], 400);
  EXPECT_LE(row(one, "1,000 ports")["stood"], 1000);
  EXPECT_EQ(row(one, "the doctor's port range")["stood"], 1500);
  EXPECT_LT(row(one, "soft limit 1,024")["stood"], 1024);
  EXPECT_EQ(row(one, "raised to the hard limit")["stood"], 1500);
}

TEST(CasesProgram, WritesTextAndFilesAtOnce) {
  const std::string base = ::testing::TempDir() + "cases_program_test." + std::to_string(::getpid());
  ::setenv("LC_ALL", "C", 1);
  Program program({"cases", "--quick", "--case", "pool", "--json", base + ".json", "--html", base + ".html"});
  EXPECT_EQ(program.wait(), 0) << program.err();
  ::unsetenv("LC_ALL");
  EXPECT_THAT(program.out(), HasSubstr("4  A pool for outbound connections"));
  EXPECT_THAT(program.out(), HasSubstr("##"));
  EXPECT_THAT(program.out(), HasSubstr("1 of 1 case shown"));
  const auto read = [](const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  };
  EXPECT_EQ(json::parse(read(base + ".json"))["cases"][0]["id"], "pool");
  EXPECT_THAT(read(base + ".html"), HasSubstr("dialled for each request"));
  ::unlink((base + ".json").c_str());
  ::unlink((base + ".html").c_str());
}

TEST(CasesProgram, MistakesAreOneLineAndStatusTwo) {
  const std::vector<std::pair<std::vector<std::string>, const char*>> mistakes{
      {{"--case", "6"}, "--case 6: there is no such case"},
      {{"--case", "1", "--case", "slow"}, "--case slow: there is no such case"},
      {{"--quick", "--json", "/no/such/directory/cases.json"},
       "--json /no/such/directory/cases.json: No such file or directory"},
      {{"--quick", "--html", "/no/such/directory/cases.html"},
       "--html /no/such/directory/cases.html: No such file or directory"},
      {{"--fast"}, "--fast"},
  };
  for (const auto& [arguments, said] : mistakes) {
    std::vector<std::string> all{"cases"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    Program program(all);
    EXPECT_EQ(program.wait(), 2) << said;
    EXPECT_EQ(count_lines(program.err()), 1u) << program.err();
    EXPECT_THAT(program.err(), HasSubstr(said));
    EXPECT_EQ(program.out(), "");
  }
}

TEST(CasesProgram, ListsThemWithoutRunning) {
  Program program({"cases", "--list"});
  EXPECT_EQ(program.wait(), 0);
  EXPECT_EQ(count_lines(program.out()), 5u);
  EXPECT_THAT(program.out(), HasSubstr("slowloris"));
}

// Processes that descend from `root`, itself not counted.
std::vector<pid_t> descendants(pid_t root) {
  std::vector<pid_t> found{root};
  for (std::size_t i = 0; i < found.size(); ++i) {
    std::ifstream children("/proc/" + std::to_string(found[i]) + "/task/" + std::to_string(found[i]) + "/children");
    for (pid_t pid = 0; children >> pid;) found.push_back(pid);
  }
  found.erase(found.begin());
  return found;
}

TEST(CasesProgram, AnInterruptLeavesNoProcessBehind) {
  Program program({"cases", "--quick", "--case", "3"});
  std::vector<pid_t> children;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  // The turn, its server and its attackers.
  while (children.size() < 3 && std::chrono::steady_clock::now() < deadline) {
    children = descendants(program.pid());
    std::this_thread::sleep_for(1ms);
  }
  ASSERT_GE(children.size(), 3u);
  // As Ctrl-C does; SIGINT itself is ignored where a shell started the tests in the background.
  program.send_signal(SIGTERM);
  EXPECT_EQ(program.wait(), 128 + SIGTERM);
  // The kernel kills them one after the other; whoever reaps them may take its time, so a zombie counts as gone.
  const auto is_gone = [](pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(file, text);
    const std::size_t name_end = text.rfind(')');
    return name_end == std::string::npos || text.compare(name_end, 3, ") Z") == 0;
  };
  for (const pid_t pid : children) {
    while (!is_gone(pid) && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(1ms);
    EXPECT_TRUE(is_gone(pid)) << pid;
  }
}

}  // namespace
}  // namespace roost::test
