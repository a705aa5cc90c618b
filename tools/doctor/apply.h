// Changes settings, and changes them back.
//
// The undo file is written before the first setting is touched, so that a run that is interrupted can be undone too.
// It keeps the value from before the first --apply: applying twice and undoing once leads back to the beginning. A
// setting that somebody else changed in between is left alone and reported.
#pragma once

#include <string>
#include <vector>

#include "tools/doctor/diagnosis.h"

namespace roost::doctor {

enum class Outcome {
  changed,
  would_change,  // --dry-run
  unchanged,     // it has this value already
  refused,       // the kernel or the permissions said no; `why` tells
  left_alone,    // undo only: somebody else changed it meanwhile
};

struct Applied {
  std::string check_id;
  std::string setting;  // the sysctl's key, or the path of a file under /sys
  std::string path;
  std::string before;
  std::string wanted;
  std::string after;  // read back, never assumed
  Outcome outcome = Outcome::unchanged;
  std::string why;
};

inline constexpr std::string_view undo_file_default = "/run/roost-doctor-undo.json";

// Carries out the changes of every finding that is not ok, save those that need consent, unless `only` names checks:
// then exactly theirs.
//   no_such_file_or_directory, permission_denied, ...   the undo file could not be written; nothing was changed
[[nodiscard]] Result<std::vector<Applied>> apply(const System& system, const Diagnosis& diagnosis,
                                                 const std::vector<std::string>& only, const std::string& undo_file,
                                                 bool dry_run);

// Restores what the undo file holds, newest first, and removes the file once nothing of it is left.
//   no_such_file_or_directory   nothing to undo
//   invalid_argument            the file is not an undo file
[[nodiscard]] Result<std::vector<Applied>> undo(const System& system, const std::string& undo_file, bool dry_run);

[[nodiscard]] std::string_view to_string(Outcome outcome);

}  // namespace roost::doctor
