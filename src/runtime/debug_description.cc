#include "runtime/debug_description.h"

#include <cstddef>

#include "runtime/netpoll.h"
#include "runtime/stack_arena.h"

// Not all of these are classes of standard layout. Where GCC and Clang place their members is the same for all that.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

extern "C" {
[[gnu::used]] roost::runtime::DebugDescription roost_debug_description;
}

namespace roost::runtime {

struct DebugDescriptionOffsets {
  static void fill(DebugDescription& table) noexcept {
    table.region_base = offsetof(StackArena::Region, base);
    table.region_size_class = offsetof(StackArena::Region, size_class);
    table.region_carved = offsetof(StackArena::Region, carved);
    table.smallest_stack_bytes = StackArena::smallest_stack_bytes;
    table.colours = StackArena::colours;
    table.colour_step = StackArena::colour_step;
    table.fiber_bytes = sizeof(Fiber);
    table.fiber_sp = offsetof(Fiber, context) + offsetof(arch::Context, sp);
    table.fiber_state = offsetof(Fiber, state);
    table.fiber_wait_since_ns = offsetof(Fiber, wait_since_ns);
    table.fiber_wait_object = offsetof(Fiber, wait_object);
    table.fiber_wait_reason = offsetof(Fiber, wait_reason);
    table.fiber_live = offsetof(Fiber, live);
    table.fiber_ended = offsetof(Fiber, ended);
    table.fiber_name = offsetof(Fiber, name);
    table.fiber_id = offsetof(Fiber, id);
    table.fiber_stack_low = offsetof(Fiber, stack_low);
    table.fiber_stack_top = offsetof(Fiber, stack_top);
    table.desc_fd = offsetof(PollDesc, fd_);
  }
};

void describe_to_debuggers(const void* regions, const void* region_count) noexcept {
  DebugDescription& table = roost_debug_description;
  table.bytes = sizeof table;
  table.regions = regions;
  table.region_count = region_count;
  DebugDescriptionOffsets::fill(table);
  for (std::size_t i = 0; i < wait_reason_count; ++i) table.reasons[i] = wait_reason_name(static_cast<WaitReason>(i));
}

}  // namespace roost::runtime
