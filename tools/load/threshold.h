// `--fail-if 'failed > 0, latency.p99 > 50ms'`: conditions under which a load counts as failed, for use in CI.
//
// A condition names a number of the JSON report. What it can never meet, or always would, is refused before the load starts, so
// that a slip of the pen cannot become a check that cannot fail.
#pragma once

#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "tools/common/parse.h"

namespace roost::load {

enum class Unit {
  count,         // "100k"
  rate,          // a second: "20000", "20k"
  microseconds,  // written as a duration: "50ms"
  seconds,       // likewise
  bytes,         // "5000", "4KiB"
  share,         // 0 to 1 in the report; "90%" or "0.9"
};

// A number of the report that a condition may name.
struct Quantity {
  std::string name;     // "latency.p99"
  std::string pointer;  // where it stands in the report: "/latency_us/p99"
  Unit unit;
  // Of how many values it tells, where it tells nothing without any: "/latency_us/count".
  std::string count_pointer = {};

  // As it may be named, too: "latency_us.p99".
  [[nodiscard]] std::string path() const;
  [[nodiscard]] double highest() const noexcept;
  // Its value as the text report would show it.
  [[nodiscard]] std::string show(double value) const;
  // What the report says of it; nothing where nothing was measured.
  [[nodiscard]] std::optional<double> value_in(const nlohmann::ordered_json& report) const;
};
std::span<const Quantity> quantities();
// By its name or path. The reason, with the nearest known one, when there is none.
tools::Parsed<const Quantity*> find_quantity(std::string_view name);

struct Condition {
  enum class Is { above, at_least, below, at_most, equal, different };
  const Quantity* quantity;
  Is is;
  double limit;
  std::string text;     // as it was written

  [[nodiscard]] bool holds(double value) const noexcept;
};

// Several with commas between. The reason when one is not to be understood, can never hold or always holds.
tools::Parsed<std::vector<Condition>> parse_conditions(std::string_view text);

// Whether a load with these options will measure what the conditions name.
struct Measured {
  bool server = true;      // --server-pid
  bool server_tcp = true;  // of the server's network namespace: that, or a target on loopback
  bool run = true;
  bool attack = true;
};
std::expected<void, std::string> check_conditions(const std::vector<Condition>& conditions, const Measured& measured);

// A condition and what the report says of it. Nothing measured counts as crossed.
struct Outcome {
  Condition condition;
  std::optional<double> value;

  [[nodiscard]] bool is_crossed() const noexcept { return !value || condition.holds(*value); }
  [[nodiscard]] std::string to_string() const;  // "latency.p99 > 50ms: 62.1 ms"
};
std::vector<Outcome> judge(const std::vector<Condition>& conditions, const nlohmann::ordered_json& report);

}  // namespace roost::load
