#include "tools/load/schedule.h"

#include <cmath>

namespace roost::load {

IntervalSchedule::IntervalSchedule(std::int64_t start_ns, std::chrono::nanoseconds interval, std::uint64_t connections,
                                   Share share, std::chrono::nanoseconds grid) noexcept
    : start_ns_(start_ns),
      interval_ns_(interval.count()),
      connections_(connections),
      share_(share),
      own_(share.of(connections)),
      grid_ns_(grid.count()) {}

std::int64_t IntervalSchedule::phase_ns(std::uint64_t index) const noexcept {
  // In floating point: number * interval passes 64 bits for a hundred million connections and an hour.
  const double fraction = static_cast<double>(share_.number_of(index)) / static_cast<double>(connections_);
  const std::int64_t exact_ns = std::llround(fraction * static_cast<double>(interval_ns_));
  return grid_ns_ == 0 ? exact_ns : exact_ns / grid_ns_ * grid_ns_;
}

std::int64_t IntervalSchedule::due_ns(Point point) const noexcept {
  return start_ns_ + phase_ns(point.index) + std::int64_t{point.cycle} * interval_ns_;
}

IntervalSchedule::Point IntervalSchedule::next(Point point) const noexcept {
  if (point.index + 1 < own_) return {point.cycle, point.index + 1};
  return {point.cycle + 1, 0};
}

IntervalSchedule::Point IntervalSchedule::first_after(std::int64_t after_ns) const noexcept {
  if (after_ns < start_ns_) return {0, 0};
  const auto cycle = static_cast<std::uint32_t>((after_ns - start_ns_) / interval_ns_);
  // The phases grow with the index: the first one beyond the rest.
  std::uint64_t low = 0;
  std::uint64_t high = own_;
  while (low < high) {
    const std::uint64_t middle = (low + high) / 2;
    if (due_ns({cycle, static_cast<std::uint32_t>(middle)}) > after_ns) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  if (low == own_) return {cycle + 1, 0};
  return {cycle, static_cast<std::uint32_t>(low)};
}

std::uint32_t IntervalSchedule::first_cycle_after(std::uint32_t index, std::int64_t after_ns) const noexcept {
  const std::int64_t first = due_ns({0, index});
  if (first > after_ns) return 0;
  return static_cast<std::uint32_t>((after_ns - first) / interval_ns_ + 1);
}

bool is_active(std::uint64_t number, std::uint64_t connections, std::uint64_t active) noexcept {
  if (active == 0) return true;
  // Bresenham's line: exactly `active` of them, as evenly as possible.
  return (number + 1) * active / connections != number * active / connections;
}

}  // namespace roost::load
