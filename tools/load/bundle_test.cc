#include "tools/load/bundle.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "tools/load/asked.h"
#include "tools/load/scenario.h"

namespace roost::load {
namespace {

namespace fs = std::filesystem;

class LoadBundle : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "roost-bundle-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    record_.options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
    record_.options.record_path = (folder_ / "run").string();
    record_.plan.processes = 3;
    record_.command = "roost load --target 127.0.0.1:8080";
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::expected<void, std::string> add() { return add_bundle(record_.options, record_.plan, record_, outputs_); }
  [[nodiscard]] std::string text_of(const char* name) const {
    std::stringstream text;
    text << std::ifstream(folder_ / "run" / name).rdbuf();
    return text.str();
  }

  fs::path folder_;
  Record record_;
  tools::OutputFiles outputs_;
};

TEST_F(LoadBundle, HasAllThatItsReadmeTellsOf) {
  ASSERT_TRUE(add());
  EXPECT_EQ(outputs_.error(), "");
  EXPECT_TRUE(outputs_.write().empty());
  for (const char* name : {"README.txt", "scenario.json", "report.txt", "report.json", "report.csv", "histograms.jsonl", "report.html", "machine.json"}) {
    EXPECT_FALSE(text_of(name).empty()) << name;
  }
  EXPECT_FALSE(fs::exists(folder_ / "run" / "given.json")) << "there was no file";
  EXPECT_NE(text_of("README.txt").find("roost load --scenario scenario.json --processes 3\n"), std::string::npos) << text_of("README.txt");
}

TEST_F(LoadBundle, ItsScenarioAsksForTheSameLoad) {
  record_.options.stages[0].connections = 77;
  record_.options.stages[0].churn = {.amount = 0.01, .is_share = true};
  ASSERT_TRUE(add());
  EXPECT_TRUE(outputs_.write().empty());
  LoadOptions again;
  ASSERT_TRUE(parse_scenario(text_of("scenario.json"), again));
  EXPECT_EQ(scenario_of(again), scenario_of(record_.options));
}

TEST_F(LoadBundle, KeepsTheScenarioFileAsItWas) {
  const std::string given = "{ \"stages\": [{\"connections\": 5}]   }\n";
  record_.options.scenario_path = (folder_ / "mine.json").string();
  std::ofstream(record_.options.scenario_path) << given;
  ASSERT_TRUE(add());
  EXPECT_TRUE(outputs_.write().empty());
  EXPECT_EQ(text_of("given.json"), given);
}

TEST_F(LoadBundle, MachineJsonHasTheSettingsThatTheDoctorReads) {
  ASSERT_TRUE(add());
  EXPECT_TRUE(outputs_.write().empty());
  const auto machine = nlohmann::json::parse(text_of("machine.json"));
  EXPECT_TRUE(machine["machine"].contains("kernel")) << machine.dump(2);
  EXPECT_GT(machine["checks"].size(), 10u);
  EXPECT_TRUE(machine["checks"][0].contains("value"));
}

TEST_F(LoadBundle, AnEmptyFolderIsTakenAndAnyOtherRefused) {
  fs::create_directory(folder_ / "run");
  EXPECT_TRUE(add());
  const auto again = add();
  ASSERT_FALSE(again) << "it has files now";
  EXPECT_EQ(again.error(), "--record " + record_.options.record_path + ": it is there already and not empty; name a new folder");
}

TEST_F(LoadBundle, WhatCannotBeAFolderIsNamed) {
  record_.options.record_path = (folder_ / "no" / "where").string();
  EXPECT_NE(add().error().find("No such file or directory; name a folder"), std::string::npos);
  std::ofstream(folder_ / "file") << "x";
  record_.options.record_path = (folder_ / "file").string();
  EXPECT_NE(add().error().find("no folder; name a new one"), std::string::npos);
}

TEST_F(LoadBundle, ConditionsAreRepeatedToo) {
  record_.options.fail_if = parse_conditions("latency.p99 > 50ms, failed > 0").value();
  EXPECT_EQ(repeating_command(record_.options, record_.plan),
            "roost load --scenario scenario.json --processes 3 --fail-if 'latency.p99 > 50ms' --fail-if 'failed > 0'");
}

}  // namespace
}  // namespace roost::load
