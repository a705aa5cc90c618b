// Deadline: a point in time after which a call gives up.
//
// On the steady clock (CLOCK_MONOTONIC): a change of the wall clock moves no deadline. A span of time is a
// std::chrono type, so the two cannot be swapped. Cheap to copy: eight bytes.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <limits>

namespace roost {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  // No limit; also what a default-constructed Deadline means.
  constexpr Deadline() noexcept = default;
  static constexpr Deadline none() noexcept { return Deadline(); }

  // `span` from now. A span too long to be represented means none(); one of zero or less has passed already.
  [[nodiscard]] static Deadline after(std::chrono::nanoseconds span) noexcept;
  template <class Rep, class Period>
  [[nodiscard]] static Deadline after(std::chrono::duration<Rep, Period> span) noexcept {
    return after(saturate(span));
  }

  [[nodiscard]] static Deadline at(Clock::time_point when) noexcept {
    return from_ns(std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count());
  }

  // A point that has passed: calls fail at once.
  [[nodiscard]] static constexpr Deadline past() noexcept { return from_ns(1); }

  // Nanoseconds on the steady clock; int64 maximum for none().
  [[nodiscard]] constexpr std::int64_t ns() const noexcept { return ns_; }
  [[nodiscard]] static constexpr Deadline from_ns(std::int64_t ns) noexcept {
    Deadline deadline;
    deadline.ns_ = ns;
    return deadline;
  }

  [[nodiscard]] constexpr bool is_none() const noexcept { return ns_ == no_limit; }
  [[nodiscard]] bool has_passed() const noexcept;
  // Zero when it has passed, nanoseconds::max() for none().
  [[nodiscard]] std::chrono::nanoseconds remaining() const noexcept;

  friend constexpr auto operator<=>(Deadline, Deadline) noexcept = default;

 private:
  static constexpr std::int64_t no_limit = std::numeric_limits<std::int64_t>::max();

  template <class Rep, class Period>
  static constexpr std::chrono::nanoseconds saturate(std::chrono::duration<Rep, Period> span) noexcept {
    using Seconds = std::chrono::duration<long double>;
    constexpr long double limit = 9.2e9L;  // seconds; int64 nanoseconds reach 292 years
    const long double seconds = std::chrono::duration_cast<Seconds>(span).count();
    if (seconds >= limit) return std::chrono::nanoseconds::max();
    if (seconds <= -limit) return std::chrono::nanoseconds::min();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(span);
  }
  static constexpr std::chrono::nanoseconds saturate(std::chrono::nanoseconds span) noexcept { return span; }

  std::int64_t ns_ = no_limit;
};

}  // namespace roost
