#include "tools/load/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace roost::load {
namespace {

TEST(Histogram, BucketsCoverEveryValueOnceAndAreNarrow) {
  std::uint64_t expected_lowest = 0;
  for (std::size_t i = 0; i < Histogram::bucket_count; ++i) {
    const std::uint64_t lowest = Histogram::bucket_lowest(i);
    const std::uint64_t highest = Histogram::bucket_highest(i);
    ASSERT_EQ(lowest, expected_lowest) << i;
    ASSERT_EQ(Histogram::bucket_of(lowest), i);
    ASSERT_EQ(Histogram::bucket_of(highest), i);
    ASSERT_LE(highest - lowest, lowest / 128) << i;
    expected_lowest = highest + 1;
  }
  EXPECT_EQ(expected_lowest - 1, Histogram::value_max);
  EXPECT_EQ(Histogram::bucket_of(~std::uint64_t{0}), Histogram::bucket_count - 1);
}

TEST(Histogram, AnEmptyOneAnswersZeros) {
  const Histogram empty;
  EXPECT_EQ(empty.count(), 0u);
  EXPECT_EQ(empty.min(), 0u);
  EXPECT_EQ(empty.max(), 0u);
  EXPECT_EQ(empty.percentile(0.99), 0u);
  EXPECT_EQ(empty.mean(), 0);
}

TEST(Histogram, PercentilesAreWithinOnePercentAboveTheTruth) {
  std::mt19937_64 random(4711);
  std::lognormal_distribution<double> latency(6, 2);
  std::vector<std::uint64_t> values;
  Histogram histogram;
  for (int i = 0; i < 200'000; ++i) {
    const auto value = std::min<std::uint64_t>(static_cast<std::uint64_t>(latency(random)), Histogram::value_max);
    values.push_back(value);
    histogram.record(value);
  }
  std::sort(values.begin(), values.end());
  for (const double fraction : {0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 0.99999, 1.0}) {
    const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(fraction * static_cast<double>(values.size()))));
    const std::uint64_t truth = values[rank - 1];
    const std::uint64_t answer = histogram.percentile(fraction);
    EXPECT_GE(answer, truth) << fraction;
    EXPECT_LE(static_cast<double>(answer), static_cast<double>(truth) * 1.01 + 1) << fraction;
  }
  EXPECT_EQ(histogram.min(), values.front());
  EXPECT_EQ(histogram.max(), values.back());
}

TEST(Histogram, MergingPartsEqualsRecordingTheWhole) {
  std::mt19937_64 random(42);
  Histogram whole;
  Histogram parts[5];
  for (int i = 0; i < 50'000; ++i) {
    const std::uint64_t value = random() >> (random() % 60);
    whole.record(value);
    parts[i % 5].record(value);
  }
  Histogram merged;
  for (const Histogram& part : parts) {
    const auto copy = Histogram::decode(part.encode());
    ASSERT_TRUE(copy);
    EXPECT_EQ(*copy, part);
    merged.merge(*copy);
  }
  EXPECT_EQ(merged, whole);
}

TEST(Histogram, EncodingIsSparse) {
  Histogram histogram;
  EXPECT_LE(histogram.encode().size(), 16u);
  for (std::uint64_t value = 80; value < 120; ++value) histogram.record_n(value, 100);
  EXPECT_LE(histogram.encode().size(), 16u + 2 * 40);
}

TEST(Histogram, DecodeRefusesBytesThatAreNoHistogram) {
  Histogram histogram;
  for (std::uint64_t value = 1; value < 100'000'000; value *= 3) histogram.record(value);
  const std::string good = histogram.encode();
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(Histogram::decode(good.substr(0, length))) << length;
  }
  EXPECT_FALSE(Histogram::decode(good + '\x01'));
  EXPECT_FALSE(Histogram::decode(std::string(100, '\xff')));
  std::mt19937 random(7);
  for (int i = 0; i < 10'000; ++i) {
    std::string noise(random() % 64, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    (void)Histogram::decode(noise);  // must not crash or write out of bounds
  }
}

TEST(Histogram, ClearForgetsEverything) {
  Histogram histogram;
  histogram.record(5);
  histogram.clear();
  EXPECT_EQ(histogram, Histogram());
}

}  // namespace
}  // namespace roost::load
