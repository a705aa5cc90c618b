// The histograms of each second as JSON lines, so that others may put them together: over seconds, runs and machines, exactly.
// The format is described in docs/load.md.
#pragma once

#include <expected>
#include <string>

#include "tools/common/output.h"
#include "tools/load/report.h"

namespace roost::load {

// Line by line: all of a long load's together would not fit everywhere.
std::expected<void, std::string> write_histograms(const Record& record, tools::OutputFile& file);

}  // namespace roost::load
