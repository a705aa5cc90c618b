#include <roost/sync/wait_group.h>

#include "sync/waiting.h"

namespace roost {

using detail::Answer;
using detail::WaitEnd;
using detail::WaitNode;

void WaitGroup::take_off(std::int64_t count) noexcept {
  const std::int64_t less = count * one;
  // The common cases need no lock: it does not reach zero, or nobody waits. After the exchange that reaches zero nothing of the
  // group is touched any more. Release: whoever waits sees what was done before.
  for (std::int64_t now = state_.load(std::memory_order_relaxed); now == less || now > less + waiters;) {
    if (state_.compare_exchange_weak(now, now - less, std::memory_order_release, std::memory_order_relaxed)) return;
  }
  detail::WaitChain released;
  {
    base::SpinGuard guard(lock_);
    const std::int64_t now = state_.fetch_sub(less, std::memory_order_acq_rel) - less;
    if (now < 0) detail::misuse("negative WaitGroup counter: more done() than add()");
    if (now == waiters) {
      while (!waiting_.empty()) released.push(waiting_.pop_front());
      // Others may count up meanwhile, without the lock.
      state_.fetch_sub(waiters, std::memory_order_release);
    }
  }
  released.answer_all(Answer::granted);
}

bool WaitGroup::enlist(WaitNode& node) noexcept {
  base::SpinGuard guard(lock_);
  std::int64_t now = state_.load(std::memory_order_acquire);
  // From the moment at which `waiters` stands, zero is reached under the lock alone, so the node is found.
  do {
    if (now / one == 0) return false;
  } while ((now & waiters) == 0 && !state_.compare_exchange_weak(now, now | waiters, std::memory_order_acq_rel, std::memory_order_acquire));
  node.waiter = detail::current_waiter();
  waiting_.push_back(node);
  return true;
}

void WaitGroup::wait() noexcept {
  WaitNode node;
  if (enlist(node)) detail::await_answer(node, runtime::WaitReason::wait_group, this);
}

Result<void> WaitGroup::wait_until(Deadline deadline) noexcept {
  WaitNode node;
  if (!enlist(node)) return {};
  const WaitEnd end = detail::await_answer_until(node, deadline.ns(), runtime::WaitReason::wait_group, this);
  if (end == WaitEnd::answered) return {};
  {
    base::SpinGuard guard(lock_);
    if (node.linked) {
      waiting_.remove(node);
      if (waiting_.empty()) state_.fetch_and(~waiters, std::memory_order_relaxed);
      return fail(detail::wait_error(end));
    }
  }
  detail::await_answer(node, runtime::WaitReason::wait_group, this);
  return {};
}

}  // namespace roost
