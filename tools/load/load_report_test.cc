#include "tools/load/report.h"

#include <gtest/gtest.h>

namespace roost::load {
namespace {

Record fine_record() {
  Record record;
  record.options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
  record.options.stages[0].connections = 1000;
  record.options.server_pid = 4711;
  Counters& c = record.figures.counters;
  c.requested = c.attempted = c.established = c.settled = c.open = c.peak = 1000;
  c.sent = c.received = 3000;
  c.run_sent = c.run_received = 2000;
  for (auto& histogram : record.figures.histograms) histogram.record_n(100, 1000);
  record.ramp_s = 1;
  record.stages = {{.begin_ns = 1, .run_start_ns = 1'000'000'000, .run_end_ns = 61'000'000'000, .ramp_s = 1}};
  record.duration_s = 61.5;
  record.standing = 1000;
  record.client = {.memory_bytes = 5'000'000, .cpu_s = 1.5, .processes = 2};
  record.server = tools::ProcessUsage{.memory_bytes = 4'000'000, .cpu_s = 2, .processes = 1};
  record.server_run_cpu_s = 0.02;
  record.slab_growth_bytes = 6'000'000;
  return record;
}

TEST(LoadReport, JsonHasEveryFieldOfTheSchema) {
  const auto json = to_json(fine_record());
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["target"], "127.0.0.1:8080");
  for (const char* key : {"requested", "established", "failed", "peak", "failures", "rate_per_s"}) {
    EXPECT_TRUE(json["connections"].contains(key)) << key;
  }
  for (const char* latency : {"connect_latency_us", "latency_us", "service_us", "lateness_us", "first_echo_us"}) {
    for (const char* key : {"p50", "p90", "p99", "p999", "max"}) EXPECT_EQ(json[latency][key], 100) << latency << key;
  }
  for (const char* key : {"sent", "received", "timeouts", "errors", "mismatched", "rate_per_s"}) {
    EXPECT_TRUE(json["messages"].contains(key)) << key;
  }
  EXPECT_EQ(json["duration_s"], 61.5);
  EXPECT_EQ(json["client"]["cpu_s"], 1.5);
  EXPECT_EQ(json["client"]["rss_bytes"], 5'000'000);
  EXPECT_EQ(json["server"]["pid"], 4711);
  EXPECT_EQ(json["server"]["cpu_s"], 2);
  EXPECT_EQ(json["server"]["rss_bytes"], 4'000'000);
  EXPECT_EQ(json["server"]["bytes_per_connection"], 4000);
  EXPECT_EQ(json["server"]["cpu_us_per_message"], 10);
  EXPECT_EQ(json["kernel"]["slab_bytes_per_connection"], 6000);
  EXPECT_TRUE(json["connections"]["failures"].is_object());
}

// Two stages of 60 s: 1000 connections that ping every 10 s, then 500 that a closed loop keeps busy.
Record record_of_two_stages() {
  Record record = fine_record();
  record.options.targets.push_back(net::Endpoint{net::IpAddress::loopback_v4(), 8081});
  Stage& first = record.options.stages[0];
  first.name = "many";
  first.interval = 10s;
  first.duration = 60s;
  first.churn = {.amount = 0.01, .is_share = true};
  Stage second = first;
  second.name = "busy";
  second.connections = 500;
  second.churn = {};
  second.messages = MessageSchedule::closed_loop;
  record.options.stages.push_back(second);
  record.stages.push_back({.begin_ns = 61'500'000'000, .run_start_ns = 62'000'000'000, .run_end_ns = 122'000'000'000});
  record.figures.stages.resize(2);
  record.figures.stages[0].counts = {.requested = 1000, .established = 1000, .run_sent = 6000, .run_received = 5999, .run_bytes_sent = 384'000,
                                     .churn_closed = 540, .churn_established = 540};
  record.figures.stages[0].latency.record_n(300, 5999);
  record.figures.counters.churn_closed = record.figures.counters.churn_established = 540;
  record.figures.counters.run_received = 6000;
  record.figures.targets = {{.established = 500, .received = 3000}, {.established = 500, .failed = 2, .received = 3001}};
  return record;
}

TEST(LoadReport, TellsOfEachStageWhatWasAskedForAndWhatWasReached) {
  const auto json = to_json(record_of_two_stages());
  ASSERT_EQ(json["stages"].size(), 2u);
  const auto& many = json["stages"][0];
  EXPECT_EQ(many["name"], "many");
  EXPECT_EQ(many["connections"], 1000);
  EXPECT_EQ(many["run_s"], 60);
  EXPECT_EQ(many["message_rate_per_s"]["requested"], 100);
  EXPECT_NEAR(many["message_rate_per_s"]["achieved"].get<double>(), 99.983, 0.001);
  EXPECT_EQ(many["churn_per_s"]["requested"], 10);
  EXPECT_EQ(many["churn_per_s"]["achieved"], 9);
  EXPECT_EQ(many["message_bytes"]["achieved"], 64);
  EXPECT_EQ(many["latency_us"]["p99"], 300);
  EXPECT_EQ(json["stages"][1]["begin_s"], 61.5);
  EXPECT_EQ(json["stages"][1]["message_rate_per_s"]["requested"], nullptr) << "a closed loop asks for none";
  EXPECT_EQ(json["achieved"]["message_rate_per_s"]["requested"], nullptr);
  EXPECT_EQ(json["achieved"]["message_rate_per_s"]["achieved"], 50) << "over both runs";
  EXPECT_EQ(json["achieved"]["churn_per_s"]["requested"], 5);
  EXPECT_EQ(json["run_s"], 120);
}

TEST(LoadReport, TellsOfEachTarget) {
  const auto json = to_json(record_of_two_stages());
  ASSERT_EQ(json["targets"].size(), 2u);
  EXPECT_EQ(json["targets"][1]["target"], "127.0.0.1:8081");
  EXPECT_EQ(json["targets"][1]["failed"], 2);
  EXPECT_EQ(json["targets"][1]["received"], 3001);
  const std::string text = to_text(record_of_two_stages());
  for (const char* part : {"stage 1       many: 1,000 connections", "stage 2       busy: 500 connections", "target 2      127.0.0.1:8081: 500 established, 2 failed",
                           "churn 9 a second, 10 asked for", "churn         540 closed and 540 dialled anew, 0 failed"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << text;
  }
}

TEST(LoadReport, TellsAttackersCpuAndPriorityApartFromTheClients) {
  Record record = record_of_two_stages();
  record.options.stages[0].faults = {{FaultKind::drip, 500, 1s}};
  record.figures.faults.resize(1);
  record.figures.faults[0].lateness.record_n(2000, 10);
  record.plan.attack_processes = 2;
  record.attackers.cpu_s = 1.25;
  const double client_cpu_s = to_json(record)["client"]["cpu_s"].get<double>();
  EXPECT_EQ(to_json(record)["attack"]["processes"], 2);
  EXPECT_EQ(to_json(record)["attack"]["nice"], 19);
  EXPECT_EQ(to_json(record)["attack"]["cpu_s"], 1.25);
  EXPECT_EQ(to_json(record)["attack"]["lateness_us"]["p50"], 2000);
  record.attackers.cpu_s = 7;
  EXPECT_EQ(to_json(record)["client"]["cpu_s"], client_cpu_s);
  EXPECT_NE(to_text(record).find("attackers     CPU 7.00 s in 2 processes of their own at nice 19: others get the processors first; late by p50 2.00 ms"),
            std::string::npos) << to_text(record);
  record.options.attack_nice = 0;
  EXPECT_NE(to_text(record).find("processes of their own, competing for the processors with all others"), std::string::npos) << to_text(record);
}

TEST(LoadReport, TellsOfAttackersThatNeverCame) {
  Record record = record_of_two_stages();
  record.options.stages[0].faults = {{FaultKind::silent, 500, 0s}, {FaultKind::reset, 10, 1s}};
  record.figures.faults.resize(2);
  record.figures.faults[0].counts.opened = 430;
  record.figures.faults[0].counts.failed = 20;
  EXPECT_NE(to_text(record).find("500 attackers, 430 connections opened, 20 not, 50 NEVER CAME;"), std::string::npos) << to_text(record);
  EXPECT_NE(to_text(record).find("10 attackers, 0 connections opened\n"), std::string::npos) << "those that come again have no number of connections";
  record.figures.faults[0].counts.opened = 480;
  EXPECT_EQ(to_text(record).find("NEVER CAME"), std::string::npos);
}

TEST(LoadReport, AnUnknownServerIsLeftOut) {
  Record record = fine_record();
  record.server.reset();
  EXPECT_FALSE(to_json(record).contains("server"));
  EXPECT_EQ(to_text(record).find("\nserver "), std::string::npos);
}

TEST(LoadReport, AnythingLostIsNotFine) {
  EXPECT_TRUE(fine_record().is_ok());
  const auto fine_after = [](auto change) {
    Record record = fine_record();
    change(record);
    return record.is_ok();
  };
  EXPECT_FALSE(fine_after([](Record& r) { r.figures.counters.established = 999; }));
  EXPECT_FALSE(fine_after([](Record& r) { r.figures.counters.dropped = 1; }));
  EXPECT_FALSE(fine_after([](Record& r) { r.figures.counters.timeouts = 1; }));
  EXPECT_FALSE(fine_after([](Record& r) { r.figures.counters.errors = 1; }));
  EXPECT_FALSE(fine_after([](Record& r) { r.figures.counters.mismatched = 1; }));
  EXPECT_FALSE(fine_after([](Record& r) { r.interrupted = true; }));
  EXPECT_FALSE(fine_after([](Record& r) { r.lost_processes.push_back("process 1 was killed"); }));
}

TEST(LoadReport, AConditionThatNamesAFailureDecidesAboutItAlone) {
  Record record = fine_record();
  record.figures.counters.dropped = 5;
  const auto judged = [&record](std::string_view conditions) {
    record.outcomes = judge(parse_conditions(conditions).value(), to_json(record));
    return record.is_ok();
  };
  EXPECT_FALSE(record.is_ok());
  EXPECT_TRUE(judged("dropped > 10"));
  EXPECT_NE(to_text(record).find("no condition of --fail-if was crossed"), std::string::npos);
  EXPECT_FALSE(judged("dropped > 4"));
  EXPECT_NE(to_text(record).find("dropped > 4: 5, CROSSED"), std::string::npos) << to_text(record);
  EXPECT_EQ(to_json(record)["thresholds"][0]["crossed"], true);
  EXPECT_FALSE(judged("failed > 10")) << "the dropped ones are nobody's condition";
  record.figures.counters.dropped = 0;
  EXPECT_FALSE(judged("latency.p99 > 50us")) << "nothing was lost, but it was too slow";
  EXPECT_EQ(to_json(record)["ok"], false);
}

TEST(LoadReport, ALateGeneratorIsNamedAsSuch) {
  Record record = fine_record();
  EXPECT_FALSE(record.generator_was_late());
  record.figures.histograms[Figures::lateness].record_n(12'000, 100);
  EXPECT_TRUE(record.generator_was_late());
  EXPECT_TRUE(to_json(record)["generator_late"]);
  EXPECT_NE(to_text(record).find("LATE"), std::string::npos);
  record.options.stages[0].messages = MessageSchedule::closed_loop;
  EXPECT_FALSE(record.generator_was_late()) << "a closed loop has no schedule to be late against";
}

TEST(LoadReport, PacketsThatTheKernelDroppedAreNamedWithTheirSetting) {
  Record record = fine_record();
  EXPECT_EQ(to_text(record).find("netdev_max_backlog"), std::string::npos);
  record.backlog_drops = 17;
  EXPECT_EQ(to_json(record)["tcp"]["backlog_drops"], 17);
  EXPECT_NE(to_text(record).find("17 packets found a processor's queue full"), std::string::npos) << to_text(record);
}

TEST(LoadReport, SaysWhatLimitedTheRamp) {
  Record record = fine_record();
  EXPECT_NE(record.limited_by().find("the rate asked for"), std::string::npos);
  record.ramp_s = 4;
  record.ramp_busy = 0.97;
  EXPECT_NE(record.limited_by().find("CPU"), std::string::npos);
  record.ramp_busy = 0.2;
  record.figures.histograms[Figures::connect].record_n(1'000'000, 1000);
  EXPECT_NE(record.limited_by().find("accept"), std::string::npos);
}

TEST(LoadReport, ARunThatNeverBeganDividesByNothing) {
  Record record;
  record.options.stages[0].connections = 10;
  const auto json = to_json(record);
  EXPECT_EQ(json["messages"]["rate_per_s"], 0);
  EXPECT_EQ(json["client"]["bytes_per_connection"], 0);
  EXPECT_FALSE(to_text(record).empty());
}

TEST(LoadReport, TheMainFailureHasARemedy) {
  Figures figures;
  EXPECT_EQ(main_failure(figures).second, 0u);
  figures.failures = {{"ECONNREFUSED", 90}, {"timed_out", 10}};
  EXPECT_EQ(main_failure(figures).first, "ECONNREFUSED");
  EXPECT_NE(remedy("ECONNREFUSED", fine_record().options).find("roost echo --listen 127.0.0.1:8080"), std::string::npos);
}

}  // namespace
}  // namespace roost::load
