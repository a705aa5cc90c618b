// When messages are due: the two open-loop schedules, and who pings in a closed loop. Pure arithmetic, without a clock and without
// memory for each connection: what is due next in a process of 20,000 connections is a cycle and an index.
//
// A process holds connections by index (0, 1, ...); the number of index i over all processes is i * processes + process.
#pragma once

#include <chrono>
#include <cstdint>

namespace roost::load {

// A process's place among all.
struct Share {
  std::uint64_t process = 0;
  std::uint64_t processes = 1;

  [[nodiscard]] std::uint64_t number_of(std::uint64_t index) const noexcept { return index * processes + process; }
  // How many of `total` things that are dealt out in turn are this process's.
  [[nodiscard]] std::uint64_t of(std::uint64_t total) const noexcept {
    return total / processes + (process < total % processes ? 1 : 0);
  }
};

// With --interval: connection `number` of `connections` pings at start + phase + cycle * interval, and the phases spread
// evenly over the interval, in the order of the numbers. So a process's messages are due in the order of its indexes.
//
// Where many processes share the load, phases lie on a grid (schedule_grid): each process then wakes up for several messages at a
// time, and on the server's side several arrive together. One wake-up for each message would cost more than the message: a
// million connections in 52 processes that ping every 30 s kept 2 processors busy by waking and sleeping alone.
class IntervalSchedule {
 public:
  IntervalSchedule(std::int64_t start_ns, std::chrono::nanoseconds interval, std::uint64_t connections, Share share,
                   std::chrono::nanoseconds grid = {}) noexcept;

  struct Point {
    std::uint32_t cycle = 0;
    std::uint32_t index = 0;
    friend bool operator==(const Point&, const Point&) noexcept = default;
  };
  [[nodiscard]] std::int64_t due_ns(Point point) const noexcept;
  // The first one after `after_ns` of all this process's connections; it must have some.
  [[nodiscard]] Point first_after(std::int64_t after_ns) const noexcept;
  [[nodiscard]] Point next(Point point) const noexcept;
  // The first cycle of one connection that is due after `after_ns`.
  [[nodiscard]] std::uint32_t first_cycle_after(std::uint32_t index, std::int64_t after_ns) const noexcept;

  [[nodiscard]] std::uint64_t connections() const noexcept { return own_; }  // of this process
  [[nodiscard]] std::int64_t interval_ns() const noexcept { return interval_ns_; }

 private:
  [[nodiscard]] std::int64_t phase_ns(std::uint64_t index) const noexcept;

  std::int64_t start_ns_;
  std::int64_t interval_ns_;
  std::uint64_t connections_;
  Share share_;
  std::uint64_t own_;
  std::int64_t grid_ns_;  // 0: none
};

// 0 for a process alone, 5 ms for 52 of them.
[[nodiscard]] constexpr std::chrono::nanoseconds schedule_grid(std::uint64_t processes) noexcept {
  return std::chrono::microseconds(100) * (processes - 1);
}

// With --message-rate: message m of all is due at start + m / rate; process p sends every message of m modulo processes = p.
class RateSchedule {
 public:
  RateSchedule(std::int64_t start_ns, double rate, Share share) noexcept : start_ns_(start_ns), rate_(rate), share_(share) {}
  // This process's n-th, from 0.
  [[nodiscard]] std::int64_t due_ns(std::uint64_t n) const noexcept {
    return start_ns_ + static_cast<std::int64_t>(static_cast<double>(share_.number_of(n)) / rate_ * 1e9);
  }

 private:
  std::int64_t start_ns_;
  double rate_;
  Share share_;
};

// With a closed loop, whether connection `number` is one of the `active` that ping: they, too, spread evenly. 0: all do.
[[nodiscard]] bool is_active(std::uint64_t number, std::uint64_t connections, std::uint64_t active) noexcept;

}  // namespace roost::load
