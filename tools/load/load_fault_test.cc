#include "tools/load/fault.h"

#include <gtest/gtest.h>

#include "tools/load/figures.h"
#include "tools/load/plan.h"
#include "tools/load/scenario.h"

namespace roost::load {
namespace {

std::string refusal(std::string_view text) {
  const auto faults = parse_faults(text);
  return faults ? "accepted" : faults.error();
}

TEST(LoadFault, IsReadAsItIsWritten) {
  const auto faults = parse_faults("drip:5k,never-read:7,reset:10/20ms");
  ASSERT_TRUE(faults) << faults.error();
  EXPECT_EQ(*faults, (std::vector<Fault>{{FaultKind::drip, 5000, 1s}, {FaultKind::never_read, 7, 0s}, {FaultKind::reset, 10, 20ms}}));
  EXPECT_EQ((*faults)[0].to_string(), "drip:5000/1s");
  EXPECT_EQ((*faults)[1].to_string(), "never-read:7");
  EXPECT_EQ(parse_faults("none")->size(), 0u);
}

TEST(LoadFault, EveryKindIsKnownByItsName) {
  for (std::size_t i = 0; i < fault_kinds; ++i) {
    const auto kind = static_cast<FaultKind>(i);
    const auto faults = parse_faults(std::string(fault_name(kind)) + ":3");
    ASSERT_TRUE(faults) << faults.error();
    EXPECT_EQ((*faults)[0].kind, kind);
    EXPECT_FALSE(fault_meaning(kind).empty());
  }
}

TEST(LoadFault, WhatIsWrongIsNamedWithItsRemedy) {
  EXPECT_EQ(refusal("dripp:5"), "`dripp` is not a fault; known are silent, drip, pieces, oversize, never-read, half-open, reset, storm");
  EXPECT_EQ(refusal("drip"), "`drip` does not say how many; write drip:100");
  EXPECT_EQ(refusal("drip:0"), "`drip:0` has nobody who does it; write at least 1, or none in place of all");
  EXPECT_NE(refusal("drip:x").find("`x`"), std::string::npos);
  EXPECT_EQ(refusal("silent:5/1s"), "`silent:5/1s`: silent is done once; leave the / and what follows out");
  EXPECT_EQ(refusal("reset:5/10us"), "`reset:5/10us`: so often is more than a generator can do; write 1ms or longer");
  EXPECT_NE(refusal("reset:5/").find("``"), std::string::npos);
  EXPECT_EQ(refusal("drip:5,drip:6"), "`drip` is there twice; write one with the sum");
  EXPECT_NE(refusal("").find("is not a fault"), std::string::npos);
}

TEST(LoadFault, IsAKeyOfAStageAndPassesToTheNext) {
  LoadOptions options;
  const auto taken = parse_scenario(R"({"stages": [{"duration": "5s"}, {"fault": "drip:10"}, {}, {"fault": "none"}]})", options);
  ASSERT_TRUE(taken) << taken.error();
  EXPECT_TRUE(options.stages[0].faults.empty());
  EXPECT_EQ(options.stages[1].attackers(), 10u);
  EXPECT_EQ(options.stages[2].attackers(), 10u);
  EXPECT_EQ(options.stages[3].attackers(), 0u);
  EXPECT_EQ(options.attackers_max(), 10u);
}

TEST(LoadFault, NeedsARunThatIsLongEnough) {
  LoadOptions options;
  const auto none = parse_scenario(R"({"stages": [{"fault": "drip:10", "duration": "0s"}]})", options);
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().find("key `fault`: attackers come in the run"), std::string::npos) << none.error();
  Stage stage;
  stage.duration = 2s;
  stage.faults = {{FaultKind::storm, 10, 5s}};
  EXPECT_EQ(check_stage(stage, Protocol::line).error(),
            "--fault storm:10/5s: that is longer than the run, --duration 2s; give one of the two another time");
}

TEST(LoadFault, AttackersNeedDescriptorsAndPortsAsConnectionsDo) {
  LoadOptions options;
  options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
  options.stages[0].connections = 100;
  options.stages[0].faults = {{FaultKind::silent, 1000, 0s}};
  const auto plan = make_plan(options, {.descriptors_per_process = 564, .descriptors_on_machine = 1'000'000, .ports = {}});
  ASSERT_TRUE(plan) << plan.error();
  EXPECT_EQ(plan->processes, 1u);
  EXPECT_EQ(plan->attack_processes, 2u) << "of their own";
  options.stages[0].faults[0].attackers = 1'000'000;
  const auto none = make_plan(options, {.descriptors_per_process = 564, .descriptors_on_machine = 10'000'000, .ports = {}});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error(), "--fault: a process may open 564 descriptors, so 1,000,000 attackers would take 2000 processes; raise the limit (ulimit -Hn)");
}

TEST(LoadFault, AttackersHaveNoProcessesWhereNobodyAttacks) {
  LoadOptions options;
  options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
  const auto plan = make_plan(options, {.descriptors_per_process = 20'000, .descriptors_on_machine = 1'000'000, .ports = {}});
  ASSERT_TRUE(plan) << plan.error();
  EXPECT_EQ(plan->attack_processes, 0u);
}

TEST(LoadFaultFigures, AddUpAndTravel) {
  Figures one;
  one.faults.resize(2);
  one.faults[1].counts.opened = 5;
  one.faults[1].counts.open = 2;
  one.faults[1].causes["ECONNRESET"] = 3;
  one.faults[1].held.record(1000);
  one.faults[1].lateness.record(7);
  Figures sum;
  for (int i = 0; i < 2; ++i) {
    const auto decoded = Figures::decode(one.encode(true));
    ASSERT_TRUE(decoded);
    sum.merge(*decoded);
  }
  ASSERT_EQ(sum.faults.size(), 2u);
  EXPECT_EQ(sum.faults[1].counts.opened, 10u);
  EXPECT_EQ(sum.faults[1].counts.open, 4u);
  EXPECT_EQ(sum.faults[1].causes["ECONNRESET"], 6u);
  EXPECT_EQ(sum.faults[1].held.count(), 2u);
  EXPECT_EQ(sum.faults[1].lateness.count(), 2u);
  EXPECT_EQ(Figures::decode(one.encode(false))->faults[1].held.count(), 0u) << "on the way only counts are told";
}

}  // namespace
}  // namespace roost::load
