#include <roost/sync/wait_group.h>

#include "sync/waiting.h"

namespace roost {

using detail::Answer;
using detail::WaitEnd;
using detail::WaitNode;

void WaitGroup::add(std::int64_t count) noexcept {
  std::int64_t now = count_.load(std::memory_order_relaxed);
  // Release: whoever waits sees what was done before. The common case needs no lock: it does not reach zero.
  while (now + count > 0) {
    if (count_.compare_exchange_weak(now, now + count, std::memory_order_release, std::memory_order_relaxed)) return;
  }
  detail::WaitChain released;
  {
    base::SpinGuard guard(lock_);
    now = count_.fetch_add(count, std::memory_order_acq_rel) + count;
    if (now < 0) detail::misuse("negative WaitGroup counter: more done() than add()");
    while (now == 0 && !waiting_.empty()) released.push(waiting_.pop_front());
  }
  released.answer_all(Answer::granted);
}

bool WaitGroup::enlist(WaitNode& node) noexcept {
  base::SpinGuard guard(lock_);
  if (count_.load(std::memory_order_acquire) == 0) return false;
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
      return fail(detail::wait_error(end));
    }
  }
  detail::await_answer(node, runtime::WaitReason::wait_group, this);
  return {};
}

}  // namespace roost
