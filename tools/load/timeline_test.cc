#include "tools/load/timeline.h"

#include <gtest/gtest.h>

namespace roost::load {
namespace {

constexpr std::int64_t begin_ns = 5'000'000'000;
constexpr std::int64_t second_ns = 1'000'000'000;

// A process that counts, and tells as Client does: totals, and histograms of what is recent.
struct Teller {
  unsigned number;
  Figures figures;

  void answer(std::uint64_t latency_us, std::uint64_t times) {
    figures.counters.sent += times;
    figures.counters.received += times;
    figures.histograms[Figures::recent_run].record_n(latency_us, times);
    figures.histograms[Figures::run].record_n(latency_us, times);
  }
  void tell(Timeline& timeline, double at_s) {
    figures.counters.told_ns = begin_ns + static_cast<std::int64_t>(at_s * 1e9);
    timeline.add(number, figures);
    figures.histograms[Figures::recent_run].clear();
  }
};

TEST(LoadTimeline, WhatIsToldAtTheFirstLookInASecondBelongsToTheOneBefore) {
  Timeline timeline;
  timeline.begin(begin_ns, {});
  Teller teller{.number = 0, .figures = {}};
  teller.answer(100, 10);
  teller.tell(timeline, 0.52);
  teller.answer(100, 20);
  teller.tell(timeline, 1.08);
  teller.answer(100, 40);
  teller.tell(timeline, 1.6);
  ASSERT_EQ(timeline.seconds().size(), 2u);
  EXPECT_EQ(timeline.seconds()[0].deltas.received, 30u);
  EXPECT_EQ(timeline.seconds()[1].deltas.received, 40u);
  EXPECT_EQ(timeline.seconds()[1].latency().count(), 40u);
}

TEST(LoadTimeline, SecondsAddUpToTheTotalsWhateverTheProcessesDo) {
  Timeline timeline;
  timeline.begin(begin_ns, {});
  Figures whole;
  std::vector<Teller> tellers;
  for (unsigned number = 0; number < 3; ++number) tellers.push_back({.number = number, .figures = {}});
  for (int step = 1; step <= 60; ++step) {
    for (Teller& teller : tellers) {
      teller.answer(static_cast<std::uint64_t>(step * 50) + teller.number, teller.number + 1);
      ++teller.figures.counters.established;
      ++teller.figures.counters.open;
      // One of them is starved in the middle, and tells it all at once.
      if (teller.number == 1 && step > 20 && step < 45) continue;
      if (step % 7 == 0) ++teller.figures.failures["timed_out"], ++teller.figures.counters.failed;
      teller.tell(timeline, 0.3 * step + 0.01 * teller.number);
    }
  }
  // Another is killed: its connections are gone, and whatever it had not told.
  Teller& killed = tellers[2];
  killed.figures.counters.dropped += killed.figures.counters.open;
  killed.figures.failures["lost_process"] += killed.figures.counters.open;
  killed.figures.counters.open = 0;
  killed.tell(timeline, 18.5);
  for (const Teller& teller : tellers) whole.merge(teller.figures);

  for (const std::size_t points : {std::size_t{1}, std::size_t{5}, std::size_t{1000}}) {
    Deltas sum;
    Histogram latency;
    const auto all = spans(timeline, points);
    EXPECT_LE(all.size(), points);
    for (const Span& span : all) {
      sum.merge(span.deltas);
      span.latency.add_to(latency);
    }
    EXPECT_EQ(sum.received, whole.counters.received);
    EXPECT_EQ(sum.established, whole.counters.established);
    EXPECT_EQ(sum.dropped, whole.counters.dropped);
    EXPECT_EQ(sum.failures, whole.failures);
    EXPECT_EQ(all.back().open, static_cast<std::int64_t>(whole.counters.open));
    EXPECT_EQ(latency, whole.histograms[Figures::run]);
  }
}

TEST(LoadTimeline, AFrameThatComesLateFindsItsSecondAgain) {
  Timeline timeline;
  timeline.begin(begin_ns, {});
  Teller quick{.number = 0, .figures = {}};
  Teller slow{.number = 1, .figures = {}};
  quick.answer(100, 1);
  quick.tell(timeline, 0.9);
  for (int at = 1; at < 20; ++at) quick.tell(timeline, at + 0.5);
  slow.answer(200, 1);
  slow.tell(timeline, 0.9);
  EXPECT_EQ(timeline.seconds()[0].latency().count(), 2u);
  EXPECT_EQ(timeline.seconds()[0].latency().max(), 200u);
}

TEST(LoadTimeline, ReadingsBecomeSharesOfTheTimeBetweenThem) {
  Timeline timeline;
  timeline.begin(begin_ns, {.server_cpu_s = 10, .machine_busy_s = 100, .machine_total_s = 200});
  EXPECT_FALSE(timeline.wants_readings(begin_ns + second_ns / 2));
  ASSERT_TRUE(timeline.wants_readings(begin_ns + second_ns));
  timeline.add_readings(begin_ns + second_ns, {.server_bytes = 5000, .server_cpu_s = 10.5, .machine_busy_s = 101, .machine_total_s = 202});
  EXPECT_FALSE(timeline.wants_readings(begin_ns + second_ns + 1));
  // The parent had no time for two seconds: the third has the mean, the one between none.
  timeline.add_readings(begin_ns + 3 * second_ns, {.server_bytes = 6000, .server_cpu_s = 13.5, .machine_busy_s = 101, .machine_total_s = 206});
  const auto& seconds = timeline.seconds();
  ASSERT_EQ(seconds.size(), 3u);
  EXPECT_EQ(seconds[0].usage->server_bytes, 5000u);
  EXPECT_DOUBLE_EQ(seconds[0].usage->server_processors, 0.5);
  EXPECT_DOUBLE_EQ(seconds[0].usage->machine_busy, 0.5);
  EXPECT_FALSE(seconds[1].usage.has_value());
  EXPECT_DOUBLE_EQ(seconds[2].usage->server_processors, 1.5);
  EXPECT_DOUBLE_EQ(seconds[2].usage->machine_busy, 0);
}

TEST(LoadTimeline, ASecondIsNamedByWhatLastBeganInIt) {
  Timeline timeline;
  timeline.begin(begin_ns, {});
  timeline.mark("opening", begin_ns);
  timeline.mark("running", begin_ns + 5 * second_ns / 2);
  EXPECT_EQ(timeline.phase(0), "opening");
  EXPECT_EQ(timeline.phase(1), "opening");
  EXPECT_EQ(timeline.phase(2), "running");
  EXPECT_EQ(timeline.phase(9), "running");
}

TEST(LoadTimeline, HistogramsThatTakeTooMuchArePutTogetherAndNothingIsLost) {
  constexpr std::size_t bytes_max = 4000;
  Timeline timeline(bytes_max);
  timeline.begin(begin_ns, {});
  Teller teller{.number = 0, .figures = {}};
  for (int second = 0; second < 1000; ++second) {
    for (std::uint64_t i = 0; i < 20; ++i) teller.answer(100 + i * static_cast<std::uint64_t>(second % 50 + 1), 1 + i % 3);
    teller.tell(timeline, second + 0.5);
    EXPECT_LE(timeline.packed_bytes(), bytes_max);
  }
  const std::size_t each = timeline.histogram_seconds();
  EXPECT_GT(each, 4u);
  Histogram sum;
  std::uint64_t received = 0;
  for (std::size_t i = 0; i < timeline.seconds().size(); ++i) {
    EXPECT_EQ(timeline.seconds()[i].run_latency.empty(), i % each != 0) << i;
    timeline.seconds()[i].run_latency.add_to(sum);
    received += timeline.seconds()[i].deltas.received;
  }
  EXPECT_EQ(sum, teller.figures.histograms[Figures::run]);
  EXPECT_EQ(received, teller.figures.counters.received) << "counts stay those of each second";
  // A point of a chart has all of a histogram or nothing of it.
  for (const Span& span : spans(timeline, 400)) EXPECT_EQ(span.latency.unpack().count(), span.deltas.received);
}

TEST(LoadTimeline, ALoadOfManyDaysHasABound) {
  Timeline timeline;
  timeline.begin(begin_ns, {});
  Teller teller{.number = 0, .figures = {}};
  teller.answer(100, 1);
  teller.tell(timeline, 3.0 * Timeline::seconds_max);
  EXPECT_EQ(timeline.seconds().size(), Timeline::seconds_max);
  EXPECT_EQ(timeline.seconds().back().deltas.received, 1u);
}

}  // namespace
}  // namespace roost::load
