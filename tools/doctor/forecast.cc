#include "tools/doctor/forecast.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace roost::doctor {
namespace {

struct SlabFact {
  std::string_view name;
  std::array<std::string_view, 3> caches;  // the first that exists counts; slabs of one size are merged under any name
  std::uint64_t fallback_object_bytes;     // Linux 6.18, x86_64, SLUB, memory cgroups on
  double fallback_resident_bytes;
  double per_server_end;
  double per_client_end;
};

// Which objects a connection owns: counted in /proc/slabinfo around 30,000 and 90,000 loopback connections, both ends
// registered with epoll, the client's sockets bound to their own source address without a port (docs/tuning.md).
constexpr SlabFact tcp_sock{"TCP socket", {"TCP"}, 2368, 2520.6, 1, 1};
constexpr SlabFact tcp6_sock{"TCP socket (IPv6)", {"TCPv6"}, 2496, 2520.6, 1, 1};
constexpr SlabFact common_slabs[] = {
    {"socket and inode", {"sock_inode_cache"}, 832, 862.3, 1, 1},
    {"open file", {"filp"}, 192, 195.0, 1, 1},
    {"directory entry", {"dentry"}, 192, 195.0, 1, 1},
    {"security labels", {"lsm_inode_cache"}, 32, 32.0, 1, 1},
    {"", {"lsm_file_cache"}, 24, 24.1, 1, 1},
    {"epoll registration", {"eventpoll_epi", "kmalloc-128"}, 128, 128.0, 1, 1},
    {"", {"eventpoll_pwq", "kmalloc-64", "anon_vma_chain"}, 64, 64.0, 1, 1},
    {"", {"ep_head", "kmalloc-16"}, 16, 16.0, 1, 1},
    // The port's own bucket is shared by all source addresses, so one bucket for address and port is what counts.
    {"bound address", {"tcp_bind2_bucket", "kmalloc-128"}, 128, 128.0, 0, 1},
};

// A slot in the descriptor table: the table doubles and so is between half and wholly used, hence 8 to 16 bytes.
constexpr double descriptor_slot_bytes = 12;
// A memory cgroup charges a pointer to itself with every object (mm/slab.h, obj_full_size).
constexpr double cgroup_pointer_bytes = 8;
// One 64-byte message waiting in a receive queue: socket buffer head and data, measured as 1,090 bytes.
constexpr double waiting_message_bytes = 1'090;

struct SlabSize {
  std::uint64_t object_bytes;
  double resident_bytes;
};

std::optional<SlabSize> size_from_sysfs(const System& system, std::string_view cache) {
  const std::string folder = "/sys/kernel/slab/" + std::string(cache);
  const auto size = system.number(folder + "/slab_size");
  const auto order = system.number(folder + "/order");
  const auto per_slab = system.number(folder + "/objs_per_slab");
  if (!size || !order || !per_slab || *per_slab == 0 || *order > 20) return std::nullopt;
  return SlabSize{*size, 4096.0 * static_cast<double>(1u << *order) / static_cast<double>(*per_slab)};
}

std::optional<SlabSize> size_from_slabinfo(const std::string& slabinfo, std::string_view cache) {
  // name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : ...
  for (const auto line : lines_of(slabinfo)) {
    if (!line.starts_with(cache)) continue;
    const auto words = split(line);
    if (words.size() < 6 || words[0] != cache) continue;
    const auto size = parse_number(words[3]);
    const auto per_slab = parse_number(words[4]);
    const auto pages = parse_number(words[5]);
    if (!size || !per_slab || !pages || *per_slab == 0) return std::nullopt;
    return SlabSize{*size, 4096.0 * static_cast<double>(*pages) / static_cast<double>(*per_slab)};
  }
  return std::nullopt;
}

SlabCost cost_of(const System& system, const std::string& slabinfo, const SlabFact& fact) {
  for (const auto cache : fact.caches) {
    if (cache.empty()) continue;
    auto size = size_from_sysfs(system, cache);
    if (!size) size = size_from_slabinfo(slabinfo, cache);
    if (!size) continue;
    return {fact.name,
            std::string(cache),
            size->object_bytes,
            size->resident_bytes,
            fact.per_server_end,
            fact.per_client_end,
            true};
  }
  return {fact.name,
          std::string(fact.caches[0]),
          fact.fallback_object_bytes,
          fact.fallback_resident_bytes,
          fact.per_server_end,
          fact.per_client_end,
          false};
}

// Before Linux 6.12, and under version 1 cgroups always, the socket that an incoming connection creates in interrupt
// context is charged to nobody; its inode and file, made by accept(2), are.
bool charges_accepted_socket(const System& system) {
  if (!system.exists("/sys/fs/cgroup/cgroup.controllers")) return false;
  const auto release = system.read("/proc/sys/kernel/osrelease");
  if (!release) return true;
  const auto words = split(*release, ".-");
  const auto major = words.empty() ? std::nullopt : parse_number(words[0]);
  const auto minor = words.size() < 2 ? std::nullopt : parse_number(words[1]);
  return !major || !minor || *major > 6 || (*major == 6 && *minor >= 12);
}

}  // namespace

Forecast forecast(const System& system, const Ask& ask) {
  Forecast result;
  const std::string slabinfo = system.read("/proc/slabinfo").value_or("");
  result.slabs.push_back(cost_of(system, slabinfo, ask.ipv6 ? tcp6_sock : tcp_sock));
  for (const auto& fact : common_slabs) result.slabs.push_back(cost_of(system, slabinfo, fact));
  result.from_this_machine = std::ranges::all_of(result.slabs, &SlabCost::measured);

  result.kernel_bytes_server_end = descriptor_slot_bytes;
  result.kernel_bytes_client_end = descriptor_slot_bytes;
  double charged = 0;
  const double server_ends = ask.serves() ? 1 : 0;
  const double client_ends = ask.dials() ? 1 : 0;
  for (const auto& slab : result.slabs) {
    result.kernel_bytes_server_end += slab.resident_bytes * slab.per_server_end;
    result.kernel_bytes_client_end += slab.resident_bytes * slab.per_client_end;
    const bool is_socket = slab.cache.starts_with("TCP");
    const double charged_servers = is_socket && !charges_accepted_socket(system) ? 0 : server_ends;
    charged += (static_cast<double>(slab.object_bytes) + cgroup_pointer_bytes) *
               (slab.per_server_end * charged_servers + slab.per_client_end * client_ends);
  }
  result.user_bytes_server_end = static_cast<double>(ask.server_user_bytes());
  result.user_bytes_client_end = static_cast<double>(ask.client_user_bytes);
  result.kernel_bytes_per_connection =
      result.kernel_bytes_server_end * server_ends + result.kernel_bytes_client_end * client_ends;
  result.user_bytes_per_connection =
      result.user_bytes_server_end * server_ends + result.user_bytes_client_end * client_ends;
  result.cgroup_bytes_per_connection = charged + result.user_bytes_per_connection;

  const double connections = static_cast<double>(ask.connections);
  result.burst_bytes = connections / 10 * waiting_message_bytes;
  const auto wmem = system.numbers("/proc/sys/net/ipv4/tcp_wmem");
  const auto tcp_mem = system.numbers("/proc/sys/net/ipv4/tcp_mem");
  if (wmem.size() == 3) {
    result.hostile_bytes = connections / 100 * static_cast<double>(wmem[2]);
    if (tcp_mem.size() == 3 && result.hostile_bytes > static_cast<double>(tcp_mem[2]) * 4096) {
      result.hostile_bytes = static_cast<double>(tcp_mem[2]) * 4096;
      result.hostile_bounded_by_tcp_mem = true;
    }
  }
  result.available_bytes = system.meminfo_bytes("MemAvailable");
  return result;
}

}  // namespace roost::doctor
