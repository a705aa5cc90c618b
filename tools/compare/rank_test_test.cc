#include "tools/compare/rank_test.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace roost::compare {
namespace {

using Values = std::vector<double>;

// Two groups without equal values, of m and n, of which `u` pairs have the second's value as the greater one.
std::pair<Values, Values> groups_with(std::size_t m, std::size_t n, std::size_t u) {
  // The second's are the lowest n; moving one past one of the first's adds a pair.
  std::vector<std::size_t> second(n);
  for (std::size_t i = 0; i < n; ++i) second[i] = i;
  for (std::size_t i = n; i-- > 0;) {
    const std::size_t moved = std::min(u, m);
    second[i] += moved;
    u -= moved;
  }
  std::pair<Values, Values> groups;
  for (std::size_t place = 0; place < m + n; ++place) {
    (std::ranges::find(second, place) != second.end() ? groups.second : groups.first).push_back(static_cast<double>(place));
  }
  return groups;
}

double p_of(std::size_t m, std::size_t n, std::size_t u) {
  const auto [first, second] = groups_with(m, n, u);
  const RankTest test = rank_test(first, second);
  EXPECT_EQ(test.u, u);
  return test.p;
}

TEST(RankTest, AgreesWithThePublishedTableOfCriticalValues) {
  // The largest U that is significant, two-sided, as tables of the Mann-Whitney test have it (for example in S. Siegel,
  // Nonparametric Statistics for the Behavioral Sciences, 1956, table K).
  struct Entry {
    double level;
    std::size_t m, n, u;
  };
  for (const auto& [level, m, n, u] : {Entry{0.05, 4, 4, 0}, {0.05, 5, 5, 2}, {0.05, 6, 6, 5}, {0.05, 7, 7, 8}, {0.05, 8, 8, 13}, {0.05, 10, 10, 23},
                                       {0.05, 15, 15, 64}, {0.05, 20, 20, 127}, {0.05, 3, 5, 0}, {0.05, 4, 6, 2}, {0.05, 5, 8, 6}, {0.05, 9, 12, 26},
                                       {0.05, 2, 8, 0}, {0.01, 5, 5, 0}, {0.01, 8, 8, 7}, {0.01, 10, 10, 16}, {0.01, 20, 20, 105}}) {
    EXPECT_LE(p_of(m, n, u), level) << m << ", " << n;
    EXPECT_GT(p_of(m, n, u + 1), level) << m << ", " << n;
  }
}

TEST(RankTest, GivesTheExactProbabilitiesThatCanBeCountedByHand) {
  // Of the 70 ways to choose 4 of 8 values, 1 has none of the others below it; twice that for both sides.
  EXPECT_DOUBLE_EQ(p_of(4, 4, 0), 2.0 / 70);
  EXPECT_DOUBLE_EQ(p_of(4, 4, 16), 2.0 / 70);
  EXPECT_DOUBLE_EQ(p_of(4, 4, 1), 4.0 / 70);
  EXPECT_DOUBLE_EQ(p_of(3, 3, 0), 2.0 / 20);
  EXPECT_DOUBLE_EQ(p_of(4, 4, 8), 1);
}

TEST(RankTest, AgreesWithAPublishedExample) {
  // M. Hollander and D. A. Wolfe, Nonparametric Statistical Methods, 1973, page 69: permeability of human membranes. One-sided
  // p = 0.1272 with 35 pairs.
  const Values at_term{0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46};
  const Values earlier{1.15, 0.88, 0.90, 0.74, 1.21};
  const RankTest test = rank_test(earlier, at_term);
  EXPECT_EQ(test.u, 35);
  EXPECT_NEAR(test.p, 2 * 0.1272, 0.0001);
}

// By going through all ways to choose, instead of counting them.
double p_by_trying_all(const Values& first, const Values& second) {
  Values all = first;
  all.insert(all.end(), second.begin(), second.end());
  const auto pairs = [&all](unsigned chosen) {
    double u = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      for (std::size_t j = 0; j < all.size(); ++j) {
        if ((chosen >> i & 1) != 0 && (chosen >> j & 1) == 0) u += all[j] > all[i] ? 1 : all[j] == all[i] ? 0.5 : 0;
      }
    }
    return u;
  };
  const double middle = static_cast<double>(first.size() * second.size()) / 2;
  const double seen = std::abs(pairs((1u << first.size()) - 1) - middle);
  double as_far = 0;
  double total = 0;
  for (unsigned chosen = 0; chosen < 1u << all.size(); ++chosen) {
    if (std::popcount(chosen) != static_cast<int>(first.size())) continue;
    ++total;
    if (std::abs(pairs(chosen) - middle) >= seen) ++as_far;
  }
  return as_far / total;
}

TEST(RankTest, EqualValuesAreCountedExactlyToo) {
  std::mt19937 random(20'261'126);
  for (int round = 0; round < 60; ++round) {
    Values first(1 + random() % 5);
    Values second(1 + random() % 6);
    for (Values* group : {&first, &second}) {
      for (double& value : *group) value = static_cast<double>(random() % 5);
    }
    EXPECT_NEAR(rank_test(first, second).p, p_by_trying_all(first, second), 1e-12) << "round " << round << " of seed 20261126";
  }
}

TEST(RankTest, GroupsThatAreAllEqualShowNothing) {
  const RankTest test = rank_test(Values{7, 7, 7, 7}, Values{7, 7, 7, 7, 7});
  EXPECT_EQ(test.p, 1);
  EXPECT_EQ(test.u, 10) << "each of the 20 pairs counts a half";
}

TEST(RankTest, AnswersForTheLargestGroupsToo) {
  const double p = p_of(runs_max, runs_max, 0);
  EXPECT_NEAR(p / least_p(runs_max, runs_max), 1, 1e-9);
  EXPECT_GT(p, 0);
}

TEST(RankTest, FourRunsASideAreNeededAtFivePercentAndFiveAtOne) {
  EXPECT_EQ(runs_needed(0.05), 4u);
  EXPECT_EQ(runs_needed(0.01), 5u);
  EXPECT_DOUBLE_EQ(least_p(3, 3), 0.1);
  EXPECT_DOUBLE_EQ(least_p(4, 4), 2.0 / 70);
  EXPECT_EQ(least_p(1, 1), 1);
  EXPECT_EQ(runs_needed(1e-300), 0u);
}

}  // namespace
}  // namespace roost::compare
