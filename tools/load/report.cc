#include "tools/load/report.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "tools/common/format.h"
#include "tools/load/asked.h"
#include "tools/load/report_attack.h"
#include "tools/load/report_stages.h"

namespace roost::load {
namespace {

using tools::format_bytes;
using tools::format_count;
using tools::format_us;
using nlohmann::ordered_json;

// A generator this late (at its 99th percentile) has measured itself as much as the server.
constexpr std::uint64_t late_us = 10'000;

double per(double amount, std::uint64_t things) { return things == 0 ? 0 : amount / static_cast<double>(things); }
double rate(std::uint64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }

double rounded(double value) { return std::round(value * 1000) / 1000; }

ordered_json percentiles(const Histogram& histogram) {
  return {{"count", histogram.count()},
          {"min", histogram.min()},
          {"mean", rounded(histogram.mean())},
          {"p50", histogram.percentile(0.5)},
          {"p90", histogram.percentile(0.9)},
          {"p99", histogram.percentile(0.99)},
          {"p999", histogram.percentile(0.999)},
          {"max", histogram.max()}};
}

std::string percentile_line(const Histogram& histogram) {
  return fmt::format("p50 {}  p90 {}  p99 {}  p99.9 {}  max {}", format_us(static_cast<double>(histogram.percentile(0.5))),
                     format_us(static_cast<double>(histogram.percentile(0.9))), format_us(static_cast<double>(histogram.percentile(0.99))),
                     format_us(static_cast<double>(histogram.percentile(0.999))), format_us(static_cast<double>(histogram.max())));
}

std::string processes(std::uint64_t count) { return fmt::format("{} process{}", count, count == 1 ? "" : "es"); }

}  // namespace

bool Record::is_flawless() const noexcept {
  const Counters& c = figures.counters;
  return has_ended_well() && c.established == c.requested && c.churn_failed == 0 && c.dropped == 0 && c.lost_messages() == 0;
}

std::vector<Check> Record::checks() const {
  const Counters& c = figures.counters;
  std::vector<Check> all;
  const std::string ended = interrupted ? "it was interrupted" : !given_up.empty() ? given_up : lost_processes.empty() ? "" : lost_processes.front();
  all.push_back({"the load went to its end", ended});
  const auto usual = [&](std::string_view quantity, std::string check, bool holds, std::string seen) {
    const auto judged = std::ranges::any_of(outcomes, [&](const Outcome& outcome) { return outcome.condition.quantity->name == quantity; });
    if (!judged) all.push_back({std::move(check), holds ? "" : std::move(seen)});
  };
  const auto none = [&](std::string_view quantity, std::string check, std::uint64_t count, std::string_view things) {
    usual(quantity, std::move(check), count == 0, fmt::format("{} {}", format_count(count), things));
  };
  usual("failed", "every connection was established", c.established == c.requested && c.churn_failed == 0,
        fmt::format("{} of {} were, and {} to replace others were not", format_count(c.established), format_count(c.requested), format_count(c.churn_failed)));
  none("dropped", "no connection was dropped", c.dropped, "were");
  none("timeouts", "no message timed out", c.timeouts, "did");
  none("errors", "no message was lost to an error", c.errors, "were");
  none("mismatched", "every answer was what was sent", c.mismatched, "were something else");
  for (const Outcome& outcome : outcomes) all.push_back({"not " + outcome.condition.text, outcome.is_crossed() ? outcome.to_string() : ""});
  return all;
}

bool Record::is_ok() const { return std::ranges::all_of(checks(), &Check::holds); }

std::uint64_t Record::opened_first() const noexcept {
  return figures.stages.empty() ? figures.counters.established : figures.stages.front().counts.established;
}

double Record::run_s() const noexcept {
  double sum = 0;
  for (const StageRecord& stage : stages) sum += stage.run_s();
  return sum;
}

bool Record::generator_was_late() const noexcept {
  return options.has_open_loop() && figures.histograms[Figures::lateness].percentile(0.99) > late_us;
}

std::string Record::limited_by() const {
  // Of the first 99 %: the last connection may have waited for a SYN to be sent again.
  const double achieved = ramp_99_s > 0 ? 0.99 * rate(opened_first(), ramp_99_s) : rate(opened_first(), ramp_s);
  if (ramp_s < 0.05 || achieved >= 0.95 * options.stages.front().ramp.mean_rate()) {
    return fmt::format("the rate asked for ({})", options.stages.front().ramp.describe());
  }
  if (ramp_busy > 0.9) {
    return fmt::format("CPU: the machine's processors were {:.0f} % busy while connections opened", 100 * ramp_busy);
  }
  const std::uint64_t p99 = std::max(figures.histograms[Figures::connect].percentile(0.99), figures.histograms[Figures::first_echo].percentile(0.99));
  if (p99 > 100'000) {
    return fmt::format("the server's accepting and answering: a connection in a hundred took {} or longer (a full accept queue? see roost doctor)",
                       format_us(static_cast<double>(p99)));
  }
  return fmt::format("neither the rate asked for nor CPU ({:.0f} % busy); more processes (--processes) may help", 100 * ramp_busy);
}

ordered_json to_json(const Record& record) {
  const Counters& c = record.figures.counters;
  const auto& histograms = record.figures.histograms;
  const LoadOptions& options = record.options;

  ordered_json failures = ordered_json::object();
  for (const auto& [name, times] : record.figures.failures) failures[name] = times;

  ordered_json json;
  json["schema"] = 1;
  json["target"] = options.target_names();
  json["ok"] = record.is_ok();
  json["interrupted"] = record.interrupted;
  if (!record.given_up.empty()) json["given_up"] = record.given_up;
  if (!record.lost_processes.empty()) json["lost_processes"] = record.lost_processes;
  json["connections"] = {{"requested", options.connections_max()}, {"established", c.established},
                         {"failed", c.failed},               {"dropped", c.dropped},
                         {"released", c.released},
                         {"churn", {{"closed", c.churn_closed}, {"established", c.churn_established}, {"failed", c.churn_failed}}},
                         {"peak", c.peak},                   {"failures", failures},
                         {"rate_per_s", rounded(rate(record.opened_first(), record.ramp_s))}};
  json["connect_latency_us"] = percentiles(histograms[Figures::connect]);
  json["first_echo_us"] = percentiles(histograms[Figures::first_echo]);
  json["messages"] = {{"sent", c.sent},         {"received", c.received},         {"timeouts", c.timeouts},
                      {"errors", c.errors},     {"mismatched", c.mismatched},     {"rate_per_s", rounded(rate(c.run_received, record.run_s()))},
                      {"run_sent", c.run_sent}, {"run_received", c.run_received}, {"bytes_each", c.sent == 0 ? 0 : rounded(per(static_cast<double>(c.bytes_sent), c.sent))},
                      {"bytes_sent", c.bytes_sent}, {"bytes_received", c.bytes_received}};
  json["latency_us"] = percentiles(histograms[Figures::run]);
  json["ramp_latency_us"] = percentiles(histograms[Figures::ramp]);
  json["service_us"] = percentiles(histograms[Figures::service]);
  json["lateness_us"] = percentiles(histograms[Figures::lateness]);
  json["generator_late"] = record.generator_was_late();
  json["achieved"] = achieved_json(record);
  json["stages"] = stages_json(record);
  json["targets"] = targets_json(record);
  json["duration_s"] = rounded(record.duration_s);
  json["ramp_s"] = rounded(record.ramp_s);
  json["ramp_99_s"] = rounded(record.ramp_99_s);
  json["run_s"] = rounded(record.run_s());
  json["limited_by"] = record.limited_by();
  json["client"] = {{"processes", record.plan.processes}, {"cpu_s", rounded(record.client.cpu_s)},
                    {"cpu_us_per_message", rounded(per(record.client_run_cpu_s * 1e6, c.run_received))},
                    {"rss_bytes", record.client.memory_bytes},
                    {"bytes_per_connection", rounded(per(static_cast<double>(record.client.memory_bytes), record.standing))}};
  if (record.server) {
    json["server"] = {{"pid", options.server_pid},
                      {"processes", record.server->processes},
                      {"cpu_s", rounded(record.server->cpu_s)},
                      {"cpu_us_per_message", rounded(per(record.server_run_cpu_s * 1e6, c.run_received))},
                      {"rss_bytes", record.server->memory_bytes},
                      {"bytes_per_connection", rounded(per(static_cast<double>(record.server->memory_bytes), record.standing))}};
  }
  json["kernel"] = {{"slab_bytes_per_connection", rounded(per(static_cast<double>(record.slab_growth_bytes), record.standing))},
                    {"slab_bytes", record.slab_growth_bytes},
                    {"page_table_bytes", record.page_table_growth_bytes},
                    {"tcp_buffer_bytes", record.tcp_buffer_growth_bytes}};
  json["tcp"] = tcp_json(record);
  if (ordered_json attack = attack_json(record); !attack.is_null()) json["attack"] = std::move(attack);
  json["machine"] = {{"ramp_busy", rounded(record.ramp_busy)},
                     {"run_busy", rounded(record.run_busy)},
                     {"kernel", record.machine.kernel},
                     {"processor", record.machine.processor},
                     {"processors", record.machine.processors},
                     {"memory_bytes", record.machine.memory_bytes}};
  if (!record.outcomes.empty()) {
    ordered_json& thresholds = json["thresholds"] = ordered_json::array();
    for (const Outcome& outcome : record.outcomes) {
      thresholds.push_back({{"fail_if", outcome.condition.text},
                            {"name", outcome.condition.quantity->name},
                            {"value", outcome.value ? ordered_json(*outcome.value) : ordered_json(nullptr)},
                            {"crossed", outcome.is_crossed()}});
    }
  }
  json["version"] = "roost " ROOST_VERSION;
  json["started"] = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(record.started)));
  json["command"] = record.command;
  json["scenario"] = scenario_of(options);
  return json;
}

std::string to_text(const Record& record) {
  const Counters& c = record.figures.counters;
  const auto& histograms = record.figures.histograms;
  const LoadOptions& options = record.options;
  std::string text;
  const auto line = [&text](std::string_view name, std::string_view value) { text += fmt::format("{:<13} {}\n", name, value); };
  const auto memory = [&](const tools::ProcessUsage& usage) {
    std::string said = fmt::format("memory {}", format_bytes(static_cast<double>(usage.memory_bytes)));
    // Of a few connections the programs themselves would be most of it.
    if (record.standing >= 1000) {
      said += fmt::format(" ({} a connection)", format_bytes(per(static_cast<double>(usage.memory_bytes), record.standing)));
    }
    return fmt::format("{} in {}", said, processes(usage.processes));
  };

  text += '\n';
  line("target", options.target_names());
  line("connections", fmt::format("{} of {} established, {} failed, {} dropped; {} at once", format_count(c.established),
                                  format_count(options.connections_max()), format_count(c.failed), format_count(c.dropped), format_count(c.peak)));
  for (const auto& [name, times] : record.figures.failures) line("", fmt::format("{} x {}", format_count(times), name));
  const Stage& first = options.stages.front();
  std::string opened = fmt::format("in {}: {} a second; asked for: {}", tools::format_seconds(record.ramp_s),
                                   format_count(rate(record.opened_first(), record.ramp_s)), first.ramp.describe());
  if (record.ramp_99_s < 0.9 * record.ramp_s) opened += fmt::format("; 99 % stood after {}", tools::format_seconds(record.ramp_99_s));
  line("opened", opened);
  line("connect", percentile_line(histograms[Figures::connect]));
  line("first echo", percentile_line(histograms[Figures::first_echo]));
  line("messages", fmt::format("{} sent, {} came back, {} timed out, {} errors, {} mismatched", format_count(c.sent),
                               format_count(c.received), format_count(c.timeouts), format_count(c.errors), format_count(c.mismatched)));
  if (record.run_s() > 0) {
    std::string run = fmt::format("{}, {} messages: {} a second", tools::format_seconds(record.run_s()), format_count(c.run_received),
                                  format_count(rate(c.run_received, record.run_s())));
    if (const std::optional<double> asked = requested_message_rate(record)) run += fmt::format(", {} asked for", format_count(*asked));
    if (options.stages.size() == 1) run += fmt::format(" ({})", first.describe_messages());
    line("run", run);
  }
  if (!histograms[Figures::run].empty()) line("latency", percentile_line(histograms[Figures::run]));
  if (options.has_open_loop() && !histograms[Figures::lateness].empty()) {
    line("from sending", percentile_line(histograms[Figures::service]));
    line("generator", fmt::format("late by {}", percentile_line(histograms[Figures::lateness])));
    if (record.generator_was_late()) {
      line("", "LATE: the latencies above include this delay of the generator's own; use a lower rate, fewer connections or more processors");
    }
  }
  text += stages_text(record);
  text += attack_text(record);
  line("client", fmt::format("CPU {:.1f} s, {}", record.client.cpu_s, memory(record.client)));
  if (record.server) {
    std::string server = fmt::format("CPU {:.1f} s", record.server->cpu_s);
    if (c.run_received > 0) {
      server += fmt::format(" ({} a message in the run)", format_us(per(record.server_run_cpu_s * 1e6, c.run_received)));
    }
    line("server", fmt::format("{}, {}", server, memory(*record.server)));
  }
  if (record.standing >= 1000 && record.slab_growth_bytes > 0) {
    line("kernel", fmt::format("slabs grew by {} ({} a connection, {}), page tables by {}, TCP queues hold {}",
                               format_bytes(static_cast<double>(record.slab_growth_bytes)),
                               format_bytes(per(static_cast<double>(record.slab_growth_bytes), record.standing)),
                               options.targets_loopback() ? "both ends" : "this machine's ends",
                               format_bytes(static_cast<double>(std::max<std::int64_t>(record.page_table_growth_bytes, 0))),
                               format_bytes(static_cast<double>(std::max<std::int64_t>(record.tcp_buffer_growth_bytes, 0)))));
  }
  text += tcp_text(record);
  line("machine", fmt::format("processors {:.0f} % busy while opening, {:.0f} % in the run", 100 * record.ramp_busy, 100 * record.run_busy));
  line("limited by", record.limited_by());
  for (const std::string& lost : record.lost_processes) line("lost", lost);
  if (!record.given_up.empty()) line("given up", record.given_up);
  for (const Outcome& outcome : record.outcomes) {
    line("fail if", fmt::format("{}, {}", outcome.to_string(), outcome.is_crossed() ? "CROSSED" : "not crossed"));
  }
  line("verdict", verdict(record));
  return text;
}

std::string verdict(const Record& record) {
  if (record.interrupted) return "interrupted";
  if (record.is_ok()) return record.is_flawless() ? "every connection stood and every message came back" : "no condition of --fail-if was crossed";
  const auto crossed = std::ranges::count_if(record.outcomes, &Outcome::is_crossed);
  if (crossed > 0) return fmt::format("NOT FINE: {} of the conditions of --fail-if {} crossed", crossed, crossed == 1 ? "was" : "were");
  return "NOT FINE: see connections and messages above";
}

std::pair<std::string, std::uint64_t> main_failure(const Figures& figures) {
  std::pair<std::string, std::uint64_t> most;
  for (const auto& [name, times] : figures.failures) {
    if (times > most.second) most = {name, times};
  }
  return most;
}

std::string remedy(const std::string& failure, const LoadOptions& options) {
  const std::string target = options.target_names();
  if (failure == "ECONNREFUSED") return fmt::format("nothing listens there; start a server, for example: roost echo --listen {}", target);
  if (failure == "EADDRNOTAVAIL") return "no local port or address is free; name more addresses with --sources FIRST-LAST";
  if (failure == "EMFILE" || failure == "ENFILE") return "descriptors ran out; see roost doctor";
  if (failure == "ENETUNREACH" || failure == "EHOSTUNREACH") return "no route leads there; check the address and `ip route`";
  if (failure == "EACCES" || failure == "EPERM") return "a firewall on this machine forbids it; see nft list ruleset";
  if (failure == "mismatched" || failure == "unexpected_data") return "the answers are not what was sent; is it a line echo server?";
  if (failure == "end_of_stream" || failure == "ECONNRESET" || failure == "EPIPE") {
    return "the server closes connections; look at its log and its limit of connections";
  }
  if (failure == "timed_out" || failure == "ETIMEDOUT") {
    return fmt::format("no answer came within --dial-timeout {} or --io-timeout {}; is it a line echo server, and reachable?",
                       tools::format_option(options.dial_timeout), tools::format_option(options.io_timeout));
  }
  return "see the report";
}

}  // namespace roost::load
