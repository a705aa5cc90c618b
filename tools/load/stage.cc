#include "tools/load/stage.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "tools/common/format.h"

namespace roost::load {
namespace {

using std::chrono::nanoseconds;
using tools::format_count;

double seconds(nanoseconds span) { return std::chrono::duration<double>(span).count(); }

// 53 random bits as a number from 0 to just below 1.
double unit_interval(std::uint64_t bits) noexcept { return static_cast<double>(bits >> 11) * 0x1p-53; }

// The parts of `text` before and behind the first `separator`; the second is empty where there is none.
std::pair<std::string_view, std::string_view> split_at(std::string_view text, char separator) {
  const std::size_t at = text.find(separator);
  if (at == std::string_view::npos) return {text, {}};
  return {text.substr(0, at), text.substr(at + 1)};
}

}  // namespace

std::int64_t Ramp::offset_ns(std::uint64_t n) const noexcept {
  const auto at_rate = [this](std::uint64_t count) { return static_cast<std::int64_t>(static_cast<double>(count) / rate * 1e9); };
  switch (shape) {
    case Shape::step:
      return static_cast<std::int64_t>(n / group) * every.count() + at_rate(n % group);
    case Shape::burst:
      return static_cast<std::int64_t>(n / group) * every.count();
    case Shape::linear:
      break;
  }
  return at_rate(n);
}

double Ramp::mean_rate() const noexcept {
  return shape == Shape::linear ? rate : static_cast<double>(group) / seconds(every);
}

std::string Ramp::describe() const {
  if (shape == Shape::linear) return fmt::format("{} a second", format_count(rate));
  return fmt::format("{} of {} every {}", shape == Shape::step ? "steps" : "bursts", format_count(group), tools::format_option(every));
}

std::int64_t ThinkTime::pick_ns(std::uint64_t bits) const noexcept {
  const double u = unit_interval(bits);
  switch (kind) {
    case Kind::uniform:
      return lowest.count() + static_cast<std::int64_t>(u * static_cast<double>((highest - lowest).count()));
    case Kind::exponential:
      // Of (0, 1], whose logarithm is finite.
      return static_cast<std::int64_t>(-std::log(1 - u) * static_cast<double>(mean.count()));
    case Kind::fixed:
      break;
  }
  return lowest.count();
}

Sizes::Sizes(std::vector<Choice> choices) : choices_(std::move(choices)), total_weight_(0) {
  for (const Choice& choice : choices_) total_weight_ += choice.weight;
}

std::uint64_t Sizes::pick(std::uint64_t bits) const noexcept {
  if (is_fixed()) return choices_[0].lowest;
  // What is left within the chosen weight says where in its range: one number serves both.
  double at = unit_interval(bits) * total_weight_;
  std::size_t i = 0;
  while (i + 1 < choices_.size() && at >= choices_[i].weight) at -= choices_[i++].weight;
  const Choice& choice = choices_[i];
  const auto steps = choice.highest - choice.lowest + 1;
  const auto step = static_cast<std::uint64_t>(at / choice.weight * static_cast<double>(steps));
  return choice.lowest + std::min(step, steps - 1);
}

std::uint64_t Sizes::lowest() const noexcept {
  return std::ranges::min(choices_, {}, &Choice::lowest).lowest;
}

std::uint64_t Sizes::highest() const noexcept {
  return std::ranges::max(choices_, {}, &Choice::highest).highest;
}

double Sizes::mean() const noexcept {
  double sum = 0;
  for (const Choice& choice : choices_) {
    sum += choice.weight * (static_cast<double>(choice.lowest) + static_cast<double>(choice.highest)) / 2;
  }
  return sum / total_weight_;
}

std::string Sizes::describe() const {
  std::string text;
  for (const Choice& choice : choices_) {
    if (!text.empty()) text += ", ";
    text += format_count(choice.lowest);
    if (choice.highest != choice.lowest) text += fmt::format(" to {}", format_count(choice.highest));
    if (choices_.size() > 1) text += fmt::format(" ({:.3g} %)", 100 * choice.weight / total_weight_);
  }
  return text + (is_fixed() && choices_[0].lowest == 1 ? " byte" : " bytes");
}

std::uint64_t Stage::attackers() const noexcept {
  std::uint64_t sum = 0;
  for (const Fault& fault : faults) sum += fault.attackers;
  return sum;
}

std::optional<double> Stage::requested_message_rate() const noexcept {
  switch (messages) {
    case MessageSchedule::interval:
      return static_cast<double>(connections) / seconds(interval);
    case MessageSchedule::rate:
      return message_rate;
    case MessageSchedule::closed_loop:
      break;
  }
  return std::nullopt;
}

std::string Stage::describe_messages() const {
  switch (messages) {
    case MessageSchedule::interval:
      return fmt::format("each connection every {}", tools::format_option(interval));
    case MessageSchedule::rate:
      return fmt::format("{} a second over all connections", format_count(message_rate));
    case MessageSchedule::closed_loop:
      break;
  }
  std::string text = fmt::format("in a closed loop over {} connections", format_count(active_connections()));
  if (!think.is_none()) text += fmt::format(", thinking {} on average", tools::format_option(think.mean));
  return text;
}

tools::Parsed<Ramp> parse_ramp(std::string_view text) {
  Ramp ramp;
  if (text == "linear") return ramp;
  const auto [shape, rest] = split_at(text, ':');
  const auto [group, every] = split_at(rest, '/');
  if (shape == "step") ramp.shape = Ramp::Shape::step;
  if (shape == "burst") ramp.shape = Ramp::Shape::burst;
  if (ramp.shape == Ramp::Shape::linear || every.empty()) {
    return std::unexpected(fmt::format("`{}` is not a ramp; write linear, step:10000/5s or burst:5000/2s", text));
  }
  const auto count = tools::parse_count(group);
  if (!count) return std::unexpected(count.error());
  const auto span = tools::parse_duration(every);
  if (!span) return std::unexpected(span.error());
  if (*count == 0 || span->count() == 0) {
    return std::unexpected(fmt::format("`{}` would never open a connection; write more than 0 of them, every so often", text));
  }
  ramp.group = *count;
  ramp.every = *span;
  return ramp;
}

tools::Parsed<ThinkTime> parse_think_time(std::string_view text) {
  ThinkTime think;
  if (text.starts_with("exp:")) {
    const auto mean = tools::parse_duration(text.substr(4));
    if (!mean) return std::unexpected(mean.error());
    think.kind = ThinkTime::Kind::exponential;
    think.mean = *mean;
    return think;
  }
  const auto [from, to] = split_at(text, '-');
  const auto lowest = tools::parse_duration(from);
  if (!lowest) return std::unexpected(fmt::format("{}; or a range 10ms-50ms, or exp:20ms", lowest.error()));
  think.lowest = think.highest = think.mean = *lowest;
  if (text.find('-') == std::string_view::npos) return think;
  const auto highest = tools::parse_duration(to);
  if (!highest) return std::unexpected(highest.error());
  if (*highest < *lowest) return std::unexpected(fmt::format("`{}` ends before it begins; write the shorter time first", text));
  think.kind = ThinkTime::Kind::uniform;
  think.highest = *highest;
  think.mean = (*lowest + *highest) / 2;
  return think;
}

tools::Parsed<Sizes> parse_sizes(std::string_view text) {
  std::vector<Sizes::Choice> choices;
  std::string_view left = text;
  for (bool more = true; more;) {
    more = left.find(',') != std::string_view::npos;
    const auto [part, behind] = split_at(left, ',');
    left = behind;
    const auto [range, weight_text] = split_at(part, ':');
    const auto [from, to] = split_at(range, '-');
    Sizes::Choice choice{0, 0, 1};
    const auto lowest = tools::parse_size(from);
    if (!lowest) return std::unexpected(fmt::format("{}; or a range 64-4096, or a mix 64:90,4096:10", lowest.error()));
    choice.lowest = choice.highest = *lowest;
    if (range.find('-') != std::string_view::npos) {
      const auto highest = tools::parse_size(to);
      if (!highest) return std::unexpected(highest.error());
      if (*highest < *lowest) return std::unexpected(fmt::format("`{}` ends before it begins; write the smaller size first", range));
      choice.highest = *highest;
    }
    if (part.find(':') != std::string_view::npos) {
      const auto weight = tools::parse_rate(weight_text);
      if (!weight) return std::unexpected(weight.error());
      if (*weight <= 0) return std::unexpected(fmt::format("`{}` would never be sent; give it a weight above 0", part));
      choice.weight = *weight;
    } else if (more || !choices.empty()) {
      return std::unexpected(fmt::format("`{}` has no weight; in a mix write SIZE:WEIGHT, as in 64:90,4096:10", part));
    }
    choices.push_back(choice);
  }
  return Sizes(std::move(choices));
}

tools::Parsed<Churn> parse_churn(std::string_view text) {
  const auto [amount_text, unit] = split_at(text, '/');
  const double unit_s = unit == "s" ? 1 : unit == "m" ? 60 : 0;
  if (unit_s == 0) {
    if (text == "0") return Churn{};
    return std::unexpected(fmt::format("`{}` is not a churn; write 5%/s, 200/s or 10%/m", text));
  }
  Churn churn;
  churn.is_share = amount_text.ends_with('%');
  const auto amount = tools::parse_rate(churn.is_share ? amount_text.substr(0, amount_text.size() - 1) : amount_text);
  if (!amount) return std::unexpected(amount.error());
  churn.amount = *amount / unit_s / (churn.is_share ? 100 : 1);
  return churn;
}

}  // namespace roost::load
