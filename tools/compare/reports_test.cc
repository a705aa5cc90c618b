#include "tools/compare/reports.h"

#include <gtest/gtest.h>

#include "tools/load/report.h"

namespace roost::compare {
namespace {

load::Record record_of(std::uint64_t connections) {
  load::Record record;
  record.options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
  record.options.stages[0].connections = connections;
  record.machine = {.kernel = "Linux 6.18", .processor = "some", .processors = 2, .memory_bytes = 1'000'000'000};
  return record;
}

Run run_of(const std::string& path, const load::Record& record) { return {path, load::to_json(record)}; }

// Why a text is no report; "accepted" otherwise.
std::string refusal(const std::string& text) {
  const auto run = parse_run("a.json", text);
  return run ? "accepted" : run.error();
}

TEST(CompareReports, AReportOfALoadIsTaken) { EXPECT_EQ(refusal(load::to_json(record_of(10)).dump()), "accepted"); }

TEST(CompareReports, WhatIsNoReportIsNamedWithARemedy) {
  EXPECT_EQ(refusal(""), "a.json: the file is empty; was its load stopped before it ended?");
  for (const char* text : {"{", "[]", "{}", "null", R"({"schema": 1})", "\xff\xfe"}) {
    EXPECT_EQ(refusal(text), "a.json: not a report; name files that roost load --json wrote") << text;
  }
  auto report = load::to_json(record_of(10));
  report["schema"] = 2;
  EXPECT_NE(refusal(report.dump()).find("schema 2"), std::string::npos);
  report["schema"] = 1;
  report.erase("scenario");
  EXPECT_NE(refusal(report.dump()).find("an older report"), std::string::npos);
}

TEST(CompareReports, ARunThatDidNotGoToItsEndIsRefused) {
  const auto refused = [](auto change) {
    load::Record record = record_of(10);
    change(record);
    return refusal(load::to_json(record).dump());
  };
  EXPECT_NE(refused([](load::Record& r) { r.interrupted = true; }).find("was interrupted"), std::string::npos);
  EXPECT_NE(refused([](load::Record& r) { r.given_up = "nobody listens"; }).find("given up (nobody listens)"), std::string::npos);
  EXPECT_NE(refused([](load::Record& r) { r.lost_processes = {"process 1 was killed"}; }).find("lost processes"), std::string::npos);
}

TEST(CompareReports, LoadsThatDifferAreRefusedWithWhatDiffers) {
  load::Record other = record_of(20);
  other.options.protocol = load::Protocol::length;
  const auto same = check_same_load({run_of("a.json", record_of(10))}, {run_of("b.json", other)});
  ASSERT_FALSE(same);
  EXPECT_EQ(same.error(), "a.json and b.json are of different loads: protocol \"line\" and \"length\", stage 1 connections 10 and 20; "
                          "compare runs that were asked for the same");
}

TEST(CompareReports, AnotherNumberOfStagesIsADifference) {
  load::Record other = record_of(10);
  other.options.stages.push_back(other.options.stages[0]);
  const auto same = check_same_load({run_of("a.json", record_of(10))}, {run_of("b.json", other)});
  ASSERT_FALSE(same);
  EXPECT_NE(same.error().find("number of stages 1 and 2; "), std::string::npos) << same.error();
}

TEST(CompareReports, AServerOnAnotherPortIsAskedForTheSameLoad) {
  load::Record other = record_of(10);
  other.options.targets[0].port = 9090;
  EXPECT_TRUE(check_same_load({run_of("a.json", record_of(10))}, {run_of("b.json", other)}));
  other.options.targets.push_back(other.options.targets[0]);
  const auto same = check_same_load({run_of("a.json", record_of(10))}, {run_of("b.json", other)});
  ASSERT_FALSE(same);
  EXPECT_NE(same.error().find("number of targets 1 and 2"), std::string::npos) << same.error();
}

TEST(CompareReports, DifferentMachinesAndALateGeneratorMakeDoubts) {
  EXPECT_TRUE(doubts({run_of("a", record_of(10))}, {run_of("b", record_of(10))}).empty());
  load::Record other = record_of(10);
  other.machine.processors = 64;
  other.figures.histograms[load::Figures::lateness].record_n(50'000, 100);
  const auto all = doubts({run_of("a", record_of(10))}, {run_of("b", other)});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_NE(all[0].find("Linux 6.18, 2 x some, 1.0 GB; Linux 6.18, 64 x some"), std::string::npos) << all[0];
  EXPECT_NE(all[1].find("in 1 of 2 runs the generator was late"), std::string::npos) << all[1];
}

}  // namespace
}  // namespace roost::compare
