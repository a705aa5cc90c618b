// What a load was asked for, as a scenario file that asks for the same (scenario.h is the way back).
//
// It stands in every report, so that a run can be repeated from its report alone, and two reports can be told to be of the same
// load or not. Options that do not shape the load (--processes, --server-pid, where reports go) are not in it.
#pragma once

#include <nlohmann/json.hpp>

#include "tools/load/plan.h"

namespace roost::load {

// Each stage has all of its keys: none takes anything from the stage before it or from a command line.
nlohmann::ordered_json scenario_of(const LoadOptions& options);

}  // namespace roost::load
