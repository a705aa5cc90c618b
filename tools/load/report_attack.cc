#include "tools/load/report_attack.h"

#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "tools/common/format.h"

namespace roost::load {
namespace {

using nlohmann::ordered_json;
using tools::format_count;
using tools::format_us;

// A fault with the stage it belongs to and what came of it.
struct Told {
  std::size_t stage;
  const Fault& fault;
  const FaultFigures& figures;

  // In the middle of a load that was stopped, they are there to its end, too.
  [[nodiscard]] std::uint64_t standing() const { return figures.counts.standing + figures.counts.open; }
};

std::vector<Told> all_told(const Record& record) {
  std::vector<Told> all;
  std::size_t place = 0;
  for (std::size_t i = 0; i < record.options.stages.size(); ++i) {
    for (const Fault& fault : record.options.stages[i].faults) {
      // Those of a stage that never began tell nothing.
      if (place < record.figures.faults.size() && i < record.stages.size()) all.push_back({i, fault, record.figures.faults[place]});
      ++place;
    }
  }
  return all;
}

ordered_json percentiles(const Histogram& histogram) {
  return {{"count", histogram.count()}, {"min", histogram.min()}, {"p50", histogram.percentile(0.5)}, {"p99", histogram.percentile(0.99)}, {"max", histogram.max()}};
}

ordered_json counts_json(const FaultFigures& figures, std::uint64_t standing) {
  const FaultFigures::Counts& c = figures.counts;
  return {{"opened", c.opened},         {"failed", c.failed},         {"cut_off", c.cut_off},
          {"standing", standing},       {"answered", c.answered},     {"unanswered", c.unanswered},
          {"mismatched", c.mismatched}, {"bytes_sent", c.bytes_sent}, {"causes", figures.causes},
          {"held_us", percentiles(figures.held)}, {"back_us", percentiles(figures.back)},
          {"lateness_us", percentiles(figures.lateness)}};
}

std::string describe(const Told& told) {
  const FaultFigures::Counts& c = told.figures.counts;
  std::string text = fmt::format("{} attackers, {} connections opened", format_count(told.fault.attackers), format_count(c.opened));
  if (c.failed > 0) text += fmt::format(", {} not", format_count(c.failed));
  // As on a machine that leaves their processes nothing; or the load was stopped before their time.
  if (const std::uint64_t came = c.opened + c.failed; !told.fault.comes_again() && came < told.fault.attackers) {
    text += fmt::format(", {} NEVER CAME", format_count(told.fault.attackers - came));
  }
  const auto held = [&](double fraction) { return format_us(static_cast<double>(told.figures.held.percentile(fraction))); };
  if (c.cut_off > 0) text += fmt::format("; {} cut off after {} to {}", format_count(c.cut_off), held(0), held(1));
  if (told.fault.kind == FaultKind::half_open) {
    text += fmt::format("; {} vanished", format_count(told.standing()));
  } else if (told.fault.kind != FaultKind::reset) {
    text += fmt::format("; {} there to the end", told.standing() == 0 ? "none" : format_count(told.standing()));
  }
  if (told.fault.kind == FaultKind::pieces || told.fault.kind == FaultKind::storm) text += fmt::format("; {} messages answered", format_count(c.answered));
  if (c.unanswered > 0) text += fmt::format("; {} never answered", format_count(c.unanswered));
  if (c.mismatched > 0) text += fmt::format("; {} answers MISMATCHED", format_count(c.mismatched));
  return text;
}

std::string describe_niceness(unsigned niceness) {
  return niceness == 0 ? ", competing for the processors with all others" : fmt::format(" at nice {}: others get the processors first", niceness);
}

}  // namespace

ordered_json attack_json(const Record& record) {
  const std::vector<Told> all = all_told(record);
  if (all.empty()) return nullptr;
  FaultFigures sum;
  std::uint64_t standing = 0;
  ordered_json faults = ordered_json::array();
  for (const Told& told : all) {
    sum.merge(told.figures);
    standing += told.standing();
    ordered_json one = {{"stage", record.options.stages[told.stage].name}, {"fault", told.fault.to_string()},
                        {"kind", fault_name(told.fault.kind)},              {"attackers", told.fault.attackers}};
    one.update(counts_json(told.figures, told.standing()));
    faults.push_back(std::move(one));
  }
  ordered_json json = counts_json(sum, standing);
  json["processes"] = record.plan.attack_processes;
  json["nice"] = record.options.attack_nice;
  json["cpu_s"] = std::round(record.attackers.cpu_s * 1000) / 1000;
  ordered_json& descriptors = json["server_descriptors"] = ordered_json::array();
  for (std::size_t i = 0; i < record.stages.size(); ++i) {
    if (const auto& d = record.stages[i].server_descriptors) {
      descriptors.push_back({{"stage", record.options.stages[i].name}, {"before", d->before}, {"most", d->most}, {"after", d->after}});
    }
  }
  json["faults"] = std::move(faults);
  return json;
}

ordered_json tcp_json(const Record& record) {
  const auto counters = [](const tools::TcpCounters& c) {
    return ordered_json{{"retransmitted_segments", c.retransmitted_segments}, {"listen_overflows", c.listen_overflows}, {"listen_drops", c.listen_drops}};
  };
  ordered_json json;
  json["client"] = counters(record.client_tcp);
  if (record.server_tcp) json["server"] = counters(*record.server_tcp);
  json["one_namespace"] = record.is_one_namespace;
  json["backlog_drops"] = record.backlog_drops;
  return json;
}

std::string attack_text(const Record& record) {
  std::string text;
  const auto line = [&text](std::string_view name, std::string_view value) { text += fmt::format("{:<13} {}\n", name, value); };
  Histogram lateness;
  for (const Told& told : all_told(record)) {
    if (!told.figures.lateness.empty()) lateness.merge(told.figures.lateness);
    const std::string stage = record.options.stages.size() > 1 ? fmt::format("stage {}: ", told.stage + 1) : std::string();
    line("attack", fmt::format("{}{}, {}", stage, told.fault.to_string(), fault_meaning(told.fault.kind)));
    line("", describe(told));
    std::string causes;
    for (const auto& [name, times] : told.figures.causes) causes += fmt::format("{}{} x {}", causes.empty() ? "" : ", ", format_count(times), name);
    if (!causes.empty()) line("", causes);
  }
  if (!text.empty()) {
    std::string value = fmt::format("CPU {:.2f} s in {} process{} of their own{}", record.attackers.cpu_s, record.plan.attack_processes,
                                    record.plan.attack_processes == 1 ? "" : "es", describe_niceness(record.options.attack_nice));
    if (!lateness.empty()) {
      value += fmt::format("; late by p50 {}  p99 {}  max {}", format_us(static_cast<double>(lateness.percentile(0.5))),
                           format_us(static_cast<double>(lateness.percentile(0.99))), format_us(static_cast<double>(lateness.max())));
    }
    line("attackers", value);
  }
  for (std::size_t i = 0; i < record.stages.size(); ++i) {
    const auto& d = record.stages[i].server_descriptors;
    if (!d) continue;
    const std::string stage = record.options.stages.size() > 1 ? fmt::format("stage {}: ", i + 1) : std::string();
    line("descriptors", fmt::format("{}the server's were {} before the attack, {} at most, {} at the run's end", stage, format_count(d->before),
                                    format_count(d->most), format_count(d->after)));
  }
  return text;
}

std::string tcp_text(const Record& record) {
  const tools::TcpCounters& server = record.server_tcp.value_or(tools::TcpCounters{});
  const std::uint64_t retransmitted = record.client_tcp.retransmitted_segments + (record.is_one_namespace ? 0 : server.retransmitted_segments);
  if (retransmitted + server.listen_overflows + server.listen_drops + record.backlog_drops == 0) return {};
  std::string value = fmt::format("{} segments sent again", format_count(record.client_tcp.retransmitted_segments));
  if (record.server_tcp && !record.is_one_namespace) {
    value += fmt::format(" by this machine, {} by the server's", format_count(server.retransmitted_segments));
  }
  if (record.server_tcp) {
    value += fmt::format("; the accept queue was full {} times, {} connections were not taken", format_count(server.listen_overflows),
                         format_count(server.listen_drops));
  }
  std::string text = fmt::format("{:<13} {}{}\n", "tcp", value, " (all programs of that network namespace)");
  if (record.backlog_drops > 0) {
    text += fmt::format("{:<13} {} packets found a processor's queue full and were dropped, on the whole machine: net.core.netdev_max_backlog is too low, see roost doctor\n",
                        "", format_count(record.backlog_drops));
  }
  return text;
}

}  // namespace roost::load
