// `roost compare`, on reports that `roost load` wrote.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "tools/program.h"

namespace roost::test {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;

class CompareProgram : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "roost-compare-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    EchoServer echo;
    Program load({"load", "--target", echo.target(), "--connections", "5", "--interval", "50ms", "--duration", "200ms", "--quiet", "--json", "-"});
    ASSERT_EQ(load.wait(), 0) << load.err();
    report_ = ordered_json::parse(load.out());
    EXPECT_EQ(echo.stop(), 0);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
    return path(name);
  }
  // Four reports that differ in the 99th percentile alone, as runs do.
  [[nodiscard]] std::vector<std::string> four(const std::string& name, int p99_us) const {
    std::vector<std::string> paths;
    for (int run = 1; run <= 4; ++run) {
      ordered_json report = report_;
      report["latency_us"]["p99"] = p99_us + 3 * run;
      paths.push_back(write(name + std::to_string(run) + ".json", report.dump()));
    }
    return paths;
  }
  static std::vector<std::string> arguments(std::vector<std::string> base, const std::vector<std::string>& with, const std::vector<std::string>& more = {}) {
    base.insert(base.begin(), "compare");
    base.emplace_back("--with");
    base.insert(base.end(), with.begin(), with.end());
    base.insert(base.end(), more.begin(), more.end());
    return base;
  }
  // A mistake is one line on standard error and status 2.
  static void expect_refused(const std::vector<std::string>& arguments, const std::string& why) {
    Program compare(arguments);
    EXPECT_EQ(compare.wait(), 2) << compare.out();
    EXPECT_THAT(compare.err(), HasSubstr(why));
    EXPECT_EQ(count_lines(compare.err()), 1u) << compare.err();
  }

  std::filesystem::path folder_;
  ordered_json report_;
};

TEST_F(CompareProgram, ThatNothingIsWorseIsStatus0) {
  Program compare(arguments(four("base", 1000), four("new", 1001)));
  EXPECT_EQ(compare.wait(), 0) << compare.err();
  EXPECT_THAT(compare.out(), HasSubstr("verdict       no figure is worse\n"));
  EXPECT_EQ(compare.err(), "");
}

TEST_F(CompareProgram, ThatSomethingIsWorseIsStatus1) {
  Program compare(arguments(four("base", 1000), four("new", 1500)));
  EXPECT_EQ(compare.wait(), 1) << compare.err();
  EXPECT_THAT(compare.out(), HasSubstr("verdict       WORSE: latency.p99\n"));
  Program tolerant(arguments(four("base", 1000), four("new", 1500), {"--tolerance", "60%"}));
  EXPECT_EQ(tolerant.wait(), 0) << tolerant.out();
}

TEST_F(CompareProgram, TooFewRunsAreStatus2AndSayHowManyItTakes) {
  auto base = four("base", 1000);
  base.pop_back();
  auto with = four("new", 1500);
  with.pop_back();
  expect_refused(arguments(base, with), "3 and 3 runs are too few to tell at --level 5%; make 4 or more of each");
  expect_refused(arguments(four("base", 1000), four("new", 1500), {"--level", "1%"}), "make 5 or more of each");
}

TEST_F(CompareProgram, WritesJsonJunitAndASummaryBehindWhatTheFileHas) {
  const std::string summary = write("summary.md", "# job\n");
  Program compare(arguments(four("base", 1000), four("new", 1500), {"--json", "-", "--junit", path("junit.xml"), "--summary", summary}));
  EXPECT_EQ(compare.wait(), 1) << compare.err();
  EXPECT_EQ(ordered_json::parse(compare.out())["verdict"], "WORSE: latency.p99") << "and no text beside it";
  std::stringstream xml;
  xml << std::ifstream(path("junit.xml")).rdbuf();
  EXPECT_THAT(xml.str(), HasSubstr("failures=\"1\""));
  std::stringstream markdown;
  markdown << std::ifstream(summary).rdbuf();
  EXPECT_THAT(markdown.str(), testing::StartsWith("# job\n### roost compare: WORSE"));
}

TEST_F(CompareProgram, WhatCannotBeComparedIsOneLine) {
  const auto base = four("base", 1000);
  expect_refused(arguments(base, {path("missing.json")}), "missing.json: No such file or directory; name a file that can be read");
  expect_refused(arguments(base, {folder_.string()}), "Is a directory");
  expect_refused(arguments(base, {write("empty.json", "")}), "the file is empty");
  expect_refused(arguments(base, {write("text.json", "hello")}), "not a report");
  expect_refused(arguments(base, {"/dev/zero"}), "it does not end");
  expect_refused(arguments(base, {base[0]}), "is named twice");
  ordered_json other = report_;
  other["scenario"]["stages"][0]["connections"] = 6;
  expect_refused(arguments(base, {write("other.json", other.dump())}), "are of different loads: stage 1 connections 5 and 6");
  expect_refused(arguments(base, base, {"--level", "0"}), "--level: `0` is not a level");
  expect_refused(arguments(base, base, {"--tolerance", "much"}), "`much` is not a share; write 5% or 0.05");
  expect_refused(arguments(base, base, {"--figures", "latency.p98"}), "did you mean latency.p9");
  expect_refused({"compare", base[0]}, "--with is required");
  expect_refused(arguments(base, four("new", 1000), {"--figures", "server.cpu_per_message"}), "no run measured it");
  expect_refused(arguments(base, four("new", 1000), {"--json", path("no/where.json")}), "--json");
}

}  // namespace
}  // namespace roost::test
