// The page of `roost cases` in a headless browser, which leaves its pictures in build/screenshots/: `ctest -L web`.
#include "tools/cases/page.h"

#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tools/web/browser.h"
#include "tools/web/web.h"

namespace roost::cases {
namespace {

namespace fs = std::filesystem;

// Of each kind of chart one, a claim of each kind, and a case that could not be tried.
std::vector<Outcome> outcomes_of_all_kinds() {
  Outcome lines;
  lines.number = 3;
  lines.id = "slowloris";
  lines.title = "No deadlines under a slowloris attack, and deadlines";
  lines.method = "5,000 attackers drip a byte a second; the server takes 4,096 connections. A sentence that is long enough to be folded at 400 pixels.";
  lines.columns = {{"let in", "let_in"}, {"a new client's wait", "wait_us"}, {"a column with a title that is rather long", "long"}};
  lines.rows = {{"no time-out", Side::before, {{"4,096", 4096}, {"-"}, {"12", 12}}},
                {"10 s of silence", Side::between, {{"4,096", 4096}, {"-"}, {"13", 13}}},
                {"10 s a line", Side::after, {{"0", 0}, {"1.2 ms", 1200}, {"14", 14}}}};
  lines.chart = {.title = "attackers held in the end", .bars = {{"", "no time-out", Side::before, 4096, "4,096"}, {"", "10 s a line", Side::after, 0, "0"}},
                 .lines_title = "attackers held", .times_s = {0, 1, 2, 3, 4},
                 .lines = {{"no time-out", Side::before, {0, 2000, 4096, 4096, 4096}}, {"10 s a line", Side::after, {0, 2000, 4096, 2000, 0}}}};
  lines.claims = {{"the deadline frees every descriptor: 0 of 4,096 held <b>", true, true}, {"a claim that does not hold", false, true}};

  Outcome groups;
  groups.number = 2;
  groups.id = "buffers";
  groups.title = "Buffers of 128 bytes, and of 4 to 128 KiB";
  groups.method = "Messages of three lengths.";
  groups.columns = {{"system calls a message", "calls"}};
  for (const char* message : {"messages of 64 B", "messages of 4 KiB", "messages of 256 KiB"}) {
    groups.rows.push_back({message, Side::after, {{"7", 7}}});
    for (const char* buffer : {"128 B", "16 KiB", "128 KiB"}) groups.chart.bars.push_back({message, buffer, Side::after, 12.5, "12.5"});
  }
  groups.chart.title = "system calls a message";
  groups.claims = {{"fewer calls", true, true}};

  Outcome bars;
  bars.number = 4;
  bars.id = "pool";
  bars.title = "Dial for each request, and a pool";
  bars.method = "1,000 requests.";
  bars.columns = {{"p99", "p99_us"}};
  bars.rows = {{"dial", Side::before, {{"1.2 ms", 1200}}}, {"pool", Side::after, {{"90 us", 90}}}};
  bars.chart.title = "what a request costs";
  bars.chart.bars = {{"latency, p99", "dial", Side::before, 1200, "1.2 ms", "us"}, {"latency, p99", "pool", Side::after, 90, "90 us", "us"},
                     {"TIME_WAIT", "dial", Side::before, 1000, "1,000"}, {"TIME_WAIT", "pool", Side::after, 1, "1"}};
  bars.claims = {{"the pool is quicker", true, false}};

  Outcome untried;
  untried.number = 5;
  untried.id = "settings";
  untried.title = "Default settings of the kernel, and the doctor's";
  untried.untried = "a network namespace takes root";
  return {groups, lines, bars, untried};
}

class CasesPage : public testing::TestWithParam<web::Browser::Window> {};

TEST_P(CasesPage, IsDrawnWithoutErrorsAndFitsTheWindow) {
  const auto browser = web::Browser::find();
  if (!browser) GTEST_SKIP() << "chromium is not installed";
  const web::Browser::Window window = GetParam();
  const std::string name = fmt::format("cases-{}-{}", window.width, window.is_dark ? "dark" : "light");
  const fs::path folder = ROOST_SCREENSHOTS;
  const fs::path page = folder / (name + ".html");
  fs::create_directories(folder);
  std::ofstream(page) << to_html(report_of(outcomes_of_all_kinds(), false));

  const std::string html = browser->dump(page, window);
  ASSERT_FALSE(html.empty());
  EXPECT_EQ(web::root_attribute(html, "data-error"), std::nullopt);
  EXPECT_EQ(web::root_attribute(html, "data-overflow"), "no");
  // The attackers over time and in the end, the system calls, and two groups of bars of units that differ.
  EXPECT_EQ(web::root_attribute(html, "data-charts"), web::has_charts() ? "5" : "0");
  const std::string drawn = html.substr(0, html.find("id=\"data\""));
  for (const char* shown : {"2 of 4 shown, 1 could not be tried", "3. No deadlines under a slowloris attack", "a claim that does not hold",
                            "held &lt;b&gt;", "a network namespace takes root", "a column with a title that is rather long"}) {
    EXPECT_NE(drawn.find(shown), std::string::npos) << shown;
  }
  EXPECT_TRUE(browser->screenshot(page, window, folder / (name + ".png")));
}

INSTANTIATE_TEST_SUITE_P(Windows, CasesPage,
                         testing::Values(web::Browser::Window{.width = 400, .height = 3600}, web::Browser::Window{.width = 400, .height = 3600, .is_dark = true},
                                         web::Browser::Window{.width = 1600, .height = 2200},
                                         web::Browser::Window{.width = 1600, .height = 2200, .is_dark = true}),
                         [](const auto& window) { return fmt::format("{}{}", window.param.width, window.param.is_dark ? "Dark" : "Light"); });

}  // namespace
}  // namespace roost::cases
