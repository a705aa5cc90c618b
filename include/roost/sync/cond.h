// Cond: waiting until something about data under a lock has changed. What std::condition_variable_any is to threads.
//
//   std::unique_lock lock(mutex);
//   if (auto waited = cond.wait(lock, [&] { return !queue.empty(); }); !waited) return waited.error();
//
//   { std::lock_guard guard(mutex); queue.push(job); }
//   cond.notify_one();
//
// Those who wait are woken in the order in which they came; one notify_one() wakes exactly one that waited when it was
// called (Go's Cond). There are no spurious wake-ups, but between a wake-up and getting the lock back somebody else may
// have changed the data, so wait in a loop, or with a predicate. Channels are often the better tool.
#pragma once

#include <concepts>

#include <roost/detail/wait.h>
#include <roost/error.h>
#include <roost/time/deadline.h>

namespace roost {

class Cond {
 public:
  constexpr Cond() noexcept = default;
  Cond(const Cond&) = delete;
  Cond& operator=(const Cond&) = delete;

  // Unlocks `lock` (a Mutex, an RwLock, a std::unique_lock over either), parks until notified, and locks it again, in the
  // case of an error as well.
  // Errors
  //   operation_canceled   the fiber or its context was canceled, or the runtime stops: a loop around it must end
  //   timed_out            the deadline passed, or the context's
  template <class Lock>
  [[nodiscard]] Result<void> wait(Lock& lock, Deadline deadline = Deadline::none()) {
    detail::WaitNode node;
    enlist(node);  // before the unlock, so that no notification in between is missed
    lock.unlock();
    const detail::WaitEnd end = await(node, deadline);
    lock.lock();
    if (end != detail::WaitEnd::answered) return fail(detail::wait_error(end));
    return {};
  }
  // Waits until `ready()`, which is called with the lock held. No error if it holds, whatever else has happened.
  template <class Lock, class Predicate>
    requires std::predicate<Predicate&>
  [[nodiscard]] Result<void> wait(Lock& lock, Predicate ready, Deadline deadline = Deadline::none()) {
    while (!ready()) {
      if (auto waited = wait(lock, deadline); !waited) {
        if (ready()) return {};
        return waited;
      }
    }
    return {};
  }

  // Wakes the one that has waited longest. The lock need not be held.
  void notify_one() noexcept;
  // Wakes all that wait now.
  void notify_all() noexcept;
  // Go's names for the two.
  void signal() noexcept { notify_one(); }
  void broadcast() noexcept { notify_all(); }

 private:
  void enlist(detail::WaitNode& node) noexcept;
  detail::WaitEnd await(detail::WaitNode& node, Deadline deadline) noexcept;

  base::SpinLock lock_;  // leaf
  detail::WaitList waiting_ ROOST_GUARDED_BY(lock_);
};

}  // namespace roost
