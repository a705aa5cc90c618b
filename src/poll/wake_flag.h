// WakeFlag: when a poller must be kicked out of its kernel wait, and when a flag is enough.
//
// One thread, the owner, blocks; any thread wakes it. A kick is a system call, so it is made only when the owner has said
// that it blocks, and only by the first of several wakers.
//
//   owner:  block()  stores blocked, then looks at pending       waker:  post()  stores pending, then looks at blocked
//
// Both sides are seq_cst, so at least one sees the other (Dekker): with weaker orders each could read the other's old value,
// and the owner would sleep through the wake.
//
// A kick is seen by whoever collects events next, and that may be a thread which polls on the owner's behalf. It takes the
// kick but not the wake: it asks is_blocked() and kicks again. If the owner is not blocked yet, it will find pending set.
#pragma once

#include <atomic>

namespace roost::poll {

class WakeFlag {
 public:
  // A waker. True: kick the owner.
  [[nodiscard]] bool post() noexcept {
    if (pending_.exchange(true, std::memory_order_seq_cst)) return false;
    return is_blocked();
  }
  [[nodiscard]] bool is_blocked() const noexcept { return blocked_.load(std::memory_order_seq_cst); }

  // The owner, before it blocks. False: it has been woken already.
  [[nodiscard]] bool block() noexcept {
    blocked_.store(true, std::memory_order_seq_cst);
    return !pending_.load(std::memory_order_seq_cst);
  }
  void unblock() noexcept { blocked_.store(false, std::memory_order_seq_cst); }

  // The owner, when its wait is bound to return: from here on a wake is meant for the next one. Exchange, because it also
  // acquires: what a waker did before post() is seen after the wait.
  bool take() noexcept {
    return pending_.load(std::memory_order_relaxed) && pending_.exchange(false, std::memory_order_seq_cst);
  }

 private:
  std::atomic<bool> blocked_{false};
  std::atomic<bool> pending_{false};
};

}  // namespace roost::poll
