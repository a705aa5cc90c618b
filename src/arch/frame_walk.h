// Walking a stack by its frame pointers: no unwinder, no lock, no allocation; usable in signal handlers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/context.h"

namespace roost::arch {

// Fills `out` with return addresses, innermost first, starting at frame pointer `frame` and staying inside
// [low, high). Returns how many. Code built without frame pointers ends the walk early, never outside the bounds.
ROOST_NO_TSAN inline std::size_t walk_frames(std::uintptr_t frame, std::uintptr_t low, std::uintptr_t high,
                               std::span<void*> out) noexcept {
  std::size_t count = 0;
  while (count < out.size() && frame >= low && frame + 2 * sizeof(void*) <= high && frame % sizeof(void*) == 0) {
    const auto* words = reinterpret_cast<const std::uintptr_t*>(frame);
    const std::uintptr_t next = words[0];
    const std::uintptr_t address = words[1];
    if (address == 0) break;
    out[count++] = reinterpret_cast<void*>(address);
    if (next <= frame) break;  // frames only ever lie further up
    frame = next;
  }
  return count;
}

}  // namespace roost::arch
