// What the five cases have in common. Each is declared here and stands in a file of its own.
#pragma once

#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "tools/cases/bed.h"
#include "tools/cases/outcome.h"
#include "tools/cases/sample.h"

namespace roost::cases {

// Says on standard error what is being run: one line that is written over on a terminal, else a line for each round.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void start_case(int number, std::string_view title);
  void turn(unsigned round, unsigned rounds, std::string_view side);

 private:
  void clear();

  const bool is_terminal_;
  int number_ = 0;
  unsigned round_ = 0;  // last printed
  bool has_line_ = false;
};

struct Setting {
  bool quick = false;        // smaller counts and one round: shows that all works, measures little
  bool own_network = false;  // turns have a network namespace of their own
};

struct Case {
  int number;
  std::string_view id;
  std::string_view title;
  std::string_view question;  // of one sentence, for --list
  // Throws Failure when a turn failed.
  Outcome (*run)(const Setting& setting, Progress& progress);
};

// In the order of their numbers, 1 to 5.
[[nodiscard]] std::span<const Case> all_cases();

Outcome run_fibers(const Setting& setting, Progress& progress);     // 1
Outcome run_buffers(const Setting& setting, Progress& progress);    // 2
Outcome run_slowloris(const Setting& setting, Progress& progress);  // 3
Outcome run_pooling(const Setting& setting, Progress& progress);    // 4
Outcome run_settings(const Setting& setting, Progress& progress);   // 5

// The turn's sample; throws Failure when it has none.
Sample must(Tried<Sample> tried);

}  // namespace roost::cases
