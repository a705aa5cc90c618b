// The report as one page with charts: data for web/load.html, which draws itself from it.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "tools/load/report.h"

namespace roost::load {

// Self-contained: nothing is fetched when it is read.
std::string to_html(const Record& record);

// What the page draws; for tests.
nlohmann::ordered_json page_data(const Record& record);

}  // namespace roost::load
