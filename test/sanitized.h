// What a test does otherwise where every access is instrumented: fewer rounds, never another fact.
#pragma once

#include "base/sanitizer.h"

namespace roost::test {

#if defined(ROOST_ASAN) || defined(ROOST_TSAN)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

// Rounds of a stress test.
constexpr int rounds(int full) { return sanitized ? full / 10 + 1 : full; }

}  // namespace roost::test
