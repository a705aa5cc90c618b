// How the primitives of this room wait for their nodes' answers.
#pragma once

#include <roost/detail/wait.h>

#include "base/clock.h"
#include "runtime/parking.h"

namespace roost::detail {

// What a wait of `self` that begins now, or goes on, would end with: `answered` means that it may.
[[nodiscard]] inline WaitEnd hindrance(runtime::Waiter self, std::int64_t until_ns) noexcept {
  if (self.is_fiber() && self.fiber()->is_canceled()) [[unlikely]] {
    return self.fiber()->is_expired() ? WaitEnd::timed_out : WaitEnd::canceled;
  }
  if (until_ns == base::never_ns) [[likely]] return WaitEnd::answered;
  return base::now_ns() >= until_ns ? WaitEnd::timed_out : WaitEnd::answered;
}

// Parks until the node, whose `waiter` is the caller, has been answered, however often the fiber is canceled.
inline Answer await_answer(WaitNode& node, runtime::WaitReason reason, const void* object) noexcept {
  for (;;) {
    // Acquire pairs with the release in answer().
    if (const Answer what = node.answer.load(std::memory_order_acquire); what != Answer::none) return what;
    runtime::park(reason, object);
  }
}

// Parks until the node has been answered (`answered`), the calling fiber is canceled or its context is done, or the
// deadline has passed. Then the node may still be linked: the caller takes the lock, and if it is not linked any more
// it has been answered, or is about to be.
inline WaitEnd await_answer_until(WaitNode& node, std::int64_t until_ns, runtime::WaitReason reason,
                                  const void* object) noexcept {
  const runtime::Waiter self = runtime::Waiter::from_bits(node.waiter);
  for (;;) {
    if (node.answer.load(std::memory_order_acquire) != Answer::none) return WaitEnd::answered;
    // Whoever cancels stores the flag first and wakes afterwards, and a wake-up is kept, so none is missed between this
    // look and the park.
    if (const WaitEnd end = hindrance(self, until_ns); end != WaitEnd::answered) return end;
    if (until_ns == base::never_ns) {
      runtime::park(reason, object);
    } else {
      runtime::park_until(reason, until_ns, object);
    }
  }
}

}  // namespace roost::detail
