#include "base/clock.h"

#include <ctime>

#include <roost/time/deadline.h>

#include "base/assert.h"

namespace roost::base {
namespace {

std::atomic<ManualClock*> manual_clock{nullptr};
std::atomic<void (*)() noexcept> on_advance{nullptr};

std::int64_t read_resolution() noexcept {
  timespec resolution;
  ::clock_getres(CLOCK_MONOTONIC_COARSE, &resolution);
  return resolution.tv_nsec;
}

std::int64_t read_clock(clockid_t id) noexcept {
  timespec time;
  ::clock_gettime(id, &time);
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

const std::int64_t detail_coarse_tick_ns = read_resolution();

std::int64_t now_ns() noexcept {
  if (const ManualClock* manual = manual_clock.load(std::memory_order_acquire)) [[unlikely]] return manual->now_ns();
  return read_clock(CLOCK_MONOTONIC);
}

std::int64_t coarse_now_ns() noexcept {
  if (const ManualClock* manual = manual_clock.load(std::memory_order_acquire)) [[unlikely]] return manual->now_ns();
  return read_clock(CLOCK_MONOTONIC_COARSE);
}


ManualClock::ManualClock(std::int64_t start_ns) noexcept : now_ns_(start_ns) {
  ManualClock* expected = nullptr;
  ROOST_ASSERT(manual_clock.compare_exchange_strong(expected, this), "two manual clocks at once");
}
ManualClock::~ManualClock() { manual_clock.store(nullptr, std::memory_order_release); }

void ManualClock::advance_ns(std::int64_t span) noexcept {
  now_ns_.fetch_add(span, std::memory_order_acq_rel);
  if (auto* wake = on_advance.load(std::memory_order_acquire)) wake();
}
bool ManualClock::installed() noexcept { return manual_clock.load(std::memory_order_acquire) != nullptr; }
void ManualClock::set_on_advance(void (*wake)() noexcept) noexcept {
  on_advance.store(wake, std::memory_order_release);
}

}  // namespace roost::base

namespace roost {

Deadline Deadline::after(std::chrono::nanoseconds span) noexcept {
  if (span == std::chrono::nanoseconds::max()) return none();
  return from_ns(base::saturating_add(base::now_ns(), span.count()));
}
bool Deadline::has_passed() const noexcept { return !is_none() && base::now_ns() >= ns_; }
std::chrono::nanoseconds Deadline::remaining() const noexcept {
  if (is_none()) return std::chrono::nanoseconds::max();
  const std::int64_t now = base::now_ns();
  return std::chrono::nanoseconds(ns_ > now ? ns_ - now : 0);
}

}  // namespace roost
