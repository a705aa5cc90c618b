#include "tools/load/report_stages.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "tools/common/format.h"

namespace roost::load {
namespace {

using nlohmann::ordered_json;
using tools::format_count;
using tools::format_us;

double rate(std::uint64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }
double rounded(double value) { return std::round(value * 1000) / 1000; }

ordered_json against(ordered_json requested, double achieved) {
  return {{"requested", std::move(requested)}, {"achieved", rounded(achieved)}};
}

ordered_json number_or_null(std::optional<double> value) { return value ? ordered_json(rounded(*value)) : ordered_json(nullptr); }

double mean_bytes(const StageFigures::Counts& counts) {
  return counts.run_sent == 0 ? 0 : static_cast<double>(counts.run_bytes_sent) / static_cast<double>(counts.run_sent);
}

// Stages that began and of which figures came.
std::size_t stages_of(const Record& record) { return std::min(record.stages.size(), record.figures.stages.size()); }

ordered_json percentiles(const Histogram& histogram) {
  return {{"count", histogram.count()},
          {"p50", histogram.percentile(0.5)},
          {"p90", histogram.percentile(0.9)},
          {"p99", histogram.percentile(0.99)},
          {"p999", histogram.percentile(0.999)},
          {"max", histogram.max()}};
}

// "100 a second, 100 asked for".
std::string churn_rates(const Record& record, std::size_t i) {
  if (i >= stages_of(record)) return "";
  const Stage& stage = record.options.stages[i];
  return fmt::format("{} a second, {} asked for", format_count(rate(record.figures.stages[i].counts.churn_established, record.stages[i].run_s())),
                     format_count(stage.churn.per_second(stage.connections)));
}

}  // namespace

std::optional<double> requested_message_rate(const Record& record) {
  double messages = 0;
  double run_s = 0;
  for (std::size_t i = 0; i < record.options.stages.size(); ++i) {
    const Stage& stage = record.options.stages[i];
    const std::optional<double> asked = stage.requested_message_rate();
    if (!asked) return std::nullopt;
    const double stage_s = std::chrono::duration<double>(stage.duration).count();
    messages += *asked * stage_s;
    run_s += stage_s;
  }
  return run_s > 0 ? messages / run_s : record.options.stages.front().requested_message_rate();
}

ordered_json stages_json(const Record& record) {
  ordered_json list = ordered_json::array();
  for (std::size_t i = 0; i < stages_of(record); ++i) {
    const Stage& stage = record.options.stages[i];
    const StageRecord& when = record.stages[i];
    const StageFigures& figures = record.figures.stages[i];
    const StageFigures::Counts& counts = figures.counts;
    ordered_json json;
    json["name"] = stage.name;
    json["begin_s"] = rounded(static_cast<double>(when.begin_ns - record.stages.front().begin_ns) / 1e9);
    json["ramp_s"] = rounded(when.ramp_s);
    json["run_s"] = rounded(when.run_s());
    json["connections"] = stage.connections;
    json["opened"] = {{"requested", counts.requested}, {"achieved", counts.established}};
    json["connection_rate_per_s"] = against(rounded(stage.ramp.mean_rate()), rate(counts.established, when.ramp_s));
    json["messages"] = {{"sent", counts.run_sent}, {"received", counts.run_received}};
    json["message_rate_per_s"] = against(number_or_null(stage.requested_message_rate()), rate(counts.run_received, when.run_s()));
    json["message_bytes"] = against(rounded(stage.sizes.mean()), mean_bytes(counts));
    json["churn_per_s"] = against(rounded(stage.churn.per_second(stage.connections)), rate(counts.churn_established, when.run_s()));
    json["latency_us"] = percentiles(figures.latency);
    json["lateness_us"] = percentiles(figures.lateness);
    list.push_back(std::move(json));
  }
  return list;
}

ordered_json targets_json(const Record& record) {
  ordered_json list = ordered_json::array();
  for (std::size_t i = 0; i < std::min(record.options.targets.size(), record.figures.targets.size()); ++i) {
    const TargetCounters& counters = record.figures.targets[i];
    list.push_back({{"target", record.options.targets[i].to_string()},
                    {"established", counters.established},
                    {"failed", counters.failed},
                    {"dropped", counters.dropped},
                    {"received", counters.received}});
  }
  return list;
}

ordered_json achieved_json(const Record& record) {
  const Counters& c = record.figures.counters;
  double churn_asked = 0;
  std::uint64_t messages = 0;
  double bytes_asked = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < stages_of(record); ++i) {
    const Stage& stage = record.options.stages[i];
    const StageFigures::Counts& counts = record.figures.stages[i].counts;
    churn_asked += stage.churn.per_second(stage.connections) * record.stages[i].run_s();
    bytes_asked += stage.sizes.mean() * static_cast<double>(counts.run_sent);
    messages += counts.run_sent;
    bytes += counts.run_bytes_sent;
  }
  const double run_s = record.run_s();
  const Stage& first = record.options.stages.front();
  ordered_json json;
  json["connections"] = {{"requested", record.options.connections_max()}, {"achieved", c.peak}};
  json["connection_rate_per_s"] = against(first.ramp.mean_rate(), rate(record.opened_first(), record.ramp_s));
  json["message_rate_per_s"] = against(number_or_null(requested_message_rate(record)), rate(c.run_received, run_s));
  const auto per_message = [messages](double amount) { return messages == 0 ? 0 : amount / static_cast<double>(messages); };
  json["message_bytes"] = against(rounded(messages == 0 ? first.sizes.mean() : per_message(bytes_asked)), per_message(static_cast<double>(bytes)));
  json["churn_per_s"] = against(run_s > 0 ? rounded(churn_asked / run_s) : 0, rate(c.churn_established, run_s));
  return json;
}

std::string stages_text(const Record& record) {
  std::string text;
  const auto line = [&text](std::string_view name, std::string_view value) { text += fmt::format("{:<13} {}\n", name, value); };
  if (record.options.stages.size() > 1) {
    for (std::size_t i = 0; i < stages_of(record); ++i) {
      const Stage& stage = record.options.stages[i];
      const StageRecord& when = record.stages[i];
      const StageFigures::Counts& counts = record.figures.stages[i].counts;
      std::string opened = fmt::format("{}: {} connections", stage.name, format_count(stage.connections));
      if (counts.requested > 0) {
        opened += fmt::format(", {} of {} opened in {}: {} a second; asked for: {}", format_count(counts.established), format_count(counts.requested),
                              tools::format_seconds(when.ramp_s), format_count(rate(counts.established, when.ramp_s)), stage.ramp.describe());
      }
      line(fmt::format("stage {}", i + 1), opened);
      if (when.run_s() == 0) continue;
      const std::optional<double> asked = stage.requested_message_rate();
      line("", fmt::format("{}, {} messages: {} a second, {}{}", tools::format_seconds(when.run_s()), format_count(counts.run_received),
                           format_count(rate(counts.run_received, when.run_s())), asked ? fmt::format("{} asked for: ", format_count(*asked)) : "",
                           stage.describe_messages()));
      if (stage.churn.amount > 0) line("", "churn " + churn_rates(record, i));
      const Histogram& latency = record.figures.stages[i].latency;
      if (!latency.empty()) {
        line("", fmt::format("latency p50 {}  p99 {}  max {}", format_us(static_cast<double>(latency.percentile(0.5))),
                             format_us(static_cast<double>(latency.percentile(0.99))), format_us(static_cast<double>(latency.max()))));
      }
    }
  }
  if (record.options.targets.size() > 1) {
    for (std::size_t i = 0; i < std::min(record.options.targets.size(), record.figures.targets.size()); ++i) {
      const TargetCounters& c = record.figures.targets[i];
      line(fmt::format("target {}", i + 1), fmt::format("{}: {} established, {} failed, {} dropped; {} messages came back",
                                                        record.options.targets[i].to_string(), format_count(c.established), format_count(c.failed),
                                                        format_count(c.dropped), format_count(c.received)));
    }
  }
  if (const Counters& c = record.figures.counters; c.churn_closed > 0) {
    std::string churn = fmt::format("{} closed and {} dialled anew, {} failed", format_count(c.churn_closed), format_count(c.churn_established),
                                    format_count(c.churn_failed));
    if (record.options.stages.size() == 1) churn += ": " + churn_rates(record, 0);
    line("churn", churn);
  }
  return text;
}

}  // namespace roost::load
