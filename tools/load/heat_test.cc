#include "tools/load/heat.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tools/load/progress.h"

namespace roost::load {
namespace {

constexpr std::int64_t second_ns = 1'000'000'000;

// So many answers of each latency, second by second.
Timeline timeline_of(const std::vector<std::vector<std::pair<std::uint64_t, std::uint64_t>>>& seconds) {
  Timeline timeline;
  timeline.begin(second_ns, {});
  Figures figures;
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    figures.counters.told_ns = static_cast<std::int64_t>(i + 1) * second_ns + second_ns / 2;
    for (std::size_t n = 0; n < seconds[i].size(); ++n) {
      // The first ones of the run, the others of its opening: the map has both.
      figures.histograms[n == 0 ? Figures::recent_run : Figures::recent_rest].record_n(seconds[i][n].first, seconds[i][n].second);
    }
    timeline.add(0, figures);
    for (std::size_t recent = Figures::recent_run; recent < Figures::kinds; ++recent) figures.histograms[recent].clear();
  }
  return timeline;
}

TEST(LoadHeatMap, ABucketOfAHistogramLiesInOneRowAsAWhole) {
  for (std::size_t bucket = 0; bucket < Histogram::bucket_count; ++bucket) {
    const std::size_t row = HeatMap::row_of(Histogram::bucket_lowest(bucket));
    ASSERT_EQ(HeatMap::row_of(Histogram::bucket_highest(bucket)), row) << bucket;
    ASSERT_LE(HeatMap::row_lowest(row), Histogram::bucket_lowest(bucket));
    ASSERT_GT(HeatMap::row_lowest(row + 1), Histogram::bucket_highest(bucket));
  }
}

TEST(LoadHeatMap, HasEveryAnswerOnceInItsSecondAndItsRow) {
  const HeatMap map = heat_map(timeline_of({{{100, 50}, {9000, 1}}, {}, {{100, 7}, {101, 3}}}), 1000);
  ASSERT_EQ(map.columns.size(), 3u);
  EXPECT_EQ(map.seconds_each, 1u);
  EXPECT_EQ(map.first_row, HeatMap::row_of(100));
  EXPECT_EQ(map.row_count(), HeatMap::row_of(9000) - HeatMap::row_of(100) + 1);
  EXPECT_EQ(map.columns[0].answers, 51u);
  EXPECT_EQ(map.columns[0].rows.front(), 50u);
  EXPECT_EQ(map.columns[0].rows.back(), 1u);
  EXPECT_EQ(map.columns[1].answers, 0u);
  EXPECT_EQ(map.columns[2].rows.front(), 10u);
  for (const HeatMap::Column& column : map.columns) {
    EXPECT_EQ(std::accumulate(column.rows.begin(), column.rows.end(), std::uint64_t{0}), column.answers);
  }
}

TEST(LoadHeatMap, SecondsArePutTogetherWhereThereAreMoreThanColumns) {
  const Timeline timeline = timeline_of(std::vector<std::vector<std::pair<std::uint64_t, std::uint64_t>>>(25, {{100, 2}}));
  const HeatMap all = heat_map(timeline, 10);
  EXPECT_EQ(all.seconds_each, 3u);
  ASSERT_EQ(all.columns.size(), 9u);
  EXPECT_EQ(all.columns[0].answers, 6u);
  EXPECT_EQ(all.columns[8].answers, 2u) << "the rest";
  const HeatMap last = recent_heat_map(timeline, 10);
  EXPECT_EQ(last.seconds_each, 1u);
  EXPECT_EQ(last.first_second, 15u);
  ASSERT_EQ(last.columns.size(), 10u);
  EXPECT_EQ(last.columns[9].answers, 2u);
}

TEST(LoadHeatMap, AsDataItIsEdgesAndForEachColumnWhatIsNotZero) {
  const auto json = to_json(heat_map(timeline_of({{{8, 5}, {13, 1}}, {}, {{12, 2}}}), 1000));
  EXPECT_EQ(json["each"], 1);
  EXPECT_EQ(json["edges"], nlohmann::ordered_json::parse("[8, 10, 12, 14]"));
  EXPECT_EQ(json["columns"], nlohmann::ordered_json::parse("[[6, 0, 5, 0, 1], [0], [2, 2, 2]]"));
  EXPECT_TRUE(to_json(heat_map(Timeline(), 10))["edges"].empty());
}

TEST(LoadHeatMap, OnATerminalTheSlowestBandIsOnTopAndARareAnswerIsSeen) {
  const HeatMap map = heat_map(timeline_of({{{100, 9999}, {90'000, 1}}, {}, {{100, 80}, {2000, 20}}}), 1000);
  const auto lines = heat_lines(map, {.columns = 80, .has_unicode = false, .has_colors = false});
  ASSERT_GE(lines.size(), 4u);
  ASSERT_LE(lines.size(), 7u);
  EXPECT_EQ(lines.front().substr(14), ".") << "one of ten thousand";
  EXPECT_EQ(lines[lines.size() - 2].substr(14), "# #") << "nearly all; nothing; most";
  EXPECT_TRUE(std::ranges::any_of(lines, [](const std::string& line) { return line.size() == 17 && line.substr(14) == "  +"; })) << "a fifth";
  EXPECT_EQ(lines[lines.size() - 2].substr(0, 11), "from 96 us ");
  EXPECT_EQ(lines.back().substr(14), ". some - 1 % + 10 % # 50 % of a second's");
}

TEST(LoadHeatMap, ATerminalThatIsTooNarrowHasNone) {
  const Timeline timeline = timeline_of(std::vector<std::vector<std::pair<std::uint64_t, std::uint64_t>>>(500, {{100, 2}, {70'000, 1}}));
  for (const unsigned columns : {1u, 20u, 59u, 60u, 80u, 200u}) {
    const Screen screen{.columns = columns, .has_unicode = false, .has_colors = false};
    for (const HeatMap& map : {heat_map(timeline, heat_columns(screen)), recent_heat_map(timeline, heat_columns(screen))}) {
      const auto lines = heat_lines(map, screen);
      EXPECT_EQ(lines.empty(), columns < 60) << columns;
      for (const std::string& line : lines) EXPECT_LT(line.size(), columns) << line;
    }
  }
  EXPECT_TRUE(heat_lines(heat_map(Timeline(), 100), Screen{.columns = 200}).empty()) << "and where nothing was answered there is none";
}

}  // namespace
}  // namespace roost::load
