#include "tools/compare/rank_test.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace roost::compare {
namespace {

// Of each value of both groups, the first group's in front, twice its rank among all: equal values share the middle of theirs.
std::vector<std::size_t> doubled_ranks(std::span<const double> first, std::span<const double> second) {
  std::vector<double> all(first.begin(), first.end());
  all.insert(all.end(), second.begin(), second.end());
  std::vector<double> sorted = all;
  std::ranges::sort(sorted);
  std::vector<std::size_t> ranks;
  for (const double value : all) {
    const auto [from, to] = std::ranges::equal_range(sorted, value);
    // Ranks from .. to - 1, counted from 1: twice their mean is the sum of the first and the last.
    ranks.push_back(static_cast<std::size_t>((from - sorted.begin()) + 1 + (to - sorted.begin())));
  }
  return ranks;
}

}  // namespace

RankTest rank_test(std::span<const double> first, std::span<const double> second) {
  const std::size_t chosen = first.size();
  const std::size_t all = first.size() + second.size();
  const std::vector<std::size_t> ranks = doubled_ranks(first, second);

  // ways[k][sum]: how many sets of k of the values have ranks of that (doubled) sum. Doubles count exactly up to 2^53, and beyond
  // that, from 28 runs a side on, to 16 digits.
  std::size_t sum_max = 0;
  for (const std::size_t rank : ranks) sum_max += rank;
  std::vector<std::vector<double>> ways(chosen + 1, std::vector<double>(sum_max + 1, 0));
  ways[0][0] = 1;
  for (std::size_t i = 0; i < all; ++i) {
    for (std::size_t k = std::min(chosen, i + 1); k > 0; --k) {
      for (std::size_t sum = sum_max; sum >= ranks[i]; --sum) ways[k][sum] += ways[k - 1][sum - ranks[i]];
    }
  }

  std::size_t seen = 0;
  for (std::size_t i = 0; i < chosen; ++i) seen += ranks[i];
  // All ranks together are all * (all + 1) when doubled, so this is the mean of the sums, a whole number.
  const std::size_t mean = chosen * (all + 1);
  const auto from_mean = [mean](std::size_t sum) { return sum > mean ? sum - mean : mean - sum; };
  double as_far = 0;
  double total = 0;
  for (std::size_t sum = 0; sum <= sum_max; ++sum) {
    total += ways[chosen][sum];
    if (from_mean(sum) >= from_mean(seen)) as_far += ways[chosen][sum];
  }
  const auto m = static_cast<double>(first.size());
  const auto n = static_cast<double>(second.size());
  // The first group's rank sum tells in how many pairs its value is the greater one; the others are the second's.
  const double of_first = static_cast<double>(seen) / 2 - m * (m + 1) / 2;
  return {m * n - of_first, as_far / total};
}

double least_p(std::size_t first, std::size_t second) {
  double ways = 1;  // to choose `first` of all
  for (std::size_t i = 1; i <= first; ++i) ways *= static_cast<double>(second + i) / static_cast<double>(i);
  return std::min(1.0, 2 / ways);
}

std::size_t runs_needed(double level) {
  for (std::size_t runs = 1; runs <= runs_max; ++runs) {
    if (least_p(runs, runs) <= level) return runs;
  }
  return 0;
}

}  // namespace roost::compare
