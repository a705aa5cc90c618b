// The reports that are compared: JSON of `roost load`, one file for each run.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace roost::compare {

struct Run {
  std::string path;
  nlohmann::ordered_json report;
};

// The reason when a file is no report of `roost load`, or is one of a run that did not go to its end: "a.json: ...; remedy".
std::expected<Run, std::string> parse_run(std::string path, const std::string& text);
std::expected<std::vector<Run>, std::string> read_runs(const std::vector<std::string>& paths);

// All must have been asked for the same load, save for the target, which a server on another port changes. The reason, with what
// differs, when they were not.
std::expected<void, std::string> check_same_load(const std::vector<Run>& base, const std::vector<Run>& with);

// What makes a comparison doubtful without making it impossible: different machines, a late generator.
std::vector<std::string> doubts(const std::vector<Run>& base, const std::vector<Run>& with);

}  // namespace roost::compare
