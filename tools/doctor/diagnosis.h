// All findings of one run, and the sentence that they add up to.
#pragma once

#include <string>
#include <vector>

#include "tools/doctor/checks.h"

namespace roost::doctor {

struct Judged {
  const Check* check;
  Finding finding;
};

// A setting that bounds the number of connections, with that number.
struct Limit {
  std::string_view check_id;
  std::uint64_t connections;
};

struct ProcessesRow {
  std::uint64_t processes;    // at each end
  std::uint64_t connections;  // that these can hold
  std::string_view lowest;    // the check that bounds them
};

struct Diagnosis {
  Ask ask;
  std::string kernel;
  std::uint32_t cpus = 1;
  std::optional<std::uint64_t> memory_total_bytes;
  Forecast forecast;
  std::vector<Judged> judged;  // in the order of all_checks()
  std::vector<Limit> limits;   // lowest first

  // At most this many connections, by the lowest of `limits`; nothing when no limit could be read.
  std::optional<std::uint64_t> capacity;
  std::string_view lowest_limit;  // a check's id
  bool fit = false;               // no verdict is `too low`
  bool partial = false;           // only some checks were asked for

  std::optional<std::uint64_t> connections_per_process;
  std::optional<std::uint64_t> processes_needed;  // at each end, for ask.connections
  std::vector<ProcessesRow> by_processes;         // what K becomes with P processes

  [[nodiscard]] const Finding* find(std::string_view id) const;
  [[nodiscard]] std::string headline() const;
};

// Runs every check, or only those that `only` names.
[[nodiscard]] Diagnosis diagnose(const System& system, const Ask& ask, const std::vector<std::string>& only = {});

}  // namespace roost::doctor
