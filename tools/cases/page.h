// The report of `roost cases` as JSON, and as one self-contained page with charts that is drawn from it (web/cases.js).
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tools/cases/outcome.h"

namespace roost::cases {

// Of this machine.
[[nodiscard]] nlohmann::ordered_json report_of(const std::vector<Outcome>& outcomes, bool quick);
[[nodiscard]] std::string to_html(const nlohmann::ordered_json& report);

}  // namespace roost::cases
