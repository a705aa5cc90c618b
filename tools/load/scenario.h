// Scenario files: a load in stages, written as JSON.
//
//   { "target": "127.0.0.1:8080",
//     "stages": [
//       { "name": "warm-up", "connections": 1000, "rate": 500, "interval": "5s", "duration": "30s" },
//       { "name": "storm", "connections": 5000, "ramp": "burst:1000/2s", "churn": "5%/s", "duration": "1m" } ] }
//
// Keys are the options of the command line with `_` for `-`, and values the same words (numbers may be numbers). A stage takes
// what it does not say from the stage before it, and the first from the command line; a target on the command line goes before
// the file's. docs/load.md lists the keys.
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

#include "tools/load/plan.h"

namespace roost::load {

// Replaces the stages of `options`, and whatever else the text names. The error is one line without the file's name: which
// stage, key and value, and the remedy.
std::expected<void, std::string> parse_scenario(std::string_view text, LoadOptions& options);

inline constexpr std::size_t scenario_bytes_max = 16 * 1024 * 1024;

// The same from a file, whose name the error begins with.
std::expected<void, std::string> read_scenario(const std::string& path, LoadOptions& options);

}  // namespace roost::load
