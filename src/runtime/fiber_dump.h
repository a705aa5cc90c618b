// The collector behind roost/fiber_dump.h, for use inside the runtime: reports of a deadlock, and of fibers that did not leave.
#pragma once

#include <roost/fiber_dump.h>

#include "runtime/runtime_state.h"

namespace roost::runtime {

// On a thread that may be held up, and not on a worker's.
[[nodiscard]] FiberDump collect_fibers(Runtime& runtime, const FiberDumpOptions& options);

}  // namespace roost::runtime
