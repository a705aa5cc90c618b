#include "base/clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include <roost/time/deadline.h>

namespace roost {
namespace {

using namespace std::chrono_literals;
using base::ManualClock;

TEST(Clock, FollowsTheSteadyClock) {
  const auto before = std::chrono::steady_clock::now().time_since_epoch().count();
  const auto now = base::now_ns();
  const auto after = std::chrono::steady_clock::now().time_since_epoch().count();
  EXPECT_LE(before, now);
  EXPECT_LE(now, after);
}

TEST(Clock, TheCoarseClockIsNeverAheadAndAtMostATickBehind) {
  EXPECT_GT(base::coarse_tick_ns(), 0);
  // The best over several ticks: one may come late, or the thread may lose its processor between the two readings.
  std::int64_t behind_least = base::never_ns;
  std::int64_t last = 0;
  for (int ticks = 0; ticks < 5;) {
    const auto coarse = base::coarse_now_ns();
    const auto now = base::now_ns();
    ASSERT_LE(coarse, now);
    behind_least = std::min(behind_least, now - coarse);
    if (coarse != last) ++ticks;
    last = coarse;
  }
  EXPECT_LE(behind_least, base::coarse_tick_ns());
}

TEST(Clock, SaturatesAtBothEnds) {
  constexpr auto lowest = std::numeric_limits<std::int64_t>::min();
  EXPECT_EQ(base::saturating_add(1, 2), 3);
  EXPECT_EQ(base::saturating_add(base::never_ns - 1, 1), base::never_ns);
  EXPECT_EQ(base::saturating_add(base::never_ns - 1, 2), base::never_ns);
  EXPECT_EQ(base::saturating_add(1, base::never_ns), base::never_ns);
  EXPECT_EQ(base::saturating_add(lowest + 1, -2), lowest);
  EXPECT_EQ(base::saturating_add(-2, lowest), lowest);
}

TEST(ManualClock, StandsStillUntilItIsStepped) {
  EXPECT_FALSE(ManualClock::installed());
  {
    ManualClock clock(1'000);
    EXPECT_TRUE(ManualClock::installed());
    EXPECT_EQ(base::now_ns(), 1'000);
    EXPECT_EQ(base::now_ns(), 1'000);
    clock.advance_ns(50);
    EXPECT_EQ(base::now_ns(), 1'050);
    EXPECT_EQ(base::coarse_now_ns(), 1'050);
  }
  EXPECT_FALSE(ManualClock::installed());
  EXPECT_GT(base::now_ns(), 1'050);
}

TEST(ManualClock, CallsTheHookAfterEachStep) {
  static std::int64_t seen_ns = 0;
  ManualClock clock(10);
  ManualClock::set_on_advance([]() noexcept { seen_ns = base::now_ns(); });
  clock.advance_ns(5);
  EXPECT_EQ(seen_ns, 15);
  ManualClock::set_on_advance(nullptr);
  clock.advance_ns(5);
  EXPECT_EQ(seen_ns, 15);
}

TEST(ManualClockDeathTest, TwoAtOnceAreAMistake) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        ManualClock first;
        ManualClock second;
      },
      "two manual clocks at once");
}

TEST(Deadline, ADefaultOneNeverPasses) {
  EXPECT_TRUE(Deadline().is_none());
  EXPECT_EQ(Deadline(), Deadline::none());
  EXPECT_FALSE(Deadline::none().has_passed());
  EXPECT_EQ(Deadline::none().remaining(), std::chrono::nanoseconds::max());
}

TEST(Deadline, PassesExactlyAtItsPoint) {
  ManualClock clock;
  const Deadline deadline = Deadline::after(10ns);
  clock.advance_ns(9);
  EXPECT_FALSE(deadline.has_passed());
  EXPECT_EQ(deadline.remaining(), 1ns);
  clock.advance_ns(1);
  EXPECT_TRUE(deadline.has_passed());
  EXPECT_EQ(deadline.remaining(), 0ns);
  clock.advance_ns(1);
  EXPECT_EQ(deadline.remaining(), 0ns);
}

TEST(Deadline, ZeroAndNegativeSpansHavePassedAlready) {
  EXPECT_TRUE(Deadline::after(0ns).has_passed());
  EXPECT_TRUE(Deadline::after(-1s).has_passed());
  EXPECT_TRUE(Deadline::after(std::chrono::nanoseconds::min()).has_passed());
  EXPECT_TRUE(Deadline::past().has_passed());
}

TEST(Deadline, ASpanTooLongForTheClockMeansNone) {  // DL-33, DI-02
  EXPECT_TRUE(Deadline::after(std::chrono::nanoseconds::max()).is_none());
  EXPECT_TRUE(Deadline::after(std::chrono::hours::max()).is_none());
  EXPECT_TRUE(Deadline::after(std::chrono::years(1'000)).is_none());
  EXPECT_TRUE(Deadline::after(std::chrono::duration<double>(1e30)).is_none());
  EXPECT_TRUE(Deadline::after(std::chrono::nanoseconds::max() - 1ns).is_none());
  EXPECT_FALSE(Deadline::after(std::chrono::years(100)).is_none());
  EXPECT_TRUE(Deadline::after(std::chrono::hours::min()).has_passed());
}

TEST(Deadline, AFractionOfANanosecondIsNotNegative) {
  ManualClock clock;
  EXPECT_EQ(Deadline::after(std::chrono::duration<double, std::micro>(1.5)).remaining(), 1'500ns);
}

TEST(Deadline, IsAPointOnTheSteadyClock) {
  const auto when = std::chrono::steady_clock::now() + 1h;
  EXPECT_EQ(Deadline::at(when).ns(), when.time_since_epoch().count());
  EXPECT_LT(Deadline::at(when), Deadline::at(when + 1ns));
  EXPECT_LT(Deadline::at(when), Deadline::none());
}

}  // namespace
}  // namespace roost
