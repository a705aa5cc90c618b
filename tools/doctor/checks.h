// Every setting that matters for N connections, as data: an id, a reason, and a function that judges one value.
//
// A check reads through System, never from the machine directly, and changes nothing. Its id is stable: scripts match
// it in the JSON report and docs/doctor.md has a section under the same name (doctor_test.cc compares the two).
// To add a check: declare its function in judges.h, write it in one of the judges_*.cc, add a line to the table in
// checks.cc, and a section to docs/doctor.md.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/doctor/ask.h"
#include "tools/doctor/forecast.h"
#include "tools/doctor/system.h"

namespace roost::doctor {

// Order is rank: a report is as bad as its worst verdict, but only `too_low` makes a machine unfit.
enum class Verdict { ok, unknown, advice, too_low };

enum class Group { descriptors, memory, accepting, dialing, liveness, kernel };

// A value to be written to a file under /proc/sys or /sys.
struct Change {
  std::string key;   // "net.core.somaxconn"; empty for a file under /sys
  std::string path;  // the file, below the root
  std::string value;
};

// What holds after a reboot: `line` belongs into `file`.
struct Keep {
  std::string file;
  std::string line;
};

struct Finding {
  Verdict verdict = Verdict::ok;
  std::string value;     // now
  std::string need;      // empty when there is no threshold
  std::string because;   // how the need came about, with this machine's numbers
  std::string effect;    // what happens if nothing is done; empty when ok
  std::string mend_now;  // the exact command; may span lines
  std::vector<Keep> keep;
  std::vector<Change> changes;            // what --apply may do; empty when a file cannot mend it
  bool needs_consent = false;             // the change has a price: --apply leaves it alone unless --only names it
  std::optional<std::uint64_t> capacity;  // connections this setting lets through; nothing when it is no hard limit
};

struct Context {
  const System& system;
  const Ask& ask;
  const Forecast& forecast;
};

struct Check {
  std::string_view id;
  Group group;
  std::string_view subject;  // the setting's own name
  std::string_view reason;   // why it matters, in a sentence or two
  std::string_view formula;  // how the need is computed from N and the role; empty: a plain expectation
  Finding (*judge)(const Context&);
};

[[nodiscard]] std::span<const Check> all_checks();
[[nodiscard]] const Check* find_check(std::string_view id);

[[nodiscard]] std::string_view to_string(Verdict verdict);  // "ok", "could not tell", "advice", "too low"
[[nodiscard]] std::string_view to_string(Group group);
[[nodiscard]] std::string_view to_string(Role role);

// The connections one process can hold by its descriptor limit; nothing when the limit cannot be read.
[[nodiscard]] std::optional<std::uint64_t> connections_per_process(const System& system);
// Processes (at each end) that hold all N connections; nothing when the limit cannot be read or holds none.
[[nodiscard]] std::optional<std::uint64_t> processes_needed(const System& system, const Ask& ask);

[[nodiscard]] std::string with_commas(std::uint64_t number);  // 1234567 -> "1,234,567"
[[nodiscard]] std::string size_text(double bytes);            // "3.9 GiB", "256 KiB", "640 B"

}  // namespace roost::doctor
