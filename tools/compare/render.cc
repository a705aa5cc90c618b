#include "tools/compare/render.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "tools/common/format.h"
#include "tools/common/markup.h"
#include "tools/compare/rank_test.h"

namespace roost::compare {
namespace {

using nlohmann::ordered_json;

std::string percent(double share) { return fmt::format("{:.3g} %", 100 * share); }

std::string change_text(const Row& row) {
  if (row.base.empty() || row.with.empty()) return "";
  if (!row.change) return "from 0";
  const double change = 100 * *row.change;
  if (std::abs(change) < 0.05) return "0 %";
  return std::abs(change) < 9.95 ? fmt::format("{:+.1f} %", change) : fmt::format("{:+.0f} %", change);
}

std::string p_text(const Row& row) { return row.p < 0.0001 ? "<0.0001" : fmt::format("{:.2g}", row.p); }

std::string median_text(const Row& row, const std::vector<double>& values, double median) {
  return values.empty() ? "not measured" : row.figure->show(median);
}

using Cells = std::array<std::string, 6>;
constexpr Cells titles{"figure", "base", "new", "change", "p", ""};

Cells cells_of(const Row& row) {
  std::string verdict(verdict_name(row.verdict));
  if (row.verdict == Verdict::worse) verdict = "WORSE";
  return {row.figure->name, median_text(row, row.base, row.base_median), median_text(row, row.with, row.with_median), change_text(row), p_text(row), verdict};
}

// The same words under the table, in whatever form.
std::vector<std::string> remarks(const Comparison& comparison) {
  std::vector<std::string> all;
  if (!comparison.zero.empty()) {
    std::string names;
    for (const load::Quantity* figure : comparison.zero) names += (names.empty() ? "" : ", ") + figure->name;
    all.push_back("0 in every run: " + names);
  }
  if (comparison.of(Verdict::too_few).empty() && !comparison.rows.empty()) {
    const double by_chance = comparison.options.level / 2;  // the other half would be better
    all.push_back(fmt::format("a difference is shown when p is at most {}, and is worse or better when the change is above {}", percent(comparison.options.level),
                              percent(comparison.options.tolerance)));
    all.push_back(fmt::format("were both sides the same, chance would call each figure worse in up to {} of comparisons: up to {:.2g} of these {} in each",
                              percent(by_chance), by_chance * static_cast<double>(comparison.rows.size()), comparison.rows.size()));
  }
  for (const std::string& doubt : comparison.doubts) all.push_back("DOUBTFUL: " + doubt);
  return all;
}

std::string runs_text(std::size_t runs) { return fmt::format("{} run{}", runs, runs == 1 ? "" : "s"); }

ordered_json side_json(const std::vector<std::string>& paths) { return {{"runs", paths.size()}, {"files", paths}}; }

}  // namespace

std::string to_text(const Comparison& comparison) {
  std::string text;
  const auto line = [&text](std::string_view name, std::string_view value) { text += fmt::format("{:<13} {}\n", name, value); };
  const auto side = [&](std::string_view name, const std::vector<std::string>& paths) {
    line(name, fmt::format("{}: {}{}", runs_text(paths.size()), paths.front(), paths.size() > 1 ? " ... " + paths.back() : ""));
  };
  text += '\n';
  side("base", comparison.base_paths);
  side("new", comparison.with_paths);
  text += '\n';

  std::vector<Cells> table{titles};
  for (const Row& row : comparison.rows) table.push_back(cells_of(row));
  Cells::size_type widths[titles.size()] = {};
  for (const Cells& cells : table) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
  }
  for (const Cells& cells : table) {
    std::string row = fmt::format("{:<{}}", cells[0], widths[0]);
    for (std::size_t i = 1; i + 1 < cells.size(); ++i) row += fmt::format("  {:>{}}", cells[i], widths[i]);
    row += "  " + cells.back();
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + '\n';
  }
  text += '\n';
  for (const std::string& remark : remarks(comparison)) text += remark + '\n';
  line("verdict", comparison.verdict());
  return text;
}

ordered_json to_json(const Comparison& comparison) {
  ordered_json figures = ordered_json::array();
  for (const Row& row : comparison.rows) {
    figures.push_back({{"name", row.figure->name},
                       {"path", row.figure->path()},
                       {"base", row.base},
                       {"new", row.with},
                       {"base_median", row.base.empty() ? ordered_json(nullptr) : ordered_json(row.base_median)},
                       {"new_median", row.with.empty() ? ordered_json(nullptr) : ordered_json(row.with_median)},
                       {"change", row.change && !row.base.empty() && !row.with.empty() ? ordered_json(*row.change) : ordered_json(nullptr)},
                       {"u", row.u},
                       {"p", row.p},
                       {"verdict", verdict_name(row.verdict)}});
  }
  ordered_json zero = ordered_json::array();
  for (const load::Quantity* figure : comparison.zero) zero.push_back(figure->name);
  return {{"schema", 1},
          {"worse", comparison.is_worse()},
          {"enough_runs", !comparison.too_few()},
          {"verdict", comparison.verdict()},
          {"level", comparison.options.level},
          {"tolerance", comparison.options.tolerance},
          {"runs_needed", runs_needed(comparison.options.level)},
          {"base", side_json(comparison.base_paths)},
          {"new", side_json(comparison.with_paths)},
          {"figures", std::move(figures)},
          {"zero", std::move(zero)},
          {"doubts", comparison.doubts}};
}

std::string to_markdown(const Comparison& comparison) {
  using tools::markdown_text;
  std::string text = fmt::format("### roost compare: {}\n\n", markdown_text(comparison.verdict()));
  text += fmt::format("{} of the base, {} of the new one.\n\n", runs_text(comparison.base_paths.size()), runs_text(comparison.with_paths.size()));
  text += "| figure | base | new | change | p | |\n| --- | ---: | ---: | ---: | ---: | --- |\n";
  for (const Row& row : comparison.rows) {
    text += '|';
    for (const std::string& cell : cells_of(row)) text += fmt::format(" {} |", markdown_text(cell));
    text += '\n';
  }
  for (const std::string& remark : remarks(comparison)) text += fmt::format("\n{}\n", markdown_text(remark));
  return text + '\n';
}

std::string to_junit(const Comparison& comparison) {
  std::vector<tools::JunitCase> cases;
  for (const Row& row : comparison.rows) {
    tools::JunitCase one{row.figure->name + " is not worse"};
    const Cells cells = cells_of(row);
    if (row.verdict == Verdict::worse) one.failure = fmt::format("{}: {} before, {} now ({}), p {}", cells[0], cells[1], cells[2], cells[3], cells[4]);
    if (row.verdict == Verdict::too_few) one.skipped = std::string(verdict_name(row.verdict));
    cases.push_back(std::move(one));
  }
  for (const load::Quantity* figure : comparison.zero) cases.push_back({figure->name + " is not worse"});
  return tools::to_junit("roost compare", cases, 0);
}

}  // namespace roost::compare
