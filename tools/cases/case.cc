#include "tools/cases/case.h"

#include <unistd.h>

#include <array>

#include <fmt/format.h>

namespace roost::cases {

std::span<const Case> all_cases() {
  static constexpr std::array<Case, 5> cases{{
      {1, "fibers", "A fiber a connection, not two", "What do a second fiber and a second descriptor cost?",
       &run_fibers},
      {2, "buffers", "Buffers that fit the message", "What do reads and writes of 128 bytes cost?", &run_buffers},
      {3, "slowloris", "Deadlines against slowloris", "Who holds the descriptors when a byte a second comes?",
       &run_slowloris},
      {4, "pool", "A pool for outbound connections", "What does a connection for each request cost and leave behind?",
       &run_pooling},
      {5, "settings", "The system's settings", "What do default limits let through, and what the doctor's?",
       &run_settings},
  }};
  return cases;
}

Sample must(Tried<Sample> tried) {
  if (!tried) throw Failure(tried.error());
  return std::move(*tried);
}

Progress::Progress() : is_terminal_(::isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (has_line_) fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  has_line_ = false;
}

void Progress::start_case(int number, std::string_view title) {
  clear();
  number_ = number;
  round_ = 0;
  if (!is_terminal_) fmt::print(stderr, "case {}: {}\n", number, title);
}

void Progress::turn(unsigned round, unsigned rounds, std::string_view side) {
  if (is_terminal_) {
    fmt::print(stderr, "\r\x1b[Kcase {}, round {} of {}: {}", number_, round, rounds, side);
    std::fflush(stderr);
    has_line_ = true;
  } else if (round != round_) {
    fmt::print(stderr, "case {}: round {} of {}\n", number_, round, rounds);
  }
  round_ = round;
}

}  // namespace roost::cases
