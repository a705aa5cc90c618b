#include "tools/load/histogram.h"

#include <algorithm>
#include <cmath>

#include "tools/load/log_linear.h"

namespace roost::load {
namespace {

using Buckets = LogLinear<8>;  // values below 256 have a bucket each; above, each power of two has 128
static_assert(Buckets::per_power_of_two == Histogram::buckets_per_power_of_two);

void put_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

bool take_varint(std::string_view& in, std::uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(in.front());
    in.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

}  // namespace

Histogram::Histogram() : buckets_(bucket_count) {}

std::size_t Histogram::bucket_of(std::uint64_t value) noexcept {
  return Buckets::index_of(std::min(value, value_max));
}

std::uint64_t Histogram::bucket_lowest(std::size_t index) noexcept { return Buckets::lowest(index); }

std::uint64_t Histogram::bucket_highest(std::size_t index) noexcept {
  return index + 1 < bucket_count ? bucket_lowest(index + 1) - 1 : value_max;
}

void Histogram::record_n(std::uint64_t value, std::uint64_t times) noexcept {
  if (times == 0) return;
  value = std::min(value, value_max);
  buckets_[bucket_of(value)] += times;
  count_ += times;
  sum_ += value * times;
  min_ = std::min(min_, value);
  max_ = std::max(max_, value);
}

void Histogram::merge(const Histogram& other) noexcept {
  for (std::size_t i = 0; i < bucket_count; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

void Histogram::clear() noexcept {
  if (count_ == 0) return;
  std::fill(buckets_.begin(), buckets_.end(), 0);
  count_ = 0;
  sum_ = 0;
  min_ = value_max;
  max_ = 0;
}

double Histogram::mean() const noexcept {
  return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
}

std::uint64_t Histogram::percentile(double fraction) const noexcept {
  if (count_ == 0) return 0;
  const double rank = std::ceil(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(count_));
  const auto wanted = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(rank));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < bucket_count; ++i) {
    seen += buckets_[i];
    if (seen >= wanted) return std::clamp(bucket_highest(i), min_, max_);
  }
  return max_;
}

std::string Histogram::encode() const {
  std::string out;
  put_varint(out, count_);
  put_varint(out, sum_);
  put_varint(out, min_);
  put_varint(out, max_);
  std::size_t next = 0;  // one past the last bucket written: gaps are short where values cluster
  for (std::size_t i = 0; i < bucket_count; ++i) {
    if (buckets_[i] == 0) continue;
    put_varint(out, i - next);
    put_varint(out, buckets_[i]);
    next = i + 1;
  }
  return out;
}

std::optional<Histogram> Histogram::decode(std::string_view bytes) {
  Histogram histogram;
  if (!take_varint(bytes, histogram.count_) || !take_varint(bytes, histogram.sum_) ||
      !take_varint(bytes, histogram.min_) || !take_varint(bytes, histogram.max_)) {
    return std::nullopt;
  }
  std::uint64_t total = 0;
  std::uint64_t next = 0;
  while (!bytes.empty()) {
    std::uint64_t gap = 0;
    std::uint64_t times = 0;
    if (!take_varint(bytes, gap) || !take_varint(bytes, times)) return std::nullopt;
    if (gap >= bucket_count - next || times == 0) return std::nullopt;
    histogram.buckets_[next + gap] = times;
    total += times;
    next += gap + 1;
    if (next == bucket_count && !bytes.empty()) return std::nullopt;
  }
  if (total != histogram.count_) return std::nullopt;
  return histogram;
}

}  // namespace roost::load
