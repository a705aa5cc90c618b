#include "tools/load/threshold.h"

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "tools/load/report.h"

namespace roost::load {
namespace {

std::string refusal(std::string_view text) {
  const auto parsed = parse_conditions(text);
  return parsed ? "" : parsed.error();
}

bool crossed(std::string_view text, const nlohmann::ordered_json& report) {
  const auto parsed = parse_conditions(text);
  EXPECT_TRUE(parsed.has_value()) << parsed.error();
  return parsed && judge(*parsed, report).front().is_crossed();
}

TEST(LoadThreshold, EveryNameIsANumberOfTheReport) {
  Record record;
  record.options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
  record.server = tools::ProcessUsage{};
  record.server_tcp = tools::TcpCounters{};
  record.options.stages[0].faults = {{FaultKind::drip, 10, 1s}};
  record.stages.resize(1);
  record.figures.faults.resize(1);
  const auto report = to_json(record);
  for (const Quantity& quantity : quantities()) {
    const nlohmann::ordered_json::json_pointer at(quantity.pointer);
    ASSERT_TRUE(report.contains(at)) << quantity.pointer;
    EXPECT_TRUE(report[at].is_number()) << quantity.pointer;
    if (!quantity.count_pointer.empty()) {
      EXPECT_TRUE(report.contains(nlohmann::ordered_json::json_pointer(quantity.count_pointer))) << quantity.count_pointer;
    }
  }
}

TEST(LoadThreshold, EveryNameIsDocumented) {
  std::ifstream file(ROOST_LOAD_PAGE);
  std::stringstream page;
  page << file.rdbuf();
  for (const Quantity& quantity : quantities()) {
    // A family of percentiles is described once.
    const std::string name = quantity.name.ends_with(".p50") ? quantity.name.substr(0, quantity.name.rfind('.')) : quantity.name;
    if (quantity.count_pointer.ends_with("/count") && !quantity.name.ends_with(".p50")) continue;
    EXPECT_NE(page.str().find("`" + name + "`"), std::string::npos) << name;
  }
}

TEST(LoadThreshold, SeveralConditionsWithUnitsAreUnderstood) {
  const auto parsed = parse_conditions("failed > 0, latency.p99 >= 50ms,server.bytes_per_connection>4KiB , machine.run_busy > 90%, latency_us.p999 != 1s");
  ASSERT_TRUE(parsed.has_value()) << parsed.error();
  ASSERT_EQ(parsed->size(), 5u);
  EXPECT_EQ((*parsed)[0].limit, 0);
  EXPECT_EQ((*parsed)[1].limit, 50'000);
  EXPECT_EQ((*parsed)[1].text, "latency.p99 >= 50ms");
  EXPECT_EQ((*parsed)[2].limit, 4096);
  EXPECT_DOUBLE_EQ((*parsed)[3].limit, 0.9);
  EXPECT_EQ((*parsed)[4].quantity->name, "latency.p999");
}

TEST(LoadThreshold, AnUnknownNameIsRefusedWithTheNearestOne) {
  EXPECT_NE(refusal("latency.p98 > 50ms").find("did you mean latency.p9"), std::string::npos) << refusal("latency.p98 > 50ms");
  EXPECT_NE(refusal("fialed > 0").find("did you mean failed?"), std::string::npos);
}

TEST(LoadThreshold, AWrongUnitOrNoConditionIsRefused) {
  EXPECT_NE(refusal("latency.p99 > 50").find("has no unit"), std::string::npos) << refusal("latency.p99 > 50");
  EXPECT_NE(refusal("failed > 5ms").find("5ms"), std::string::npos);
  EXPECT_NE(refusal("machine.run_busy > many").find("write 90% or 0.9"), std::string::npos);
  for (const char* text : {"", "failed", "failed 5", "failed >", "> 5", "failed > 0,", "failed > 0,,dropped > 0", "failed => 1", "failed ! 1"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
}

TEST(LoadThreshold, AConditionThatCannotBeMetOrMissedIsRefused) {
  EXPECT_NE(refusal("failed < 0").find("can never hold"), std::string::npos);
  EXPECT_NE(refusal("failed >= 0").find("always holds"), std::string::npos);
  EXPECT_NE(refusal("latency.p99 > 2h").find("can never hold"), std::string::npos) << "histograms end at 71 minutes";
  EXPECT_NE(refusal("machine.run_busy > 100%").find("can never hold"), std::string::npos);
  EXPECT_NE(refusal("machine.run_busy <= 1").find("always holds"), std::string::npos);
  EXPECT_EQ(refusal("machine.run_busy >= 100%"), "");
  EXPECT_EQ(refusal("failed > 0"), "");
}

TEST(LoadThreshold, WhatWillNotBeMeasuredIsRefused) {
  const auto server = parse_conditions("server.bytes_per_connection > 5000").value();
  EXPECT_TRUE(check_conditions(server, {}).has_value());
  EXPECT_NE(check_conditions(server, {.server = false}).error().find("--server-pid"), std::string::npos);
  const auto run = parse_conditions("latency.p99 > 5ms").value();
  EXPECT_NE(check_conditions(run, {.run = false}).error().find("--duration"), std::string::npos);
}

TEST(LoadThreshold, AConditionIsCrossedWhenItHolds) {
  const nlohmann::ordered_json report = {{"connections", {{"failed", 3}}}, {"latency_us", {{"count", 10}, {"p99", 50'000}}}};
  EXPECT_TRUE(crossed("failed > 2", report));
  EXPECT_FALSE(crossed("failed > 3", report));
  EXPECT_TRUE(crossed("failed >= 3", report));
  EXPECT_TRUE(crossed("failed < 4", report));
  EXPECT_TRUE(crossed("failed <= 3", report));
  EXPECT_TRUE(crossed("failed == 3", report));
  EXPECT_FALSE(crossed("failed != 3", report));
  EXPECT_FALSE(crossed("latency.p99 > 50ms", report));
  EXPECT_TRUE(crossed("latency.p99 > 49.9ms", report));
}

TEST(LoadThreshold, WhatWasNotMeasuredCountsAsCrossed) {
  const nlohmann::ordered_json report = {{"latency_us", {{"count", 0}, {"p99", 0}}}};
  EXPECT_TRUE(crossed("latency.p99 > 50ms", report));
  EXPECT_TRUE(crossed("server.rss > 5G", report));
}

}  // namespace
}  // namespace roost::load
