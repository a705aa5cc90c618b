// Walking a stack by its frame pointers: no unwinder, no lock, no allocation; usable in signal handlers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/context.h"

namespace roost::arch {

// Fills `out` with return addresses, innermost first, starting at frame pointer `frame` and staying inside
// [low, high). Returns how many. Code built without frame pointers ends the walk early, never outside the bounds.
ROOST_LOOKS_AT_STACKS inline std::size_t walk_frames(std::uintptr_t frame, std::uintptr_t low, std::uintptr_t high,
                               std::span<void*> out) noexcept {
  std::size_t count = 0;
  // Not frame + 16 <= high: what code without frame pointers keeps in the register may be so large that the sum begins at 0 again.
  while (count < out.size() && frame >= low && frame < high && high - frame >= 2 * sizeof(void*) && frame % sizeof(void*) == 0) {
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

// As walk_frames() for a flow that is suspended, whose registers jump_fcontext has saved at `context.sp` on a stack that ends at
// `high`. Nobody may resume it meanwhile.
ROOST_LOOKS_AT_STACKS inline std::size_t walk_suspended(const Context& context, std::uintptr_t high, std::span<void*> out) noexcept {
  const auto sp = reinterpret_cast<std::uintptr_t>(context.sp);
#if defined(__x86_64__)
  // Boost.Context saves: mxcsr and x87 word, [a stack guard, since 1.80,] r12, r13, r14, r15, rbx, rbp, rip.
  constexpr std::size_t frame_words[] = {6, 7};
  constexpr std::size_t saved_words = 9;
#elif defined(__aarch64__)
  // d8 to d15, x19 to x28, then x29 (the frame pointer), x30, pc.
  constexpr std::size_t frame_words[] = {18};
  constexpr std::size_t saved_words = 21;
#else
  return 0;
#endif
  if (sp == 0 || sp % sizeof(void*) != 0 || sp + saved_words * sizeof(void*) > high) return 0;
  const auto* words = reinterpret_cast<const std::uintptr_t*>(sp);
  for (const std::size_t at : frame_words) {
    // A frame pointer points further up the stack; rbx or an address of code do not, or lead nowhere.
    if (words[at] <= sp || words[at] >= high) continue;
    const std::size_t count = walk_frames(words[at], sp, high, out);
    if (count >= 2) return count;
  }
  return 0;
}

}  // namespace roost::arch
