// Sleeping: the fiber parks, its worker goes on.
#pragma once

#include <chrono>

#include <roost/error.h>
#include <roost/time/deadline.h>

namespace roost {

// Parks the calling fiber until `wake` has passed. On an idle machine it returns within 100 us of it
// (bench/micro, sleep precision). A deadline that has passed yields once.
//
// Errors
//   operation_canceled   the runtime stops or the fiber's context was canceled; returns early
Result<void> sleep_until(Deadline wake);

inline Result<void> sleep_for(std::chrono::nanoseconds span) { return sleep_until(Deadline::after(span)); }

}  // namespace roost
