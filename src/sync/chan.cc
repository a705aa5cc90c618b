#include <roost/sync/chan.h>

#include "sync/waiting.h"

namespace roost::detail {
namespace {

constexpr runtime::WaitReason reason_of(ChanSide side) noexcept {
  return side == ChanSide::receive ? runtime::WaitReason::channel_receive : runtime::WaitReason::channel_send;
}

}  // namespace

ChanStep ChanCore::wait(ChanSide side, WaitNode& node, Deadline deadline, WaitEnd& end) noexcept {
  const runtime::Waiter self = runtime::current_waiter();
  if (end = hindrance(self, deadline.ns()); end != WaitEnd::answered) [[unlikely]] {
    unlock();
    return ChanStep::would_wait;
  }
  node.waiter = self.bits();
  waiters(side).push_back(node);
  unlock();
  end = await_answer_until(node, deadline.ns(), reason_of(side), this);
  if (end != WaitEnd::answered) [[unlikely]] {
    lock();
    const bool withdrawn = node.linked;
    if (withdrawn) waiters(side).remove(node);
    unlock();
    if (withdrawn) return ChanStep::would_wait;
    // Somebody has taken it out meanwhile: what was handed over counts, late or not.
    await_answer(node, reason_of(side), this);
  }
  return node.answer.load(std::memory_order_relaxed) == Answer::closed ? ChanStep::closed : ChanStep::done;
}

void ChanCore::close_locked(WaitChain& waiting) noexcept {
  closed_.store(true, std::memory_order_release);
  for (WaitList* list : {&receivers_, &senders_}) {
    while (WaitNode* node = list->pop_claimed()) waiting.push(node);
  }
}

bool ChanCore::close() noexcept {
  WaitChain waiting;
  lock();
  const bool was_open = !closed_locked();
  if (was_open) close_locked(waiting);
  unlock();
  waiting.answer_all(Answer::closed);
  return was_open;
}

WaitEnd ChanCore::wait_forever(ChanSide side, Deadline deadline) noexcept {
  WaitNode node;
  node.waiter = current_waiter();
  return await_answer_until(node, deadline.ns(), reason_of(side), nullptr);
}

}  // namespace roost::detail
