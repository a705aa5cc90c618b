#include "tools/load/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace roost::load {
namespace {

LoadOptions loopback(std::uint64_t connections) {
  LoadOptions options;
  options.targets = {{net::IpAddress::loopback_v4(), 8080}};
  options.stages[0].connections = connections;
  return options;
}

const MachineLimits machine{.descriptors_per_process = 20'000, .descriptors_on_machine = 2'000'000, .ports = {32768, 60999}};

TEST(LoadPlan, FewConnectionsToLoopbackNeedNothingSpecial) {
  const auto plan = make_plan(loopback(1000), machine);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->processes, 1u);
  EXPECT_FALSE(plan->sources);
}

TEST(LoadPlan, AMillionSpreadsOverProcessesAndSourceAddresses) {
  const auto plan = make_plan(loopback(1'000'000), machine);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->processes, 51u);
  ASSERT_TRUE(plan->sources);
  EXPECT_GE(std::uint64_t{plan->sources->count} * 28'232, 1'000'000u);
  EXPECT_EQ(plan->sources->first.to_string(), "127.0.1.1");
  std::uint64_t total = 0;
  for (unsigned process = 0; process < plan->processes; ++process) {
    EXPECT_LE(plan->connections_of(process, 1'000'000), 20'000u - 64);
    total += plan->connections_of(process, 1'000'000);
  }
  EXPECT_EQ(total, 1'000'000u);
}

TEST(LoadPlan, NeverHasMoreProcessesThanConnections) {
  LoadOptions options = loopback(3);
  options.processes = 8;
  EXPECT_EQ(make_plan(options, machine)->processes, 3u);
}

TEST(LoadPlan, WhatCannotWorkIsRefusedWithARemedy) {
  const auto refusal = [](const LoadOptions& options, const MachineLimits& limits) {
    const auto plan = make_plan(options, limits);
    return plan ? std::string("accepted") : plan.error();
  };
  LoadOptions options = loopback(100'000);
  options.processes = 2;
  EXPECT_NE(refusal(options, machine).find("--processes auto"), std::string::npos);

  options = loopback(100'000);
  options.sources = tools::parse_address_range("127.0.1.1-127.0.1.3").value();
  EXPECT_NE(refusal(options, machine).find("84,696 times, not 100,000; name 4 addresses"), std::string::npos) << refusal(options, machine);

  options = loopback(100'000);
  options.targets[0].address = net::IpAddress::v4(192, 0, 2, 1);
  EXPECT_NE(refusal(options, machine).find("--sources FIRST-LAST"), std::string::npos);

  options = loopback(3'000'000);
  EXPECT_NE(refusal(options, machine).find("fs.file-max"), std::string::npos);

  MachineLimits tiny = machine;
  tiny.descriptors_per_process = 100;
  EXPECT_NE(refusal(loopback(100'000), tiny).find("ulimit -Hn"), std::string::npos);
}

TEST(LoadPlan, TheLowestLimitIsTheOneNamed) {
  MachineLimits limits = machine;
  limits.memory_available_bytes = 4'000'000'000;
  LoadOptions options = loopback(1'000'000);
  options.processes = 2;
  EXPECT_NE(make_plan(options, limits).error().find("--processes 2"), std::string::npos);
  options.processes = 0;
  const std::string memory = make_plan(options, limits).error();
  EXPECT_NE(memory.find("ask for at most 404,"), std::string::npos) << memory;
  options.sources = tools::parse_address_range("127.0.1.1").value();
  EXPECT_NE(make_plan(options, limits).error().find("28,232 times"), std::string::npos);
}

TEST(LoadPlan, EachTargetHasPortsOfItsOwn) {
  LoadOptions options = loopback(50'000);
  options.sources = tools::parse_address_range("127.0.1.1").value();
  EXPECT_FALSE(make_plan(options, machine));
  options.targets.push_back({net::IpAddress::loopback_v4(), 8081});
  EXPECT_TRUE(make_plan(options, machine));
}

TEST(LoadPlan, ChurnNeedsPortsForWhatItCloses) {
  LoadOptions options = loopback(20'000);
  options.targets[0].address = net::IpAddress::v4(192, 0, 2, 1);
  EXPECT_TRUE(make_plan(options, machine));
  options.stages[0].churn = {.amount = 200};
  options.stages[0].duration = 30s;
  EXPECT_TRUE(make_plan(options, machine)) << "6,000 ports in TIME_WAIT and 20,000 in use";
  options.stages[0].duration = 60s;
  const auto refused = make_plan(options, machine);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find("32,000, 12,000 of them of closed connections"), std::string::npos) << refused.error();
}

TEST(LoadPlan, OptionsThatContradictEachOtherAreRefused) {
  const auto accepted = [](auto change) {
    LoadOptions options = loopback(10);
    change(options, options.stages[0]);
    return check_options(options).has_value();
  };
  using O = LoadOptions&;
  using S = Stage&;
  EXPECT_TRUE(accepted([](O, S) {}));
  EXPECT_FALSE(accepted([](O, S s) { s.connections = 0; }));
  EXPECT_FALSE(accepted([](O, S s) { s.ramp.rate = 0; }));
  EXPECT_FALSE(accepted([](O, S s) { s.ramp = {.shape = Ramp::Shape::step, .rate = 10, .group = 100, .every = 5s}; }));
  EXPECT_TRUE(accepted([](O, S s) { s.ramp = {.shape = Ramp::Shape::step, .rate = 20, .group = 100, .every = 5s}; }));
  EXPECT_FALSE(accepted([](O, S s) { s.sizes = Sizes(0); }));
  EXPECT_FALSE(accepted([](O, S s) { s.sizes = Sizes(message_bytes_limit + 1); }));
  EXPECT_FALSE(accepted([](O o, S s) { o.protocol = Protocol::length, s.sizes = Sizes(4); }));
  EXPECT_TRUE(accepted([](O o, S s) { o.protocol = Protocol::length, s.sizes = Sizes(5); }));
  EXPECT_FALSE(accepted([](O, S s) { s.interval = 0s; }));
  EXPECT_FALSE(accepted([](O, S s) { s.messages = MessageSchedule::rate; }));
  EXPECT_TRUE(accepted([](O, S s) { s.messages = MessageSchedule::rate, s.message_rate = 0.5; }));
  EXPECT_FALSE(accepted([](O o, S) { o.io_timeout = 0s; }));
  EXPECT_FALSE(accepted([](O o, S) { o.dial_timeout = 0s; }));
  EXPECT_FALSE(accepted([](O, S s) { s.active = 5; }));
  EXPECT_FALSE(accepted([](O, S s) { s.messages = MessageSchedule::closed_loop, s.active = 11; }));
  EXPECT_TRUE(accepted([](O, S s) { s.messages = MessageSchedule::closed_loop, s.active = 10; }));
  EXPECT_FALSE(accepted([](O, S s) { s.think = parse_think_time("1ms").value(); }));
  EXPECT_FALSE(accepted([](O, S s) { s.churn = {.amount = 11}; }));
  EXPECT_TRUE(accepted([](O, S s) { s.churn = {.amount = 0.5, .is_share = true}; }));
  EXPECT_FALSE(accepted([](O o, S) { o.sources = tools::parse_address_range("::1").value(); }));
  EXPECT_FALSE(accepted([](O o, S) { o.targets.push_back({net::IpAddress::loopback_v6(), 8080}); }));
}

TEST(LoadPlan, AnAddressOfAnotherMachineIsNoSource) {
  EXPECT_TRUE(check_sources(tools::parse_address_range("127.0.1.1-127.0.1.9").value()));
  const auto refused = check_sources(tools::parse_address_range("192.0.2.77").value());
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find("192.0.2.77"), std::string::npos);
}

}  // namespace
}  // namespace roost::load
