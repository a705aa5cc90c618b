#include "runtime/fd_mutex.h"

#include "base/assert.h"

namespace roost::runtime {

bool FdMutex::enter_slow(Direction direction) noexcept {
  const std::uint64_t lock = locked[static_cast<int>(direction)];
  std::uint64_t state = state_.load(std::memory_order_relaxed);
  while ((state & (closed | lock)) == 0) {
    // Acquire pairs with the release in leave(): what the last caller of this direction did is seen.
    if (state_.compare_exchange_weak(state, (state | lock) + one, std::memory_order_acquire, std::memory_order_relaxed)) {
      return true;
    }
  }
  if ((state & closed) != 0) return false;
  return wait_turn(direction);
}

bool FdMutex::wait_turn(Direction direction) noexcept {
  const std::uint64_t lock = locked[static_cast<int>(direction)];
  Node node{.waiter = current_waiter(), .direction = direction};
  {
    base::SpinGuard guard(queue_lock_);
    std::uint64_t state = state_.load(std::memory_order_relaxed);
    for (;;) {
      if ((state & closed) != 0) return false;
      const bool is_free = (state & lock) == 0;
      const std::uint64_t wanted = is_free ? (state | lock) + one : state | has_waiters;
      if (!state_.compare_exchange_weak(state, wanted, std::memory_order_acquire, std::memory_order_relaxed)) continue;
      if (is_free) return true;
      break;
    }
    Node** end = &queue_;
    while (*end != nullptr) end = &(*end)->next;
    *end = &node;
  }
  while (node.outcome.load(std::memory_order_acquire) == 0) park(WaitReason::io_turn, this);
  return node.outcome.load(std::memory_order_relaxed) == 1;
}

bool FdMutex::leave_slow(Direction direction) noexcept {
  const std::uint64_t lock = locked[static_cast<int>(direction)];
  std::uint64_t state = state_.load(std::memory_order_relaxed);
  for (;;) {
    ROOST_ASSERT((state & lock) != 0, "a descriptor's call was left that nobody had entered");
    if ((state & has_waiters) != 0) return leave_contended(direction);
    const std::uint64_t next = (state & ~lock) - one;
    if (state_.compare_exchange_weak(state, next, std::memory_order_acq_rel, std::memory_order_relaxed)) {
      return (next >> count_shift) == 0;
    }
  }
}

bool FdMutex::leave_contended(Direction direction) noexcept {
  const std::uint64_t lock = locked[static_cast<int>(direction)];
  Waiter next_in;
  {
    // Queueing and leaving both happen under the lock here, so a turn is never left free while somebody waits for it.
    base::SpinGuard guard(queue_lock_);
    Node** link = &queue_;
    while (*link != nullptr && (*link)->direction != direction) link = &(*link)->next;
    if (*link == nullptr) {
      std::uint64_t state = state_.load(std::memory_order_relaxed);
      std::uint64_t next;
      do {
        next = (state & ~lock) - one;
      } while (!state_.compare_exchange_weak(state, next, std::memory_order_acq_rel, std::memory_order_relaxed));
      return (next >> count_shift) == 0;
    }
    // The turn passes on, and our count with it.
    Node* node = *link;
    *link = node->next;
    if (queue_ == nullptr) state_.fetch_and(~has_waiters, std::memory_order_release);
    next_in = node->waiter;
    node->outcome.store(1, std::memory_order_release);  // the node may be gone after this
  }
  unpark(next_in);
  return false;
}

bool FdMutex::hold() noexcept {
  std::uint64_t state = state_.load(std::memory_order_relaxed);
  do {
    if ((state & closed) != 0) return false;
  } while (!state_.compare_exchange_weak(state, state + one, std::memory_order_acquire, std::memory_order_relaxed));
  return true;
}

bool FdMutex::release() noexcept {
  const std::uint64_t before = state_.fetch_sub(one, std::memory_order_acq_rel);
  ROOST_ASSERT((before >> count_shift) > 0, "a descriptor was released more often than held");
  return (before >> count_shift) == 1;
}

bool FdMutex::close() noexcept {
  Node* queued = nullptr;
  {
    base::SpinGuard guard(queue_lock_);
    if ((state_.fetch_or(closed, std::memory_order_acq_rel) & closed) != 0) return false;
    queued = queue_;
    queue_ = nullptr;
    state_.fetch_and(~has_waiters, std::memory_order_release);
  }
  while (queued != nullptr) {
    Node* next = queued->next;
    const Waiter waiter = queued->waiter;
    queued->outcome.store(2, std::memory_order_release);
    unpark(waiter);
    queued = next;
  }
  return true;
}

}  // namespace roost::runtime
