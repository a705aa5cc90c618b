#include "tools/load/live_metrics.h"

#include <fstream>
#include <sstream>

#include <gmock/gmock.h>

namespace roost::load {
namespace {

using testing::HasSubstr;
using testing::Not;

LiveFigures running() {
  LiveFigures figures;
  figures.counters.attempted = 1010;
  figures.counters.established = 1000;
  figures.counters.failed = 3;
  figures.counters.dropped = 2;
  figures.counters.open = 998;
  figures.counters.sent = 50;
  figures.counters.received = 40;
  figures.counters.timeouts = 4;
  figures.failures = {{"ECONNREFUSED", 3}, {"timed_out", 2}};
  figures.faults = {{"drip", {.opened = 7, .cut_off = 5, .open = 2}}};
  figures.phase = "running";
  figures.stage = 2;
  figures.message_rate_asked = 33.5;
  return figures;
}

std::string text_of(const LiveFigures& figures) { return metrics::to_text(families_of(figures)); }

TEST(LoadLiveMetrics, CountsAndGaugesAreToldByStateAndCause) {
  const std::string text = text_of(running());
  for (const char* line : {"roost_load_phase{phase=\"running\"} 1\n", "roost_load_phase{phase=\"opening\"} 0\n", "roost_load_stage 2\n",
                           "roost_load_connections{state=\"dialing\"} 7\n", "roost_load_connections{state=\"open\"} 998\n",
                           "roost_load_connections_established_total 1000\n", "roost_load_connections_closed_total{reason=\"dropped\"} 2\n",
                           "roost_load_connection_errors_total{cause=\"ECONNREFUSED\"} 3\n", "roost_load_messages_sent_total 50\n",
                           "roost_load_messages_lost_total{reason=\"timed_out\"} 4\n", "roost_load_message_rate_wanted 33.5\n",
                           "roost_load_attackers{fault=\"drip\"} 2\n", "roost_load_attackers_cut_off_total{fault=\"drip\"} 5\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(LoadLiveMetrics, TimesAreInSecondsAndBucketsAddUp) {
  LiveFigures figures;
  figures.latency.record_n(90, 10);         // 90 us
  figures.latency.record_n(2'000, 5);       // 2 ms
  figures.latency.record_n(20'000'000, 1);  // 20 s
  const std::string text = text_of(figures);
  for (const char* line : {"roost_load_latency_seconds_bucket{le=\"0.0001\"} 10\n", "roost_load_latency_seconds_bucket{le=\"0.001\"} 10\n",
                           "roost_load_latency_seconds_bucket{le=\"0.0025\"} 15\n", "roost_load_latency_seconds_bucket{le=\"10\"} 15\n",
                           "roost_load_latency_seconds_bucket{le=\"+Inf\"} 16\n", "roost_load_latency_seconds_count 16\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  const auto families = families_of(figures);
  const auto latency = std::ranges::find(families, "roost_load_latency_seconds", &prometheus::MetricFamily::name);
  EXPECT_NEAR(latency->metric[0].histogram.sample_sum, 20.0109, 1e-6);
}

TEST(LoadLiveMetrics, ATimeAtABucketsEndNeverLooksShorter) {
  LiveFigures figures;
  figures.latency.record(100'500);  // above 100 ms, and in a bucket of the histogram that begins below
  EXPECT_THAT(text_of(figures), HasSubstr("roost_load_latency_seconds_bucket{le=\"0.1\"} 0\n"));
}

TEST(LoadLiveMetrics, WhatIsNotAskedForIsNotThere) {
  const std::string text = text_of(LiveFigures{});
  EXPECT_THAT(text, Not(HasSubstr("roost_load_message_rate_wanted"))) << "a closed loop";
  EXPECT_THAT(text, Not(HasSubstr("roost_load_attackers")));
}

TEST(LoadLiveMetrics, OtherProgramsReadWhatIsWritten) {
  const auto again = metrics::parse_text(text_of(running()));
  ASSERT_TRUE(again);
  EXPECT_EQ(metrics::to_text(*again), text_of(running()));
}

TEST(LoadLiveMetrics, EachIsInTheDocumentation) {
  std::stringstream page;
  page << std::ifstream(ROOST_METRICS_PAGE).rdbuf();
  for (const prometheus::MetricFamily& family : families_of(running())) {
    EXPECT_THAT(page.str(), HasSubstr("| `" + family.name + "` |"));
    EXPECT_THAT(page.str(), HasSubstr(" | " + family.help + " |"));
  }
}

}  // namespace
}  // namespace roost::load
