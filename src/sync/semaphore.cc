#include <roost/sync/semaphore.h>

#include "sync/waiting.h"

namespace roost {

using detail::Answer;
using detail::WaitEnd;
using detail::WaitNode;

struct Semaphore::Node : WaitNode {
  explicit Node(std::int64_t wanted) noexcept : count(wanted) {}
  const std::int64_t count;
};

namespace {

// Runs whoever is first next, on this worker.
void switch_to(detail::WaiterId id) noexcept {
  const runtime::Waiter waiter = runtime::Waiter::from_bits(id);
  if (waiter.is_fiber()) {
    runtime::unpark_and_yield_to(waiter.fiber());
  } else {
    runtime::unpark(waiter);
  }
}

}  // namespace

Semaphore::Semaphore(std::int64_t permits) noexcept : permits_(permits), available_(permits) {
  if (permits < 0) detail::misuse("a semaphore with a negative number of permits");
}

Result<void> Semaphore::acquire(std::int64_t count, Deadline deadline) noexcept {
  if (count < 0 || count > permits_) detail::misuse("a semaphore was asked for more permits than it has, or for less than none");
  Node node(count);
  {
    base::SpinGuard guard(lock_);
    if (waiting_.empty() && available_ >= count) {
      available_ -= count;
      return {};
    }
    node.waiter = detail::current_waiter();
    waiting_.push_back(node);
    ++waiting_count_;
  }
  const WaitEnd end = detail::await_answer_until(node, deadline.ns(), runtime::WaitReason::semaphore, this);
  if (end == WaitEnd::answered) return {};
  detail::WaitChain satisfied;
  bool withdrawn = false;
  {
    base::SpinGuard guard(lock_);
    if (node.linked) {
      withdrawn = true;
      waiting_.remove(node);
      --waiting_count_;
      // Those behind may have waited only because this one wanted so much.
      take_satisfied(satisfied);
    }
  }
  satisfied.answer_all(Answer::granted);
  if (withdrawn) return fail(detail::wait_error(end));
  detail::await_answer(node, runtime::WaitReason::semaphore, this);
  return {};
}

bool Semaphore::try_acquire(std::int64_t count) noexcept {
  if (count < 0 || count > permits_) detail::misuse("a semaphore was asked for more permits than it has, or for less than none");
  base::SpinGuard guard(lock_);
  if (!waiting_.empty() || available_ < count) return false;
  available_ -= count;
  return true;
}

void Semaphore::take_satisfied(detail::WaitChain& satisfied) noexcept {
  while (WaitNode* node = waiting_.front()) {
    const std::int64_t wanted = static_cast<Node*>(node)->count;
    if (wanted > available_) return;
    available_ -= wanted;
    waiting_.remove(*node);
    --waiting_count_;
    satisfied.push(node);
  }
}

void Semaphore::give_back(std::int64_t count, bool yields) noexcept {
  detail::WaitChain satisfied;
  {
    base::SpinGuard guard(lock_);
    if (count < 0 || available_ + count > permits_) detail::misuse("a semaphore was released more often than it was acquired");
    available_ += count;
    take_satisfied(satisfied);
  }
  if (!yields) {
    satisfied.answer_all(Answer::granted);
    return;
  }
  WaitNode* first = satisfied.pop();
  if (first == nullptr) return;
  const detail::WaiterId next = detail::answer(*first, Answer::granted);
  satisfied.answer_all(Answer::granted);
  switch_to(next);
}

std::int64_t Semaphore::available() const noexcept {
  base::SpinGuard guard(lock_);
  return available_;
}
std::size_t Semaphore::waiting() const noexcept {
  base::SpinGuard guard(lock_);
  return waiting_count_;
}

}  // namespace roost
