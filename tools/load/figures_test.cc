#include "tools/load/figures.h"

#include <gtest/gtest.h>

namespace roost::load {
namespace {

Figures sample(std::uint64_t seed) {
  Figures figures;
  figures.counters.requested = seed;
  figures.counters.established = seed + 1;
  figures.counters.last_established_ns = static_cast<std::int64_t>(seed * 7);
  figures.failures["ECONNREFUSED"] = seed;
  if (seed % 2 == 0) figures.failures["timed_out"] = 2 * seed;
  for (std::size_t i = 0; i < Figures::kinds; ++i) figures.histograms[i].record_n(10 * i + seed, seed);
  figures.stages.resize(2);
  figures.stages[1].counts.run_sent = seed;
  figures.stages[1].counts.last_established_ns = static_cast<std::int64_t>(seed * 5);
  figures.stages[1].latency.record_n(100 + seed, seed);
  figures.targets.resize(3);
  figures.targets[2].established = seed;
  return figures;
}

TEST(LoadFigures, ReadBackAsWritten) {
  const Figures figures = sample(4);
  const auto copy = Figures::decode(figures.encode(true));
  ASSERT_TRUE(copy);
  EXPECT_EQ(copy->counters.established, 5u);
  EXPECT_EQ(copy->failures, figures.failures);
  EXPECT_EQ(copy->histograms, figures.histograms);
  ASSERT_EQ(copy->stages.size(), 2u);
  EXPECT_EQ(copy->stages[1].counts.run_sent, 4u);
  EXPECT_EQ(copy->stages[1].latency, figures.stages[1].latency);
  ASSERT_EQ(copy->targets.size(), 3u);
  EXPECT_EQ(copy->targets[2].established, 4u);
}

TEST(LoadFigures, ProgressCarriesOnlyTheRecentHistogram) {
  const auto copy = Figures::decode(sample(4).encode(false));
  ASSERT_TRUE(copy);
  EXPECT_EQ(copy->histograms[Figures::recent_run], sample(4).histograms[Figures::recent_run]);
  EXPECT_TRUE(copy->histograms[Figures::run].empty());
  EXPECT_EQ(copy->failures.size(), 2u);
  EXPECT_EQ(copy->stages[1].counts.run_sent, 4u);
  EXPECT_TRUE(copy->stages[1].latency.empty());
}

TEST(LoadFigures, AddUpOverProcesses) {
  Figures sum = sample(3);
  sum.merge(sample(4));
  EXPECT_EQ(sum.counters.requested, 7u);
  EXPECT_EQ(sum.counters.last_established_ns, 28);
  EXPECT_EQ(sum.failures["ECONNREFUSED"], 7u);
  EXPECT_EQ(sum.failures["timed_out"], 8u);
  EXPECT_EQ(sum.histograms[Figures::run].count(), 7u);
  EXPECT_EQ(sum.stages[1].counts.run_sent, 7u);
  EXPECT_EQ(sum.stages[1].counts.last_established_ns, 20);
  EXPECT_EQ(sum.stages[1].latency.count(), 7u);
  EXPECT_EQ(sum.targets[2].established, 7u);
}

TEST(LoadFigures, HalfAFrameIsRefused) {
  const std::string good = sample(4).encode(true);
  for (std::size_t length = 0; length < good.size(); ++length) EXPECT_FALSE(Figures::decode(good.substr(0, length))) << length;
}

}  // namespace
}  // namespace roost::load
