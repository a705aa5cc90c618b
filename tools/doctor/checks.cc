#include "tools/doctor/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/doctor/judges.h"
#include "tools/doctor/spread.h"

namespace roost::doctor {
namespace {

constexpr std::string_view sysctl_file = "/etc/sysctl.d/90-roost.conf";

constexpr Check checks[] = {
    {"nofile", Group::descriptors, "RLIMIT_NOFILE",
     "A connection is a descriptor, and a process may open only so many. The hard limit counts: roost raises the soft "
     "one itself.",
     "the fullest process's share of N + 64", judge_nofile},
    {"nr-open", Group::descriptors, "fs.nr_open", "No process, not even root's, can set RLIMIT_NOFILE above this.",
     "the fullest process's share of N + 64", judge_nr_open},
    {"file-max", Group::descriptors, "fs.file-max",
     "All open files of the machine together. Both ends of a loopback connection count.",
     "N x ends + open now + 10,000", judge_file_max},
    {"epoll-watches", Group::descriptors, "fs.epoll.max_user_watches",
     "How many descriptors one user may register with epoll, in all pollers together.", "N x ends + 10,000",
     judge_epoll_watches},
    {"systemd-limitnofile", Group::descriptors, "LimitNOFILE",
     "A service gets its descriptor limit from its unit; ulimit and limits.conf do not reach it.",
     "the fullest process's share of N + 64", judge_systemd_limitnofile},

    {"memory", Group::memory, "MemAvailable",
     "Most of an idle connection's memory is the kernel's: socket, inode, file, epoll registration.",
     "N x (kernel + user bytes) / 0.95", judge_memory},
    {"cgroup-memory", Group::memory, "memory cgroup",
     "A container's limit covers the kernel memory of its sockets too, not only the heap.",
     "N x (charged kernel + user bytes) + used now", judge_cgroup_memory},
    {"tcp-mem", Group::memory, "net.ipv4.tcp_mem",
     "Pages (not bytes) that all TCP sockets of the machine may fill with data. Idle connections use none.",
     "N x ends / 10 pages", judge_tcp_mem},
    {"tcp-rmem", Group::memory, "net.ipv4.tcp_rmem",
     "Smallest, first and largest receive buffer of a connection. It grows beyond the first only for a fast reader.",
     "", judge_tcp_rmem},
    {"tcp-wmem", Group::memory, "net.ipv4.tcp_wmem",
     "Smallest, first and largest send buffer. A peer that never reads makes the kernel hold the largest.", "",
     judge_tcp_wmem},
    {"rmem-max", Group::memory, "net.core.rmem_max",
     "The most that a program may ask for with SO_RCVBUF; no limit on TCP's own sizing.", "", judge_rmem_max},
    {"wmem-max", Group::memory, "net.core.wmem_max",
     "The most that a program may ask for with SO_SNDBUF; no limit on TCP's own sizing.", "", judge_wmem_max},
    {"max-map-count", Group::memory, "vm.max_map_count",
     "Mappings a process may have. A guard page made by mprotect splits one mapping into three.",
     "3 x N / processes + 1,000 where MADV_GUARD_INSTALL is missing", judge_max_map_count},
    {"overcommit", Group::memory, "vm.overcommit_memory",
     "Stacks reserve 64 KiB of address space each and touch one page of it. Mode 2 counts what is reserved.",
     "N x 64 KiB of commit space in mode 2", judge_overcommit},
    {"thp", Group::memory, "transparent huge pages",
     "Huge pages turn a few touched KiB into 2 MiB where memory is used sparsely.", "", judge_thp},
    {"first-touch", Group::memory, "fresh memory",
     "Every new connection takes fresh pages, for its sockets in the kernel and its stack. What the first touch of one costs "
     "bounds the rate at which they can be opened.",
     "", judge_first_touch},

    {"somaxconn", Group::accepting, "net.core.somaxconn",
     "Connections wait in the listener's queue until accepted; this cuts the backlog that listen() asked for, "
     "silently.",
     "rate x 0.2 s", judge_somaxconn},
    {"syn-backlog", Group::accepting, "net.ipv4.tcp_max_syn_backlog",
     "Half-open connections of a listener, but only where SYN cookies are off.",
     "rate x 0.1 s x 4/3 without SYN cookies", judge_syn_backlog},
    {"syncookies", Group::accepting, "net.ipv4.tcp_syncookies",
     "Lets a listener answer SYNs beyond its queue without remembering them.", "", judge_syncookies},
    {"abort-on-overflow", Group::accepting, "net.ipv4.tcp_abort_on_overflow",
     "Whether a full accept queue answers with a reset instead of letting the client try again.", "",
     judge_abort_on_overflow},
    {"netdev-backlog", Group::accepting, "net.core.netdev_max_backlog",
     "Packets that wait for a CPU; loopback goes through this queue too. The drop counter tells whether it is too "
     "short.",
     "double it, 10,000 at least, once packets were dropped", judge_netdev_backlog},
    {"ehash", Group::accepting, "net.ipv4.tcp_ehash_entries",
     "The hash table that finds a packet's socket. It is sized at boot.", "N x ends / 4", judge_ehash},
    {"max-orphans", Group::accepting, "net.ipv4.tcp_max_orphans",
     "Sockets that are closed but still have data or a FIN under way.", "N", judge_max_orphans},
    {"tw-buckets", Group::accepting, "net.ipv4.tcp_max_tw_buckets",
     "Closed connections in TIME_WAIT. Lowering it ends a protection early and saves 256 B each.",
     "min(rate x 60 s, 65,536)", judge_tw_buckets},

    {"port-range", Group::dialing, "net.ipv4.ip_local_port_range",
     "Every dialled connection needs a local port of its own, for each source address and target.",
     "ceil(N / (sources x targets))", judge_port_range},
    {"tw-reuse", Group::dialing, "net.ipv4.tcp_tw_reuse",
     "Lets a new outgoing connection take a port that is in TIME_WAIT.", "", judge_tw_reuse},
    {"fin-timeout", Group::dialing, "net.ipv4.tcp_fin_timeout",
     "How long a closed socket waits for the peer's FIN. Often mistaken for the length of TIME_WAIT.", "",
     judge_fin_timeout},

    {"keepalive", Group::liveness, "net.ipv4.tcp_keepalive_*",
     "How soon the kernel notices a peer that vanished, on sockets that ask for keep-alive.",
     "time + interval x probes <= 1 h, N / time <= 20,000 probes a second", judge_keepalive},
    {"timestamps", Group::liveness, "net.ipv4.tcp_timestamps",
     "Round-trip measurement, safe reuse of ports and protection against old segments depend on them.", "",
     judge_timestamps},

    {"conntrack", Group::kernel, "nf_conntrack_max",
     "A firewall or NAT that tracks connections has a table of its own, and drops SYNs when it is full.",
     "1.25 x N + in use", judge_conntrack},
    {"cgroup-cpu", Group::kernel, "CPU cgroup", "A quota stops all workers at once until the next period.", "",
     judge_cgroup_cpu},
    {"congestion", Group::kernel, "net.ipv4.tcp_congestion_control",
     "bbr wants its pacing done by the queueing discipline fq.", "", judge_congestion},
    {"guard-install", Group::kernel, "MADV_GUARD_INSTALL", "Guards a stack without splitting a mapping.", "",
     judge_guard_install},
    {"io-uring", Group::kernel, "io_uring", "An alternative back end; containers often forbid it.", "", judge_io_uring},
    {"epoll-pwait2", Group::kernel, "epoll_pwait2", "Lets a poller wait with nanoseconds instead of milliseconds.", "",
     judge_epoll_pwait2},
    {"stale-sysctls", Group::kernel, "sysctl files",
     "Lines that were copied from older advice and name settings that no longer exist.", "", judge_stale_sysctls},
};

}  // namespace

std::span<const Check> all_checks() { return checks; }

const Check* find_check(std::string_view id) {
  const auto found = std::ranges::find(checks, id, &Check::id);
  return found == std::end(checks) ? nullptr : &*found;
}

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::unknown:
      return "could not tell";
    case Verdict::advice:
      return "advice";
    case Verdict::too_low:
      return "too low";
  }
  return "";
}

std::string_view to_string(Group group) {
  switch (group) {
    case Group::descriptors:
      return "Descriptors";
    case Group::memory:
      return "Memory";
    case Group::accepting:
      return "Accepting";
    case Group::dialing:
      return "Dialing";
    case Group::liveness:
      return "Liveness";
    case Group::kernel:
      return "Kernel and host";
  }
  return "";
}

std::string_view to_string(Role role) {
  switch (role) {
    case Role::server:
      return "server";
    case Role::client:
      return "client";
    case Role::both:
      return "both";
  }
  return "";
}

std::optional<std::uint64_t> connections_per_process(const System& system) {
  const auto limit = system.descriptor_limit();
  if (!limit) return std::nullopt;
  return limit->hard > descriptors_reserved ? limit->hard - descriptors_reserved : 0;
}

std::optional<std::uint64_t> processes_needed(const System& system, const Ask& ask) {
  const auto per_process = connections_per_process(system);
  if (!per_process || *per_process == 0) return std::nullopt;
  return fewest_processes(ask.connections, *per_process, ask.serves());
}

std::string with_commas(std::uint64_t number) {
  if (number == unlimited) return "unlimited";
  std::string digits = fmt::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(digits.begin() + at, ',');
  }
  return digits;
}

std::string size_text(double bytes) {
  constexpr std::string_view units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(units)) bytes /= 1024, ++unit;
  return unit == 0 || bytes >= 100 || bytes == std::floor(bytes) ? fmt::format("{:.0f} {}", bytes, units[unit])
                                                                 : fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0); }

bool lists(std::string_view list, std::string_view word) {
  const auto words = split(list, ",");
  return std::ranges::find(words, word) != words.end();
}

std::uint64_t share(std::uint64_t whole, double part) {
  return static_cast<std::uint64_t>(std::ceil(static_cast<double>(whole) * part));
}

std::uint64_t round_up_nicely(std::uint64_t value) {
  std::uint64_t step = 1;
  while (value / step >= 100) step *= 10;
  return ceil_div(value, step) * step;
}

void mend_sysctl(Finding& finding, std::string_view key, std::string value) {
  if (!finding.mend_now.empty()) finding.mend_now += "\n";
  const bool quote = value.contains(' ');
  finding.mend_now +=
      quote ? fmt::format("sysctl -w {}=\"{}\"", key, value) : fmt::format("sysctl -w {}={}", key, value);
  finding.keep.push_back({std::string(sysctl_file), fmt::format("{} = {}", key, value)});
  finding.changes.push_back({std::string(key), sysctl_path(key), std::move(value)});
}

Finding unreadable(std::string_view what, std::string because) {
  Finding finding;
  finding.verdict = Verdict::unknown;
  finding.value = "unreadable";
  finding.because = because.empty() ? fmt::format("{} cannot be read.", what) : std::move(because);
  return finding;
}

Finding plain(Verdict verdict, std::string value, std::string because) {
  Finding finding;
  finding.verdict = verdict;
  finding.value = std::move(value);
  finding.because = std::move(because);
  return finding;
}

}  // namespace roost::doctor
