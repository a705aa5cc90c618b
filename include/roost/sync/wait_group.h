// WaitGroup: waits until a number of things are done.
//
//   roost::WaitGroup group;
//   for (auto& part : parts) group.go([&] { work(part); });
//   group.wait();
//
// or by hand: add(1) before each start, done() at each end. Those who wait are all woken when the count reaches zero, none
// before; the group can then be used again. It may be destroyed as soon as wait() has returned. Plain threads may take part.
// For errors, cancellation and a limit on how many run at once see TaskGroup.
//
// A count below zero is misuse and ends the process with a message.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include <roost/detail/wait.h>
#include <roost/error.h>
#include <roost/go.h>
#include <roost/time/deadline.h>

namespace roost {

class WaitGroup {
 public:
  constexpr WaitGroup() noexcept = default;
  WaitGroup(const WaitGroup&) = delete;
  WaitGroup& operator=(const WaitGroup&) = delete;
  // Nobody may wait, and whoever was counted must be done.
  ~WaitGroup() = default;

  // `count` more (or, if negative, fewer). Call it before starting what will call done(), not inside it: the group might
  // look done in between.
  void add(std::int64_t count = 1) noexcept {
    if (count > 0) [[likely]] {
      state_.fetch_add(count * one, std::memory_order_release);
    } else {
      take_off(-count);
    }
  }
  void done() noexcept {
    std::int64_t now = state_.load(std::memory_order_relaxed);
    // Not the last one, or nobody waits. Release: whoever waits sees what was done before.
    if (now == one || now > one + waiters) [[likely]] {
      if (state_.compare_exchange_strong(now, now - one, std::memory_order_release, std::memory_order_relaxed)) [[likely]] return;
    }
    take_off(1);
  }

  // Starts a fiber that is counted until it ends; what `function` holds is destroyed before it counts as done.
  template <class F>
  void go(F&& function) {
    add(1);
    roost::go([this, held = std::optional<std::decay_t<F>>(std::forward<F>(function))]() mutable {
      static_cast<void>((*held)());
      held.reset();
      done();
    });
  }

  // Parks until the count is zero. Waits even when the caller is canceled: what it waits for often uses the caller's
  // locals, and is canceled then, too, or is wanted to the end.
  void wait() noexcept;
  // As wait(), but gives up. Errors: timed_out, operation_canceled.
  [[nodiscard]] Result<void> wait_until(Deadline deadline) noexcept;

  [[nodiscard]] std::int64_t count() const noexcept { return state_.load(std::memory_order_acquire) / one; }

 private:
  // state_ is the count, times `one`, and the bit `waiters` while somebody is in the list. While it is, reaching zero is done under
  // the lock, as waiting is, and the lock is the last thing that the last done() touches; otherwise state_ is. So whoever has
  // waited may destroy the group.
  static constexpr std::int64_t waiters = 1;
  static constexpr std::int64_t one = 2;

  void take_off(std::int64_t count) noexcept;
  bool enlist(detail::WaitNode& node) noexcept;

  std::atomic<std::int64_t> state_{0};
  base::SpinLock lock_;  // leaf
  detail::WaitList waiting_ ROOST_GUARDED_BY(lock_);
};

}  // namespace roost
