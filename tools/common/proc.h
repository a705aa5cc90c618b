// What the kernel tells about processes and the machine, read from /proc: memory, CPU time, limits, ports.
//
// Readings are of one moment and never fail loudly: what cannot be read (a process that is gone, a file that a
// container hides) is an empty optional or a zero that the comment names.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace roost::tools {

// The whole of a small file; empty when it cannot be read.
std::string read_file(const std::string& path);

struct ProcessUsage {
  // Bytes of memory that would be free without the process: its proportional set size where the kernel tells (a page that
  // n processes share counts 1/n), else its resident size.
  std::uint64_t memory_bytes = 0;
  double cpu_s = 0;  // user and system time of all threads so far, in steps of 10 ms
  unsigned processes = 0;  // how many were summed
};

// The process and all its descendants, parents first. Only `root` itself when it has none; empty when it does not exist.
std::vector<pid_t> process_tree(pid_t root);

// Sums over processes; those that are gone count nothing.
ProcessUsage read_usage(const std::vector<pid_t>& processes);

// As read_usage().memory_bytes, but only anonymous memory, which is cheap to read: no walk of page tables.
std::uint64_t read_anonymous_bytes(const std::vector<pid_t>& processes);
// As read_usage(), with that memory.
ProcessUsage read_usage_quickly(const std::vector<pid_t>& processes);

struct KernelMemory {
  // Kernel objects: sockets, their inodes and names, epoll items, ... Where /proc/slabinfo may be read (by root), without the
  // caches of file systems, which grow with whatever is read meanwhile: listing the descriptors of a process with a
  // million connections alone makes a million inodes of /proc.
  std::uint64_t slab_bytes = 0;
  std::uint64_t page_table_bytes = 0;
  std::uint64_t tcp_buffer_bytes = 0;   // data in TCP's send and receive queues (this network namespace's sockstat)
};
KernelMemory read_kernel_memory();

// What TCP has counted in a network namespace since that began.
struct TcpCounters {
  std::uint64_t retransmitted_segments = 0;  // SYNs included
  std::uint64_t listen_overflows = 0;        // connections that found an accept queue full
  std::uint64_t listen_drops = 0;            // those, and others that a listener did not take
  // What was counted from `before` on.
  [[nodiscard]] TcpCounters since(const TcpCounters& before) const noexcept;
  friend bool operator==(const TcpCounters&, const TcpCounters&) noexcept = default;
};
// Of the namespace in which `process` is; 0: this one. All 0 where it cannot be read.
TcpCounters read_tcp_counters(pid_t process = 0);
// Packets that were dropped since boot because they found the queue of a processor full (net.core.netdev_max_backlog; loopback
// goes through it, too). Of the whole machine, whatever the namespace; 0 where it cannot be read.
std::uint64_t read_backlog_drops();
// From the text of /proc/net/softnet_stat: a line for each processor, the second column, hexadecimal.
std::uint64_t parse_backlog_drops(std::string_view softnet_stat);
// Whether a process is in this process's network namespace; true where that cannot be told.
bool share_network_namespace(pid_t process);
// From the texts of /proc/net/snmp and /proc/net/netstat.
TcpCounters parse_tcp_counters(std::string_view snmp, std::string_view netstat);

// Descriptors that the processes have open. Nothing where the kernel does not tell by the size of /proc/PID/fd (it does since
// Linux 6.2): to list them would take a kernel inode for each.
std::optional<std::uint64_t> count_descriptors(const std::vector<pid_t>& processes);

std::uint64_t read_available_bytes();  // MemAvailable; 0 when unknown

struct MachineCpu {
  double busy_s = 0;   // of all processors since boot; steal by a hypervisor counts as busy
  double total_s = 0;
};
MachineCpu read_machine_cpu();

// Descriptors that a process may raise its limit to (the hard RLIMIT_NOFILE).
std::uint64_t descriptor_limit();
// Descriptors still free on the whole machine (fs.file-max less those in use); the largest number when unknown.
std::uint64_t descriptors_free_on_machine();

// Ports that one source address has for one destination: net.ipv4.ip_local_port_range.
struct PortRange {
  std::uint32_t first = 32768;
  std::uint32_t last = 60999;
  [[nodiscard]] std::uint32_t count() const noexcept { return last - first + 1; }
};
PortRange local_port_range();

struct MachineFacts {
  std::string kernel;      // "Linux 6.18.0 x86_64"
  std::string processor;   // its model; "unknown" where the kernel does not tell
  unsigned processors = 1;
  std::uint64_t memory_bytes = 0;
};
MachineFacts read_machine_facts();

// This process's command line as a shell would take it again.
std::string command_line();

// Processors this process may use, by its affinity mask; at least 1.
unsigned processor_count();

}  // namespace roost::tools
