// What a report tells of attackers (fault.h) and of TCP's own troubles.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "tools/load/report.h"

namespace roost::load {

// Sums over all faults, the server's descriptors, and each fault of each stage. Of a load without faults: null.
nlohmann::ordered_json attack_json(const Record& record);
nlohmann::ordered_json tcp_json(const Record& record);

// Lines of the text report; empty where there is nothing to tell.
std::string attack_text(const Record& record);
std::string tcp_text(const Record& record);

}  // namespace roost::load
