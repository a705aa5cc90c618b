// Outcomes as text for a terminal: a table, a chart of horizontal bars, and the claims with a mark each.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tools/cases/outcome.h"

namespace roost::cases {

struct TextStyle {
  bool unicode = false;  // bars in eighths of a block and check marks; else plain ASCII
  bool color = false;
  std::size_t width = 100;  // of lines of prose

  // Unicode when the locale's character set is UTF-8; colour when standard output is a terminal and NO_COLOR is not set.
  [[nodiscard]] static TextStyle of_terminal();
};

// A bar of `value` where `most` would be `width` columns wide. Never empty for a value above 0.
[[nodiscard]] std::string bar_text(double value, double most, std::size_t width, bool unicode);

// Columns on a terminal: characters, not bytes.
[[nodiscard]] std::size_t width_of(std::string_view text);

// `text` in lines of `width` at most, broken at blanks, each behind `indent`.
[[nodiscard]] std::string wrapped(std::string_view text, std::size_t width, std::string_view indent);

[[nodiscard]] std::string table_text(const Outcome& outcome, std::string_view indent);
[[nodiscard]] std::string chart_text(const Chart& chart, const TextStyle& style, std::string_view indent);
[[nodiscard]] std::string to_text(const Outcome& outcome, const TextStyle& style);
// One line for all: "4 of 5 cases shown, 1 could not be tried; 171 s".
[[nodiscard]] std::string summary_text(std::span<const Outcome> outcomes);

}  // namespace roost::cases
