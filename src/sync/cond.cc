#include <roost/sync/cond.h>

#include "sync/waiting.h"

namespace roost {

using detail::Answer;
using detail::WaitEnd;
using detail::WaitNode;

void Cond::enlist(WaitNode& node) noexcept {
  node.waiter = detail::current_waiter();
  base::SpinGuard guard(lock_);
  waiting_.push_back(node);
}

WaitEnd Cond::await(WaitNode& node, Deadline deadline) noexcept {
  const WaitEnd end = detail::await_answer_until(node, deadline.ns(), runtime::WaitReason::condition, this);
  if (end == WaitEnd::answered) return end;
  {
    base::SpinGuard guard(lock_);
    if (node.linked) {
      waiting_.remove(node);
      return end;
    }
  }
  // Notified meanwhile: that notification is spent on this one, so it counts.
  detail::await_answer(node, runtime::WaitReason::condition, this);
  return WaitEnd::answered;
}

void Cond::notify_one() noexcept {
  WaitNode* node = nullptr;
  {
    base::SpinGuard guard(lock_);
    node = waiting_.pop_front();
  }
  if (node != nullptr) detail::wake(detail::answer(*node, Answer::granted));
}

void Cond::notify_all() noexcept {
  detail::WaitChain woken;
  {
    base::SpinGuard guard(lock_);
    while (WaitNode* node = waiting_.pop_front()) woken.push(node);
  }
  woken.answer_all(Answer::granted);
}

}  // namespace roost
