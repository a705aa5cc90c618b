// Reads from outside what a server process costs: CPU, memory, descriptors, context switches, system calls.
//
// Header only and free of roost, because the benchmarks' client uses it as well. It relies on Linux's per-process
// clocks and on /proc, never on the server's own word, so every server is measured by one rule. A process that is gone
// shows as an empty reading. Child processes are not counted: a server that works through them must be refused by the
// caller (compare.py does).
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace roost::tools {

struct CpuReading {
  double total_s = 0;
  double user_s = 0;    // from /proc/PID/stat, which splits the same total by sampled ticks: a rough guide
  double system_s = 0;
};

struct MemoryReading {
  std::uint64_t rss_bytes = 0;
  std::uint64_t pss_bytes = 0;
  std::uint64_t anonymous_bytes = 0;
};

struct SwitchReading {
  std::uint64_t voluntary = 0;
  std::uint64_t involuntary = 0;
};

class ServerProbe {
 public:
  explicit ServerProbe(pid_t pid) : pid_(pid), base_("/proc/" + std::to_string(pid)) {}

  [[nodiscard]] pid_t pid() const { return pid_; }

  // Where total_s comes from. The process clock has a nanosecond's grain, counts every thread up to this
  // moment and keeps what threads had used that have ended; /proc/PID/task/*/schedstat loses those and
  // lags a tick behind, and /proc/PID/stat has a grain of 10 ms.
  static constexpr const char* cpu_source = "process CPU clock (clock_getcpuclockid)";

  [[nodiscard]] std::optional<CpuReading> cpu() const {
    clockid_t clock{};
    timespec used{};
    if (::clock_getcpuclockid(pid_, &clock) != 0 || ::clock_gettime(clock, &used) != 0) return std::nullopt;
    CpuReading reading;
    reading.total_s = static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
    std::ifstream file(base_ + "/stat");
    std::string line;
    std::getline(file, line);
    const auto name_end = line.rfind(')');  // the name may hold blanks and brackets of its own
    if (name_end == std::string::npos) return std::nullopt;
    std::istringstream fields(line.substr(name_end + 1));
    std::string skipped;
    for (int field = 3; field < 14; ++field) fields >> skipped;
    double user_ticks = 0, system_ticks = 0;
    fields >> user_ticks >> system_ticks;  // fields 14 and 15 of proc(5)
    const auto ticks_per_s = static_cast<double>(::sysconf(_SC_CLK_TCK));
    reading.user_s = user_ticks / ticks_per_s;
    reading.system_s = system_ticks / ticks_per_s;
    return reading;
  }

  [[nodiscard]] std::optional<MemoryReading> memory() const {
    MemoryReading reading;
    std::ifstream file(base_ + "/smaps_rollup");
    bool found = false;
    for (std::string line; std::getline(file, line);) {
      found |= take_kib(line, "Rss:", reading.rss_bytes);
      take_kib(line, "Pss:", reading.pss_bytes);
      take_kib(line, "Anonymous:", reading.anonymous_bytes);
    }
    if (!found) return std::nullopt;
    return reading;
  }

  [[nodiscard]] SwitchReading switches() const {
    SwitchReading sum;
    for (const pid_t thread : threads()) {
      std::ifstream file(base_ + "/task/" + std::to_string(thread) + "/status");
      for (std::string line; std::getline(file, line);) {
        take(line, "voluntary_ctxt_switches:", sum.voluntary);
        take(line, "nonvoluntary_ctxt_switches:", sum.involuntary);
      }
    }
    return sum;
  }

  [[nodiscard]] std::vector<pid_t> threads() const {
    std::vector<pid_t> ids;
    each_number("/task", [&](long number) { ids.push_back(static_cast<pid_t>(number)); });
    return ids;
  }

  // Open descriptors at this moment.
  [[nodiscard]] std::uint64_t descriptors() const {
    std::uint64_t count = 0;
    each_number("/fd", [&](long) { ++count; });
    return count;
  }

 private:
  template <class F>
  void each_number(const char* directory, F act) const {
    DIR* dir = ::opendir((base_ + directory).c_str());
    if (dir == nullptr) return;
    while (const dirent* entry = ::readdir(dir)) {
      if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) != 0) act(std::strtol(entry->d_name, nullptr, 10));
    }
    ::closedir(dir);
  }
  static bool take(std::string_view line, std::string_view key, std::uint64_t& sum) {
    if (!line.starts_with(key)) return false;
    sum += std::strtoull(std::string(line.substr(key.size())).c_str(), nullptr, 10);
    return true;
  }
  static bool take_kib(std::string_view line, std::string_view key, std::uint64_t& bytes) {
    if (!line.starts_with(key)) return false;
    bytes = std::strtoull(std::string(line.substr(key.size())).c_str(), nullptr, 10) * 1024;
    return true;
  }

  const pid_t pid_;
  const std::string base_;
};

// The number of the trace point raw_syscalls:sys_enter, or 0. Where no tracefs is mounted, a child mounts one that nobody else
// sees, for as long as it takes to read the number; that needs root.
inline std::uint64_t read_syscall_trace_point() {
  const auto read_below = [](const std::string& root) {
    std::uint64_t number = 0;
    std::ifstream(root + "/events/raw_syscalls/sys_enter/id") >> number;
    return number;
  };
  for (const char* root : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    if (const std::uint64_t number = read_below(root); number != 0) return number;
  }
  std::uint64_t number = 0;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return 0;
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr const char* root = "/sys/kernel/tracing";
    if (::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
        ::mount("none", root, "tracefs", 0, nullptr) == 0) {
      number = read_below(root);
    }
    ::_exit(::write(ends[1], &number, sizeof number) == static_cast<ssize_t>(sizeof number) ? 0 : 1);
  }
  ::close(ends[1]);
  if (::read(ends[0], &number, sizeof number) != static_cast<ssize_t>(sizeof number)) number = 0;
  ::close(ends[0]);
  if (child > 0) ::waitpid(child, nullptr, 0);
  return number;
}

// Counts, while it lives, the system calls of a process's threads by the trace point raw_syscalls:sys_enter.
//
// While any such counter exists every task's system calls on the machine take the slow entry path, so it
// must stay out of the time in which CPU is measured. Threads started later are not counted.
class SyscallCounter {
 public:
  explicit SyscallCounter(const ServerProbe& probe) {
    static const std::uint64_t trace_point = read_syscall_trace_point();
    if (trace_point == 0) return;
    for (const pid_t thread : probe.threads()) {
      perf_event_attr attr{};
      attr.type = PERF_TYPE_TRACEPOINT;
      attr.size = sizeof attr;
      attr.config = trace_point;
      const long fd = ::syscall(SYS_perf_event_open, &attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
      if (fd >= 0) counters_.push_back(static_cast<int>(fd));
    }
  }
  SyscallCounter(const SyscallCounter&) = delete;
  SyscallCounter& operator=(const SyscallCounter&) = delete;
  ~SyscallCounter() {
    for (const int fd : counters_) ::close(fd);
  }

  // Empty where the kernel or the user's rights offer no such counter.
  [[nodiscard]] std::optional<std::uint64_t> read() const {
    if (counters_.empty()) return std::nullopt;
    std::uint64_t sum = 0;
    for (const int fd : counters_) {
      std::uint64_t value = 0;
      if (::read(fd, &value, sizeof value) == static_cast<ssize_t>(sizeof value)) sum += value;
    }
    return sum;
  }

 private:
  std::vector<int> counters_;
};

}  // namespace roost::tools
