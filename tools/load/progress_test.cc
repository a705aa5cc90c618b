#include "tools/load/progress.h"

#include <gtest/gtest.h>

namespace roost::load {
namespace {

// What a terminal shows of a line: its characters, without colours.
std::vector<std::string> characters(const std::string& line) {
  std::vector<std::string> shown;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b') {
      while (i < line.size() && line[i] != 'm') ++i;
    } else if ((static_cast<unsigned char>(line[i]) & 0xc0) != 0x80) {
      shown.emplace_back(1, line[i]);
    } else {
      shown.back() += line[i];
    }
  }
  return shown;
}

class LoadProgress : public testing::Test {
 protected:
  LoadProgress() {
    options_.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
    options_.stages[0].connections = 100'000;
    options_.server_pid = 4711;
    timeline_.begin(1, {});
    Figures figures;
    for (int second = 0; second < 500; ++second) {
      figures.counters.told_ns = second * 1'000'000'000LL + 500'000'000;
      figures.counters.established = figures.counters.open += 200;
      figures.counters.received += 1000;
      figures.histograms[Figures::recent_run].record_n(static_cast<std::uint64_t>(100 + 7 * second), 1000);
      timeline_.add(0, figures);
      figures.histograms[Figures::recent_run].clear();
      timeline_.add_readings((second + 1) * 1'000'000'000LL + 2, {.server_bytes = 400'000'000, .client_bytes = 440'000'000});
    }
    moment_ = {.phase = "running", .now_ns = 12'000'000'000, .phase_begin_ns = 2'000'000'000, .phase_end_ns = 32'000'000'000, .counters = figures.counters};
  }
  [[nodiscard]] std::vector<std::string> lines(const Screen& screen) const {
    return live_lines(options_, moment_, {.established = 200, .received = 1000}, timeline_, screen);
  }

  LoadOptions options_;
  Timeline timeline_;
  Moment moment_;
};

TEST_F(LoadProgress, NoLineIsWiderThanTheTerminalAndTheBlockNotHigher) {
  for (const unsigned columns : {1u, 2u, 10u, 37u, 80u, 200u, 500u}) {
    for (const unsigned rows : {1u, 2u, 5u, 24u}) {
      for (const bool fancy : {false, true}) {
        const auto block = lines({.columns = columns, .rows = rows, .has_unicode = fancy, .has_colors = fancy});
        EXPECT_LE(block.size(), std::max(rows - 1, 1u));
        for (const std::string& line : block) EXPECT_LT(characters(line).size(), columns) << line;
      }
    }
  }
}

TEST_F(LoadProgress, ABlockTellsConnectionsRatesLatencyErrorsAndTheServer) {
  moment_.counters.dropped = 17;
  std::string text;
  for (const std::string& line : lines({.has_unicode = false, .has_colors = false})) text += line + "\n";
  for (const char* told : {"127.0.0.1:8080", "running  10.0 s of 30.0 s", "100,000/100,000", "+200/s", "1,000/s", "p50 ", "p99 ", "17 dropped",
                           "memory 400 MB (4.0 KB a connection)"}) {
    EXPECT_NE(text.find(told), std::string::npos) << told << " in\n" << text;
  }
}

TEST_F(LoadProgress, AnAttackHasALineOfItsOwn) {
  moment_.attack = {.opened = 5000, .failed = 3, .cut_off = 188, .open = 4812};
  std::string text;
  for (const std::string& line : lines({.has_unicode = false, .has_colors = false})) text += line + "\n";
  EXPECT_NE(text.find("4,812 open   188 cut off   3 could not connect"), std::string::npos) << text;
}

TEST_F(LoadProgress, ANarrowTerminalKeepsWhatMattersMost) {
  const auto block = lines({.columns = 40, .rows = 4, .has_unicode = true, .has_colors = false});
  ASSERT_EQ(block.size(), 3u);
  EXPECT_NE(block[1].find("100,000/100,000"), std::string::npos);
  EXPECT_NE(block[2].find("1,000/s"), std::string::npos);
}

TEST(LoadSparkline, ShowsTheLastValuesOnALogarithmicScale) {
  EXPECT_EQ(sparkline({100, 100'000'000}, 10, false), "_@");
  EXPECT_EQ(sparkline({100, 0, 110}, 10, false), "_ _") << "small changes stay small, and a second without answers is blank";
  EXPECT_EQ(sparkline({1, 1, 1, 1000, 1}, 2, false), "@_");
  EXPECT_EQ(sparkline({}, 10, true), "");
  EXPECT_EQ(characters(sparkline({1, 10, 100}, 10, true)).size(), 3u);
}

}  // namespace
}  // namespace roost::load
