// RwLock: many readers or one writer. What std::shared_mutex is to threads, and Go's sync.RWMutex.
//
//   roost::RwLock lock;
//   std::shared_lock reading(lock);              // or lock.lock_shared() ... lock.unlock_shared()
//   std::lock_guard writing(lock);
//
// A fiber that waits parks, its thread goes on; plain threads block. A writer that waits holds up readers that come after
// it, and when it leaves, those readers go before the next writer: neither side starves. For that reason a fiber must not
// take the lock for reading twice: a writer that came between would wait for it for ever. Nor can a reader become a writer.
//
// A free lock costs one atomic addition to read. Waits go on even when the fiber is canceled, as the holders will leave.
// Unlocking what is not locked is misuse and ends the process with a message.
#pragma once

#include <atomic>
#include <cstdint>

#include <roost/detail/sema.h>
#include <roost/sync/mutex.h>

namespace roost {

class ROOST_CAPABILITY("mutex") RwLock {
 public:
  constexpr RwLock() noexcept = default;
  RwLock(const RwLock&) = delete;
  RwLock& operator=(const RwLock&) = delete;

  // For writing: alone.
  void lock() noexcept ROOST_ACQUIRE();
  [[nodiscard]] bool try_lock() noexcept ROOST_TRY_ACQUIRE(true);
  void unlock() noexcept ROOST_RELEASE();

  // For reading: together with other readers.
  void lock_shared() noexcept ROOST_ACQUIRE_SHARED() {
    // Acquire pairs with the release in unlock(). Negative: a writer holds the lock or waits for it.
    if (readers_.fetch_add(1, std::memory_order_acquire) < 0) [[unlikely]] wait_to_read();
  }
  [[nodiscard]] bool try_lock_shared() noexcept ROOST_TRY_ACQUIRE_SHARED(true) {
    std::int32_t readers = readers_.load(std::memory_order_relaxed);
    while (readers >= 0) {
      if (readers_.compare_exchange_weak(readers, readers + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  void unlock_shared() noexcept ROOST_RELEASE_SHARED() {
    const std::int32_t before = readers_.fetch_sub(1, std::memory_order_release);
    if (before <= 0) [[unlikely]] leave_reading(before);
  }

 private:
  static constexpr std::int32_t readers_max = 1 << 30;

  void wait_to_read() noexcept;
  void leave_reading(std::int32_t readers_before) noexcept;

  Mutex writers_;                            // held by the writer: they take turns
  std::atomic<std::int32_t> readers_{0};     // inside or waiting; less readers_max while there is a writer
  std::atomic<std::int32_t> leaving_{0};     // readers that the writer still waits for
  detail::Sema writer_turn_;
  detail::Sema readers_turn_;
};

// std::shared_lock with annotations.
class ROOST_SCOPED_CAPABILITY SharedLockGuard {
 public:
  explicit SharedLockGuard(RwLock& lock) noexcept ROOST_ACQUIRE_SHARED(lock) : lock_(lock) { lock_.lock_shared(); }
  ~SharedLockGuard() ROOST_RELEASE() { lock_.unlock_shared(); }
  SharedLockGuard(const SharedLockGuard&) = delete;
  SharedLockGuard& operator=(const SharedLockGuard&) = delete;

 private:
  RwLock& lock_;
};

}  // namespace roost
