// The parts of a load's report that are about its stages and targets: what was asked for, and what was reached.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "tools/load/report.h"

namespace roost::load {

// The field `stages`: a list with one object for each stage that began.
nlohmann::ordered_json stages_json(const Record& record);
// The field `targets`: a list with one object for each.
nlohmann::ordered_json targets_json(const Record& record);
// The field `achieved`: quantities asked for and reached, over all stages.
nlohmann::ordered_json achieved_json(const Record& record);

// Messages a second that were asked for, over the runs of all stages; none where one of them was a closed loop.
[[nodiscard]] std::optional<double> requested_message_rate(const Record& record);

// A few lines for each stage, and one for each target, where there are several; empty where there is one.
std::string stages_text(const Record& record);

}  // namespace roost::load
