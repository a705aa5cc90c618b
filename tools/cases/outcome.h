// What a case found out: a table, a chart, and the claims that were put to the test. Plain data, shown by render.h and
// page.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace roost::cases {

// One figure of a table: `text` for people; `value` for programs, in the unit that the column's key names.
struct Cell {
  std::string text;
  std::optional<double> value = std::nullopt;
};

struct Column {
  std::string title;  // with its unit where the cells do not carry one
  std::string key;    // its name in the JSON report, with the unit
};

// Which side of the experiment a row or bar stands for. `between` is one that neither harms nor helps enough.
enum class Side { before, between, after };

struct Row {
  std::string label;
  Side side = Side::before;
  std::vector<Cell> cells;  // one for each column
};

struct Bar {
  std::string group;  // bars of one group stand together, on a scale of their own; may be empty
  std::string label;
  Side side = Side::before;
  double value = 0;
  std::string text;            // the value as people read it
  std::string unit = "count";  // as the pages' charts know it (web/charts.js): count, bytes, us, percent
};

// A line of the page's chart, where a case has a course in time.
struct Line {
  std::string label;
  Side side = Side::before;
  std::vector<double> values;  // as many as Chart::times_s
};

struct Chart {
  std::string title;  // with the unit, and whether more or less is better
  std::vector<Bar> bars;
  // Optional; the page then draws these instead of the bars.
  std::string lines_title;
  std::vector<double> times_s;
  std::vector<Line> lines;
};

struct Claim {
  std::string text;  // with the figures that were found
  bool holds = false;
  // It is a matter of counting and holds on any machine, however busy; else of times or memory. --quick runs are too short for
  // the latter: they are shown, but do not decide.
  bool counted = false;
};

enum class Verdict { shown, not_shown, untried };

struct Outcome {
  int number = 0;
  std::string id;
  std::string title;
  std::string method;  // a sentence or two: what was run, how often
  std::vector<Column> columns;
  std::vector<Row> rows;
  Chart chart;
  std::vector<Claim> claims;
  std::string untried;  // why it could not be tried; empty when it was
  bool quick = false;
  double seconds = 0;  // that it took

  [[nodiscard]] Verdict verdict() const;
};

[[nodiscard]] std::string_view to_string(Verdict verdict);  // "shown", "not shown", "could not be tried"
[[nodiscard]] std::string_view to_string(Side side);

[[nodiscard]] nlohmann::ordered_json to_json(const Outcome& outcome);

}  // namespace roost::cases
