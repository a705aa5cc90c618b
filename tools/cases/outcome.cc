#include "tools/cases/outcome.h"

#include <algorithm>

namespace roost::cases {

using nlohmann::ordered_json;

Verdict Outcome::verdict() const {
  if (!untried.empty()) return Verdict::untried;
  const bool shown =
      std::ranges::all_of(claims, [this](const Claim& claim) { return claim.holds || (quick && !claim.counted); });
  return shown && !claims.empty() ? Verdict::shown : Verdict::not_shown;
}

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::shown:
      return "shown";
    case Verdict::not_shown:
      return "not shown";
    case Verdict::untried:
      return "could not be tried";
  }
  return "";
}

std::string_view to_string(Side side) {
  switch (side) {
    case Side::before:
      return "before";
    case Side::between:
      return "between";
    case Side::after:
      return "after";
  }
  return "";
}

ordered_json to_json(const Outcome& outcome) {
  ordered_json json{{"number", outcome.number}, {"id", outcome.id},
                    {"title", outcome.title},   {"verdict", to_string(outcome.verdict())},
                    {"method", outcome.method}, {"seconds", outcome.seconds}};
  if (!outcome.untried.empty()) json["untried"] = outcome.untried;
  json["claims"] = ordered_json::array();
  for (const Claim& claim : outcome.claims) {
    json["claims"].push_back({{"text", claim.text}, {"holds", claim.holds}, {"counted", claim.counted}});
  }
  json["columns"] = ordered_json::array();
  for (const Column& column : outcome.columns)
    json["columns"].push_back({{"key", column.key}, {"title", column.title}});
  json["rows"] = ordered_json::array();
  for (const Row& row : outcome.rows) {
    ordered_json cells{{"label", row.label}, {"side", to_string(row.side)}};
    ordered_json texts = ordered_json::array();
    for (std::size_t i = 0; i < outcome.columns.size() && i < row.cells.size(); ++i) {
      const Cell& cell = row.cells[i];
      // A figure that could not be measured is null, never a text where programs expect a number.
      cells[outcome.columns[i].key] = cell.value ? ordered_json(*cell.value) : ordered_json(nullptr);
      if (!cell.value && cell.text != "-") cells[outcome.columns[i].key] = cell.text;
      texts.push_back(cell.text);
    }
    cells["texts"] = std::move(texts);  // the same as people read it, in the order of the columns
    json["rows"].push_back(std::move(cells));
  }
  ordered_json chart{{"title", outcome.chart.title}, {"bars", ordered_json::array()}};
  for (const Bar& bar : outcome.chart.bars) {
    chart["bars"].push_back({{"group", bar.group},
                             {"label", bar.label},
                             {"side", to_string(bar.side)},
                             {"value", bar.value},
                             {"unit", bar.unit},
                             {"text", bar.text}});
  }
  if (!outcome.chart.lines.empty()) {
    chart["lines_title"] = outcome.chart.lines_title;
    chart["times_s"] = outcome.chart.times_s;
    chart["lines"] = ordered_json::array();
    for (const Line& line : outcome.chart.lines) {
      chart["lines"].push_back({{"label", line.label}, {"side", to_string(line.side)}, {"values", line.values}});
    }
  }
  json["chart"] = std::move(chart);
  return json;
}

}  // namespace roost::cases
