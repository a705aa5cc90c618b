// What N connections will take out of this machine's memory.
//
// The kernel's share is added up from the sizes of this machine's own slabs (/sys/kernel/slab, then /proc/slabinfo;
// both need root), because a TCP socket's size differs between kernel versions and configurations. Where neither can
// be read, the sizes measured on Linux 6.18 stand in and the forecast says so. docs/tuning.md tells how the sum was
// checked against real connections.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/doctor/ask.h"
#include "tools/doctor/system.h"

namespace roost::doctor {

// One kernel object that every connection owns.
struct SlabCost {
  std::string_view name;       // what it is, for people
  std::string cache;           // the slab that was asked
  std::uint64_t object_bytes;  // as a memory cgroup charges it, without the pointer to the cgroup
  double resident_bytes;       // with the share of the slab's page rounding
  double per_server_end;       // how many an accepted connection has
  double per_client_end;       // how many a dialled connection has
  bool measured;               // read from this machine; otherwise the fallback for Linux 6.18
};

struct Forecast {
  std::vector<SlabCost> slabs;
  bool from_this_machine = false;  // every size was read here

  double kernel_bytes_server_end = 0;  // idle, registered with epoll
  double kernel_bytes_client_end = 0;
  double user_bytes_server_end = 0;
  double user_bytes_client_end = 0;
  double cgroup_bytes_per_connection = 0;  // what a memory cgroup charges for both kernel and user space

  // For one connection with the ends that the role puts on this machine.
  double kernel_bytes_per_connection = 0;
  double user_bytes_per_connection = 0;
  [[nodiscard]] double bytes_per_connection() const { return kernel_bytes_per_connection + user_bytes_per_connection; }

  // On top of idle, when a tenth of the connections have one small message waiting to be read.
  double burst_bytes = 0;
  // When one connection in a hundred never reads, its send queue grows to tcp_wmem's maximum; tcp_mem bounds the sum.
  double hostile_bytes = 0;
  bool hostile_bounded_by_tcp_mem = false;

  std::optional<std::uint64_t> available_bytes;
};

// The machine keeps a twentieth for itself: page tables, the slabs' slack, the other programs' next allocation.
inline constexpr double memory_usable_share = 0.95;

[[nodiscard]] Forecast forecast(const System& system, const Ask& ask);

}  // namespace roost::doctor
