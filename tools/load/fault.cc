#include "tools/load/fault.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "tools/common/format.h"

namespace roost::load {
namespace {

using namespace std::chrono_literals;

struct Description {
  std::string_view name;
  std::string_view meaning;
  std::chrono::nanoseconds every;  // by default; 0: it has none
};

// In the order of FaultKind.
constexpr std::array<Description, fault_kinds> descriptions{{
    {"silent", "connects and says nothing", 0s},
    {"drip", "a byte at a time of a message that never ends", 1s},
    {"pieces", "honest messages, a byte at a time", 10ms},
    {"oversize", "a message that never ends, as fast as it is taken", 0s},
    {"never-read", "sends messages and reads no answer", 0s},
    {"half-open", "gets one answer and vanishes without a word", 0s},
    {"reset", "connects, sends half a message and resets", 1s},
    {"storm", "all reset and connect anew at the same moment", 5s},
}};

const Description& of(FaultKind kind) noexcept { return descriptions[static_cast<std::size_t>(kind)]; }

tools::Parsed<Fault> parse_fault(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const auto known = std::ranges::find(descriptions, name, &Description::name);
  if (known == descriptions.end()) {
    std::string names;
    for (const Description& one : descriptions) names += fmt::format("{}{}", names.empty() ? "" : ", ", one.name);
    return std::unexpected(fmt::format("`{}` is not a fault; known are {}", name, names));
  }
  if (colon == std::string_view::npos) return std::unexpected(fmt::format("`{}` does not say how many; write {}:100", text, name));
  const std::string_view rest = text.substr(colon + 1);
  const std::size_t slash = rest.find('/');
  Fault fault{static_cast<FaultKind>(known - descriptions.begin()), 0, known->every};
  const auto attackers = tools::parse_count(rest.substr(0, slash));
  if (!attackers) return std::unexpected(attackers.error());
  if (*attackers == 0) return std::unexpected(fmt::format("`{}` has nobody who does it; write at least 1, or none in place of all", text));
  fault.attackers = *attackers;
  if (slash == std::string_view::npos) return fault;
  if (known->every == 0s) return std::unexpected(fmt::format("`{}`: {} is done once; leave the / and what follows out", text, name));
  const auto every = tools::parse_duration(rest.substr(slash + 1));
  if (!every) return std::unexpected(every.error());
  if (*every < 1ms) return std::unexpected(fmt::format("`{}`: so often is more than a generator can do; write 1ms or longer", text));
  fault.every = *every;
  return fault;
}

}  // namespace

std::string Fault::to_string() const {
  return every.count() == 0 ? fmt::format("{}:{}", fault_name(kind), attackers)
                            : fmt::format("{}:{}/{}", fault_name(kind), attackers, tools::format_option(every));
}

std::string_view fault_name(FaultKind kind) noexcept { return of(kind).name; }
std::string_view fault_meaning(FaultKind kind) noexcept { return of(kind).meaning; }

tools::Parsed<std::vector<Fault>> parse_faults(std::string_view text) {
  std::vector<Fault> faults;
  if (text == "none") return faults;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    auto fault = parse_fault(text.substr(at, end - at));
    if (!fault) return std::unexpected(std::move(fault.error()));
    if (std::ranges::any_of(faults, [&](const Fault& other) { return other.kind == fault->kind; })) {
      return std::unexpected(fmt::format("`{}` is there twice; write one with the sum", fault_name(fault->kind)));
    }
    faults.push_back(*fault);
    at = end + 1;
  }
  return faults;
}

tools::Parsed<unsigned> parse_nice(std::string_view text) {
  const auto nice = tools::parse_count(text);
  if (!nice || *nice > 19) return std::unexpected(fmt::format("`{}` is not a niceness; write 0 to 19", text));
  return static_cast<unsigned>(*nice);
}

}  // namespace roost::load
