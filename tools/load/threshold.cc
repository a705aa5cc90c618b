#include "tools/load/threshold.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "tools/common/format.h"
#include "tools/load/histogram.h"

namespace roost::load {
namespace {

std::vector<Quantity> make_quantities() {
  std::vector<Quantity> all{
      {"failed", "/connections/failed", Unit::count},
      {"dropped", "/connections/dropped", Unit::count},
      {"established", "/connections/established", Unit::count},
      {"peak", "/connections/peak", Unit::count},
      {"connection_rate", "/connections/rate_per_s", Unit::rate},
      {"sent", "/messages/sent", Unit::count},
      {"received", "/messages/received", Unit::count},
      {"timeouts", "/messages/timeouts", Unit::count},
      {"errors", "/messages/errors", Unit::count},
      {"mismatched", "/messages/mismatched", Unit::count},
      {"message_rate", "/messages/rate_per_s", Unit::rate},
      {"ramp", "/ramp_s", Unit::seconds},
      {"ramp_99", "/ramp_99_s", Unit::seconds},
      {"duration", "/duration_s", Unit::seconds},
      {"client.cpu", "/client/cpu_s", Unit::seconds},
      {"client.cpu_per_message", "/client/cpu_us_per_message", Unit::microseconds, "/messages/run_received"},
      {"client.rss", "/client/rss_bytes", Unit::bytes},
      {"client.bytes_per_connection", "/client/bytes_per_connection", Unit::bytes},
      {"server.cpu", "/server/cpu_s", Unit::seconds},
      {"server.cpu_per_message", "/server/cpu_us_per_message", Unit::microseconds, "/messages/run_received"},
      {"server.rss", "/server/rss_bytes", Unit::bytes},
      {"server.bytes_per_connection", "/server/bytes_per_connection", Unit::bytes},
      {"kernel.slab_bytes_per_connection", "/kernel/slab_bytes_per_connection", Unit::bytes},
      {"retransmits", "/tcp/client/retransmitted_segments", Unit::count},
      {"listen_overflows", "/tcp/server/listen_overflows", Unit::count},
      {"listen_drops", "/tcp/server/listen_drops", Unit::count},
      {"backlog_drops", "/tcp/backlog_drops", Unit::count},
      {"attack.opened", "/attack/opened", Unit::count},
      {"attack.failed", "/attack/failed", Unit::count},
      {"attack.cut_off", "/attack/cut_off", Unit::count},
      {"attack.standing", "/attack/standing", Unit::count},
      {"attack.unanswered", "/attack/unanswered", Unit::count},
      {"attack.mismatched", "/attack/mismatched", Unit::count},
      {"attack.cpu", "/attack/cpu_s", Unit::seconds},
      {"machine.ramp_busy", "/machine/ramp_busy", Unit::share},
      {"machine.run_busy", "/machine/run_busy", Unit::share},
  };
  for (const auto& [name, object] : {std::pair("connect_latency", "/connect_latency_us"), {"first_echo", "/first_echo_us"}, {"latency", "/latency_us"},
                                     {"ramp_latency", "/ramp_latency_us"}, {"service", "/service_us"}, {"lateness", "/lateness_us"}}) {
    for (const char* statistic : {"min", "mean", "p50", "p90", "p99", "p999", "max"}) {
      all.push_back({fmt::format("{}.{}", name, statistic), fmt::format("{}/{}", object, statistic), Unit::microseconds,
                     fmt::format("{}/count", object)});
    }
  }
  for (const auto& [name, object] : {std::pair("attack.held", "/attack/held_us"), {"attack.back", "/attack/back_us"}, {"attack.lateness", "/attack/lateness_us"}}) {
    for (const char* statistic : {"min", "p50", "p99", "max"}) {
      all.push_back({fmt::format("{}.{}", name, statistic), fmt::format("{}/{}", object, statistic), Unit::microseconds, fmt::format("{}/count", object)});
    }
  }
  return all;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

// How many letters must be changed, added or taken away to make one of the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, change}));
    }
  }
  return row[b.size()];
}

tools::Parsed<double> parse_limit(const Quantity& quantity, std::string_view text) {
  const auto in = [](const auto& parsed, double scale) -> tools::Parsed<double> {
    if (!parsed) return std::unexpected(parsed.error());
    if constexpr (requires { parsed->count(); }) {
      return static_cast<double>(parsed->count()) * scale;
    } else {
      return static_cast<double>(*parsed) * scale;
    }
  };
  switch (quantity.unit) {
    case Unit::count: return in(tools::parse_count(text), 1);
    case Unit::rate: return in(tools::parse_rate(text), 1);
    case Unit::microseconds: return in(tools::parse_duration(text), 1e-3);
    case Unit::seconds: return in(tools::parse_duration(text), 1e-9);
    case Unit::bytes: return in(tools::parse_size(text), 1);
    case Unit::share: {
      const bool is_percent = text.ends_with('%');
      auto share = in(tools::parse_rate(is_percent ? text.substr(0, text.size() - 1) : text), is_percent ? 0.01 : 1);
      if (!share) return std::unexpected(fmt::format("`{}` is not a share; write 90% or 0.9", text));
      return share;
    }
  }
  return std::unexpected("unknown unit");
}

// Of the values from 0 to `highest`, whether the condition holds for all, or for none.
std::optional<std::string_view> is_pointless(const Condition& condition, double highest) {
  const double limit = condition.limit;
  bool always = false;
  bool never = false;
  switch (condition.is) {
    case Condition::Is::above: never = limit >= highest; break;
    case Condition::Is::at_least: always = limit <= 0, never = limit > highest; break;
    case Condition::Is::below: always = limit > highest, never = limit <= 0; break;
    case Condition::Is::at_most: always = limit >= highest; break;
    case Condition::Is::equal: never = limit > highest; break;
    case Condition::Is::different: always = limit > highest; break;
  }
  if (always) return "always holds";
  if (never) return "can never hold";
  return std::nullopt;
}

constexpr std::array<std::pair<std::string_view, Condition::Is>, 7> signs{{{">=", Condition::Is::at_least},
                                                                           {"<=", Condition::Is::at_most},
                                                                           {"==", Condition::Is::equal},
                                                                           {"!=", Condition::Is::different},
                                                                           {">", Condition::Is::above},
                                                                           {"<", Condition::Is::below},
                                                                           {"=", Condition::Is::equal}}};

tools::Parsed<Condition> parse_condition(std::string_view text) {
  const std::size_t at = text.find_first_of("<>=!");
  if (at != std::string_view::npos) {
    for (const auto& [sign, is] : signs) {
      if (!text.substr(at).starts_with(sign)) continue;
      const auto quantity = find_quantity(trimmed(text.substr(0, at)));
      if (!quantity) return std::unexpected(quantity.error());
      const auto limit = parse_limit(**quantity, trimmed(text.substr(at + sign.size())));
      if (!limit) return std::unexpected(fmt::format("`{}`: {}", text, limit.error()));
      Condition condition{*quantity, is, *limit, std::string(text)};
      if (const auto pointless = is_pointless(condition, (*quantity)->highest())) {
        const double highest = (*quantity)->highest();
        return std::unexpected(fmt::format("`{}` {}: {} is {}", text, *pointless, (*quantity)->name,
                                           highest < std::numeric_limits<double>::max() ? "between 0 and " + (*quantity)->show(highest) : "0 or more"));
      }
      return condition;
    }
  }
  return std::unexpected(fmt::format("`{}` is not a condition; write NAME > VALUE, with one of > >= < <= == !=, and commas between conditions", text));
}

}  // namespace

std::string Quantity::path() const {
  std::string path = pointer.substr(1);
  std::ranges::replace(path, '/', '.');
  return path;
}

double Quantity::highest() const noexcept {
  if (unit == Unit::share) return 1;
  // Of a histogram.
  if (pointer.find("_us/") != std::string::npos) return static_cast<double>(Histogram::value_max);
  return std::numeric_limits<double>::max();
}

std::string Quantity::show(double value) const {
  switch (unit) {
    case Unit::count: return tools::format_count(value);
    case Unit::rate: return tools::format_count(value) + " a second";
    case Unit::microseconds: return tools::format_us(value);
    case Unit::seconds: return tools::format_seconds(value);
    case Unit::bytes: return tools::format_bytes(value);
    case Unit::share: return fmt::format("{:.0f} %", 100 * value);
  }
  return {};
}

std::span<const Quantity> quantities() {
  static const std::vector<Quantity> all = make_quantities();
  return all;
}

tools::Parsed<const Quantity*> find_quantity(std::string_view name) {
  const Quantity* nearest = nullptr;
  std::size_t nearest_distance = 0;
  for (const Quantity& quantity : quantities()) {
    if (name == quantity.name || name == quantity.path()) return &quantity;
    const std::size_t changes = distance(name, quantity.name);
    if (nearest == nullptr || changes < nearest_distance) nearest = &quantity, nearest_distance = changes;
  }
  // Of a name that is nearly none of them, the nearest is no help.
  const bool is_near = nearest_distance * 2 <= name.size();
  return std::unexpected(fmt::format("`{}` is not a number of the report; {}docs/load.md lists them", name,
                                     is_near ? fmt::format("did you mean {}? ", nearest->name) : ""));
}

bool Condition::holds(double value) const noexcept {
  switch (is) {
    case Is::above: return value > limit;
    case Is::at_least: return value >= limit;
    case Is::below: return value < limit;
    case Is::at_most: return value <= limit;
    case Is::equal: return value == limit;
    case Is::different: return value != limit;
  }
  return false;
}

tools::Parsed<std::vector<Condition>> parse_conditions(std::string_view text) {
  std::vector<Condition> conditions;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    auto condition = parse_condition(trimmed(text.substr(at, end - at)));
    if (!condition) return std::unexpected(std::move(condition.error()));
    conditions.push_back(std::move(*condition));
    at = end + 1;
  }
  return conditions;
}

std::expected<void, std::string> check_conditions(const std::vector<Condition>& conditions, const Measured& measured) {
  for (const Condition& condition : conditions) {
    const std::string& pointer = condition.quantity->pointer;
    if (!measured.attack && pointer.starts_with("/attack/")) {
      return std::unexpected(fmt::format("--fail-if `{}`: nobody attacks; add --fault, as in --fault drip:1000", condition.text));
    }
    if (!measured.server_tcp && pointer.starts_with("/tcp/server/")) {
      return std::unexpected(fmt::format("--fail-if `{}`: that of the server's namespace is known with --server-pid PID only", condition.text));
    }
    if (!measured.server && pointer.starts_with("/server/")) {
      return std::unexpected(fmt::format("--fail-if `{}`: the server's figures are known with --server-pid PID only", condition.text));
    }
    const bool of_run = pointer.starts_with("/latency_us/") || pointer.starts_with("/service_us/") || pointer.starts_with("/lateness_us/") || pointer == "/messages/rate_per_s" ||
                        condition.quantity->count_pointer == "/messages/run_received";
    if (!measured.run && of_run) {
      return std::unexpected(fmt::format("--fail-if `{}`: that is measured in the run, and --duration is 0; give it a time", condition.text));
    }
  }
  return {};
}

std::string Outcome::to_string() const {
  return fmt::format("{}: {}", condition.text, value ? condition.quantity->show(*value) : "nothing was measured");
}

std::optional<double> Quantity::value_in(const nlohmann::ordered_json& report) const {
  const auto number = [&report](const std::string& where) -> std::optional<double> {
    const nlohmann::ordered_json::json_pointer at(where);
    if (!report.contains(at) || !report[at].is_number()) return std::nullopt;
    return report[at].get<double>();
  };
  if (!count_pointer.empty() && number(count_pointer).value_or(0) == 0) return std::nullopt;
  return number(pointer);
}

std::vector<Outcome> judge(const std::vector<Condition>& conditions, const nlohmann::ordered_json& report) {
  std::vector<Outcome> outcomes;
  for (const Condition& condition : conditions) outcomes.push_back({condition, condition.quantity->value_in(report)});
  return outcomes;
}

}  // namespace roost::load
