// The result of a load in the forms that continuous-integration servers show by themselves.
#pragma once

#include <string>

#include "tools/load/report.h"

namespace roost::load {

// JUnit's XML. A test for each condition of --fail-if, for each of the usual ones that no condition takes the place of (nothing
// failed, dropped or lost), and one for the load having gone to its end: one of them fails exactly when the exit status is 1.
std::string to_junit(const Record& record);

// Markdown for a job's summary page: verdict, figures, conditions.
std::string to_markdown(const Record& record);

}  // namespace roost::load
