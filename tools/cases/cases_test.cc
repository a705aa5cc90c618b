// What `roost cases` computes and draws; the experiments themselves are tried by test/tools/cases_program_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

#include "tools/cases/bed.h"
#include "tools/cases/case.h"
#include "tools/cases/outcome.h"
#include "tools/cases/render.h"
#include "tools/cases/sample.h"

namespace roost::cases {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// ---- figures --------------------------------------------------------------------------------------------------------

TEST(Figures, TheMedianOfAnEvenNumberIsTheMeanOfTheTwoInTheMiddle) {
  EXPECT_EQ(spread_of({3, 1, 2}).median, 2);
  const Spread four = spread_of({10, 1, 3, 2});
  EXPECT_EQ(four.median, 2.5);
  EXPECT_EQ(four.low, 1);
  EXPECT_EQ(four.high, 10);
}

TEST(Figures, APercentileIsTheSmallestValueThatSoManyDoNotExceed) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  EXPECT_EQ(percentile(values, 0.99), 99);
  EXPECT_EQ(percentile(values, 0.5), 50);
  EXPECT_EQ(percentile(values, 1), 100);
  EXPECT_EQ(percentile(values, 0), 1);
  EXPECT_EQ(percentile({7}, 0.99), 7);
  EXPECT_EQ(percentile({}, 0.99), 0);
}

TEST(Figures, AFigureThatATurnLacksDoesNotCountForTheMedian) {
  Turns turns;
  for (const double value : {1.0, 5.0, 3.0}) {
    Sample sample;
    sample.set("a", value);
    sample.set("b", value == 5 ? std::optional(9.0) : std::nullopt);
    turns.add(sample);
  }
  EXPECT_EQ(turns.median("a"), 3);
  EXPECT_EQ(turns.median("b"), 9);
  EXPECT_FALSE(turns.has("c"));
}

TEST(Figures, SeriesAreMergedPointByPointUpToTheShortest) {
  Turns turns;
  for (const std::vector<double>& values : {std::vector<double>{1, 2, 3}, {5, 6}, {3, 1, 9}}) {
    Sample sample;
    sample.series["held"] = values;
    turns.add(sample);
  }
  EXPECT_THAT(turns.median_series("held"), ElementsAre(3, 2));
}

TEST(Figures, ASampleSurvivesTheWayFromAChild) {
  Sample sample;
  sample.set("p99_us", 12.5);
  sample.series["held"] = {1, 2};
  const auto back = decode(encode(sample));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->figures, sample.figures);
  EXPECT_EQ(back->series, sample.series);
  EXPECT_FALSE(decode("{\"figures\":{}"));
  EXPECT_FALSE(decode("{\"figures\":{\"a\":\"b\"},\"series\":{}}"));
}

// ---- turns ----------------------------------------------------------------------------------------------------------

TEST(Turn, ReturnsWhatItMeasured) {
  const auto sample = run_turn(Network::own_if_possible, [] {
    Sample one;
    one.set("answer", 42.0);
    return one;
  });
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->figures.at("answer"), 42);
}

TEST(Turn, TellsWhatEndedIt) {
  EXPECT_EQ(run_turn(Network::own_if_possible, []() -> Sample { throw Failure("no luck"); }).error(), "no luck");
  EXPECT_THAT(run_turn(Network::own_if_possible, []() -> Sample { ::_exit(3); }).error(),
              HasSubstr("ended with status 3"));
  EXPECT_THAT(run_turn(Network::own_if_possible,
                       []() -> Sample {
                         ::kill(::getpid(), SIGKILL);
                         return {};
                       })
                  .error(),
              HasSubstr("signal 9"));
}

TEST(Turn, AHelperThatFailsTellsWhyAndOneThatLivesIsEndedWithItsOwner) {
  Helper failing([](const Helper::Tell&) { throw Failure("no port"); });
  try {
    failing.await();
    FAIL() << "it threw nothing";
  } catch (const Failure& failure) {
    EXPECT_STREQ(failure.what(), "no port");
  }
  pid_t pid = 0;
  {
    Helper waiting([](const Helper::Tell& tell) {
      tell(7);
      ::pause();
    });
    EXPECT_EQ(waiting.await(), 7u);
    pid = waiting.pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST(Turn, WhatThrowsOnFibersArrivesOutside) {
  const auto said = run_turn(Network::own_if_possible, []() -> Sample {
    run_on_fibers([] { throw Failure("on a fiber"); });
    return {};
  });
  EXPECT_EQ(said.error(), "on a fiber");
}

// ---- text -----------------------------------------------------------------------------------------------------------

TEST(Bars, AreAsLongAsTheirShareInEighthsOfABlock) {
  EXPECT_EQ(bar_text(10, 10, 4, true), "████");
  EXPECT_EQ(bar_text(5, 10, 4, true), "██");
  EXPECT_EQ(bar_text(3, 10, 5, true), "█▌");
  EXPECT_EQ(bar_text(10, 10, 4, false), "####");
  EXPECT_EQ(bar_text(5, 10, 4, false), "##");
}

TEST(Bars, ShowThatALittleIsNotNothing) {
  EXPECT_EQ(bar_text(1, 1e9, 40, true), "▏");
  EXPECT_EQ(bar_text(1, 1e9, 40, false), "#");
  EXPECT_EQ(bar_text(0, 10, 40, true), "");
  EXPECT_EQ(bar_text(0, 0, 40, true), "");
  EXPECT_EQ(width_of(bar_text(20, 10, 40, true)), 40u);  // never longer than the room
}

Outcome example() {
  Outcome outcome;
  outcome.number = 1;
  outcome.id = "example";
  outcome.title = "An example";
  outcome.method = "Nothing was run.";
  outcome.columns = {{"memory a connection", "memory_bytes"}, {"calls", "calls"}};
  outcome.rows = {{"two", Side::before, {{"8.0 KB", 8000}, {"-"}}},
                  {"one of them", Side::after, {{"4.0 KB", 4000}, {"7", 7}}}};
  outcome.chart = {"Memory",
                   {{"", "two", Side::before, 8000, "8.0 KB"}, {"", "one of them", Side::after, 4000, "4.0 KB"}},
                   "",
                   {},
                   {}};
  outcome.claims = {{"half of it", true, false}};
  return outcome;
}

TEST(Text, ColumnsStandBelowEachOther) {
  EXPECT_EQ(table_text(example(), ""),
            "               memory a\n"
            "             connection  calls\n"
            "two              8.0 KB      -\n"
            "one of them      4.0 KB      7\n");
}

TEST(Text, IsPlainAsciiWithoutUnicode) {
  const std::string text = to_text(example(), {.unicode = false, .color = false, .width = 80});
  for (const char c : text) ASSERT_TRUE(c == '\n' || (c >= ' ' && c <= '~')) << text;
  EXPECT_THAT(text, HasSubstr("one of them  ###################### 4.0 KB"));
  EXPECT_THAT(text, HasSubstr("yes half of it"));
}

TEST(Text, LinesAreBrokenAtBlanks) {
  EXPECT_EQ(wrapped("one two three", 7, "  "), "  one two\n  three\n");
  EXPECT_EQ(wrapped("averylongword b", 4, ""), "averylongword\nb\n");
}

// ---- verdicts -------------------------------------------------------------------------------------------------------

TEST(Verdicts, OneClaimThatDoesNotHoldDecides) {
  Outcome outcome = example();
  EXPECT_EQ(outcome.verdict(), Verdict::shown);
  outcome.claims.push_back({"faster", false, false});
  EXPECT_EQ(outcome.verdict(), Verdict::not_shown);
}

TEST(Verdicts, AQuickRunIsJudgedByWhatItCounted) {
  Outcome outcome = example();
  outcome.claims = {{"faster", false, false}, {"fewer", true, true}};
  outcome.quick = true;
  EXPECT_EQ(outcome.verdict(), Verdict::shown);
  EXPECT_THAT(to_text(outcome, {}), HasSubstr("too quick to tell"));
  outcome.claims[1].holds = false;
  EXPECT_EQ(outcome.verdict(), Verdict::not_shown);
}

TEST(Verdicts, NothingClaimedIsNothingShown) {
  Outcome outcome = example();
  outcome.claims.clear();
  EXPECT_EQ(outcome.verdict(), Verdict::not_shown);
}

TEST(Verdicts, WhatCouldNotBeTriedIsNeither) {
  Outcome outcome = example();
  outcome.untried = "not as this user";
  EXPECT_EQ(outcome.verdict(), Verdict::untried);
  EXPECT_EQ(to_json(outcome)["verdict"], "could not be tried");
  EXPECT_THAT(to_text(outcome, {}), HasSubstr("could not be tried: not as this user"));
  EXPECT_THAT(summary_text(std::vector{outcome}), HasSubstr("0 of 1 case shown, 1 could not be tried"));
}

TEST(Json, AFigureThatCouldNotBeMeasuredIsNull) {
  const auto json = to_json(example());
  EXPECT_EQ(json["rows"][0]["memory_bytes"], 8000);
  EXPECT_TRUE(json["rows"][0]["calls"].is_null());
  EXPECT_EQ(json["rows"][1]["calls"], 7);
  EXPECT_EQ(json["rows"][1]["side"], "after");
  EXPECT_EQ(json["rows"][0]["texts"][1], "-");
}

TEST(Cases, AreNumberedInOrder) {
  int number = 0;
  for (const Case& one : all_cases()) EXPECT_EQ(one.number, ++number);
  EXPECT_EQ(number, 5);
}

}  // namespace
}  // namespace roost::cases
