// Arming a timer from wherever the caller happens to be.
#pragma once

#include "base/assert.h"
#include "runtime/runtime_state.h"

namespace roost::sync {

// On the caller's worker; for a plain thread on the first one, which is then returned: it may sleep towards a later time, so
// its poller is to be woken once the caller's locks are gone. The caller is on a Visit until then.
[[nodiscard]] inline runtime::Worker* arm_timer(time::Timer& timer, std::int64_t when_ns) noexcept {
  if (runtime::Worker* here = runtime::current_worker()) {
    here->timers.arm(timer, when_ns);
    return nullptr;
  }
  runtime::Runtime* runtime = runtime::Runtime::current();
  ROOST_ASSERT(runtime != nullptr, "a timer or a context with a deadline needs a running runtime; make it inside roost::run");
  runtime::Worker& first = runtime->worker(0);
  first.timers.arm(timer, when_ns);
  return &first;
}

// False: the runtime is gone or going, so that nothing can be started any more.
inline bool runtime_is_running() noexcept { return runtime::Runtime::current() != nullptr; }

}  // namespace roost::sync
