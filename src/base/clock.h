// The steady clock in nanoseconds, and the clock tests step by hand.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

namespace roost::base {

inline constexpr std::int64_t never_ns = std::numeric_limits<std::int64_t>::max();

// CLOCK_MONOTONIC, or the manual clock's time while one is installed. About 20 ns.
[[nodiscard]] std::int64_t now_ns() noexcept;
// A time never later than now_ns() and at most coarse_tick_ns() behind it. About 5 ns (CLOCK_MONOTONIC_COARSE).
[[nodiscard]] std::int64_t coarse_now_ns() noexcept;
// Set before main: no guard is checked at each use.
extern const std::int64_t detail_coarse_tick_ns;
[[nodiscard]] inline std::int64_t coarse_tick_ns() noexcept { return detail_coarse_tick_ns; }

// Adds without overflow; anything beyond the end is never_ns.
[[nodiscard]] constexpr std::int64_t saturating_add(std::int64_t ns, std::int64_t span) noexcept {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(ns, span, &sum)) return span > 0 ? never_ns : std::numeric_limits<std::int64_t>::min();
  return sum;
}

// A clock that stands still until a test steps it. While one lives, now_ns() is its time. One at a time.
class ManualClock {
 public:
  explicit ManualClock(std::int64_t start_ns = 1'000'000'000) noexcept;
  ~ManualClock();
  ManualClock(const ManualClock&) = delete;
  ManualClock& operator=(const ManualClock&) = delete;

  [[nodiscard]] std::int64_t now_ns() const noexcept { return now_ns_.load(std::memory_order_acquire); }
  // Steps forward and wakes every poller that waits, so that timers due by then fire.
  void advance_ns(std::int64_t span) noexcept;

  [[nodiscard]] static bool installed() noexcept;
  // Set by the runtime: called after each step.
  static void set_on_advance(void (*wake)() noexcept) noexcept;

 private:
  std::atomic<std::int64_t> now_ns_;
};

}  // namespace roost::base
