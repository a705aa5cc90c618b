#include "tools/load/html.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tools/web/browser.h"
#include "tools/web/web.h"

namespace roost::load {
namespace {

namespace fs = std::filesystem;

// A load of two minutes in which everything happens that a chart can show.
Record eventful_record() {
  Record record;
  record.options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 8080}};
  record.options.stages[0].connections = 100'000;
  record.options.server_pid = 4711;
  record.command = "roost load --target 127.0.0.1:8080 --connections 100000 --rate 2000 --fail-if '</script><b>failed > 0</b>'";
  record.machine = {.kernel = "Linux 6.18.0 x86_64", .processor = "A processor with a name that is long enough to be folded @ 2.50GHz", .processors = 2,
                    .memory_bytes = 24'000'000'000};
  constexpr std::int64_t second_ns = 1'000'000'000;
  record.timeline.begin(second_ns, {.server_tcp = tools::TcpCounters{}});
  record.timeline.mark("opening", second_ns);
  record.timeline.mark("running", 51 * second_ns);
  Figures figures;
  Counters& c = figures.counters;
  c.requested = 100'000;
  Readings readings{.server_tcp = tools::TcpCounters{}};
  for (int second = 0; second < 120; ++second) {
    const auto now_ns = (second + 2) * second_ns;
    if (second < 50) c.established += 2000, c.open += 2000, figures.histograms[Figures::connect].record_n(80, 2000), figures.histograms[Figures::first_echo].record_n(150, 2000);
    for (auto kind : {second < 50 ? Figures::recent_rest : Figures::recent_run, second < 50 ? Figures::ramp : Figures::run}) {
      figures.histograms[kind].record_n(70, 4000);
      figures.histograms[kind].record_n(static_cast<std::uint64_t>(200 + 150 * (1 + std::sin(second / 7.0))), 900);
      figures.histograms[kind].record_n(second == 80 ? 250'000 : 1500, 90);
      figures.histograms[kind].record_n(second == 80 ? 900'000 : 6000, 10);
    }
    figures.histograms[Figures::recent_lateness].record_n(30, 990);
    figures.histograms[Figures::recent_lateness].record_n(static_cast<std::uint64_t>(300 + 10 * second), 20);
    figures.histograms[Figures::lateness].record_n(30, 1010);
    c.sent += 5000;
    c.received += 5000;
    if (second >= 50) c.run_received += 5000;
    if (second == 80) {
      c.dropped += 120;
      c.open -= 120;
      figures.failures["ECONNRESET"] += 80;
      figures.failures["timed_out"] += 40;
      for (const char* name : {"a", "b", "c", "d", "e", "f"}) ++figures.failures[name];
    }
    c.told_ns = now_ns - 1;
    record.timeline.add(0, figures);
    for (auto kind : {Figures::recent_run, Figures::recent_rest, Figures::recent_lateness}) figures.histograms[kind].clear();
    readings.server_bytes = 4'400 * c.open + 3'000'000;
    readings.client_bytes = 4'600 * c.open + 4'000'000;
    readings.server_cpu_s += 0.6;
    readings.client_cpu_s += 0.7;
    readings.machine_busy_s += 1.5;
    readings.machine_total_s += 2;
    readings.server_descriptors = c.open + 20 + (second > 60 && second < 90 ? 5000u : 0u);
    readings.client_tcp.retransmitted_segments += second < 50 ? 40 : 1;
    readings.server_tcp->retransmitted_segments = readings.client_tcp.retransmitted_segments;
    if (second < 20) readings.server_tcp->listen_overflows += 12, readings.server_tcp->listen_drops += 13;
    record.timeline.add_readings(now_ns, readings);
  }
  record.figures = figures;
  record.ramp_s = 50;
  record.stages = {{.begin_ns = second_ns, .run_start_ns = 51 * second_ns, .run_end_ns = 60 * second_ns, .ramp_s = 50},
                   {.begin_ns = 60 * second_ns, .run_start_ns = 61 * second_ns, .run_end_ns = 121 * second_ns}};
  Stage& attacked = record.options.stages.emplace_back(record.options.stages[0]);
  attacked.name = "a stage with a name that is rather long, and attackers";
  attacked.faults = parse_faults("drip:5000,half-open:100,storm:20/5s").value();
  record.stages[1].server_descriptors = ServerDescriptors{100'020, 105'020, 100'120};
  record.is_one_namespace = true;
  record.client_tcp = {.retransmitted_segments = 2070, .listen_overflows = 240, .listen_drops = 260};
  record.server_tcp = record.client_tcp;
  figures.stages.resize(2);
  figures.stages[0].counts = {.requested = 100'000, .established = 100'000, .run_sent = 45'000, .run_received = 45'000, .run_bytes_sent = 2'880'000};
  figures.stages[1].counts = {.run_sent = 300'000, .run_received = 299'880, .run_bytes_sent = 19'200'000};
  for (StageFigures& stage : figures.stages) stage.latency.record_n(1500, 1000), stage.latency.record(900'000);
  figures.faults.resize(3);
  figures.faults[0].counts = {.opened = 5000, .cut_off = 5000, .bytes_sent = 50'000};
  figures.faults[0].causes["end_of_stream"] = 5000;
  figures.faults[0].held.record_n(10'003'000, 5000);
  figures.faults[1].counts = {.opened = 100, .answered = 100, .standing = 100};
  figures.faults[2].counts = {.opened = 240, .answered = 240};
  figures.faults[2].back.record_n(4000, 240);
  record.figures = figures;
  record.duration_s = 121;
  record.standing = c.open;
  record.client = {.memory_bytes = 460'000'000, .cpu_s = 84, .processes = 7};
  record.server = tools::ProcessUsage{.memory_bytes = 440'000'000, .cpu_s = 72, .processes = 7};
  record.outcomes = judge(parse_conditions("latency.p99 > 1ms, failed > 0").value(), to_json(record));
  return record;
}

TEST(LoadPageData, LinesOverTimeAreOfOneLength) {
  const auto data = page_data(eventful_record());
  const std::size_t points = data["series"]["t"].size();
  EXPECT_EQ(points, 121u) << "the beginning, and a point a second";
  for (const auto& [name, line] : data["series"].items()) {
    if (name == "each") continue;
    EXPECT_EQ(line.size(), points) << name;
  }
  for (const auto& kind : data["errors"]) EXPECT_EQ(kind["values"].size(), points);
  EXPECT_EQ(data["series"]["open"].back(), 99'880);
}

TEST(LoadPageData, RareKindsOfErrorsArePutTogether) {
  const auto data = page_data(eventful_record());
  ASSERT_EQ(data["errors"].size(), 6u);
  EXPECT_EQ(data["errors"][0]["name"], "ECONNRESET");
  EXPECT_EQ(data["errors"][5]["name"], "others");
  double others = 0;
  for (const auto& value : data["errors"][5]["values"]) others += value.is_null() ? 0 : value.get<double>();
  EXPECT_EQ(others, 3) << "of eight kinds five have a line of their own";
}

TEST(LoadPageData, TheDistributionEndsWithTheGreatestValue) {
  const Record record = eventful_record();
  const auto data = page_data(record);
  const auto& run = data["distribution"]["series"][0]["values"];
  std::uint64_t last = 0;
  for (const auto& value : run) {
    if (value.is_null()) break;
    EXPECT_GE(value.get<std::uint64_t>(), last);
    last = value.get<std::uint64_t>();
  }
  EXPECT_EQ(last, record.figures.histograms[Figures::run].max());
  EXPECT_EQ(run.size(), data["distribution"]["x"].size());
}

TEST(LoadPageData, ALoadThatNeverBeganHasAPage) {
  Record record;
  record.options.targets = {net::Endpoint{net::IpAddress::loopback_v4(), 9}};
  EXPECT_EQ(page_data(record)["series"]["t"].size(), 1u);
  EXPECT_NE(to_html(record).find("</html>"), std::string::npos);
}

TEST(LoadPageData, FetchesNothingAndCarriesTheLicenceOfItsCharts) {
  const std::string html = to_html(eventful_record());
  for (const char* fetching : {"<script src=", "<link rel=\"stylesheet\"", "<img", "@import", "fetch("}) EXPECT_EQ(html.find(fetching), std::string::npos) << fetching;
  EXPECT_EQ(html.find("<b>failed"), std::string::npos) << "what people type is text and no markup";
  EXPECT_EQ(web::has_charts(), html.find("The MIT License (MIT)") != std::string::npos);
}

// The lightness of "#rrggbb" as WCAG 2 defines it, 0 to 1.
double luminance(const std::string& color) {
  const double shares[] = {0.2126, 0.7152, 0.0722};
  double sum = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const double part = std::stoi(color.substr(1 + 2 * i, 2), nullptr, 16) / 255.0;
    sum += shares[i] * (part <= 0.04045 ? part / 12.92 : std::pow((part + 0.055) / 1.055, 2.4));
  }
  return sum;
}

TEST(LoadPageData, ShadesOfTheHeatMapAreToldApartByLightnessAlone) {
  const std::string css(web::asset("frame.css"));
  const std::size_t dark = css.find("prefers-color-scheme: dark");
  ASSERT_NE(dark, std::string::npos);
  for (const std::size_t theme : {std::size_t{0}, dark}) {
    const auto of = [&](const std::string& name) { return luminance(css.substr(css.find("--" + name + ": #", theme) + name.size() + 4, 7)); };
    // Contrast, as WCAG 2 counts it: each step is seen, and the rarest stands out from the panel that it is drawn on.
    double before = of("panel");
    for (const char* name : {"h1", "h2", "h3", "h4", "h5"}) {
      const double now = of(name);
      EXPECT_EQ(now > before, theme == dark) << name;
      EXPECT_GE((std::max(now, before) + 0.05) / (std::min(now, before) + 0.05), 1.2) << name;
      before = now;
    }
  }
}

// These need a browser, and leave their pictures in build/screenshots/: `ctest -L web`.
class LoadPage : public testing::TestWithParam<web::Browser::Window> {};

TEST_P(LoadPage, IsDrawnWithoutErrorsAndFitsTheWindow) {
  const auto browser = web::Browser::find();
  if (!browser) GTEST_SKIP() << "chromium is not installed";
  const web::Browser::Window window = GetParam();
  const std::string name = fmt::format("load-{}-{}", window.width, window.is_dark ? "dark" : "light");
  const fs::path folder = ROOST_SCREENSHOTS;
  const fs::path page = folder / (name + ".html");
  fs::create_directories(folder);
  std::ofstream(page) << to_html(eventful_record());

  const std::string html = browser->dump(page, window);
  ASSERT_FALSE(html.empty());
  EXPECT_EQ(web::root_attribute(html, "data-error"), std::nullopt);
  EXPECT_EQ(web::root_attribute(html, "data-overflow"), "no");
  EXPECT_EQ(web::root_attribute(html, "data-charts"), web::has_charts() ? "12" : "0");
  std::size_t canvases = 0;
  for (std::size_t at = html.find("<canvas"); at != std::string::npos; at = html.find("<canvas", at + 1)) ++canvases;
  EXPECT_EQ(canvases, web::has_charts() ? 12u : 0u);
  // Every second has its cells, four rows or more of them.
  if (web::has_charts()) {
    const std::size_t at = html.find("data-cells=\"");
    ASSERT_NE(at, std::string::npos);
    EXPECT_GE(std::stoul(html.substr(at + 12)), window.width >= 1600 ? 480u : 200u);
  }
  for (const char* shown : {"100,000 connections to 127.0.0.1:8080", "latency.p99 &gt; 1ms", "CROSSED", "Linux 6.18.0 x86_64", "ECONNRESET", "rather long", "drip:5000/1s"}) {
    // In an element of the page, not in the data that it is drawn from.
    EXPECT_NE(html.substr(0, html.find("id=\"data\"")).find(shown), std::string::npos) << shown;
  }
  EXPECT_TRUE(browser->screenshot(page, window, folder / (name + ".png")));
}

INSTANTIATE_TEST_SUITE_P(Windows, LoadPage,
                         testing::Values(web::Browser::Window{.width = 400, .height = 7000}, web::Browser::Window{.width = 400, .height = 7000, .is_dark = true},
                                         web::Browser::Window{.width = 1600, .height = 3300},
                                         web::Browser::Window{.width = 1600, .height = 3300, .is_dark = true}),
                         [](const auto& window) { return fmt::format("{}{}", window.param.width, window.param.is_dark ? "Dark" : "Light"); });

}  // namespace
}  // namespace roost::load
