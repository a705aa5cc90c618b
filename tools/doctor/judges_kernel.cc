// Judges the kernel's features and what else on the host stands in the way.
#include "tools/doctor/judges.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tools/doctor/cgroup.h"

namespace roost::doctor {

Finding judge_conntrack(const Context& c) {
  const auto maximum = c.system.number(sysctl_path("net.netfilter.nf_conntrack_max"));
  if (!maximum) return plain(Verdict::ok, "not loaded", "Nothing tracks connections here.");
  const auto count = c.system.number(sysctl_path("net.netfilter.nf_conntrack_count")).value_or(0);
  if (count == 0) {
    return plain(Verdict::ok, fmt::format("{}, none in use", with_commas(*maximum)),
                 "Loaded, but no rule makes it track: its table stays empty.");
  }
  const auto need = share(c.ask.connections, 1.25) + count;
  Finding finding;
  finding.value = fmt::format("{}, {} in use", with_commas(*maximum), with_commas(count));
  finding.need = with_commas(need);
  finding.because = fmt::format("1.25 x {} + what is in use; about 320 B each", with_commas(c.ask.connections));
  finding.capacity = *maximum - std::min(*maximum, count);
  if (*maximum >= need) return finding;
  finding.verdict = *finding.capacity < c.ask.connections ? Verdict::too_low : Verdict::advice;
  finding.effect =
      "A full table drops SYNs of the whole host, with one line in the kernel log. Best is not to track "
      "the service's port at all (nft: notrack).";
  mend_sysctl(finding, "net.netfilter.nf_conntrack_max", fmt::to_string(round_up_nicely(need)));
  return finding;
}

Finding judge_cgroup_cpu(const Context& c) {
  if (!c.system.exists("/proc/self/cgroup")) return unreadable("/proc/self/cgroup");
  const auto cpus = c.system.cpu_count();
  double allowed = cpus;
  for (const auto& [folder, v2] : cgroup_folders(c.system, "cpu")) {
    std::optional<std::uint64_t> quota;
    std::optional<std::uint64_t> period;
    if (v2) {
      const auto text = c.system.read(folder + "cpu.max").value_or("");
      const auto words = split(text);
      if (words.size() == 2) quota = parse_number(words[0]), period = parse_number(words[1]);
    } else {
      quota = c.system.number(folder + "cpu.cfs_quota_us");  // -1, no quota, is no number here
      period = c.system.number(folder + "cpu.cfs_period_us");
    }
    if (quota && period && *period != 0) allowed = std::min(allowed, static_cast<double>(*quota) / static_cast<double>(*period));
  }
  Finding finding;
  if (allowed >= cpus) return plain(Verdict::ok, fmt::format("no quota, {} CPU{}", cpus, cpus == 1 ? "" : "s"));
  finding.verdict = Verdict::advice;
  finding.value = fmt::format("{:.2f} of {} CPUs", allowed, cpus);
  finding.need = "a whole number of CPUs, and as many workers";
  finding.effect = "A throttled server accepts nothing for the rest of the period; the accept queue takes the burst.";
  finding.keep.push_back(
      {"/etc/systemd/system/roost.service.d/limits.conf", fmt::format("[Service]\nCPUQuota={}%", cpus * 100)});
  return finding;
}

Finding judge_congestion(const Context& c) {
  const auto control = c.system.read(sysctl_path("net.ipv4.tcp_congestion_control"));
  const auto discipline = c.system.read(sysctl_path("net.core.default_qdisc"));
  if (!control) return unreadable("net.ipv4.tcp_congestion_control");
  Finding finding;
  // A network namespace other than the host's does not show the queueing discipline.
  finding.value = discipline ? fmt::format("{} with {}", *control, *discipline) : *control;
  if (*control != "bbr" || !discipline || *discipline == "fq") return finding;
  finding.verdict = Verdict::advice;
  finding.need = "bbr with fq, or cubic";
  finding.effect =
      "Without fq, bbr paces every busy socket by a timer of its own. Idle connections and loopback do not care.";
  finding.needs_consent = true;
  mend_sysctl(finding, "net.core.default_qdisc", "fq");
  return finding;
}

Finding judge_guard_install(const Context& c) {
  switch (c.system.guard_install()) {
    case Probe::yes:
      return plain(Verdict::ok, "works");
    case Probe::unknown:
      return plain(Verdict::unknown, "not tried", "Another machine's kernel cannot be tried from here.");
    default:
      break;
  }
  if (!c.ask.serves() || c.ask.handler == Handler::on_demand) {
    return plain(Verdict::ok, "missing", "Stacks are few; guard pages by mprotect do.");
  }
  Finding finding = plain(Verdict::advice, "missing", "Linux 6.13 has it.");
  finding.need = "Linux 6.13";
  finding.effect = "Guard pages split mappings instead; see max-map-count.";
  return finding;
}

Finding judge_io_uring(const Context& c) {
  const auto disabled = c.system.number(sysctl_path("kernel.io_uring_disabled"));
  const auto probe = c.system.io_uring();
  Finding finding;
  finding.because = "epoll is the default back end; only ROOST_POLLER=io_uring needs this.";
  switch (probe) {
    case Probe::yes:
      finding.value = "works";
      return finding;
    case Probe::no:
      finding.value = "not in this kernel";
      return finding;
    case Probe::denied:
      finding.verdict = Verdict::advice;
      finding.value = disabled && *disabled != 0 ? fmt::format("forbidden (kernel.io_uring_disabled = {})", *disabled)
                                                 : "forbidden, most likely by a seccomp profile";
      finding.effect = "roost falls back to epoll and says so.";
      if (disabled && *disabled != 0) {
        mend_sysctl(finding, "kernel.io_uring_disabled", "0");
        finding.needs_consent = true;  // an administrator turned it off for a reason
      }
      return finding;
    case Probe::unknown:
      break;
  }
  finding.verdict = Verdict::unknown;
  finding.value = "not tried";
  return finding;
}

Finding judge_epoll_pwait2(const Context& c) {
  switch (c.system.epoll_pwait2()) {
    case Probe::yes:
      return plain(Verdict::ok, "works");
    case Probe::no: {
      Finding finding = plain(Verdict::advice, "missing", "Linux 5.11 has it.");
      finding.need = "Linux 5.11";
      finding.effect = "Timers are rounded up to whole milliseconds.";
      return finding;
    }
    case Probe::denied: {
      Finding finding = plain(Verdict::advice, "forbidden, most likely by a seccomp profile");
      finding.effect = "Timers are rounded up to whole milliseconds.";
      return finding;
    }
    case Probe::unknown:
      break;
  }
  return plain(Verdict::unknown, "not tried");
}

Finding judge_stale_sysctls(const Context& c) {
  std::vector<std::string> files{"/etc/sysctl.conf"};
  for (const std::string folder : {"/etc/sysctl.d", "/run/sysctl.d", "/usr/lib/sysctl.d"}) {
    for (const auto& name : c.system.list(folder)) {
      if (name.ends_with(".conf")) files.push_back(folder + "/" + name);
    }
  }
  std::vector<std::string> stale;
  for (const auto& file : files) {
    const auto text = c.system.read(file);
    if (!text) continue;
    std::uint32_t line_number = 0;
    for (std::size_t at = 0; at <= text->size();) {
      const auto end = std::min(text->find('\n', at), text->size());
      const auto line = std::string_view(*text).substr(at, end - at);
      at = end + 1;
      ++line_number;
      const auto words = split(line, " =");
      // A leading '-' tells sysctl to ignore the error; patterns and comments name no single file.
      if (words.empty() || words[0].find_first_of("#;*-/") == 0 || words[0].contains('*')) continue;
      if (!words[0].starts_with("net.") && !words[0].starts_with("fs.") && !words[0].starts_with("vm.")) continue;
      if (!c.system.exists(sysctl_path(words[0]))) {
        stale.push_back(fmt::format("{} ({}:{})", words[0], file, line_number));
      }
    }
  }
  if (stale.empty()) return plain(Verdict::ok, "none");
  Finding finding = plain(Verdict::advice, fmt::to_string(fmt::join(stale, ", ")));
  finding.need = "none";
  finding.effect = "This kernel has no such setting: the line does nothing, and sysctl -p reports an error.";
  return finding;
}

}  // namespace roost::doctor
