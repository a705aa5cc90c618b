#include "tools/load/report_ci.h"

#include <gtest/gtest.h>

namespace roost::load {
namespace {

Record fine_record() {
  Record record;
  record.options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
  Counters& c = record.figures.counters;
  c.requested = c.established = 1000;
  c.sent = c.received = c.run_received = 2000;
  for (auto& histogram : record.figures.histograms) histogram.record_n(1500, 1000);
  record.ramp_s = 1;
  record.duration_s = 2.5;
  return record;
}

void judge_by(Record& record, std::string_view conditions) { record.outcomes = judge(parse_conditions(conditions).value(), to_json(record)); }

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(LoadReportCi, AFineLoadHasNoFailure) {
  const std::string xml = to_junit(fine_record());
  EXPECT_EQ(count(xml, "<testcase "), 6u) << xml;
  EXPECT_EQ(count(xml, "<failure "), 0u) << xml;
  EXPECT_NE(xml.find("time=\"2.500\""), std::string::npos) << xml;
}

TEST(LoadReportCi, ACrossedConditionIsAFailureWithWhatWasMeasured) {
  Record record = fine_record();
  judge_by(record, "latency.p99 > 1ms, failed > 10");
  const std::string xml = to_junit(record);
  EXPECT_EQ(count(xml, "<failure "), 1u) << xml;
  EXPECT_NE(xml.find("name=\"not latency.p99 &gt; 1ms\"><failure message=\"latency.p99 &gt; 1ms: 1.50 ms\"/>"), std::string::npos) << xml;
  EXPECT_EQ(xml.find("every connection was established"), std::string::npos) << "a condition took its place";
}

TEST(LoadReportCi, WhateverMakesExitStatus1IsAFailure) {
  const auto failures_after = [](auto change) {
    Record record = fine_record();
    change(record);
    EXPECT_FALSE(record.is_ok());
    return count(to_junit(record), "<failure ");
  };
  EXPECT_EQ(failures_after([](Record& r) { r.figures.counters.established = 999; }), 1u);
  EXPECT_EQ(failures_after([](Record& r) { r.figures.counters.churn_failed = 1; }), 1u);
  EXPECT_EQ(failures_after([](Record& r) { r.figures.counters.dropped = 1; }), 1u);
  EXPECT_EQ(failures_after([](Record& r) { r.figures.counters.timeouts = 1; }), 1u);
  EXPECT_EQ(failures_after([](Record& r) { r.figures.counters.errors = 1; }), 1u);
  EXPECT_EQ(failures_after([](Record& r) { r.figures.counters.mismatched = 1; }), 1u);
  EXPECT_EQ(failures_after([](Record& r) { r.interrupted = true; }), 1u);
  EXPECT_EQ(failures_after([](Record& r) { r.given_up = "nothing listens"; }), 1u);
  EXPECT_EQ(failures_after([](Record& r) { r.lost_processes.push_back("process 1 was killed"); }), 1u);
}

TEST(LoadReportCi, TheSummaryHasVerdictFiguresAndWhatFailed) {
  Record record = fine_record();
  record.figures.counters.timeouts = 3;
  judge_by(record, "latency.p99 > 1ms");
  const std::string text = to_markdown(record);
  for (const char* part : {"### roost load 127.0.0.1:8080: NOT FINE", "| latency.p99 | 1.50 ms |", "| not latency.p99 &gt; 1ms | **fails**: latency.p99 &gt; 1ms: 1.50 ms |",
                           "| no message timed out | **fails**: 3 did |", "| no connection was dropped | holds |"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << '\n' << text;
  }
  EXPECT_EQ(text.find("server.cpu"), std::string::npos) << "what was not measured is left out";
}

}  // namespace
}  // namespace roost::load
