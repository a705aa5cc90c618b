// One stage of a load: how many connections, how they come, what is sent on them, for how long. Plain data, and the words in
// which people write it on the command line and in scenario files.
//
// A command line without --scenario is a scenario of one stage, so everything behind this header knows stages only.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/parse.h"
#include "tools/load/fault.h"

namespace roost::load {

using namespace std::chrono_literals;

// When the connections of a stage are due that are not there yet.
struct Ramp {
  enum class Shape : std::uint8_t {
    linear,  // connection n after n / rate seconds
    step,    // `group` connections at `rate` at the begin of every `every`, then a pause
    burst,   // `group` connections at once every `every`
  };
  Shape shape = Shape::linear;
  double rate = 1000;  // connections a second; a burst has none
  std::uint64_t group = 0;
  std::chrono::nanoseconds every{0};

  // When the n-th (from 0) connection of the stage is due, counted from the stage's begin.
  [[nodiscard]] std::int64_t offset_ns(std::uint64_t n) const noexcept;
  // Connections a second, over groups and pauses.
  [[nodiscard]] double mean_rate() const noexcept;
  // As it would be typed: "1,000 a second", "steps of 10,000 every 5s".
  [[nodiscard]] std::string describe() const;
};

// Time that a connection of a closed loop takes between an answer and its next message.
struct ThinkTime {
  enum class Kind : std::uint8_t { fixed, uniform, exponential };
  Kind kind = Kind::fixed;
  std::chrono::nanoseconds lowest{0};   // fixed: the time itself; exponential: not used
  std::chrono::nanoseconds highest{0};  // uniform
  std::chrono::nanoseconds mean{0};

  // From 64 random bits.
  [[nodiscard]] std::int64_t pick_ns(std::uint64_t bits) const noexcept;
  [[nodiscard]] bool is_none() const noexcept { return mean.count() == 0; }
};

// Lengths of messages, framing (a newline, a length in front) included.
class Sizes {
 public:
  Sizes() : Sizes(64) {}
  explicit Sizes(std::uint64_t fixed) : choices_{{fixed, fixed, 1}} {}
  struct Choice {
    std::uint64_t lowest;
    std::uint64_t highest;  // each length from lowest to highest is as likely as the others
    double weight;
  };
  explicit Sizes(std::vector<Choice> choices);

  // The length for 64 random bits.
  [[nodiscard]] std::uint64_t pick(std::uint64_t bits) const noexcept;
  [[nodiscard]] std::uint64_t lowest() const noexcept;
  [[nodiscard]] std::uint64_t highest() const noexcept;
  [[nodiscard]] double mean() const noexcept;
  [[nodiscard]] bool is_fixed() const noexcept { return choices_.size() == 1 && choices_[0].lowest == choices_[0].highest; }
  [[nodiscard]] std::string describe() const;  // "64 bytes", "64 to 4,096 bytes", "64 (90 %), 4,096 (10 %) bytes"
  [[nodiscard]] const std::vector<Choice>& choices() const noexcept { return choices_; }

 private:
  std::vector<Choice> choices_;
  double total_weight_ = 1;
};

// Connections that are closed and dialled anew, a second.
struct Churn {
  double amount = 0;        // a share of the connections (0.05 for 5 %) or a number of them
  bool is_share = false;

  [[nodiscard]] double per_second(std::uint64_t connections) const noexcept {
    return is_share ? amount * static_cast<double>(connections) : amount;
  }
};

enum class MessageSchedule : std::uint8_t {
  interval,     // every connection pings every `interval`, at a phase of its own
  rate,         // `message_rate` a second in all, each on a connection chosen at random
  closed_loop,  // `active` connections send the next message when the answer is there, and `think` has passed
};

struct Stage {
  std::string name = "load";
  std::uint64_t connections = 1000;        // to hold; fewer than before: the others are closed
  Ramp ramp;
  MessageSchedule messages = MessageSchedule::interval;
  std::chrono::nanoseconds interval = 30s;
  double message_rate = 0;
  std::uint64_t active = 0;                // 0: all
  ThinkTime think;
  Sizes sizes;
  Churn churn;                             // during the run, not the ramp
  std::vector<Fault> faults;               // during the run, by clients that are not among the connections
  std::chrono::nanoseconds duration = 30s; // of the run, after the stage's last connection stands

  [[nodiscard]] std::uint64_t attackers() const noexcept;
  [[nodiscard]] bool is_closed_loop() const noexcept { return messages == MessageSchedule::closed_loop; }
  [[nodiscard]] std::uint64_t active_connections() const noexcept { return active == 0 ? connections : active; }
  // Messages a second that were asked for; none for a closed loop, which is as fast as the answers.
  [[nodiscard]] std::optional<double> requested_message_rate() const noexcept;
  // "each connection every 30s", "5,000 a second over all connections", "in a closed loop over 10 connections".
  [[nodiscard]] std::string describe_messages() const;
};

// "step:10000/5s", "burst:5000/2s", "linear". `rate` of the result is left at its default.
tools::Parsed<Ramp> parse_ramp(std::string_view text);
// "10ms", "10ms-50ms" (any time between, as likely), "exp:20ms" (exponentially distributed, with that mean).
tools::Parsed<ThinkTime> parse_think_time(std::string_view text);
// "64", "64-4096", "64:90,4096:9,65536:1" (weights), and ranges with weights.
tools::Parsed<Sizes> parse_sizes(std::string_view text);
// "5%/s", "200/s", "5%/m", "200/m".
tools::Parsed<Churn> parse_churn(std::string_view text);

}  // namespace roost::load
