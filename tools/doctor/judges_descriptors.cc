// Judges limits on open files.
#include "tools/doctor/judges.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/doctor/spread.h"

namespace roost::doctor {
namespace {

// Descriptors that the fullest process needs.
std::uint64_t descriptors_needed(const Ask& ask, std::uint64_t processes) {
  return fullest_share(ask.connections, processes, ask.serves()) + descriptors_reserved;
}

std::string need_text(const Ask& ask, std::uint64_t processes) {
  if (processes == 1) return fmt::format("{} connections + {}", with_commas(ask.connections), descriptors_reserved);
  return fmt::format("{} connections / {} processes{} + {}", with_commas(ask.connections), processes,
                     ask.serves() ? " + 6 deviations, since the kernel deals by a hash" : "", descriptors_reserved);
}

// A little more than the need, but not so much more that it would pass the default of fs.nr_open by itself.
std::uint64_t descriptors_recommended(const Ask& ask, std::uint64_t processes) {
  return ceil_div(descriptors_needed(ask, processes) + descriptors_reserved, 1'024) * 1'024;
}

}  // namespace

Finding judge_nofile(const Context& c) {
  const auto limit = c.system.descriptor_limit();
  if (!limit) return unreadable("/proc/self/limits");
  const auto per_process = *connections_per_process(c.system);
  const auto needed = processes_needed(c.system, c.ask);
  const std::uint64_t processes = c.ask.processes;
  Finding finding;
  finding.value = limit->hard == unlimited ? "unlimited" : with_commas(limit->hard);
  if (limit->soft != limit->hard) {
    finding.value += fmt::format(" (soft {}; roost raises it itself)", with_commas(limit->soft));
  }
  if (processes == 0) {
    if (!needed) {
      finding.verdict = Verdict::too_low;
      finding.capacity = 0;
      finding.need = fmt::format("over {}", descriptors_reserved);
      finding.because = "No process can hold a single connection under this limit.";
      finding.effect = "accept and connect fail with EMFILE at once.";
    } else {
      finding.because = *needed == 1 ? fmt::format("One process holds all {}.", with_commas(c.ask.connections))
                                     : fmt::format("roost spreads over {} processes{} of at most {} connections each.",
                                                   with_commas(*needed), c.ask.role == Role::both ? " at each end" : "",
                                                   with_commas(per_process));
      return finding;
    }
  } else {
    const auto need = descriptors_needed(c.ask, processes);
    finding.capacity = connections_held(processes, per_process, c.ask.serves());
    finding.need = with_commas(need);
    finding.because = need_text(c.ask, processes);
    if (limit->hard >= need) return finding;
    finding.verdict = Verdict::too_low;
    finding.effect = fmt::format("accept and connect fail with EMFILE once a process has about {} connections.",
                                 with_commas(per_process));
    if (needed) finding.effect += fmt::format(" Or let {} processes share them: --processes auto.", *needed);
  }
  const auto target = descriptors_recommended(c.ask, std::max<std::uint64_t>(processes, 1));
  finding.mend_now = fmt::format("prlimit --pid $$ --nofile={0}:{0}", target);
  if (!c.system.has_capability(cap_sys_resource).value_or(true)) {
    finding.effect += " This user may not raise it: CAP_SYS_RESOURCE is missing.";
  }
  finding.keep.push_back(
      {"/etc/systemd/system/roost.service.d/limits.conf", fmt::format("[Service]\nLimitNOFILE={0}:{0}", target)});
  return finding;
}

Finding judge_nr_open(const Context& c) {
  const auto value = c.system.number(sysctl_path("fs.nr_open"));
  if (!value) return unreadable("fs.nr_open");
  Finding finding;
  finding.value = with_commas(*value);
  if (c.ask.processes == 0) {
    finding.because = "roost spreads connections over processes, so no single one needs more than it has.";
    return finding;
  }
  const auto need = descriptors_needed(c.ask, c.ask.processes);
  finding.need = with_commas(need);
  finding.because = need_text(c.ask, c.ask.processes);
  if (*value >= need) return finding;
  finding.verdict = Verdict::too_low;
  const auto each = *value - std::min(*value, descriptors_reserved);
  finding.capacity = connections_held(c.ask.processes, each, c.ask.serves());
  finding.effect = "setrlimit fails with EPERM above this value, for root too.";
  mend_sysctl(finding, "fs.nr_open", fmt::to_string(need <= 2'097'152 ? 2'097'152 : round_up_nicely(need)));
  return finding;
}

Finding judge_file_max(const Context& c) {
  const auto counts = c.system.numbers("/proc/sys/fs/file-nr");
  const auto value = c.system.number(sysctl_path("fs.file-max"));
  if (!value) return unreadable("fs.file-max");
  const auto used = counts.size() == 3 ? counts[0] : 0;
  const auto need = c.ask.connections * c.ask.ends() + used + 10'000;
  Finding finding;
  finding.value = *value >= std::uint64_t{1} << 62 ? "no limit" : with_commas(*value);
  finding.need = with_commas(need);
  finding.because =
      fmt::format("{} x {} end{} + {} open now + 10,000 for everything else", with_commas(c.ask.connections),
                  c.ask.ends(), c.ask.ends() == 1 ? "" : "s", with_commas(used));
  const bool exempt = c.system.has_capability(cap_sys_admin).value_or(false);
  if (!exempt) finding.capacity = *value > used ? (*value - used) / c.ask.ends() : 0;
  if (*value >= need) return finding;
  finding.verdict = finding.capacity && *finding.capacity < c.ask.connections ? Verdict::too_low : Verdict::advice;
  finding.effect = exempt ? "This user is exempt (CAP_SYS_ADMIN); any other user's calls fail with ENFILE."
                          : "open, accept and socket fail with ENFILE for every user of the machine.";
  mend_sysctl(finding, "fs.file-max", fmt::to_string(round_up_nicely(need)));
  return finding;
}

Finding judge_epoll_watches(const Context& c) {
  const auto value = c.system.number(sysctl_path("fs.epoll.max_user_watches"));
  if (!value) return unreadable("fs.epoll.max_user_watches");
  const auto need = c.ask.connections * c.ask.ends() + 10'000;
  Finding finding;
  finding.value = with_commas(*value);
  finding.need = with_commas(need);
  finding.because = fmt::format("{} x {} end{} of one user + 10,000", with_commas(c.ask.connections), c.ask.ends(),
                                c.ask.ends() == 1 ? "" : "s");
  finding.capacity = *value / c.ask.ends();
  if (*value >= need) return finding;
  finding.verdict = *finding.capacity < c.ask.connections ? Verdict::too_low : Verdict::advice;
  finding.effect = "epoll_ctl fails with ENOSPC; the connection stands but can never be waited for.";
  mend_sysctl(finding, "fs.epoll.max_user_watches", fmt::to_string(round_up_nicely(need)));
  return finding;
}

namespace {

// LimitNOFILE= or DefaultLimitNOFILE= as the last of `files` that sets it says.
struct UnitLimit {
  std::string file;
  std::string value;
};

void take_setting(const System& system, const std::string& file, std::string_view key,
                  std::optional<UnitLimit>& found) {
  const auto text = system.read(file);
  if (!text) return;
  for (auto line : lines_of(*text)) {
    while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
    if (!line.starts_with(key)) continue;
    const auto words = split(line.substr(key.size()), " =");
    if (!words.empty() && line.substr(key.size()).find('=') != std::string_view::npos) {
      found = UnitLimit{file, std::string(words[0])};
    }
  }
}

std::optional<UnitLimit> unit_limit(const System& system, const std::string& unit) {
  const std::string_view key = unit.empty() ? "DefaultLimitNOFILE" : "LimitNOFILE";
  const std::string name = unit.empty() ? "system.conf" : unit;
  // Later folders outrank earlier ones; a drop-in outranks the unit itself.
  const std::vector<std::string> folders =
      unit.empty() ? std::vector<std::string>{"/usr/lib/systemd/", "/run/systemd/", "/etc/systemd/"}
                   : std::vector<std::string>{"/usr/lib/systemd/system/", "/lib/systemd/system/",
                                              "/run/systemd/system/", "/etc/systemd/system/"};
  std::optional<UnitLimit> found;
  for (const auto& folder : folders) take_setting(system, folder + name, key, found);
  for (const auto& folder : folders) {
    const std::string drop_ins = folder + name + ".d";
    for (const auto& file : system.list(drop_ins)) {
      if (file.ends_with(".conf")) take_setting(system, drop_ins + "/" + file, key, found);
    }
  }
  return found;
}

}  // namespace

Finding judge_systemd_limitnofile(const Context& c) {
  if (!c.system.exists("/run/systemd/system")) {
    if (c.ask.unit.empty()) return plain(Verdict::ok, "systemd does not run here");
  }
  const std::string& unit = c.ask.unit;
  const auto limit = unit_limit(c.system, unit);
  const auto processes = std::max<std::uint64_t>(c.ask.processes, 1);
  const auto need = descriptors_needed(c.ask, processes);
  const auto target = descriptors_recommended(c.ask, processes);
  const auto setting = unit.empty() ? "DefaultLimitNOFILE" : "LimitNOFILE";
  Finding finding;
  finding.need = c.ask.processes == 0 ? std::string("an explicit number") : with_commas(need);
  // systemd 240 and later: 1024 soft, 524288 hard (man systemd-system.conf).
  finding.value = limit ? limit->value : "not set (1024:524288 since systemd 240)";
  finding.because = limit ? fmt::format("{} in {}", setting, limit->file)
                          : fmt::format("no {} found{}", setting, unit.empty() ? "" : " for " + unit);
  const auto words = split(limit ? std::string_view(limit->value) : "1024:524288", ":");
  const auto hard = words.empty() ? std::nullopt : parse_number(words.back());
  const bool infinite = !words.empty() && words.back() == "infinity";
  if (infinite) {
    finding.verdict = Verdict::advice;
    finding.effect =
        "infinity means fs.nr_open: programs that walk or size tables by the limit then spend minutes "
        "or gigabytes. Name a number.";
  } else if (!hard) {
    finding.verdict = Verdict::unknown;
  } else if (c.ask.processes != 0 && *hard < need) {
    finding.verdict = unit.empty() ? Verdict::advice : Verdict::too_low;
    if (!unit.empty()) {
      finding.capacity = connections_held(processes, *hard - std::min(*hard, descriptors_reserved), c.ask.serves());
    }
    finding.effect = "A service started by systemd gets this limit, whatever ulimit or limits.conf say.";
  }
  if (finding.verdict == Verdict::advice || finding.verdict == Verdict::too_low) {
    const std::string service = unit.empty() ? "roost.service" : unit;
    finding.mend_now = fmt::format("systemctl edit {0}\nsystemctl restart {0}", service);
    finding.keep.push_back({fmt::format("/etc/systemd/system/{}.d/limits.conf", service),
                            fmt::format("[Service]\nLimitNOFILE={0}:{0}", target)});
  }
  return finding;
}

}  // namespace roost::doctor
