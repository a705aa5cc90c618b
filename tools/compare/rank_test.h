// The rank test of Mann, Whitney and Wilcoxon: do two groups of runs differ by more than chance would bring about?
//
// It looks at the order of the values alone, so one run that a busy machine spoilt counts as one run that was worse, however
// bad it was; nothing is assumed about how values are distributed, which for latencies would be wrong.
//
// The answer is exact and no approximation, as suits five runs a side: over all ways to deal the values at hand out to two groups of
// these sizes, how many are as far apart as what was seen. They are counted by the recurrence of H. B. Mann and D. R. Whitney (On a
// test of whether one of two random variables is stochastically larger than the other, Annals of Mathematical Statistics 18,
// 1947), over twice the middle ranks so that equal values need no special case (B. Streitberg and J. Röhmel, Exact distributions
// for permutation and rank tests, Statistical Software Newsletter 12, 1986).
#pragma once

#include <cstddef>
#include <span>

namespace roost::compare {

// In each group. The counting takes time with the fourth power of it: some 20 ms at 50.
inline constexpr std::size_t runs_max = 50;

struct RankTest {
  double u = 0;  // pairs of one value of each group in which the second group's is the greater; a half for equal ones
  double p = 1;  // two-sided
};

// Each group has 1 to runs_max values.
RankTest rank_test(std::span<const double> first, std::span<const double> second);

// The smallest p that groups of these sizes can show, by having no value of one among those of the other.
double least_p(std::size_t first, std::size_t second);

// In each of two groups of the same size, so that a difference can be shown with p <= level; 0: more than runs_max.
std::size_t runs_needed(double level);

}  // namespace roost::compare
