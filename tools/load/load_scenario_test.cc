#include "tools/load/scenario.h"

#include <gtest/gtest.h>

namespace roost::load {
namespace {

std::string refusal(std::string_view text) {
  LoadOptions options;
  const auto taken = parse_scenario(text, options);
  return taken ? "accepted" : taken.error();
}

// Of a scenario with one stage that holds `keys`.
std::string stage_refusal(const std::string& keys) { return refusal(R"({"stages": [{"name": "peak", )" + keys + "}]}"); }

TEST(LoadScenario, TakesEveryKeyOfAStage) {
  LoadOptions options;
  const auto taken = parse_scenario(R"({
    "target": ["127.0.0.1:8080", "127.0.0.2:8080"], "protocol": "length", "dial_timeout": "1s", "io_timeout": "2s",
    "sources": "127.0.1.1-127.0.1.4",
    "stages": [{"name": "peak", "connections": "20k", "rate": 5000, "ramp": "step:1000/1s", "closed_loop": true, "active": 50,
                "think_time": "10ms-20ms", "size": "64-128", "churn": "1%/s", "duration": "1m"}]})", options);
  ASSERT_TRUE(taken) << taken.error();
  EXPECT_EQ(options.target_names(), "127.0.0.1:8080,127.0.0.2:8080");
  EXPECT_EQ(options.protocol, Protocol::length);
  EXPECT_EQ(options.dial_timeout, 1s);
  EXPECT_EQ(options.io_timeout, 2s);
  ASSERT_TRUE(options.sources);
  EXPECT_EQ(options.sources->count, 4u);
  ASSERT_EQ(options.stages.size(), 1u);
  const Stage& stage = options.stages[0];
  EXPECT_EQ(stage.name, "peak");
  EXPECT_EQ(stage.connections, 20'000u);
  EXPECT_EQ(stage.ramp.shape, Ramp::Shape::step);
  EXPECT_EQ(stage.ramp.rate, 5000);
  EXPECT_TRUE(stage.is_closed_loop());
  EXPECT_EQ(stage.active, 50u);
  EXPECT_EQ(stage.think.highest, 20ms);
  EXPECT_EQ(stage.sizes.highest(), 128u);
  EXPECT_DOUBLE_EQ(stage.churn.per_second(20'000), 200);
  EXPECT_EQ(stage.duration, 60s);
}

TEST(LoadScenario, AStageTakesWhatItDoesNotSayFromTheOneBefore) {
  LoadOptions options;
  options.stages[0].ramp.rate = 77;
  const auto taken = parse_scenario(R"({"stages": [
    {"connections": 100, "closed_loop": true, "active": 10, "think_time": "5ms", "ramp": "burst:10/1s"},
    {"size": 100},
    {"interval": "1s", "ramp": "linear"},
    {"message_rate": 50, "connections": 20}]})", options);
  ASSERT_TRUE(taken) << taken.error();
  ASSERT_EQ(options.stages.size(), 4u);
  EXPECT_EQ(options.stages[0].ramp.rate, 77) << "the first from the command line";
  EXPECT_EQ(options.stages[1].connections, 100u);
  EXPECT_EQ(options.stages[1].active, 10u);
  EXPECT_EQ(options.stages[1].ramp.group, 10u);
  EXPECT_EQ(options.stages[1].name, "stage 2") << "but the name";
  EXPECT_EQ(options.stages[2].messages, MessageSchedule::interval);
  EXPECT_EQ(options.stages[2].active, 0u) << "what belongs to a closed loop ends with it";
  EXPECT_TRUE(options.stages[2].think.is_none());
  EXPECT_EQ(options.stages[2].ramp.shape, Ramp::Shape::linear);
  EXPECT_EQ(options.stages[2].ramp.rate, 77);
  EXPECT_EQ(options.stages[3].messages, MessageSchedule::rate);
  EXPECT_EQ(options.stages[3].message_rate, 50);
  EXPECT_EQ(options.connections_max(), 100u);
}

TEST(LoadScenario, AComplaintNamesStageKeyValueAndRemedy) {
  EXPECT_EQ(stage_refusal(R"("conections": 5)").substr(0, 70), "stage 1 `peak`: unknown key `conections` with value 5; known are name,");
  EXPECT_EQ(stage_refusal(R"("interval": "5x")"),
            "stage 1 `peak`: key `interval`: `5x` is not a duration; write it like 250ms, 30s, 5m or 1h30m");
  EXPECT_EQ(stage_refusal(R"("connections": true)"), "stage 1 `peak`: key `connections`: `true` is neither a text nor a number");
  EXPECT_EQ(stage_refusal(R"("connections": 5, "closed_loop": true, "active": 6)"),
            "stage 1 `peak`: key `active`: 6: there are only 5 connections; ask for no more of them");
  EXPECT_EQ(stage_refusal(R"("think_time": "5ms")"),
            "stage 1 `peak`: key `think_time`: only a closed loop thinks; add --closed-loop, or say it by --interval");
  EXPECT_EQ(stage_refusal(R"("interval": "5s", "message_rate": 6)"),
            "stage 1 `peak`: key `message_rate`: `interval` says already when messages are due; leave one of the two out");
}

TEST(LoadScenario, WhatIsNoScenarioIsRefused) {
  EXPECT_EQ(refusal("{\"stages\": [\n{,}]}").substr(0, 27), "not JSON at line 2, column ");
  for (const char* text : {"", "[]", "7", "{}", R"({"stages": []})", R"({"stages": {}})", R"({"stages": [5]})", R"({"stages": [{"name": 5}]})",
                           R"({"stage": [{}]})", R"({"target": 5, "stages": [{}]})", R"({"target": "nowhere", "stages": [{}]})",
                           R"({"protocol": "http", "stages": [{}]})", R"({"stages": [{"connections": -5}]})",
                           R"({"stages": [{"connections": 0}]})", R"({"stages": [{"closed_loop": false}]})",
                           R"({"stages": [{"size": 0}]})", R"({"stages": [{"ramp": "step:100/1s", "rate": 50}]})"}) {
    EXPECT_NE(refusal(text), "accepted") << text;
    EXPECT_EQ(refusal(text).find('\n'), std::string::npos) << text;
  }
  EXPECT_EQ(refusal(R"({"stages": [{}]})"), "accepted");
}

TEST(LoadScenario, AFileThatCannotBeReadIsNamed) {
  LoadOptions options;
  const auto taken = read_scenario("/nonexistent/scenario.json", options);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error(), "--scenario /nonexistent/scenario.json: No such file or directory; name a file that can be read");
}

}  // namespace
}  // namespace roost::load
