// A comparison for people and for programs.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "tools/compare/comparison.h"

namespace roost::compare {

[[nodiscard]] std::string to_text(const Comparison& comparison);
// Schema 1, described in docs/load.md.
[[nodiscard]] nlohmann::ordered_json to_json(const Comparison& comparison);
// A section for the summary of a CI job.
[[nodiscard]] std::string to_markdown(const Comparison& comparison);
// A test a figure: it fails when the figure is worse.
[[nodiscard]] std::string to_junit(const Comparison& comparison);

}  // namespace roost::compare
