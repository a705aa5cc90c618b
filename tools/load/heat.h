// Latency over time as a map: how many answers took how long in which span of time. It shows what percentiles hide: two humps
// instead of one, a band that wanders, the few that are late in every second.
//
// A row is a range of latencies, a column a span of seconds. Rows are those of a histogram with fewer digits: a power of two is
// cut into four, so that a bucket of Histogram lies in one row as a whole, and counts are exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tools/load/timeline.h"

namespace roost::load {

struct Screen;

struct HeatMap {
  struct Column {
    std::uint64_t answers = 0;         // of all rows
    std::vector<std::uint64_t> rows;   // answers of each, from the quickest on; as many in every column
  };

  std::size_t first_second = 0;
  std::size_t seconds_each = 1;        // that a column is of
  std::size_t first_row = 0;           // the quickest that has an answer in any column
  std::vector<Column> columns;

  [[nodiscard]] std::size_t row_count() const noexcept { return columns.empty() ? 0 : columns.front().rows.size(); }
  [[nodiscard]] bool empty() const noexcept { return row_count() == 0; }

  [[nodiscard]] static std::size_t row_of(std::uint64_t latency_us) noexcept;
  [[nodiscard]] static std::uint64_t row_lowest(std::size_t row) noexcept;  // in microseconds
};

// Of all seconds, put together so that there are at most so many columns.
HeatMap heat_map(const Timeline& timeline, std::size_t columns_max);
// Of the last seconds, as many as there may be columns.
HeatMap recent_heat_map(const Timeline& timeline, std::size_t columns_max);

// For charts.js: {"each", "edges", "columns"}. `edges` are the lowest latencies of the rows and the end of the last; a column is
// its number of answers, the first row that has any, and the answers of that and the following ones; [0] if there was none.
nlohmann::ordered_json to_json(const HeatMap& map);

// A few lines for a terminal, the slowest band on top: label, then a shade for each column. None where there is nothing to show
// or no place for it. No line is wider than screen.columns - 1.
std::vector<std::string> heat_lines(const HeatMap& map, const Screen& screen);
// So many columns of a map have place beside the labels.
std::size_t heat_columns(const Screen& screen);

}  // namespace roost::load
