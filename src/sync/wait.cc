#include <roost/detail/wait.h>

#include <roost/error.h>

#include "base/assert.h"
#include "base/clock.h"
#include "runtime/parking.h"

namespace roost::detail {

WaiterId current_waiter() noexcept { return runtime::current_waiter().bits(); }
void wake_waiter(WaiterId waiter) noexcept { runtime::unpark(runtime::Waiter::from_bits(waiter)); }
void misuse(const char* what) noexcept { base::panic(__FILE__, __LINE__, what); }
void spend_turn() noexcept { runtime::spend_budget(); }

Answer await_answer(WaitNode& node, runtime::WaitReason reason, const void* object) noexcept {
  for (;;) {
    // Acquire pairs with the release in answer().
    if (const Answer what = node.answer.load(std::memory_order_acquire); what != Answer::none) return what;
    runtime::park(reason, object);
  }
}

namespace {

// Why the fiber's calls that park must end, if they must.
WaitEnd interruption(const Fiber* self) noexcept {
  if (self == nullptr || !self->is_canceled()) [[likely]] return WaitEnd::answered;
  return self->is_expired() ? WaitEnd::timed_out : WaitEnd::canceled;
}

WaitEnd hindrance(const Fiber* self, std::int64_t until_ns) noexcept {
  if (const WaitEnd end = interruption(self); end != WaitEnd::answered) return end;
  return until_ns != base::never_ns && base::now_ns() >= until_ns ? WaitEnd::timed_out : WaitEnd::answered;
}

}  // namespace

WaitEnd wait_hindrance(std::int64_t until_ns) noexcept { return hindrance(runtime::current_fiber(), until_ns); }

WaitEnd await_answer_until(WaitNode& node, std::int64_t until_ns, runtime::WaitReason reason,
                           const void* object) noexcept {
  const Fiber* self = runtime::current_fiber();
  for (;;) {
    if (node.answer.load(std::memory_order_acquire) != Answer::none) return WaitEnd::answered;
    // Whoever cancels stores the flag first and wakes afterwards, and a wake-up is kept, so none is missed between this
    // look and the park.
    if (const WaitEnd end = hindrance(self, until_ns); end != WaitEnd::answered) return end;
    runtime::park_until(reason, until_ns, object);
  }
}

std::error_code wait_error(WaitEnd end) noexcept {
  return end == WaitEnd::timed_out ? make_error_code(Errc::deadline_exceeded) : make_error_code(Errc::canceled);
}

}  // namespace roost::detail
