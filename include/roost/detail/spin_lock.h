// SpinLock: one byte, for critical sections of a few dozen instructions that never park and never call out.
// Not for users (that is roost::Mutex); here because the fast paths of channels and locks are inline.
//
// A holder may lose its processor, so a waiter spins only briefly and then gives its time slice away.
#pragma once

#include <sched.h>

#include <atomic>

#include <roost/detail/thread_annotations.h>

namespace roost::base {

inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class ROOST_CAPABILITY("mutex") SpinLock {
 public:
  void lock() noexcept ROOST_ACQUIRE() {
    if (try_lock()) [[likely]] return;
    lock_contended();
  }
  // Acquire pairs with the release in unlock(): what the last holder wrote is seen.
  bool try_lock() noexcept ROOST_TRY_ACQUIRE(true) { return !locked_.exchange(true, std::memory_order_acquire); }
  void unlock() noexcept ROOST_RELEASE() { locked_.store(false, std::memory_order_release); }

 private:
  [[gnu::noinline]] void lock_contended() noexcept ROOST_NO_THREAD_SAFETY_ANALYSIS {
    constexpr int spins_before_yield = 64;
    for (int spins = 0;; ++spins) {
      while (locked_.load(std::memory_order_relaxed)) {
        if (++spins > spins_before_yield) {
          ::sched_yield();
          spins = 0;
        } else {
          cpu_relax();
        }
      }
      if (try_lock()) return;
    }
  }

  std::atomic<bool> locked_{false};
};

class ROOST_SCOPED_CAPABILITY SpinGuard {
 public:
  explicit SpinGuard(SpinLock& lock) noexcept ROOST_ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
  ~SpinGuard() ROOST_RELEASE() { lock_.unlock(); }
  SpinGuard(const SpinGuard&) = delete;
  SpinGuard& operator=(const SpinGuard&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace roost::base
