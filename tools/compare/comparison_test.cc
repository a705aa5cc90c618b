#include "tools/compare/comparison.h"

#include <gtest/gtest.h>

#include "tools/compare/render.h"
#include "tools/load/report.h"

namespace roost::compare {
namespace {

struct Seen {
  std::uint64_t p99_us = 1000;
  double message_rate = 5000;
  std::uint64_t timeouts = 0;
};

Run run_of(const std::string& path, const Seen& seen) {
  load::Record record;
  record.options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
  auto report = load::to_json(record);
  report["latency_us"] = {{"count", 100}, {"p50", 100}, {"p99", seen.p99_us}, {"p999", 2000}};
  report["messages"]["rate_per_s"] = seen.message_rate;
  report["messages"]["timeouts"] = seen.timeouts;
  report["messages"]["run_received"] = 100;
  return {path, std::move(report)};
}

std::vector<Run> runs(const std::string& name, const std::vector<Seen>& all) {
  std::vector<Run> made;
  for (const Seen& seen : all) made.push_back(run_of(name + std::to_string(made.size() + 1) + ".json", seen));
  return made;
}

std::vector<Run> with_p99(const std::string& name, const std::vector<std::uint64_t>& values) {
  std::vector<Seen> all;
  for (const std::uint64_t value : values) all.push_back({.p99_us = value});
  return runs(name, all);
}

CompareOptions only(std::string_view figures, double tolerance = 0.05) { return {.tolerance = tolerance, .figures = parse_figures(figures).value()}; }

const Row& only_row(const Comparison& comparison) {
  EXPECT_EQ(comparison.rows.size(), 1u);
  return comparison.rows.at(0);
}

TEST(Comparison, ALatencyThatGrewInEveryRunIsWorse) {
  const auto result = compare(with_p99("a", {1000, 1100, 1050, 990}), with_p99("b", {1500, 1600, 1550, 1490}), only("latency.p99")).value();
  const Row& row = only_row(result);
  EXPECT_EQ(row.verdict, Verdict::worse);
  EXPECT_EQ(row.base_median, 1025);
  EXPECT_EQ(row.with_median, 1525);
  EXPECT_NEAR(row.change.value(), 0.4878, 0.0001);
  EXPECT_DOUBLE_EQ(row.p, 2.0 / 70);
  EXPECT_TRUE(result.is_worse());
  EXPECT_EQ(result.verdict(), "WORSE: latency.p99");
}

TEST(Comparison, OfRatesMoreIsBetter) {
  const auto slow = runs("a", {{.message_rate = 4000}, {.message_rate = 4100}, {.message_rate = 4200}, {.message_rate = 4300}});
  const auto fast = runs("b", {{.message_rate = 6000}, {.message_rate = 6100}, {.message_rate = 6200}, {.message_rate = 6300}});
  EXPECT_EQ(only_row(compare(slow, fast, only("message_rate")).value()).verdict, Verdict::better);
  EXPECT_EQ(only_row(compare(fast, slow, only("message_rate")).value()).verdict, Verdict::worse);
}

TEST(Comparison, OneBadRunIsNoDifference) {
  const auto result = compare(with_p99("a", {1000, 1100, 1050, 990}), with_p99("b", {1020, 1060, 985, 90'000}), only("latency.p99")).value();
  EXPECT_EQ(only_row(result).verdict, Verdict::not_shown);
  EXPECT_FALSE(result.is_worse());
}

TEST(Comparison, AChangeWithinTheToleranceIsNeverWorse) {
  const auto base = with_p99("a", {1000, 1001, 1002, 1003});
  const auto with = with_p99("b", {1040, 1041, 1042, 1043});
  EXPECT_EQ(only_row(compare(base, with, only("latency.p99", 0.05)).value()).verdict, Verdict::within_tolerance);
  EXPECT_EQ(only_row(compare(base, with, only("latency.p99", 0.03)).value()).verdict, Verdict::worse);
}

TEST(Comparison, ThreeRunsASideAreTooFewHoweverFarApart) {
  const auto result = compare(with_p99("a", {1, 2, 3}), with_p99("b", {1000, 1001, 1002}), only("latency.p99")).value();
  EXPECT_EQ(only_row(result).verdict, Verdict::too_few);
  EXPECT_EQ(result.too_few().value(), "3 and 3 runs are too few to tell at --level 5%; make 4 or more of each");
  EXPECT_EQ(result.verdict(), "too few runs to tell");
}

TEST(Comparison, WhatWasNotMeasuredInEveryRunIsTooFew) {
  const auto base = with_p99("a", {1, 2, 3, 4, 5});
  auto with = with_p99("b", {1, 2, 3, 4});
  with[0].report["latency_us"]["count"] = 0;
  EXPECT_EQ(only_row(compare(base, with, only("latency.p99")).value()).verdict, Verdict::not_shown) << "5 and 3 can tell";
  with[1].report["latency_us"]["count"] = 0;
  const auto fewer = compare(base, with, only("latency.p99")).value();
  EXPECT_EQ(only_row(fewer).verdict, Verdict::too_few);
  EXPECT_EQ(fewer.too_few().value(), "latency.p99 was measured in 5 of 5 runs of the base and in 2 of 4 of the new: too few to tell; "
                                     "make all runs with the same options");
}

TEST(Comparison, LossesThatAreNoneAnywhereTakeNoLine) {
  const auto result = compare(with_p99("a", {1, 2, 3, 4}), with_p99("b", {1, 2, 3, 4}), {}).value();
  EXPECT_TRUE(std::ranges::any_of(result.zero, [](const load::Quantity* figure) { return figure->name == "timeouts"; }));
  EXPECT_TRUE(std::ranges::none_of(result.rows, [](const Row& row) { return row.figure->name == "timeouts"; }));
  EXPECT_NE(to_text(result).find("0 in every run: "), std::string::npos);
}

TEST(Comparison, LossesThatBeganAreWorse) {
  const auto result = compare(runs("a", {{}, {}, {}, {}}), runs("b", {{.timeouts = 3}, {.timeouts = 1}, {.timeouts = 8}, {.timeouts = 1}}), only("timeouts")).value();
  const Row& row = only_row(result);
  EXPECT_EQ(row.verdict, Verdict::worse);
  EXPECT_FALSE(row.change) << "from nothing there is no percentage";
  EXPECT_NE(to_text(result).find("from 0"), std::string::npos) << to_text(result);
}

TEST(Comparison, AFigureThatNobodyMeasuredIsRefusedWhenAskedForAndElseLeftOut) {
  const auto base = with_p99("a", {1, 2, 3, 4});
  const auto refused = compare(base, with_p99("b", {1, 2, 3, 4}), only("server.cpu_per_message"));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find("--figures server.cpu_per_message: no run measured it"), std::string::npos);
  const auto usual = compare(base, with_p99("b", {1, 2, 3, 4}), {}).value();
  EXPECT_TRUE(std::ranges::none_of(usual.rows, [](const Row& row) { return row.figure->name.starts_with("server."); }));
}

TEST(Comparison, FiguresAreNamedAsConditionsNameThem) {
  EXPECT_EQ(parse_figures("latency.p99, latency_us.p99,message_rate").value().size(), 2u);
  EXPECT_NE(parse_figures("latencyp99").error().find("did you mean latency.p99?"), std::string::npos);
  EXPECT_NE(parse_figures("peak").error().find("neither better nor worse"), std::string::npos);
  EXPECT_FALSE(parse_figures(""));
  EXPECT_FALSE(parse_figures("latency.p99,"));
}

TEST(Comparison, TheUsualFiguresAreAllKnown) { EXPECT_GE(usual_figures().size(), 15u); }

TEST(Comparison, JsonHasEveryValueAndTheAnswer) {
  const auto result = compare(with_p99("a", {1000, 1100, 1050, 990}), with_p99("b", {1500, 1600, 1550, 1490}), only("latency.p99")).value();
  const auto json = to_json(result);
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["worse"], true);
  EXPECT_EQ(json["runs_needed"], 4);
  EXPECT_EQ(json["base"]["files"][0], "a1.json");
  const auto& figure = json["figures"][0];
  EXPECT_EQ(figure["name"], "latency.p99");
  EXPECT_EQ(figure["base"], nlohmann::json({1000, 1100, 1050, 990}));
  EXPECT_EQ(figure["new_median"], 1525);
  EXPECT_EQ(figure["u"], 16);
  EXPECT_EQ(figure["verdict"], "worse");
}

TEST(Comparison, JunitFailsForWhatIsWorseAndNothingElse) {
  const auto result = compare(with_p99("a", {1000, 1100, 1050, 990}), with_p99("b", {1500, 1600, 1550, 1490}), {}).value();
  const std::string xml = to_junit(result);
  EXPECT_NE(xml.find("failures=\"1\""), std::string::npos) << xml;
  EXPECT_NE(xml.find("name=\"latency.p99 is not worse\"><failure message=\"latency.p99: 1.02 ms before, 1.52 ms now (+49 %), p 0.029\"/>"), std::string::npos) << xml;
}

TEST(Comparison, MarkdownIsATableWithTheVerdictAbove) {
  const auto result = compare(with_p99("a", {1000, 1100, 1050, 990}), with_p99("b", {1500, 1600, 1550, 1490}), only("latency.p99")).value();
  const std::string text = to_markdown(result);
  EXPECT_NE(text.find("### roost compare: WORSE: latency.p99\n"), std::string::npos) << text;
  EXPECT_NE(text.find("| latency.p99 | 1.02 ms | 1.52 ms | \\+49 % | 0.029 | WORSE |"), std::string::npos) << text;
}

}  // namespace
}  // namespace roost::compare
