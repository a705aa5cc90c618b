#include "tools/doctor/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tools/doctor/spread.h"

namespace roost::doctor {
namespace {

std::vector<ProcessesRow> rows_by_processes(const Diagnosis& d, std::uint64_t per_process) {
  // What bounds the machine as a whole, however many processes there are.
  std::uint64_t ceiling = unlimited;
  std::string_view ceiling_id;
  for (const auto& limit : d.limits) {
    if (limit.check_id == "nofile" || limit.check_id == "nr-open" || limit.check_id == "systemd-limitnofile") continue;
    if (limit.connections < ceiling) ceiling = limit.connections, ceiling_id = limit.check_id;
  }
  std::vector<std::uint64_t> counts{1};
  if (d.ask.processes != 0) counts.push_back(d.ask.processes);
  if (d.processes_needed) counts.push_back(*d.processes_needed);
  // As many as the ceiling can use; beyond that another process gains nothing.
  constexpr std::uint64_t beyond_counting = std::uint64_t{1} << 40;
  if (per_process != 0 && ceiling < beyond_counting) {
    counts.push_back(fewest_processes(ceiling, per_process, d.ask.serves()));
  }
  std::ranges::sort(counts);
  counts.erase(std::ranges::unique(counts).begin(), counts.end());
  std::vector<ProcessesRow> rows;
  for (const auto count : counts) {
    if (count == 0) continue;
    const auto by_descriptors = connections_held(count, per_process, d.ask.serves());
    rows.push_back(by_descriptors < ceiling ? ProcessesRow{count, by_descriptors, "nofile"}
                                            : ProcessesRow{count, ceiling, ceiling_id});
  }
  return rows;
}

}  // namespace

const Finding* Diagnosis::find(std::string_view id) const {
  for (const auto& entry : judged) {
    if (entry.check->id == id) return &entry.finding;
  }
  return nullptr;
}

std::string Diagnosis::headline() const {
  if (!capacity) return "How many connections this machine holds could not be told: no limit was readable.";
  return fmt::format("This machine holds at most {} connections; the lowest limit is {}.", with_commas(*capacity),
                     lowest_limit);
}

Diagnosis diagnose(const System& system, const Ask& ask, const std::vector<std::string>& only) {
  Diagnosis d;
  d.ask = ask;
  d.kernel = system.read("/proc/sys/kernel/osrelease").value_or("unknown");
  d.cpus = system.cpu_count();
  d.memory_total_bytes = system.meminfo_bytes("MemTotal");
  d.forecast = forecast(system, ask);
  const Context context{system, d.ask, d.forecast};
  d.fit = true;
  d.partial = !only.empty();
  for (const auto& check : all_checks()) {
    if (!only.empty() && std::ranges::find(only, check.id) == only.end()) continue;
    auto finding = check.judge(context);
    if (finding.verdict == Verdict::too_low) d.fit = false;
    if (finding.capacity) d.limits.push_back({check.id, *finding.capacity});
    d.judged.push_back({&check, std::move(finding)});
  }
  // By id among equals, so that two runs name the same limit.
  std::ranges::sort(d.limits, {}, [](const Limit& limit) { return std::pair(limit.connections, limit.check_id); });
  if (!d.limits.empty()) {
    d.capacity = d.limits.front().connections;
    d.lowest_limit = d.limits.front().check_id;
  }
  d.connections_per_process = connections_per_process(system);
  d.processes_needed = processes_needed(system, ask);
  if (d.connections_per_process) d.by_processes = rows_by_processes(d, *d.connections_per_process);
  return d;
}

}  // namespace roost::doctor
