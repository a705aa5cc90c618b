#include "tools/load/asked.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "tools/common/format.h"

namespace roost::load {
namespace {

using nlohmann::ordered_json;
using tools::format_option;

// Without an exponent, which the parsers of the command line do not take; the shortest that is read as the same number.
std::string decimal(double value) {
  std::array<char, 400> digits;  // 1e308 and 5e-324 have fewer
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, std::chars_format::fixed).ptr;
  return {digits.data(), end};
}

// A number where JSON writes it as people do.
ordered_json number(double value) {
  if (value == std::floor(value) && value < 0x1p53) return static_cast<std::uint64_t>(value);
  return decimal(value);
}

std::string text_of(const Ramp& ramp) {
  if (ramp.shape == Ramp::Shape::linear) return "linear";
  return fmt::format("{}:{}/{}", ramp.shape == Ramp::Shape::step ? "step" : "burst", ramp.group, format_option(ramp.every));
}

std::string text_of(const ThinkTime& think) {
  switch (think.kind) {
    case ThinkTime::Kind::uniform:
      return fmt::format("{}-{}", format_option(think.lowest), format_option(think.highest));
    case ThinkTime::Kind::exponential:
      return "exp:" + format_option(think.mean);
    case ThinkTime::Kind::fixed:
      break;
  }
  return format_option(think.mean);
}

std::string text_of(const Sizes& sizes) {
  std::string text;
  for (const Sizes::Choice& choice : sizes.choices()) {
    text += fmt::format("{}{}", text.empty() ? "" : ",", choice.lowest);
    if (choice.highest != choice.lowest) text += fmt::format("-{}", choice.highest);
    if (sizes.choices().size() > 1) text += ":" + decimal(choice.weight);
  }
  return text;
}

// 10%/m is a share of 0.1666... % a second: of the ways to write it the one that looks as if a person had.
std::string text_of(const Churn& churn) {
  const double amount = churn.amount * (churn.is_share ? 100 : 1);
  const char* percent = churn.is_share ? "%" : "";
  for (const auto& [seconds, unit] : {std::pair(1, "s"), {60, "m"}}) {
    std::string text = fmt::format("{:.12g}{}/{}", amount * seconds, percent, unit);
    if (const auto read = parse_churn(text); read && read->amount == churn.amount) return text;
  }
  return fmt::format("{}{}/s", decimal(amount), percent);
}

std::string text_of(const std::vector<Fault>& faults) {
  if (faults.empty()) return "none";
  std::string text;
  for (const Fault& fault : faults) text += (text.empty() ? "" : ",") + fault.to_string();
  return text;
}

std::string text_of(const tools::AddressRange& range) {
  const std::string first = range.first.to_string();
  return range.count == 1 ? first : fmt::format("{}-{}", first, range.at(range.count - 1).to_string());
}

ordered_json stage_of(const Stage& stage) {
  ordered_json json = {{"name", stage.name}, {"connections", stage.connections}, {"rate", number(stage.ramp.rate)}, {"ramp", text_of(stage.ramp)}};
  switch (stage.messages) {
    case MessageSchedule::interval:
      json["interval"] = format_option(stage.interval);
      break;
    case MessageSchedule::rate:
      json["message_rate"] = number(stage.message_rate);
      break;
    case MessageSchedule::closed_loop:
      json["closed_loop"] = true;
      json["active"] = stage.active;
      json["think_time"] = text_of(stage.think);
      break;
  }
  json["size"] = text_of(stage.sizes);
  json["churn"] = text_of(stage.churn);
  json["fault"] = text_of(stage.faults);
  json["duration"] = format_option(stage.duration);
  return json;
}

}  // namespace

ordered_json scenario_of(const LoadOptions& options) {
  ordered_json targets = ordered_json::array();
  for (const net::Endpoint& target : options.targets) targets.push_back(target.to_string());
  ordered_json json = {{"target", std::move(targets)},
                       {"protocol", protocol_name(options.protocol)},
                       {"dial_timeout", format_option(options.dial_timeout)},
                       {"io_timeout", format_option(options.io_timeout)}};
  if (options.sources) json["sources"] = text_of(*options.sources);
  if (options.attackers_max() > 0) json["attack_nice"] = options.attack_nice;
  ordered_json& stages = json["stages"] = ordered_json::array();
  for (const Stage& stage : options.stages) stages.push_back(stage_of(stage));
  return json;
}

}  // namespace roost::load
