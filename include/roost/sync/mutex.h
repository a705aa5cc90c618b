// Mutex: one fiber at a time. What std::mutex is to threads; a fiber that waits parks, its thread goes on.
//
//   roost::Mutex mutex;
//   std::lock_guard lock(mutex);                 // or roost::LockGuard, which clang's thread-safety analysis understands
//
// Unlike a std::mutex it may be held across calls that park, and it may be unlocked by another fiber than the one that
// locked it. Plain threads may lock it, too; they block. It is not recursive. 24 bytes; locking or unlocking a free one is
// one compare-exchange.
//
// Fair enough that nobody starves: normally a fiber that is woken competes with those that come by just then, which is
// quick; but one that has waited for more than a millisecond gets the mutex handed over at the next unlock (Go's scheme).
//
// lock() cannot fail: it waits even when the fiber is canceled, as the holder will leave. try_lock_until() gives up.
// Unlocking a mutex that is not locked is misuse and ends the process with a message.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include <roost/detail/wait.h>
#include <roost/time/deadline.h>

namespace roost {

class ROOST_CAPABILITY("mutex") Mutex {
 public:
  constexpr Mutex() noexcept = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  // Parks while somebody else holds it.
  void lock() noexcept ROOST_ACQUIRE() {
    std::uint32_t expected = 0;
    // Acquire pairs with the release in unlock(): what the last holder wrote is seen.
    if (state_.compare_exchange_strong(expected, locked, std::memory_order_acquire, std::memory_order_relaxed)) [[likely]] {
      return;
    }
    lock_slow(Deadline::none());
  }
  [[nodiscard]] bool try_lock() noexcept ROOST_TRY_ACQUIRE(true) {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    // While somebody starves, newcomers stand back.
    while ((state & (locked | starving)) == 0) {
      if (state_.compare_exchange_weak(state, state | locked, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  // False: the deadline passed, or the fiber or its context was canceled.
  [[nodiscard]] bool try_lock_until(Deadline deadline) noexcept ROOST_TRY_ACQUIRE(true) {
    return try_lock() || lock_slow(deadline, true);
  }
  [[nodiscard]] bool try_lock_for(std::chrono::nanoseconds span) noexcept ROOST_TRY_ACQUIRE(true) {
    return try_lock_until(Deadline::after(span));
  }

  // Never parks; gives way once to a fiber that was passed over.
  void unlock() noexcept ROOST_RELEASE() {
    std::uint32_t expected = locked;
    if (state_.compare_exchange_strong(expected, 0, std::memory_order_release, std::memory_order_relaxed)) [[likely]] return;
    unlock_slow();
  }

  // A guess, for assertions.
  [[nodiscard]] bool is_locked() const noexcept { return (state_.load(std::memory_order_relaxed) & locked) != 0; }

 private:
  // Bits of state_.
  static constexpr std::uint32_t locked = 1;
  static constexpr std::uint32_t woken = 2;     // a waiter was woken and competes: no need to wake another
  static constexpr std::uint32_t starving = 4;  // unlock hands over; newcomers queue up
  static constexpr std::uint32_t waiters = 8;   // waiting_ is not empty

  bool lock_slow(Deadline deadline, bool can_give_up = false) noexcept ROOST_NO_THREAD_SAFETY_ANALYSIS;
  void unlock_slow() noexcept ROOST_NO_THREAD_SAFETY_ANALYSIS;

  std::atomic<std::uint32_t> state_{0};
  base::SpinLock queue_lock_;  // leaf
  detail::WaitList waiting_;   // guarded by queue_lock_
};

// std::lock_guard with annotations.
class ROOST_SCOPED_CAPABILITY LockGuard {
 public:
  explicit LockGuard(Mutex& mutex) noexcept ROOST_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~LockGuard() ROOST_RELEASE() { mutex_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace roost
