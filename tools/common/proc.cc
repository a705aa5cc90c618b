#include "tools/common/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string_view>
#include <unordered_map>

#include <fmt/format.h>

namespace roost::tools {
namespace {

// The number behind `key` in text of "key: number" or "key number" form, with the key at the start of a line or the
// text, or behind a blank.
std::optional<std::uint64_t> number_after(std::string_view text, std::string_view key) {
  for (std::size_t at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    if (at != 0 && text[at - 1] != '\n' && text[at - 1] != ' ') continue;
    std::size_t i = at + key.size();
    while (i < text.size() && (text[i] == ' ' || text[i] == '\t')) ++i;
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + text.size(), value);
    if (error == std::errc()) return value;
  }
  return std::nullopt;
}

// Fields of /proc/PID/stat behind the command name, which may hold blanks and brackets itself: [0] is the state.
std::vector<std::string_view> stat_fields(std::string_view stat) {
  std::vector<std::string_view> fields;
  const std::size_t close = stat.rfind(')');
  if (close == std::string_view::npos) return fields;
  std::string_view rest = stat.substr(close + 1);
  while (!rest.empty()) {
    const std::size_t begin = rest.find_first_not_of(" \n");
    if (begin == std::string_view::npos) break;
    rest.remove_prefix(begin);
    const std::size_t length = rest.find_first_of(" \n");
    fields.push_back(rest.substr(0, length));
    rest.remove_prefix(fields.back().size());
  }
  return fields;
}

template <class T>
T to_number(std::string_view text) {
  T value{};
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

double ticks_to_seconds(std::uint64_t ticks) {
  static const double per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  return static_cast<double>(ticks) / per_second;
}

// The process's CPU time and the process itself; false when it is gone.
bool add_cpu(ProcessUsage& sum, pid_t pid) {
  const std::string stat = read_file(fmt::format("/proc/{}/stat", pid));
  const auto fields = stat_fields(stat);
  if (fields.size() < 13) return false;
  sum.processes += 1;
  // utime and stime are fields 14 and 15 of proc(5), which counts from 1 and has pid and name in front.
  sum.cpu_s += ticks_to_seconds(to_number<std::uint64_t>(fields[11]) + to_number<std::uint64_t>(fields[12]));
  return true;
}

// The words of a line, one after the other.
std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

// Of a text in which each table is two lines that begin with its name: names of columns, then their numbers. 0: not there.
std::uint64_t column_of(std::string_view text, std::string_view table, std::string_view column) {
  const auto take_line = [&text] {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    return line;
  };
  while (!text.empty()) {
    std::string_view names = take_line();
    if (take_word(names) != table) continue;
    std::string_view numbers = take_line();
    for (take_word(numbers); !names.empty() && !numbers.empty();) {
      const std::string_view number = take_word(numbers);
      if (take_word(names) == column) return to_number<std::uint64_t>(number);
    }
    return 0;
  }
  return 0;
}

// Bytes in the caches of file systems, names included where they can be told apart.
std::uint64_t file_system_slab_bytes(std::string_view slabinfo) {
  constexpr std::uint64_t name_bytes = 192;  // a dentry
  std::uint64_t bytes = 0;
  while (!slabinfo.empty()) {
    const std::string_view line = slabinfo.substr(0, slabinfo.find('\n'));
    slabinfo.remove_prefix(std::min(slabinfo.size(), line.size() + 1));
    // name active objects size objects_per_slab pages_per_slab : tunables ... : slabdata active_slabs slabs shared
    const std::string_view name = line.substr(0, line.find(' '));
    const bool of_files = (name.ends_with("inode_cache") && name != "sock_inode_cache" && name != "lsm_inode_cache") ||
                          name == "buffer_head" || name == "radix_tree_node";
    if (!of_files) continue;
    std::array<std::uint64_t, 5> values{};
    const char* at = line.data() + name.size();
    const char* const end = line.data() + line.size();
    for (std::uint64_t& value : values) {
      while (at != end && *at == ' ') ++at;
      at = std::from_chars(at, end, value).ptr;
    }
    const auto [active, objects, size, per_slab, pages] = values;
    if (per_slab > 0) bytes += objects / per_slab * pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    if (name == "proc_inode_cache") bytes += active * name_bytes;
  }
  return bytes;
}

}  // namespace

std::string read_file(const std::string& path) {
  std::string text;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char chunk[4096];
  ssize_t n = 0;
  while ((n = ::read(fd, chunk, sizeof chunk)) > 0) text.append(chunk, static_cast<std::size_t>(n));
  ::close(fd);
  return text;
}

std::vector<pid_t> process_tree(pid_t root) {
  std::unordered_map<pid_t, std::vector<pid_t>> children;
  bool exists = false;
  if (DIR* proc = ::opendir("/proc")) {
    while (const dirent* entry = ::readdir(proc)) {
      const pid_t pid = to_number<pid_t>(entry->d_name);
      if (pid <= 0) continue;
      exists = exists || pid == root;
      const std::string stat = read_file(fmt::format("/proc/{}/stat", pid));
      const auto fields = stat_fields(stat);
      if (fields.size() > 1) children[to_number<pid_t>(fields[1])].push_back(pid);
    }
    ::closedir(proc);
  }
  std::vector<pid_t> tree;
  if (exists) tree.push_back(root);
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const auto found = children.find(tree[i]);
    if (found == children.end()) continue;
    const std::vector<pid_t> below = found->second;
    tree.insert(tree.end(), below.begin(), below.end());
  }
  return tree;
}

ProcessUsage read_usage_quickly(const std::vector<pid_t>& processes) {
  ProcessUsage sum;
  for (const pid_t pid : processes) add_cpu(sum, pid);
  sum.memory_bytes = read_anonymous_bytes(processes);
  return sum;
}

ProcessUsage read_usage(const std::vector<pid_t>& processes) {
  ProcessUsage sum;
  for (const pid_t pid : processes) {
    if (!add_cpu(sum, pid)) continue;
    auto kib = number_after(read_file(fmt::format("/proc/{}/smaps_rollup", pid)), "Pss:");
    if (!kib) kib = number_after(read_file(fmt::format("/proc/{}/status", pid)), "VmRSS:");
    sum.memory_bytes += kib.value_or(0) * 1024;
  }
  return sum;
}

std::uint64_t read_anonymous_bytes(const std::vector<pid_t>& processes) {
  std::uint64_t kib = 0;
  for (const pid_t pid : processes) {
    kib += number_after(read_file(fmt::format("/proc/{}/status", pid)), "RssAnon:").value_or(0);
  }
  return kib * 1024;
}

KernelMemory read_kernel_memory() {
  const std::string meminfo = read_file("/proc/meminfo");
  KernelMemory memory;
  const std::uint64_t slab_bytes = number_after(meminfo, "Slab:").value_or(0) * 1024;
  memory.slab_bytes = slab_bytes - std::min(slab_bytes, file_system_slab_bytes(read_file("/proc/slabinfo")));
  memory.page_table_bytes = number_after(meminfo, "PageTables:").value_or(0) * 1024;
  const std::string sockstat = read_file("/proc/net/sockstat");
  const std::size_t tcp = sockstat.find("TCP:");
  if (tcp != std::string::npos) {
    const std::string_view line = std::string_view(sockstat).substr(tcp, sockstat.find('\n', tcp) - tcp);
    memory.tcp_buffer_bytes = number_after(line, "mem").value_or(0) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }
  return memory;
}

TcpCounters TcpCounters::since(const TcpCounters& before) const noexcept {
  const auto grown = [](std::uint64_t now, std::uint64_t then) { return now > then ? now - then : 0; };
  return {.retransmitted_segments = grown(retransmitted_segments, before.retransmitted_segments),
          .listen_overflows = grown(listen_overflows, before.listen_overflows),
          .listen_drops = grown(listen_drops, before.listen_drops)};
}

bool share_network_namespace(pid_t process) {
  struct stat own {};
  struct stat other {};
  if (::stat("/proc/self/ns/net", &own) != 0 || ::stat(fmt::format("/proc/{}/ns/net", process).c_str(), &other) != 0) return true;
  return own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

TcpCounters parse_tcp_counters(std::string_view snmp, std::string_view netstat) {
  TcpCounters counters;
  counters.retransmitted_segments = column_of(snmp, "Tcp:", "RetransSegs");
  counters.listen_overflows = column_of(netstat, "TcpExt:", "ListenOverflows");
  counters.listen_drops = column_of(netstat, "TcpExt:", "ListenDrops");
  return counters;
}

TcpCounters read_tcp_counters(pid_t process) {
  const std::string net = process == 0 ? "/proc/self/net" : fmt::format("/proc/{}/net", process);
  return parse_tcp_counters(read_file(net + "/snmp"), read_file(net + "/netstat"));
}

std::uint64_t parse_backlog_drops(std::string_view softnet_stat) {
  std::uint64_t sum = 0;
  while (!softnet_stat.empty()) {
    const std::string_view line = softnet_stat.substr(0, softnet_stat.find('\n'));
    softnet_stat.remove_prefix(std::min(softnet_stat.size(), line.size() + 1));
    const std::size_t gap = line.find(' ');
    if (gap == std::string_view::npos) continue;
    std::uint64_t dropped = 0;
    std::from_chars(line.data() + gap + 1, line.data() + line.size(), dropped, 16);
    sum += dropped;
  }
  return sum;
}

std::uint64_t read_backlog_drops() { return parse_backlog_drops(read_file("/proc/net/softnet_stat")); }

std::optional<std::uint64_t> count_descriptors(const std::vector<pid_t>& processes) {
  std::uint64_t sum = 0;
  for (const pid_t pid : processes) {
    struct stat status {};
    if (::stat(fmt::format("/proc/{}/fd", pid).c_str(), &status) == 0) sum += static_cast<std::uint64_t>(status.st_size);
  }
  // Every process has some.
  return sum == 0 ? std::nullopt : std::optional(sum);
}

std::uint64_t read_available_bytes() {
  return number_after(read_file("/proc/meminfo"), "MemAvailable:").value_or(0) * 1024;
}

MachineCpu read_machine_cpu() {
  const std::string stat = read_file("/proc/stat");
  std::string_view line = std::string_view(stat).substr(0, stat.find('\n'));
  MachineCpu cpu;
  // cpu user nice system idle iowait irq softirq steal; what follows is counted in user already.
  line.remove_prefix(std::min(line.size(), line.find_first_of("0123456789")));
  for (int field = 0; field < 8 && !line.empty(); ++field) {
    std::uint64_t ticks = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), ticks);
    if (error != std::errc()) break;
    line.remove_prefix(static_cast<std::size_t>(end - line.data()));
    if (!line.empty()) line.remove_prefix(1);
    cpu.total_s += ticks_to_seconds(ticks);
    if (field != 3 && field != 4) cpu.busy_s += ticks_to_seconds(ticks);
  }
  return cpu;
}

std::uint64_t descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  return limit.rlim_max == RLIM_INFINITY ? std::numeric_limits<std::uint32_t>::max() : limit.rlim_max;
}

std::uint64_t descriptors_free_on_machine() {
  // file-nr: in use, free (0 since Linux 2.6), the limit.
  const std::string text = read_file("/proc/sys/fs/file-nr");
  std::uint64_t values[3] = {};
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (std::uint64_t& value : values) {
    while (at != end && (*at == ' ' || *at == '\t')) ++at;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc()) return std::numeric_limits<std::uint64_t>::max();
    at = next;
  }
  return values[2] > values[0] ? values[2] - values[0] : 0;
}

PortRange local_port_range() {
  const std::string text = read_file("/proc/sys/net/ipv4/ip_local_port_range");
  PortRange range;
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  const auto [middle, error] = std::from_chars(text.data(), text.data() + text.size(), first);
  if (error != std::errc()) return range;
  const char* at = middle;
  while (at != text.data() + text.size() && (*at == ' ' || *at == '\t')) ++at;
  if (std::from_chars(at, text.data() + text.size(), last).ec != std::errc() || last < first) return range;
  range.first = first;
  range.last = last;
  return range;
}

MachineFacts read_machine_facts() {
  MachineFacts facts;
  utsname name{};
  if (::uname(&name) == 0) facts.kernel = fmt::format("{} {} {}", name.sysname, name.release, name.machine);
  const std::string cpuinfo = read_file("/proc/cpuinfo");
  facts.processor = "unknown";
  if (const std::size_t at = cpuinfo.find("model name"); at != std::string::npos) {
    const std::size_t begin = std::min(cpuinfo.find(": ", at), cpuinfo.size() - 2) + 2;
    facts.processor = cpuinfo.substr(begin, cpuinfo.find('\n', begin) - begin);
  }
  facts.processors = static_cast<unsigned>(std::max(::sysconf(_SC_NPROCESSORS_ONLN), 1L));
  facts.memory_bytes = number_after(read_file("/proc/meminfo"), "MemTotal:").value_or(0) * 1024;
  return facts;
}

std::string command_line() {
  const std::string arguments = read_file("/proc/self/cmdline");
  std::string line;
  for (std::size_t at = 0; at < arguments.size();) {
    const std::string argument = arguments.substr(at, arguments.find('\0', at) - at);
    at += argument.size() + 1;
    if (!line.empty()) line += ' ';
    constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,%+@[]";
    if (!argument.empty() && argument.find_first_not_of(plain) == std::string::npos) {
      line += argument;
      continue;
    }
    line += '\'';
    for (const char c : argument) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

unsigned processor_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<unsigned>(std::max(CPU_COUNT(&set), 1));
}

}  // namespace roost::tools
