// Who waits for a descriptor without a fiber. Not for users: see roost/net/on_demand.h.
#pragma once

#include <cstdint>

namespace roost::detail {

// Aligned so that the low bits of its address are free for tags.
struct alignas(8) Sleeper {
  // Called by the worker whose poller, timer or caller ended the wait; must not park, and may destroy the sleeper.
  void (*wake)(Sleeper& self) noexcept;
  // How many waits its poller had begun when it fell asleep.
  std::uint32_t waits_before = 0;
};

}  // namespace roost::detail
