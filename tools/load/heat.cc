#include "tools/load/heat.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "tools/common/format.h"
#include "tools/load/log_linear.h"
#include "tools/load/progress.h"

namespace roost::load {
namespace {

using nlohmann::ordered_json;

using Rows = LogLinear<3>;  // values below 8 have a row each; above, each power of two has 4
constexpr std::size_t rows_max = 4 * 30 + 8;
constexpr std::size_t label_width = 14;  // as in the lines of Progress
constexpr std::size_t bands_max = 6;
constexpr unsigned columns_least = 60;   // of a terminal that a map is worth its lines in

HeatMap map_of(const Timeline& timeline, std::size_t first, std::size_t each) {
  const auto& seconds = timeline.seconds();
  HeatMap map;
  map.first_second = first;
  map.seconds_each = each;
  std::size_t lowest = rows_max;
  std::size_t end = 0;
  for (; first < seconds.size(); first += each) {
    Histogram latency;
    for (std::size_t i = first; i < std::min(first + each, seconds.size()); ++i) {
      seconds[i].run_latency.add_to(latency);
      seconds[i].rest_latency.add_to(latency);
    }
    HeatMap::Column& column = map.columns.emplace_back();
    column.rows.resize(rows_max);
    column.answers = latency.count();
    if (latency.empty()) continue;
    for (std::size_t bucket = 0; bucket < Histogram::bucket_count; ++bucket) {
      if (latency.bucket(bucket) > 0) column.rows[HeatMap::row_of(Histogram::bucket_lowest(bucket))] += latency.bucket(bucket);
    }
    lowest = std::min(lowest, HeatMap::row_of(latency.min()));
    end = std::max(end, HeatMap::row_of(latency.max()) + 1);
  }
  map.first_row = lowest < end ? lowest : 0;
  for (HeatMap::Column& column : map.columns) {
    column.rows = {column.rows.begin() + static_cast<std::ptrdiff_t>(map.first_row), column.rows.begin() + static_cast<std::ptrdiff_t>(end)};
  }
  return map;
}

}  // namespace

std::size_t HeatMap::row_of(std::uint64_t value) noexcept { return Rows::index_of(value); }
std::uint64_t HeatMap::row_lowest(std::size_t row) noexcept { return Rows::lowest(row); }

HeatMap heat_map(const Timeline& timeline, std::size_t columns_max) { return map_of(timeline, 0, seconds_each(timeline, columns_max)); }

HeatMap recent_heat_map(const Timeline& timeline, std::size_t columns_max) {
  const std::size_t each = timeline.histogram_seconds();
  const std::size_t columns = (timeline.seconds().size() + each - 1) / each;
  return map_of(timeline, (columns - std::min(columns, columns_max)) * each, each);
}

ordered_json to_json(const HeatMap& map) {
  ordered_json edges = ordered_json::array();
  for (std::size_t row = 0; !map.empty() && row <= map.row_count(); ++row) edges.push_back(HeatMap::row_lowest(map.first_row + row));
  ordered_json columns = ordered_json::array();
  for (const HeatMap::Column& column : map.columns) {
    ordered_json& to = columns.emplace_back(ordered_json::array({column.answers}));
    if (column.answers == 0) continue;
    const auto has_answers = [](std::uint64_t answers) { return answers > 0; };
    const auto begin = std::ranges::find_if(column.rows, has_answers);
    const auto end = std::find_if(column.rows.rbegin(), column.rows.rend(), has_answers).base();
    to.push_back(begin - column.rows.begin());
    for (auto row = begin; row != end; ++row) to.push_back(*row);
  }
  return {{"each", map.seconds_each}, {"edges", std::move(edges)}, {"columns", std::move(columns)}};
}

std::size_t heat_columns(const Screen& screen) { return screen.columns < columns_least ? 0 : screen.columns - 1 - label_width; }

std::vector<std::string> heat_lines(const HeatMap& map, const Screen& screen) {
  // From some answers on to most of them. A rare one must be seen as well as the many: that is what the map is for.
  struct Shade {
    double share;
    std::string_view block;
    std::string_view letter;
  };
  static constexpr std::array<Shade, 4> shades{{{0.5, "█", "#"}, {0.1, "▓", "+"}, {0.01, "▒", "-"}, {0, "░", "."}}};

  if (map.empty() || map.columns.size() > heat_columns(screen)) return {};
  const auto paint = [&screen](std::string_view color, std::string_view text) {
    return screen.has_colors ? fmt::format("\x1b[{}m{}\x1b[0m", color, text) : std::string(text);
  };
  const auto label = [&paint](std::string_view text) { return paint("2", fmt::format("{:<{}}", text, label_width)); };
  const std::size_t rows = map.row_count();
  const std::size_t rows_each = (rows + bands_max - 1) / bands_max;
  std::vector<std::string> lines;
  for (std::size_t first = (rows - 1) / rows_each * rows_each;; first -= rows_each) {
    const std::uint64_t lowest = HeatMap::row_lowest(map.first_row + first);
    std::string line;
    for (const HeatMap::Column& column : map.columns) {
      std::uint64_t answers = 0;
      for (std::size_t row = first; row < std::min(first + rows_each, rows); ++row) answers += column.rows[row];
      if (answers == 0) {
        line += ' ';
        continue;
      }
      const double share = static_cast<double>(answers) / static_cast<double>(column.answers);
      const auto shade = std::ranges::find_if(shades, [share](const Shade& s) { return share >= s.share; });
      line += screen.has_unicode ? shade->block : shade->letter;
    }
    line.resize(line.find_last_not_of(' ') + 1);
    lines.push_back(label("from " + tools::format_us(static_cast<double>(lowest))) + paint("36", line));
    if (first == 0) break;
  }
  const auto shade = [&](std::size_t i) { return paint("36", screen.has_unicode ? shades[i].block : shades[i].letter); };
  const std::string each = map.seconds_each == 1 ? "a second's" : "each " + tools::format_seconds(static_cast<double>(map.seconds_each));
  lines.push_back(label("answers") + fmt::format("{} some {} 1 % {} 10 % {} 50 % of {}", shade(3), shade(2), shade(1), shade(0), each));
  return lines;
}

}  // namespace roost::load
