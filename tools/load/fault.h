// Faults: clients that misbehave while a load runs, so that its report tells what a server's honest clients make of them.
// Plain data, and the words in which people write it. What each does to a server is in attack.cc.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/parse.h"

namespace roost::load {

enum class FaultKind : std::uint8_t {
  silent,      // connects and says nothing
  drip,        // a byte every `every` of a message that never ends: slowloris
  pieces,      // honest messages, a byte every `every`
  oversize,    // a message that never ends, as fast as the server takes it
  never_read,  // sends messages and reads no answer, with a receive buffer of the least size
  half_open,   // gets one answer and vanishes: no FIN, no reset, as a machine that loses its power
  reset,       // connects, sends half a message and resets, every `every`
  storm,       // all reset and connect anew at the same moment, every `every`
};
inline constexpr std::size_t fault_kinds = 8;

struct Fault {
  FaultKind kind = FaultKind::silent;
  std::uint64_t attackers = 0;
  std::chrono::nanoseconds every{0};  // 0: the kind has none

  // Whether an attacker connects again and again, and not once.
  [[nodiscard]] bool comes_again() const noexcept { return kind == FaultKind::reset || kind == FaultKind::storm; }
  // As it would be typed: "drip:5000/1s".
  [[nodiscard]] std::string to_string() const;
  friend bool operator==(const Fault&, const Fault&) noexcept = default;
};

[[nodiscard]] std::string_view fault_name(FaultKind kind) noexcept;     // "never-read"
[[nodiscard]] std::string_view fault_meaning(FaultKind kind) noexcept;  // "sends messages and reads no answer"

// "drip:5000", "drip:5000/500ms", several with commas between, or "none".
tools::Parsed<std::vector<Fault>> parse_faults(std::string_view text);
// Of attackers' processes: "0" to "19".
tools::Parsed<unsigned> parse_nice(std::string_view text);

}  // namespace roost::load
