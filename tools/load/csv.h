// The time series of a load as a table: a header line with units, then one line a second.
#pragma once

#include <string>

#include "tools/load/timeline.h"

namespace roost::load {

// Columns are described in docs/load.md. A cell is empty where nothing was measured.
std::string to_csv(const Timeline& timeline);

}  // namespace roost::load
