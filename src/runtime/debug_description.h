// Where a debugger finds the fibers: a table of addresses and offsets, read by scripts/gdb/roost.py.
//
// With it the script works on programs that were built without debug information, on a live process and on a core file
// alike, and need not follow each change of a class. The order of the members is the script's, and only ever grows.
#pragma once

#include <cstdint>

#include "runtime/fiber.h"

namespace roost::runtime {

struct DebugDescription {
  std::uint64_t version = 1;
  std::uint64_t bytes = 0;                 // of this table
  // The stack arena: an array of pointers to regions, and how many. Null before the first fiber.
  const void* regions = nullptr;
  const void* region_count = nullptr;
  std::uint64_t region_base = 0;
  std::uint64_t region_size_class = 0;
  std::uint64_t region_carved = 0;
  std::uint64_t smallest_stack_bytes = 0;
  std::uint64_t colours = 0;
  std::uint64_t colour_step = 0;
  // A fiber's control block.
  std::uint64_t fiber_bytes = 0;
  std::uint64_t fiber_sp = 0;
  std::uint64_t fiber_state = 0;
  std::uint64_t fiber_wait_since_ns = 0;
  std::uint64_t fiber_wait_object = 0;
  std::uint64_t fiber_wait_reason = 0;
  std::uint64_t fiber_live = 0;
  std::uint64_t fiber_ended = 0;
  std::uint64_t fiber_name = 0;
  std::uint64_t fiber_id = 0;
  std::uint64_t fiber_stack_low = 0;
  std::uint64_t fiber_stack_top = 0;
  // A descriptor's state, which fibers that wait for I/O have as their wait object.
  std::uint64_t desc_fd = 0;
  // Names of the reasons to wait.
  std::uint64_t reason_count = wait_reason_count;
  const char* reasons[wait_reason_count] = {};
};

// Fills the table in. Called once, when the arena is made.
void describe_to_debuggers(const void* regions, const void* region_count) noexcept;

}  // namespace roost::runtime

extern "C" roost::runtime::DebugDescription roost_debug_description;
