#include "tools/load/asked.h"

#include <gtest/gtest.h>

#include "tools/load/scenario.h"

namespace roost::load {
namespace {

// What a scenario text asks for, put into words again.
nlohmann::ordered_json asked_again(const std::string& text) {
  LoadOptions options;
  const auto taken = parse_scenario(text, options);
  EXPECT_TRUE(taken) << text << ": " << taken.error();
  return scenario_of(options);
}

nlohmann::ordered_json stage_again(const std::string& keys) { return asked_again(R"({"stages": [{)" + keys + "}]}")["stages"][0]; }

TEST(LoadAsked, ASimpleLoadIsAScenarioOfOneStageWithAllItsKeys) {
  LoadOptions options;
  options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
  EXPECT_EQ(scenario_of(options).dump(),
            R"({"target":["127.0.0.1:8080"],"protocol":"line","dial_timeout":"10s","io_timeout":"5s","stages":[{"name":"load",)"
            R"("connections":1000,"rate":1000,"ramp":"linear","interval":"30s","size":"64","churn":"0/s","fault":"none","duration":"30s"}]})");
}

TEST(LoadAsked, EveryKeyIsWrittenAsItWouldBeTyped) {
  for (const char* keys : {R"("ramp":"step:1000/1500ms")", R"("ramp":"burst:10/2s")", R"("interval":"100ms")", R"("message_rate":2500)",
                           R"("message_rate":"0.25")", R"("rate":"0.001")", R"("think_time":"10ms","closed_loop":true)",
                           R"("think_time":"10ms-1s","closed_loop":true)", R"("think_time":"exp:20ms","closed_loop":true,"active":7)",
                           R"("size":"64-4096")", R"("size":"64:90,100-4096:9.5,65536:0.5")", R"("churn":"7%/s")", R"("churn":"10%/m")",
                           R"("churn":"200/s")", R"("churn":"25/m")", R"("fault":"drip:100/1s,silent:5")", R"("duration":"0")"}) {
    const auto asked = nlohmann::json::parse("{" + std::string(keys) + "}");
    const auto again = stage_again(keys);
    for (const auto& [key, value] : asked.items()) EXPECT_EQ(again[key], value) << keys;
  }
}

TEST(LoadAsked, APriorityIsAskedForWhereSomebodyAttacks) {
  EXPECT_EQ(asked_again(R"({"attack_nice": 5, "stages": [{"fault": "drip:10"}]})")["attack_nice"], 5);
  EXPECT_EQ(asked_again(R"({"stages": [{"fault": "drip:10"}]})")["attack_nice"], 19);
  EXPECT_FALSE(asked_again(R"({"attack_nice": 5, "stages": [{}]})").contains("attack_nice")) << "nobody attacks";
}

TEST(LoadAsked, WhatWasWrittenAsksForTheSameAgain) {
  for (const char* text : {R"({"stages": [{"churn": "33.3333333%/m", "rate": 1234.5678, "interval": "1234567ns"}]})",
                           R"({"target": ["127.0.0.1:1", "[::1]:2"], "protocol": "length", "sources": "127.0.1.1-127.0.1.9", "dial_timeout": "1s500ms",
                              "stages": [{"connections": 10}]})",
                           R"({"sources": "127.0.1.1", "stages": [
                              {"connections": 100, "closed_loop": true, "active": 10, "think_time": "5ms", "ramp": "burst:10/1s", "fault": "reset:10/20ms"},
                              {"name": "all", "active": 0, "think_time": "0", "fault": "none"},
                              {"interval": "1s", "ramp": "linear", "churn": "1%/s"},
                              {"message_rate": 50, "connections": 20, "churn": "0"}]})"}) {
    const auto once = asked_again(text);
    EXPECT_EQ(asked_again(once.dump()), once) << once.dump(2);
  }
}

TEST(LoadAsked, NothingIsTakenFromAStageBeforeOrACommandLine) {
  const auto asked = asked_again(R"({"stages": [{"closed_loop": true, "active": 5, "churn": "5%/s", "size": 100}, {"active": 0, "churn": "0", "size": 64}]})");
  LoadOptions other;
  other.stages[0].sizes = Sizes(999);
  other.stages[0].churn = {.amount = 3};
  ASSERT_TRUE(parse_scenario(nlohmann::ordered_json{{"stages", {asked["stages"][1]}}}.dump(), other));
  EXPECT_EQ(other.stages[0].active, 0u);
  EXPECT_EQ(other.stages[0].sizes.highest(), 64u);
  EXPECT_EQ(other.stages[0].churn.amount, 0);
}

}  // namespace
}  // namespace roost::load
