#include "tools/load/stage.h"

#include <gtest/gtest.h>

#include <map>

namespace roost::load {
namespace {

// Some 64-bit numbers that lie evenly over the whole range.
template <class F>
void for_even_bits(int count, F each) {
  for (int i = 0; i < count; ++i) each(static_cast<std::uint64_t>(i) * (~std::uint64_t{0} / static_cast<std::uint64_t>(count)));
}

template <class T>
std::string refusal(const tools::Parsed<T>& parsed) {
  return parsed ? "accepted" : parsed.error();
}

TEST(LoadStage, ALinearRampOpensAtItsRate) {
  const Ramp ramp{.rate = 200};
  EXPECT_EQ(ramp.offset_ns(0), 0);
  EXPECT_EQ(ramp.offset_ns(1), 5'000'000);
  EXPECT_EQ(ramp.offset_ns(1000), 5'000'000'000);
  EXPECT_EQ(ramp.mean_rate(), 200);
}

TEST(LoadStage, AStepOpensAGroupAtTheRateAndPauses) {
  Ramp ramp = parse_ramp("step:10k/5s").value();
  ramp.rate = 20'000;
  EXPECT_EQ(ramp.offset_ns(0), 0);
  EXPECT_EQ(ramp.offset_ns(9'999), 499'950'000) << "half a second of opening";
  EXPECT_EQ(ramp.offset_ns(10'000), 5'000'000'000) << "the next step";
  EXPECT_EQ(ramp.mean_rate(), 2000);
}

TEST(LoadStage, ABurstOpensItsGroupAtOnce) {
  const Ramp ramp = parse_ramp("burst:5000/2s").value();
  EXPECT_EQ(ramp.offset_ns(0), 0);
  EXPECT_EQ(ramp.offset_ns(4'999), 0);
  EXPECT_EQ(ramp.offset_ns(5'000), 2'000'000'000);
  EXPECT_EQ(ramp.describe(), "bursts of 5,000 every 2s");
}

TEST(LoadStage, ARampThatIsNoneIsRefused) {
  for (const char* text : {"", "steps:5/5s", "step", "step:", "step:10", "step:10/", "step:x/5s", "step:10/5", "burst:0/5s", "burst:10/0"}) {
    EXPECT_NE(refusal(parse_ramp(text)), "accepted") << text;
  }
  EXPECT_EQ(refusal(parse_ramp("stairs:1/5s")), "`stairs:1/5s` is not a ramp; write linear, step:10000/5s or burst:5000/2s");
}

TEST(LoadStage, ThinkTimesKeepToTheirMean) {
  for (const char* text : {"20ms", "10ms-30ms", "exp:20ms"}) {
    const ThinkTime think = parse_think_time(text).value();
    double sum = 0;
    for_even_bits(10'000, [&](std::uint64_t bits) { sum += static_cast<double>(think.pick_ns(bits)); });
    EXPECT_NEAR(sum / 10'000, 20e6, 0.05e6) << text;
    EXPECT_EQ(think.mean, 20ms) << text;
  }
  const ThinkTime range = parse_think_time("10ms-30ms").value();
  EXPECT_EQ(range.pick_ns(0), 10'000'000);
  EXPECT_LE(range.pick_ns(~std::uint64_t{0}), 30'000'000);
  EXPECT_EQ(parse_think_time("exp:20ms").value().pick_ns(0), 0) << "and never negative or endless:";
  EXPECT_LT(parse_think_time("exp:20ms").value().pick_ns(~std::uint64_t{0}), 1'000'000'000);
  for (const char* text : {"", "5", "30ms-10ms", "10ms-", "exp:", "exp:-5ms", "normal:5ms"}) {
    EXPECT_NE(refusal(parse_think_time(text)), "accepted") << text;
  }
}

TEST(LoadStage, AMixOfSizesComesInItsShares) {
  const Sizes sizes = parse_sizes("64:90,4KiB:9,65536:1").value();
  std::map<std::uint64_t, int> seen;
  for_even_bits(10'000, [&](std::uint64_t bits) { ++seen[sizes.pick(bits)]; });
  EXPECT_EQ(seen.size(), 3u);
  EXPECT_NEAR(seen[64], 9000, 2);
  EXPECT_NEAR(seen[4096], 900, 2);
  EXPECT_NEAR(seen[65536], 100, 2);
  EXPECT_NEAR(sizes.mean(), 64 * 0.9 + 4096 * 0.09 + 65536 * 0.01, 1e-6);
  EXPECT_EQ(sizes.lowest(), 64u);
  EXPECT_EQ(sizes.highest(), 65'536u);
  EXPECT_EQ(sizes.describe(), "64 (90 %), 4,096 (9 %), 65,536 (1 %) bytes");
}

TEST(LoadStage, ARangeOfSizesReachesBothEnds) {
  const Sizes sizes = parse_sizes("10-13").value();
  std::map<std::uint64_t, int> seen;
  for_even_bits(4000, [&](std::uint64_t bits) { ++seen[sizes.pick(bits)]; });
  ASSERT_EQ(seen.size(), 4u);
  for (const auto& [size, times] : seen) EXPECT_NEAR(times, 1000, 2) << size;
  EXPECT_EQ(sizes.pick(~std::uint64_t{0}), 13u);
  EXPECT_EQ(parse_sizes("1-2:1,5-6:3").value().mean(), (1.5 + 3 * 5.5) / 4);
}

TEST(LoadStage, SizesThatAreNoneAreRefused) {
  for (const char* text : {"", "x", "64-", "-64", "100-50", "64,128", "64:", "64:0", "64:1,", "64:1,128", "64:x"}) {
    EXPECT_NE(refusal(parse_sizes(text)), "accepted") << text;
  }
  EXPECT_TRUE(parse_sizes("4KiB").value().is_fixed());
}

TEST(LoadStage, ChurnIsAShareOrANumberASecond) {
  EXPECT_DOUBLE_EQ(parse_churn("5%/s").value().per_second(1000), 50);
  EXPECT_DOUBLE_EQ(parse_churn("200/s").value().per_second(1000), 200);
  EXPECT_DOUBLE_EQ(parse_churn("120/m").value().per_second(7), 2);
  EXPECT_DOUBLE_EQ(parse_churn("60%/m").value().per_second(1000), 10);
  EXPECT_DOUBLE_EQ(parse_churn("0").value().per_second(1000), 0);
  for (const char* text : {"", "5", "5%", "5/h", "%/s", "x/s"}) EXPECT_NE(refusal(parse_churn(text)), "accepted") << text;
}

TEST(LoadStage, SaysHowManyMessagesWereAskedFor) {
  Stage stage;
  stage.connections = 3000;
  EXPECT_EQ(stage.requested_message_rate(), 100);
  stage.messages = MessageSchedule::rate;
  stage.message_rate = 5000;
  EXPECT_EQ(stage.requested_message_rate(), 5000);
  EXPECT_EQ(stage.describe_messages(), "5,000 a second over all connections");
  stage.messages = MessageSchedule::closed_loop;
  EXPECT_EQ(stage.requested_message_rate(), std::nullopt);
  EXPECT_EQ(stage.active_connections(), 3000u);
}

}  // namespace
}  // namespace roost::load
