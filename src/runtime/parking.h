// Parking: how everything above this room waits.
//
//   node.waiter = current_waiter();  publish(node);
//   while (!node.granted()) park(WaitReason::mutex);
//
// A wake-up that comes before the park is kept, so nothing is lost; a wake-up without a cause can happen, so every
// wait stands in a loop that checks its own condition. Works on plain threads, too: they block on a futex.
#pragma once

#include <cstdint>

#include <roost/error.h>

#include "runtime/fiber.h"

namespace roost::runtime {

struct ThreadParker;
enum class Direction : std::uint8_t;  // runtime/fd_mutex.h

// Whoever waits: a fiber or a plain thread. Waking one whose wait is long over is safe.
class Waiter {
 public:
  constexpr Waiter() noexcept = default;
  explicit Waiter(Fiber* fiber) noexcept : bits_(reinterpret_cast<std::uintptr_t>(fiber)) {}
  explicit Waiter(ThreadParker* thread) noexcept : bits_(reinterpret_cast<std::uintptr_t>(thread) | 1) {}
  static Waiter from_bits(std::uintptr_t bits) noexcept {
    Waiter waiter;
    waiter.bits_ = bits;
    return waiter;
  }
  [[nodiscard]] std::uintptr_t bits() const noexcept { return bits_; }
  [[nodiscard]] bool is_fiber() const noexcept { return bits_ != 0 && (bits_ & 1) == 0; }
  [[nodiscard]] Fiber* fiber() const noexcept { return reinterpret_cast<Fiber*>(bits_); }
  [[nodiscard]] ThreadParker* thread() const noexcept { return reinterpret_cast<ThreadParker*>(bits_ & ~std::uintptr_t{1}); }
  explicit operator bool() const noexcept { return bits_ != 0; }

 private:
  std::uintptr_t bits_ = 0;
};

// The calling fiber; null on a plain thread. Never cache a worker or a thread across a park; a fiber may be cached.
[[nodiscard]] Fiber* current_fiber() noexcept;
[[nodiscard]] Waiter current_waiter() noexcept;

// Leaves the thread to others until unpark(). `object` is what dumps show as waited for.
void park(WaitReason reason, const void* object = nullptr) noexcept;
// As park(), but also wakes when `until_ns` on the steady clock has come. The caller looks at the clock itself.
void park_until(WaitReason reason, std::int64_t until_ns, const void* object = nullptr) noexcept;
void unpark(Waiter waiter) noexcept;
inline void unpark(Fiber* fiber) noexcept { unpark(Waiter(fiber)); }

// Hands the processor to `fiber`, which must be the target of an unpark that is due: it runs next, and the caller goes to
// the tail of the run queue. On a plain thread it is unpark().
void unpark_and_yield_to(Fiber* fiber) noexcept;

// Holds a parked fiber still for a moment, so that its stack and what it waits for can be read while everybody else runs on: a
// wake-up that comes meanwhile is carried out by end_examination(). False: it is not parked. Any thread; a few microseconds
// at most, and the caller must not park in between.
[[nodiscard]] bool begin_examination(Fiber& fiber) noexcept;
void end_examination(Fiber& fiber) noexcept;

// The calling fiber was canceled, its context is done, or the runtime stops. False on plain threads.
[[nodiscard]] bool current_is_canceled() noexcept;
// What its calls that park must fail with: Errc::canceled, or Errc::deadline_exceeded when it is only that its context's
// deadline has passed. No error: they may go on.
[[nodiscard]] std::error_code current_interruption() noexcept;

// A call succeeded without parking. After a bounded number of these in a row the fiber gives way once, so that a
// connection with endless data does not starve the others.
void spend_budget() noexcept;
// The same, after a call that moved `bytes` on a connection: counts them.
void spend_budget(Direction direction, std::uint64_t bytes) noexcept;
// Counts that a call on a connection failed, and returns why.
std::error_code count_failure(std::error_code error) noexcept;
// Likewise of an attempt to connect.
void count_dial_failure(std::error_code error) noexcept;

}  // namespace roost::runtime
