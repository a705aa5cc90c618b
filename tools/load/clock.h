// The load's time: nanoseconds of roost's own clock, the one that deadlines count by, so that what is due can be slept towards.
#pragma once

#include <cstdint>

#include <roost/time/deadline.h>

namespace roost::load {

inline std::int64_t now_ns() { return Deadline::at(Deadline::Clock::now()).ns(); }

// What a histogram takes; a span that is negative, by the grain of two clocks, is none.
inline std::uint64_t to_us(std::int64_t ns) { return ns <= 0 ? 0 : static_cast<std::uint64_t>(ns / 1000); }

}  // namespace roost::load
