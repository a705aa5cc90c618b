#include "tools/load/html.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "tools/common/format.h"
#include "tools/load/heat.h"
#include "tools/web/web.h"

namespace roost::load {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t points_max = 1800;   // of a line: more than a screen has columns for
constexpr std::size_t heat_columns_max = 600;
constexpr std::size_t kinds_max = 6;       // of errors that get a line of their own

double rounded(double value) { return std::round(value * 10) / 10; }

// All lines over time. Point 0 is the beginning, where nothing is open and nothing has happened.
ordered_json time_series(const std::vector<Span>& all, unsigned processors) {
  std::map<std::string, ordered_json> lines;
  for (const char* name : {"t", "open", "established", "churned", "failed", "dropped", "sent", "received", "p50", "p90", "p99", "p999", "max", "lateness_p99",
                           "server_bytes", "server_cpu", "client_bytes", "client_cpu", "attack_cpu", "machine_cpu", "server_descriptors", "client_retransmits",
                           "server_retransmits", "listen_overflows", "listen_drops"}) {
    lines[name] = ordered_json::array({nullptr});
  }
  lines["t"][0] = 0;
  lines["open"][0] = 0;
  for (const Span& span : all) {
    const auto a_second = [&span](std::uint64_t count) { return rounded(static_cast<double>(count) / static_cast<double>(span.count)); };
    lines["t"].push_back(span.first + span.count);
    lines["open"].push_back(span.open);
    lines["established"].push_back(a_second(span.deltas.established));
    lines["churned"].push_back(a_second(span.deltas.churned));
    lines["failed"].push_back(a_second(span.deltas.failed));
    lines["dropped"].push_back(a_second(span.deltas.dropped));
    lines["sent"].push_back(a_second(span.deltas.sent));
    lines["received"].push_back(a_second(span.deltas.received));
    const Histogram of_latency = span.latency.unpack();
    const Histogram of_lateness = span.lateness.unpack();
    const auto latency = [&](double fraction) { return of_latency.empty() ? ordered_json(nullptr) : ordered_json(of_latency.percentile(fraction)); };
    lines["p50"].push_back(latency(0.5));
    lines["p90"].push_back(latency(0.9));
    lines["p99"].push_back(latency(0.99));
    lines["p999"].push_back(latency(0.999));
    lines["max"].push_back(latency(1));
    lines["lateness_p99"].push_back(of_lateness.empty() ? ordered_json(nullptr) : ordered_json(of_lateness.percentile(0.99)));
    const auto usage = [&span](auto value) { return span.usage ? ordered_json(value(*span.usage)) : ordered_json(nullptr); };
    lines["server_bytes"].push_back(usage([](const Usage& u) { return u.server_bytes; }));
    lines["server_cpu"].push_back(usage([](const Usage& u) { return rounded(100 * u.server_processors); }));
    lines["client_bytes"].push_back(usage([](const Usage& u) { return u.client_bytes; }));
    lines["client_cpu"].push_back(usage([](const Usage& u) { return rounded(100 * u.client_processors); }));
    lines["attack_cpu"].push_back(usage([](const Usage& u) { return rounded(100 * u.attack_processors); }));
    lines["machine_cpu"].push_back(usage([processors](const Usage& u) { return rounded(100 * u.machine_busy * processors); }));
    lines["server_descriptors"].push_back(usage([](const Usage& u) { return u.server_descriptors; }));
    const auto tcp = [&](std::uint64_t tools::TcpCounters::*count, bool of_server) {
      if (!span.usage || (of_server && !span.usage->server_tcp)) return ordered_json(nullptr);
      return ordered_json(a_second((of_server ? *span.usage->server_tcp : span.usage->client_tcp).*count));
    };
    lines["client_retransmits"].push_back(tcp(&tools::TcpCounters::retransmitted_segments, false));
    lines["server_retransmits"].push_back(tcp(&tools::TcpCounters::retransmitted_segments, true));
    lines["listen_overflows"].push_back(tcp(&tools::TcpCounters::listen_overflows, true));
    lines["listen_drops"].push_back(tcp(&tools::TcpCounters::listen_drops, true));
  }
  ordered_json series = {{"each", all.empty() ? 1 : all.front().count}};
  for (auto& [name, line] : lines) series[name] = std::move(line);
  return series;
}

// The most frequent kinds; what is left is put together.
ordered_json errors_by_kind(const std::vector<Span>& all) {
  std::map<std::string, std::uint64_t> totals;
  for (const Span& span : all) {
    for (const auto& [name, times] : span.deltas.failures) totals[name] += times;
  }
  std::vector<std::pair<std::string, std::uint64_t>> order(totals.begin(), totals.end());
  std::ranges::stable_sort(order, std::greater(), [](const auto& kind) { return kind.second; });
  const bool has_rest = order.size() > kinds_max;
  if (has_rest) order.resize(kinds_max - 1);

  ordered_json errors = ordered_json::array();
  const auto add = [&](std::string_view label, auto times_of) {
    ordered_json values = ordered_json::array({nullptr});
    for (const Span& span : all) values.push_back(rounded(static_cast<double>(times_of(span)) / static_cast<double>(span.count)));
    errors.push_back({{"name", label}, {"values", std::move(values)}});
  };
  const auto times = [](const Span& span, const std::string& name) {
    const auto found = span.deltas.failures.find(name);
    return found == span.deltas.failures.end() ? 0 : found->second;
  };
  for (const auto& kind : order) add(kind.first, [&](const Span& span) { return times(span, kind.first); });
  if (has_rest) {
    add("others", [&](const Span& span) {
      std::uint64_t rest = 0;
      for (const auto& [name, count] : span.deltas.failures) rest += count;
      for (const auto& kind : order) rest -= times(span, kind.first);
      return rest;
    });
  }
  return errors;
}

// Values against 1 / (1 - q), four points for each halving of the rest, up to the rarest single value of each.
ordered_json distribution(const Record& record) {
  const auto& histograms = record.figures.histograms;
  std::vector<std::pair<std::string, const Histogram*>> lines;
  if (!histograms[Figures::run].empty()) {
    lines.emplace_back("in the run", &histograms[Figures::run]);
    if (record.options.has_open_loop()) {
      lines.emplace_back("from sending", &histograms[Figures::service]);
      lines.emplace_back("generator late by", &histograms[Figures::lateness]);
    }
  }
  if (!histograms[Figures::ramp].empty()) lines.emplace_back("while opening", &histograms[Figures::ramp]);
  if (!histograms[Figures::first_echo].empty()) lines.emplace_back("first echo", &histograms[Figures::first_echo]);
  if (!histograms[Figures::connect].empty()) lines.emplace_back("connect", &histograms[Figures::connect]);

  std::uint64_t most = 1;
  for (const auto& [name, histogram] : lines) most = std::max(most, histogram->count());
  std::vector<double> xs;
  for (double x = 1; x < static_cast<double>(most) * 1.19; x *= std::pow(2, 0.25)) xs.push_back(x);

  ordered_json all = ordered_json::array();
  for (const auto& [name, histogram] : lines) {
    ordered_json values = ordered_json::array();
    for (const double x : xs) {
      // The first point beyond the rarest value is the greatest one; there is nothing further out.
      const bool is_known = x < static_cast<double>(histogram->count()) * 1.19;
      values.push_back(is_known ? ordered_json(histogram->percentile(1 - 1 / x)) : ordered_json(nullptr));
    }
    all.push_back({{"label", name}, {"values", std::move(values)}});
  }
  return {{"x", xs}, {"series", std::move(all)}};
}

}  // namespace

ordered_json page_data(const Record& record) {
  const std::vector<Span> all = spans(record.timeline, points_max);
  ordered_json marks = ordered_json::array();
  if (record.stages.size() > 1) {
    // Of several stages their names: "opening" and "running" of each, close together, would cover each other.
    for (std::size_t i = 0; i < record.stages.size() && i < record.options.stages.size(); ++i) {
      marks.push_back({{"at", static_cast<double>(record.stages[i].begin_ns - record.stages.front().begin_ns) / 1e9}, {"name", record.options.stages[i].name}});
    }
  } else {
    for (const Timeline::Mark& mark : record.timeline.marks()) marks.push_back({{"at", mark.at_s}, {"name", mark.name}});
  }
  ordered_json conditions = ordered_json::array();
  for (const Outcome& outcome : record.outcomes) {
    conditions.push_back({{"text", outcome.condition.text},
                          {"value", outcome.value ? outcome.condition.quantity->show(*outcome.value) : "nothing was measured"},
                          {"crossed", outcome.is_crossed()}});
  }
  ordered_json report = to_json(record);
  report["client"]["processes"] = record.client.processes;  // the parent included, as for the server
  return {{"report", std::move(report)},
          {"verdict", verdict(record)},
          {"conditions", std::move(conditions)},
          {"command", record.command},
          {"when", fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::chrono::system_clock::to_time_t(record.started)))},
          {"version", "roost " ROOST_VERSION},
          {"machine",
           {{"kernel", record.machine.kernel},
            {"processor", record.machine.processor},
            {"processors", record.machine.processors},
            {"memory_bytes", record.machine.memory_bytes}}},
          {"marks", std::move(marks)},
          {"series", time_series(all, record.machine.processors)},
          {"heat", to_json(heat_map(record.timeline, heat_columns_max))},
          {"distribution", distribution(record)},
          {"errors", errors_by_kind(all)}};
}

std::string to_html(const Record& record) { return web::page("load.html", page_data(record)); }

}  // namespace roost::load
