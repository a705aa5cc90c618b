// A log-linear histogram (the layout of HdrHistogram) of times in microseconds.
//
// Every power of two is cut into 128 equal buckets, so a value is known to 0.8 % or better: two significant digits always,
// three most of the time. From 0 to 70 minutes in 26 KB; longer times count as the longest. Merging adds bucket by bucket
// and is exact: a histogram merged from many processes equals the one that had seen all values itself. Minimum, maximum,
// count and sum are exact too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace roost::load {

class Histogram {
 public:
  static constexpr std::uint64_t value_max = 0xffff'ffff;  // 71 minutes in microseconds
  // Values below twice as many have a bucket each.
  static constexpr unsigned buckets_per_power_of_two = 128;

  Histogram();

  void record(std::uint64_t value_us) noexcept { record_n(value_us, 1); }
  void record_n(std::uint64_t value_us, std::uint64_t times) noexcept;
  void merge(const Histogram& other) noexcept;
  void clear() noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  // All of these are 0 for an empty histogram.
  [[nodiscard]] std::uint64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }
  [[nodiscard]] std::uint64_t sum() const noexcept { return sum_; }
  [[nodiscard]] double mean() const noexcept;
  // The smallest value such that at least `fraction` (0 to 1) of all recorded values are at most that; as the upper end of
  // its bucket, so it never flatters, and never above max().
  [[nodiscard]] std::uint64_t percentile(double fraction) const noexcept;

  // Bytes for another process or a file: only buckets that hold something, about 2 bytes each. decode() gives back an
  // equal histogram, or nothing when the bytes are not what encode() makes.
  [[nodiscard]] std::string encode() const;
  [[nodiscard]] static std::optional<Histogram> decode(std::string_view bytes);

  // The value range of bucket `index` and back; for charts and tests.
  static constexpr std::size_t bucket_count = 128 * 24 + 256;
  [[nodiscard]] static std::size_t bucket_of(std::uint64_t value_us) noexcept;
  [[nodiscard]] static std::uint64_t bucket_lowest(std::size_t index) noexcept;
  [[nodiscard]] static std::uint64_t bucket_highest(std::size_t index) noexcept;
  [[nodiscard]] std::uint64_t bucket(std::size_t index) const noexcept { return buckets_[index]; }

  friend bool operator==(const Histogram&, const Histogram&) noexcept = default;

 private:
  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t min_ = value_max;
  std::uint64_t max_ = 0;
};

}  // namespace roost::load
