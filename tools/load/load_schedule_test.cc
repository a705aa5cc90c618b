#include "tools/load/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace roost::load {
namespace {

using namespace std::chrono_literals;
using Point = IntervalSchedule::Point;
constexpr std::int64_t s = 1'000'000'000;

TEST(LoadSchedule, PhasesSpreadEvenlyOverTheInterval) {
  const IntervalSchedule schedule(0, 30s, 1000, {});
  EXPECT_EQ(schedule.due_ns({0, 0}), 0);
  for (std::uint32_t i = 1; i < 1000; ++i) EXPECT_EQ(schedule.due_ns({0, i}) - schedule.due_ns({0, i - 1}), 30'000'000);
  const IntervalSchedule many(0, 1h, 100'000'000, {});
  EXPECT_LT(many.due_ns({0, 99'999'999}), std::chrono::nanoseconds(1h).count());
}

TEST(LoadSchedule, ProcessesSendInTurnAndTogetherEverything) {
  constexpr std::uint64_t processes = 3;
  std::vector<std::int64_t> all;
  for (std::uint64_t process = 0; process < processes; ++process) {
    const IntervalSchedule schedule(0, 1s, 10, {process, processes});
    EXPECT_EQ(schedule.connections(), process == 0 ? 4u : 3u);
    for (Point p{0, 0}; p.cycle == 0; p = schedule.next(p)) all.push_back(schedule.due_ns(p));
  }
  std::ranges::sort(all);
  ASSERT_EQ(all.size(), 10u);
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], static_cast<std::int64_t>(i) * s / 10);
}

TEST(LoadSchedule, TheNextPointIsTheNextInTime) {
  const IntervalSchedule schedule(5 * s, 1s, 7, {1, 2});
  std::int64_t before = 0;
  for (Point p{0, 0}; p.cycle < 5; p = schedule.next(p)) {
    EXPECT_GT(schedule.due_ns(p), before);
    before = schedule.due_ns(p);
    EXPECT_EQ(schedule.first_after(schedule.due_ns(p) - 1), p);
    EXPECT_EQ(schedule.first_after(schedule.due_ns(p)), schedule.next(p));
  }
  EXPECT_EQ(schedule.first_after(0), (Point{0, 0})) << "before the start";
}

TEST(LoadSchedule, TheFirstPingIsTheNextOneOfTheSchedule) {
  // Connection 7 of 30 with an interval of 30 s, from second 100 on: second 107, 137, ...
  const IntervalSchedule schedule(100 * s, 30s, 30, {});
  EXPECT_EQ(schedule.first_cycle_after(7, 90 * s), 0u);
  EXPECT_EQ(schedule.first_cycle_after(7, 106 * s), 0u);
  EXPECT_EQ(schedule.first_cycle_after(7, 107 * s), 1u);
  EXPECT_EQ(schedule.first_cycle_after(7, 200 * s), 4u);
  EXPECT_EQ(schedule.due_ns({4, 7}), 227 * s);
}

TEST(LoadSchedule, ATotalRateIsDealtOutOverProcesses) {
  const RateSchedule first(10 * s, 1000, {0, 2});
  const RateSchedule second(10 * s, 1000, {1, 2});
  EXPECT_EQ(first.due_ns(0), 10 * s);
  EXPECT_EQ(second.due_ns(0), 10 * s + 1'000'000);
  EXPECT_EQ(first.due_ns(500), 11 * s);
}

TEST(LoadSchedule, ExactlyTheActiveOnesAreActiveAndTheySpread) {
  for (const std::uint64_t active : {1u, 3u, 10u, 99u, 100u}) {
    std::uint64_t count = 0;
    for (std::uint64_t i = 0; i < 100; ++i) count += is_active(i, 100, active);
    EXPECT_EQ(count, active);
  }
  EXPECT_TRUE(is_active(5, 100, 0)) << "0 means all";
  std::uint64_t first_half = 0;
  for (std::uint64_t i = 0; i < 50; ++i) first_half += is_active(i, 100, 10);
  EXPECT_EQ(first_half, 5u);
}

}  // namespace
}  // namespace roost::load
