// FdMutex: who is inside a descriptor's calls.
//
// Calls of one direction take turns, the two directions do not disturb each other, and the descriptor is closed by whoever
// leaves last after close(). So no call ever touches a number that means another file by now.
//
// Invariants
//   M1  read_locked / write_locked is set while one caller is inside a call of that direction.
//   M2  the count holds one for each caller inside (queued ones included) and one for the owner until close().
//   M3  once closed is set nobody enters any more, and it is never cleared until reset().
//   M4  has_waiters is set while queue_ is not empty; both change under queue_lock_.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/spin_lock.h"
#include "runtime/parking.h"

namespace roost::runtime {

enum class Direction : std::uint8_t { read = 0, write = 1 };

class FdMutex {
 public:
  FdMutex() = default;
  FdMutex(const FdMutex&) = delete;
  FdMutex& operator=(const FdMutex&) = delete;

  // Enters a call of that direction; parks while another caller is inside. False: closed.
  [[nodiscard]] bool enter(Direction direction) noexcept {
    const std::uint64_t lock = locked[static_cast<int>(direction)];
    std::uint64_t state = state_.load(std::memory_order_relaxed);
    // Acquire pairs with the release in leave(): what the last caller of this direction did is seen.
    if ((state & (closed | lock)) == 0 &&
        state_.compare_exchange_strong(state, (state | lock) + one, std::memory_order_acquire, std::memory_order_relaxed)) [[likely]] {
      return true;
    }
    return enter_slow(direction);
  }
  // Leaves it. True: the caller is the last one after a close and must destroy the descriptor now.
  [[nodiscard]] bool leave(Direction direction) noexcept {
    const std::uint64_t lock = locked[static_cast<int>(direction)];
    std::uint64_t state = state_.load(std::memory_order_relaxed);
    const std::uint64_t next = (state & ~lock) - one;
    if ((state & lock) != 0 && (state & has_waiters) == 0 &&
        state_.compare_exchange_strong(state, next, std::memory_order_acq_rel, std::memory_order_relaxed)) [[likely]] {
      return (next >> count_shift) == 0;
    }
    return leave_slow(direction);
  }
  // Somebody is inside a call of that direction.
  [[nodiscard]] bool is_entered(Direction direction) const noexcept {
    return (state_.load(std::memory_order_acquire) & locked[static_cast<int>(direction)]) != 0;
  }

  // Enters without taking a turn, for calls that do not touch the stream (options). False: closed.
  [[nodiscard]] bool hold() noexcept;
  [[nodiscard]] bool release() noexcept;  // true: as leave()

  // Bars further entries and wakes the queued ones. False: it was closed before. The caller must release() afterwards.
  [[nodiscard]] bool close() noexcept;

  [[nodiscard]] bool is_closed() const noexcept { return (state_.load(std::memory_order_acquire) & closed) != 0; }
  // No caller is inside.
  [[nodiscard]] bool is_quiet() const noexcept { return (state_.load(std::memory_order_acquire) >> count_shift) <= 1; }
  // Makes it ready for the descriptor's next life. Nobody may be inside.
  void reset() noexcept { state_.store(one, std::memory_order_release); }

 private:
  struct Node {
    Waiter waiter;
    Direction direction;
    Node* next = nullptr;
    std::atomic<std::uint8_t> outcome{0};  // 0 queued, 1 entered, 2 closed
  };

  static constexpr std::uint64_t closed = 1;
  static constexpr std::uint64_t has_waiters = 2;
  static constexpr std::uint64_t locked[2] = {4, 8};
  static constexpr int count_shift = 8;
  static constexpr std::uint64_t one = std::uint64_t{1} << count_shift;

  bool enter_slow(Direction direction) noexcept;
  bool leave_slow(Direction direction) noexcept;
  bool wait_turn(Direction direction) noexcept;
  bool leave_contended(Direction direction) noexcept;

  std::atomic<std::uint64_t> state_{one};
  base::SpinLock queue_lock_;                               // leaf
  Node* queue_ ROOST_GUARDED_BY(queue_lock_) = nullptr;     // first in, first out; nodes live on their waiters' stacks
};

}  // namespace roost::runtime
