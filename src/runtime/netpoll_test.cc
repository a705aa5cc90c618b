#include "runtime/netpoll.h"

#include <gtest/gtest.h>

#include <limits>

namespace roost::detail {
namespace {

constexpr std::uint32_t most = std::numeric_limits<std::uint32_t>::max();

TEST(ReportAge, AWaitThatBeganAfterTheSleepTellsNews) {
  constexpr ReportAge report{.wait = 8, .is_unknown = false};
  EXPECT_FALSE(report.may_precede(7)) << "seven had begun: the eighth looked afterwards";
  EXPECT_FALSE(report.may_precede(0));
}

TEST(ReportAge, AWaitUnderWayMayHaveLookedBefore) {
  constexpr ReportAge report{.wait = 8, .is_unknown = false};
  EXPECT_TRUE(report.may_precede(8)) << "the eighth had begun";
  EXPECT_TRUE(report.may_precede(9)) << "another thread's look had begun since";
}

TEST(ReportAge, CountsWrapAround) {
  constexpr ReportAge first{.wait = 0, .is_unknown = false};
  EXPECT_FALSE(first.may_precede(most)) << "the next after the last number";
  EXPECT_TRUE(first.may_precede(0));
  EXPECT_TRUE(first.may_precede(1));
  constexpr ReportAge last{.wait = most, .is_unknown = false};
  EXPECT_FALSE(last.may_precede(most - 1));
  EXPECT_TRUE(last.may_precede(0)) << "one had begun after it";
}

TEST(ReportAge, WhereTheSystemTellsLateNothingIsNews) {
  constexpr ReportAge report{.wait = 8, .is_unknown = true};
  EXPECT_TRUE(report.may_precede(0));
}

}  // namespace
}  // namespace roost::detail
