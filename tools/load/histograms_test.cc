#include "tools/load/histograms.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <vector>

#include <gtest/gtest.h>

namespace roost::load {
namespace {

using nlohmann::json;

std::vector<json> lines_of(const Record& record) {
  const auto path = std::filesystem::temp_directory_path() / ("roost-histograms-test-" + std::to_string(::getpid()));
  auto file = tools::OutputFile::open("--histograms", path);
  EXPECT_TRUE(file.has_value());
  EXPECT_TRUE(write_histograms(record, *file).has_value());
  std::vector<json> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  std::filesystem::remove(path);
  return lines;
}

// What docs/load.md tells others to do, by nothing but what stands in the file.
class Merged {
 public:
  Merged(const std::vector<json>& lines, const std::string& name) : each_(lines.at(0)["buckets_per_power_of_two"]) {
    for (const json& line : lines) {
      if (!line.contains(name)) continue;
      const json& histogram = line[name];
      count_ += histogram["count"].get<std::uint64_t>();
      sum_ += histogram["sum"].get<std::uint64_t>();
      min_ = std::min(min_, histogram["min"].get<std::uint64_t>());
      max_ = std::max(max_, histogram["max"].get<std::uint64_t>());
      for (const json& bucket : histogram["buckets"]) buckets_[bucket[0]] += bucket[1].get<std::uint64_t>();
    }
  }

  [[nodiscard]] std::uint64_t percentile(double fraction) const {
    std::uint64_t seen = 0;
    for (const auto& [lowest, times] : buckets_) {
      seen += times;
      if (static_cast<double>(seen) >= fraction * static_cast<double>(count_)) return std::clamp(highest(lowest), min_, max_);
    }
    return max_;
  }
  [[nodiscard]] json summary() const {
    return {{"count", count_}, {"min", min_}, {"max", max_}, {"p50", percentile(0.5)}, {"p90", percentile(0.9)}, {"p99", percentile(0.99)}, {"p999", percentile(0.999)}};
  }
  [[nodiscard]] double mean() const { return static_cast<double>(sum_) / static_cast<double>(count_); }

 private:
  [[nodiscard]] std::uint64_t highest(std::uint64_t lowest) const {
    std::uint64_t width = 1;
    while (lowest / width >= 2 * each_) width *= 2;
    return lowest + width - 1;
  }

  const std::uint64_t each_;
  std::map<std::uint64_t, std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t min_ = ~std::uint64_t{0};
  std::uint64_t max_ = 0;
};

// Three processes answer for a minute, with latencies of all sizes, opening for the first ten seconds.
Record record_of_a_minute(std::size_t histogram_bytes_max) {
  constexpr std::int64_t second_ns = 1'000'000'000;
  Record record;
  record.options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
  record.timeline = Timeline(histogram_bytes_max);
  record.timeline.begin(second_ns, {});
  record.timeline.mark("opening", second_ns);
  record.timeline.mark("running", 11 * second_ns);
  std::vector<Figures> processes(3);
  std::uint64_t random = 1;
  for (int second = 0; second < 60; ++second) {
    for (unsigned process = 0; process < processes.size(); ++process) {
      Figures& figures = processes[process];
      for (int i = 0; i < 400; ++i) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        const std::uint64_t latency = std::uint64_t{1} << (random >> 60) | ((random >> 40) & 0x3ff);
        const bool is_run = second >= 10;
        figures.histograms[is_run ? Figures::run : Figures::first_echo].record(latency);
        figures.histograms[is_run ? Figures::recent_run : Figures::recent_rest].record(latency);
        if (!is_run) continue;
        figures.histograms[Figures::lateness].record(latency % 300);
        figures.histograms[Figures::recent_lateness].record(latency % 300);
      }
      figures.counters.told_ns = (second + 1) * second_ns + second_ns / 2;
      record.timeline.add(process, figures);
      for (std::size_t recent = Figures::recent_run; recent < Figures::kinds; ++recent) figures.histograms[recent].clear();
    }
  }
  for (const Figures& figures : processes) record.figures.merge(figures);
  return record;
}

// Whole, and after its seconds had to be put together for want of space.
class LoadHistograms : public testing::TestWithParam<std::size_t> {};

TEST_P(LoadHistograms, PutTogetherGiveTheReportsOwnPercentiles) {
  const Record record = record_of_a_minute(GetParam());
  const auto lines = lines_of(record);
  const json report = to_json(record);
  for (const auto& [in_lines, in_report] : {std::pair{"latency", "latency_us"}, {"rest_latency", "first_echo_us"}, {"lateness", "lateness_us"}}) {
    const Merged merged(lines, in_lines);
    const json summary = merged.summary();
    ASSERT_GT(summary["count"], 0);
    for (const auto& [name, value] : summary.items()) EXPECT_EQ(value, report[in_report][name]) << in_lines << " " << name;
    EXPECT_NEAR(merged.mean(), report[in_report]["mean"], 0.06);
  }
  const std::size_t each = lines[0]["seconds_each"];
  EXPECT_EQ(each == 1, GetParam() == Timeline::histogram_bytes_max);
  EXPECT_EQ(lines.size(), 1 + (60 + each - 1) / each);
  EXPECT_EQ(lines[0]["seconds"], 60);
  EXPECT_EQ(lines[2]["second"], each);
  EXPECT_EQ(lines.back()["phase"], "running");
  EXPECT_LE(record.timeline.packed_bytes(), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Space, LoadHistograms, testing::Values(Timeline::histogram_bytes_max, 20'000),
                         [](const auto& space) { return space.param == Timeline::histogram_bytes_max ? "Enough" : "TooSmall"; });

TEST(LoadHistogramLines, SayWhatTheyAreAndHaveNoLineOfNothing) {
  const auto lines = lines_of(record_of_a_minute(Timeline::histogram_bytes_max));
  EXPECT_EQ(lines[0]["schema"], 1);
  EXPECT_EQ(lines[0]["unit"], "us");
  EXPECT_EQ(lines[0]["target"], "127.0.0.1:8080");
  EXPECT_EQ(lines[1]["phase"], "opening");
  EXPECT_FALSE(lines[1].contains("latency")) << "nothing of the run while it opened";
  EXPECT_TRUE(lines[1].contains("rest_latency"));
}

}  // namespace
}  // namespace roost::load
