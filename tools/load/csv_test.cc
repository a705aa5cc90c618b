#include "tools/load/csv.h"

#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace roost::load {
namespace {

TEST(LoadCsv, HasAHeaderWithUnitsAndALineForEachSecond) {
  Timeline timeline;
  timeline.begin(1'000'000'000, {.server_tcp = tools::TcpCounters{.listen_drops = 1}});
  timeline.mark("opening", 1'000'000'000);
  Figures figures;
  figures.counters.established = figures.counters.open = 7;
  figures.counters.failed = 2;
  figures.failures = {{"ECONNREFUSED", 1}, {"timed_out", 1}};
  figures.histograms[Figures::recent_run].record_n(100, 7);
  figures.counters.told_ns = 1'900'000'000;
  timeline.add(0, figures);
  timeline.add_readings(3'000'000'000, {.client_bytes = 5000, .client_cpu_s = 0.5, .attack_cpu_s = 1, .machine_busy_s = 1, .machine_total_s = 4,
                                         .server_descriptors = 27, .client_tcp = {.retransmitted_segments = 3},
                                         .server_tcp = tools::TcpCounters{.retransmitted_segments = 4, .listen_overflows = 5, .listen_drops = 6}});

  std::istringstream csv(to_csv(timeline));
  std::vector<std::vector<std::string>> lines;
  for (std::string line; std::getline(csv, line);) {
    auto& cells = lines.emplace_back();
    line += ',';
    std::istringstream rest(line);
    for (std::string cell; std::getline(rest, cell, ',');) cells.push_back(cell);
  }
  ASSERT_EQ(lines.size(), 3u);
  const auto cell = [&](std::size_t line, std::string_view column) {
    for (std::size_t i = 0; i < lines[0].size(); ++i) {
      if (lines[0][i] == column) return lines[line].at(i);
    }
    return std::string("no such column");
  };
  for (const auto& line : lines) EXPECT_EQ(line.size(), lines[0].size());
  EXPECT_EQ(cell(1, "second_s"), "0");
  EXPECT_EQ(cell(1, "phase"), "opening");
  EXPECT_EQ(cell(1, "open_connections"), "7");
  EXPECT_EQ(cell(2, "open_connections"), "7");
  EXPECT_EQ(cell(2, "established_connections"), "0");
  EXPECT_EQ(cell(1, "latency_p99_us"), "100");
  EXPECT_EQ(cell(2, "latency_p99_us"), "");
  EXPECT_EQ(cell(1, "machine_busy_percent"), "");
  EXPECT_EQ(cell(2, "machine_busy_percent"), "25.0");
  EXPECT_EQ(cell(2, "client_cpu_percent"), "25.0");
  EXPECT_EQ(cell(2, "attack_cpu_percent"), "50.0") << "not among the client's";
  EXPECT_EQ(cell(2, "server_memory_bytes"), "");
  EXPECT_EQ(cell(2, "server_descriptors"), "27");
  EXPECT_EQ(cell(1, "client_retransmits"), "");
  EXPECT_EQ(cell(2, "client_retransmits"), "3");
  EXPECT_EQ(cell(2, "server_retransmits"), "4");
  EXPECT_EQ(cell(2, "server_listen_overflows"), "5");
  EXPECT_EQ(cell(2, "server_listen_drops"), "5") << "since the second before";
  EXPECT_EQ(cell(1, "errors"), "ECONNREFUSED:1 timed_out:1");
}

}  // namespace
}  // namespace roost::load
