#include <roost/detail/wait.h>

#include <roost/error.h>

#include "base/assert.h"
#include "runtime/parking.h"

namespace roost::detail {

WaiterId current_waiter() noexcept { return runtime::current_waiter().bits(); }
void wake_waiter(WaiterId waiter) noexcept { runtime::unpark(runtime::Waiter::from_bits(waiter)); }
void misuse(const char* what) noexcept { base::panic(__FILE__, __LINE__, what); }
void spend_turn() noexcept { runtime::spend_budget(); }

[[gnu::noinline]] void spend_miss() noexcept {
  // One a thread, whichever fiber it runs. Read and written before anything can park.
  constinit thread_local std::uint32_t misses = 0;
  if (++misses % 16 == 0) runtime::spend_budget();
}

std::error_code wait_error(WaitEnd end) noexcept {
  return end == WaitEnd::timed_out ? make_error_code(Errc::deadline_exceeded) : make_error_code(Errc::canceled);
}

}  // namespace roost::detail
