// Judges what bounds memory: the machine, cgroups, TCP's share, the shape of address space.
#include "tools/doctor/judges.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "tools/doctor/cgroup.h"

namespace roost::doctor {

Finding judge_memory(const Context& c) {
  const auto available = c.forecast.available_bytes;
  if (!available) return unreadable("/proc/meminfo");
  const double each = c.forecast.bytes_per_connection();
  const double usable = static_cast<double>(*available) * memory_usable_share;
  const double need = each * static_cast<double>(c.ask.connections) / memory_usable_share;
  Finding finding;
  finding.value = size_text(static_cast<double>(*available)) + " available";
  finding.need = size_text(need);
  finding.because =
      fmt::format("{} x ({:.0f} B kernel + {:.0f} B user) / {:.2f}", with_commas(c.ask.connections),
                  c.forecast.kernel_bytes_per_connection, c.forecast.user_bytes_per_connection, memory_usable_share);
  finding.capacity = static_cast<std::uint64_t>(usable / each);
  if (need > static_cast<double>(*available)) {
    finding.verdict = Verdict::too_low;
    finding.effect = "The kernel reclaims, then kills: usually the process with the most memory, which is the server.";
    finding.mend_now = c.ask.serves() && c.ask.handler == Handler::fiber
                           ? "roost echo --handler on-demand    # no stack while a connection waits"
                           : "";
  } else if (need + c.forecast.burst_bytes > static_cast<double>(*available)) {
    finding.verdict = Verdict::advice;
    finding.effect = "They fit while idle; a message waiting on every tenth connection does not.";
  }
  return finding;
}

namespace {

struct CgroupLimit {
  std::string file;
  std::uint64_t limit;
  std::uint64_t used;  // without page cache that can be dropped
};

// Every ancestor's limit binds, so the one with the least room left counts.
std::optional<CgroupLimit> tightest_memory_cgroup(const System& system) {
  std::optional<CgroupLimit> tightest;
  for (const auto& [folder, v2] : cgroup_folders(system, "memory")) {
    const auto limit = system.number(folder + (v2 ? "memory.max" : "memory.limit_in_bytes"));
    const auto used = system.number(folder + (v2 ? "memory.current" : "memory.usage_in_bytes"));
    // Version 1 says "no limit" as the largest multiple of a page in a signed 64-bit number.
    if (!limit || *limit >= std::uint64_t{1} << 62) continue;
    std::uint64_t droppable = 0;
    if (const auto stat = system.read(folder + "memory.stat")) {
      for (const auto entry : lines_of(*stat)) {
        const auto words = split(entry);
        if (words.size() == 2 && words[0] == "inactive_file") droppable = parse_number(words[1]).value_or(0);
      }
    }
    const auto held = used.value_or(0) - std::min(droppable, used.value_or(0));
    const auto room = *limit - std::min(*limit, held);
    if (!tightest || room < tightest->limit - std::min(tightest->limit, tightest->used)) {
      tightest = CgroupLimit{folder + (v2 ? "memory.max" : "memory.limit_in_bytes"), *limit, held};
    }
  }
  return tightest;
}

}  // namespace

Finding judge_cgroup_memory(const Context& c) {
  if (!c.system.exists("/proc/self/cgroup")) return unreadable("/proc/self/cgroup");
  const auto limit = tightest_memory_cgroup(c.system);
  if (!limit) return plain(Verdict::ok, "no limit");
  const double each = c.forecast.cgroup_bytes_per_connection;
  const auto room = limit->limit - std::min(limit->limit, limit->used);
  const auto need = static_cast<std::uint64_t>(each * static_cast<double>(c.ask.connections)) + limit->used;
  Finding finding;
  finding.value = fmt::format("{}, {} of it used", size_text(static_cast<double>(limit->limit)),
                              size_text(static_cast<double>(limit->used)));
  finding.need = size_text(static_cast<double>(need));
  finding.because = fmt::format("{} x {:.0f} B charged (sockets count, not only the heap) + what is used",
                                with_commas(c.ask.connections), each);
  finding.capacity = static_cast<std::uint64_t>(static_cast<double>(room) / each);
  if (need <= limit->limit) return finding;
  finding.verdict = Verdict::too_low;
  finding.effect = "socket and accept fail with ENOMEM, or the group's largest process is killed.";
  finding.mend_now = fmt::format("echo {} > {}", need + need / 10, limit->file);
  finding.keep.push_back(
      {"/etc/systemd/system/roost.service.d/limits.conf", fmt::format("[Service]\nMemoryMax={}", need + need / 10)});
  return finding;
}

Finding judge_overcommit(const Context& c) {
  const auto mode = c.system.number(sysctl_path("vm.overcommit_memory"));
  if (!mode) return unreadable("vm.overcommit_memory");
  Finding finding;
  finding.value = fmt::to_string(*mode);
  finding.need = "0 or 1";
  if (*mode != 2) {
    finding.because = "Address space that is only reserved costs nothing in this mode.";
    return finding;
  }
  if (!c.ask.serves() || c.ask.handler == Handler::on_demand) {
    finding.because = "Strict accounting; no stack is reserved for a connection that waits.";
    return finding;
  }
  const auto limit = c.system.meminfo_bytes("CommitLimit");
  const auto committed = c.system.meminfo_bytes("Committed_AS");
  finding.because = fmt::format("{} stacks x {} of address space each, all of it counted in mode 2",
                                with_commas(c.ask.connections), size_text(stack_bytes));
  if (!limit || !committed) {
    finding.verdict = Verdict::unknown;
    return finding;
  }
  finding.capacity = (*limit - std::min(*limit, *committed)) / stack_bytes;
  finding.verdict = *finding.capacity < c.ask.connections ? Verdict::too_low : Verdict::advice;
  finding.effect = "mmap of a stack region fails with ENOMEM long before memory is used.";
  mend_sysctl(finding, "vm.overcommit_memory", "0");
  return finding;
}

Finding judge_thp(const Context& c) {
  const std::string path = "/sys/kernel/mm/transparent_hugepage/enabled";
  const auto text = c.system.read(path);
  if (!text) return plain(Verdict::ok, "not built in");
  Finding finding;
  const auto open = text->find('[');
  const auto close = text->find(']');
  if (open == std::string::npos || close == std::string::npos || close < open) return unreadable(path);
  finding.value = text->substr(open + 1, close - open - 1);
  finding.need = "madvise";
  if (finding.value != "always") return finding;
  finding.verdict = Verdict::advice;
  finding.because = "roost keeps huge pages off its stacks itself; the heap and other programs are not so careful.";
  finding.effect = "One touched byte can commit 2 MiB; resident memory per connection grows for no gain.";
  finding.mend_now = "echo madvise > " + path;
  finding.keep.push_back({"/etc/tmpfiles.d/roost.conf", fmt::format("w {} - - - - madvise", path)});
  finding.changes.push_back({"", path, "madvise"});
  return finding;
}

Finding judge_first_touch(const Context& c) {
  // A machine of its own takes 250 to 500 ns to find, clear and map a page.
  constexpr double usual_ns = 1000;
  // The trial takes 16 MiB. Where they are near to the last ones, somebody could be killed for them.
  constexpr std::uint64_t room_bytes = std::uint64_t{128} << 20;
  const auto group = tightest_memory_cgroup(c.system);
  if (c.forecast.available_bytes.value_or(0) < room_bytes || (group && group->limit < group->used + room_bytes)) {
    return plain(Verdict::unknown, "not tried", fmt::format("Less than {} is free.", size_text(static_cast<double>(room_bytes))));
  }
  const auto ns = c.system.first_touch_ns();
  if (!ns) return plain(Verdict::unknown, "not tried", "Another machine's memory cannot be tried from here.");
  Finding finding = plain(Verdict::ok, fmt::format("{:.2g} us a page", *ns / 1000));
  finding.need = fmt::format("{:.0f} us or less", usual_ns / 1000);
  const double bytes = c.forecast.bytes_per_connection() * static_cast<double>(c.ask.connections);
  const double seconds = bytes / page_bytes * *ns / 1e9;
  finding.because = fmt::format("{} for {} connections: {:.1f} s of processor time in all, however they are opened", size_text(bytes),
                                with_commas(c.ask.connections), seconds);
  if (*ns <= usual_ns) return finding;
  finding.verdict = Verdict::advice;
  finding.effect = "Opening is slower for it; connections that stand are not. Most likely a virtual machine whose host takes free memory back "
                   "(balloon, free page reporting) and finds every page anew: the host's to change, by reserved memory or huge pages.";
  return finding;
}

Finding judge_max_map_count(const Context& c) {
  const auto value = c.system.number(sysctl_path("vm.max_map_count"));
  if (!value) return unreadable("vm.max_map_count");
  Finding finding;
  finding.value = with_commas(*value);
  if (!c.ask.serves() || c.ask.handler == Handler::on_demand) {
    finding.because = "Stacks are few: a waiting connection has none.";
    return finding;
  }
  const auto probe = c.system.guard_install();
  if (probe == Probe::yes) {
    finding.because = "MADV_GUARD_INSTALL guards stacks without splitting mappings, so the count stays small.";
    return finding;
  }
  const auto processes = c.ask.processes != 0 ? c.ask.processes : processes_needed(c.system, c.ask).value_or(1);
  const auto need = 3 * ceil_div(c.ask.connections, processes) + 1'000;
  finding.need = with_commas(need);
  finding.because = fmt::format("2 mappings x {} guarded stacks a process, of which they use two thirds, + 1,000",
                                with_commas(ceil_div(c.ask.connections, processes)));
  if (*value >= need) return finding;
  finding.verdict = probe == Probe::unknown ? Verdict::unknown : Verdict::advice;
  finding.effect = fmt::format("Stacks beyond the first {} of a process have a canary instead of a guard page.",
                               with_commas(*value / 3));
  mend_sysctl(finding, "vm.max_map_count", fmt::to_string(round_up_nicely(need)));
  return finding;
}

Finding judge_tcp_mem(const Context& c) {
  const auto value = c.system.numbers(sysctl_path("net.ipv4.tcp_mem"));
  if (value.size() != 3) {
    return unreadable("net.ipv4.tcp_mem", "Only the host's network namespace shows it; it counts for containers too.");
  }
  const auto need = share(c.ask.connections * c.ask.ends(), 0.1);
  Finding finding;
  finding.value = fmt::format("{} {} {} pages ({} at most)", value[0], value[1], value[2],
                              size_text(static_cast<double>(value[2]) * page_bytes));
  finding.need = with_commas(need) + " pages";
  finding.because = fmt::format("a page for each of the tenth of {} sockets that has data waiting; idle ones need none",
                                with_commas(c.ask.connections * c.ask.ends()));
  const auto ram = c.system.meminfo_bytes("MemTotal");
  const auto propose = [&] {
    // The kernel's own proportions at boot: 3/4, 1 and 2 parts (net/ipv4/tcp.c, tcp_init_mem).
    const auto high = round_up_nicely(std::max<std::uint64_t>(need, ram ? *ram / page_bytes / 10 : need));
    mend_sysctl(finding, "net.ipv4.tcp_mem", fmt::format("{} {} {}", high * 3 / 8, high / 2, high));
  };
  if (value[2] < need) {
    finding.verdict = Verdict::too_low;
    finding.effect = "Above the maximum the kernel drops segments and resets connections that have data to send.";
    propose();
  } else if (ram && value[2] > *ram / page_bytes) {
    finding.verdict = Verdict::advice;
    finding.effect =
        fmt::format("The maximum is {}, more than the machine has: it was meant in bytes, but counts pages.",
                    size_text(static_cast<double>(value[2]) * page_bytes));
    propose();
  } else if (value[0] == value[1] && value[1] == value[2]) {
    finding.verdict = Verdict::advice;
    finding.effect = "With all three equal the kernel goes from no pressure to refusal in one step.";
    propose();
  } else if (value[1] < need) {
    finding.verdict = Verdict::advice;
    finding.effect = "Such a burst passes the second value: windows shrink until it has drained.";
    propose();
  }
  return finding;
}

namespace {

// What one of tcp_rmem and tcp_wmem means when connections stall while data keeps coming.
struct BufferRule {
  std::string_view key;
  std::size_t index;  // which of the three numbers a stalled connection can fill
  std::string_view who;
  std::uint64_t least, most;  // of what is worth recommending for that number
  std::string_view price;
};

// A receive buffer grows only while its reader keeps up, so one whose handler never reads stops at the first size.
constexpr BufferRule receive_rule{
    "net.ipv4.tcp_rmem", 1,          "connections whose handler stopped reading",
    16 * 1024,           128 * 1024, "A smaller first window also slows the start of every large transfer"};
constexpr BufferRule send_rule{
    "net.ipv4.tcp_wmem", 2,          "peers that never read",
    64 * 1024,           256 * 1024, "A smaller maximum also caps a fast transfer over a long path"};

Finding judge_buffers(const Context& c, const BufferRule& rule) {
  auto value = c.system.numbers(sysctl_path(rule.key));
  if (value.size() != 3) return unreadable(rule.key);
  Finding finding;
  finding.value = fmt::format("{} {} {}", value[0], value[1], value[2]);
  finding.because = "Idle connections hold no buffer at all.";
  if (!c.ask.serves()) return finding;
  const auto stalled = c.ask.connections / 100;
  const auto each = value[rule.index];
  const auto bytes = static_cast<double>(stalled) * static_cast<double>(each);
  finding.because = fmt::format("Idle connections hold no buffer at all. Worst case: {} {} x {} = {}.",
                                with_commas(stalled), rule.who, size_text(static_cast<double>(each)), size_text(bytes));
  if (value[2] < 16'384) {
    finding.verdict = Verdict::advice;
    finding.effect = "With a maximum below 16 KiB even small messages stall on the window.";
    mend_sysctl(finding, rule.key, fmt::format("4096 16384 {}", rule.most));
    return finding;
  }
  const auto tcp_mem = c.system.numbers(sysctl_path("net.ipv4.tcp_mem"));
  const auto bound = tcp_mem.size() == 3 ? tcp_mem[2] * page_bytes : unlimited;
  if (each > rule.least && bytes > static_cast<double>(bound)) {
    finding.verdict = Verdict::advice;
    finding.needs_consent = true;
    finding.effect = fmt::format(
        "{} such connections take all of tcp_mem ({}) and put every connection of the machine under pressure. {}, so "
        "this one is for you to decide.",
        with_commas(bound / each), size_text(static_cast<double>(bound)), rule.price);
    value[rule.index] = std::clamp(std::bit_floor(bound / stalled), rule.least, rule.most);
    value[1] = std::min(value[1], value[2]);
    mend_sysctl(finding, rule.key, fmt::format("{} {} {}", value[0], value[1], value[2]));
  }
  return finding;
}

}  // namespace

Finding judge_tcp_rmem(const Context& c) { return judge_buffers(c, receive_rule); }

Finding judge_tcp_wmem(const Context& c) { return judge_buffers(c, send_rule); }

namespace {

Finding judge_core_maximum(const Context& c, std::string_view key, std::string_view option) {
  const auto value = c.system.number(sysctl_path(key));
  if (!value) return unreadable(key);
  Finding finding;
  finding.value = size_text(static_cast<double>(*value));
  finding.because = fmt::format("It only caps setsockopt({}); TCP's own sizing does not ask it.", option);
  if (*value >= 64u * 1024 * 1024) {
    finding.verdict = Verdict::advice;
    finding.effect =
        fmt::format("A large value gains an idle connection nothing, and lets any program pin {} in one socket.",
                    size_text(static_cast<double>(*value)));
    mend_sysctl(finding, key, "4194304");
    finding.needs_consent = true;
  }
  return finding;
}

}  // namespace

Finding judge_rmem_max(const Context& c) { return judge_core_maximum(c, "net.core.rmem_max", "SO_RCVBUF"); }

Finding judge_wmem_max(const Context& c) { return judge_core_maximum(c, "net.core.wmem_max", "SO_SNDBUF"); }

}  // namespace roost::doctor
