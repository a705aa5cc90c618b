#include <roost/metrics.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <roost/go.h>
#include <roost/net/conn.h>
#include <roost/net/dial.h>
#include <roost/net/listener.h>
#include <roost/net/on_demand.h>
#include <roost/pool/metrics.h>
#include <roost/runtime.h>
#include <roost/time/sleep.h>

namespace roost::metrics {
namespace {

using namespace std::chrono_literals;
using prometheus::MetricFamily;
using prometheus::MetricType;
using testing::HasSubstr;
using testing::StartsWith;

// The value of a counter or gauge with that label value, or the only one.
std::optional<double> value_of(const Families& families, std::string_view name, std::string_view label = "") {
  for (const MetricFamily& family : families) {
    if (family.name != name) continue;
    for (const auto& metric : family.metric) {
      if (!label.empty() && (metric.label.empty() || metric.label[0].value != label)) continue;
      return family.type == MetricType::Counter ? metric.counter.value : metric.gauge.value;
    }
  }
  return std::nullopt;
}

Families collect() {
  return blocking([] { return runtime()->Collect(); });
}

// A connection over loopback: the end that dialled, and the one that was accepted.
std::pair<Result<net::Conn>, Result<net::Conn>> connected_ends() {
  auto listener = net::listen("tcp", "127.0.0.1:0");
  if (!listener) return {fail(listener.error()), fail(listener.error())};
  auto client = net::dial(*listener->local_endpoint(), Deadline::after(5s));
  return {std::move(client), listener->accept()};
}

// Sends `request` and returns all that comes back; "<closed>" when nothing does.
std::string ask(const net::Endpoint& endpoint, std::string_view request) {
  auto conn = net::dial(endpoint, Deadline::after(5s));
  if (!conn) return "<no connection>";
  conn->set_read_deadline(Deadline::after(10s));
  if (!conn->write(request)) return "<closed>";
  std::string all;
  std::array<std::byte, 4096> part;
  for (;;) {
    const auto got = conn->read(part);
    if (!got || *got == 0) return all.empty() ? "<closed>" : all;
    all.append(reinterpret_cast<const char*>(part.data()), *got);
  }
}

std::string get(const net::Endpoint& endpoint, const std::string& path, const std::string& host = "localhost") {
  return ask(endpoint, "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
}

std::string body_of(const std::string& answer) {
  const std::size_t end = answer.find("\r\n\r\n");
  return end == std::string::npos ? "" : answer.substr(end + 4);
}

// ---- the figures

TEST(MetricsTest, FibersAreCountedByWhatTheyWaitFor) {
  run([] {
    std::vector<Handle<Result<void>>> sleepers;
    for (int i = 0; i < 50; ++i) sleepers.push_back(go([] { return sleep_for(1h); }));
    while (value_of(collect(), "roost_fibers_parked", "sleep") != 50) yield();
    // This one waits for the look, on another thread, that counts it. It may be over before this one has parked.
    Families families = collect();
    while (value_of(families, "roost_fibers_parked", "blocking_call") != 1) families = collect();
    EXPECT_GE(*value_of(families, "roost_fibers", "parked"), 51);
    EXPECT_GE(*value_of(families, "roost_fibers_started_total"), 51);
    EXPECT_GE(*value_of(families, "roost_stacks", "in_use"), 51);
    for (auto& one : sleepers) {
      one.cancel();
      EXPECT_FALSE(one.join());
    }
    EXPECT_EQ(value_of(collect(), "roost_fibers_parked", "sleep"), 0);
  });
}

TEST(MetricsTest, ConnectionsAndBytesAreCounted) {
  run([] {
    {
      auto [client, server] = connected_ends();
      ASSERT_TRUE(client && server);
      EXPECT_EQ(value_of(collect(), "roost_connections", "awake"), 2);
      ASSERT_TRUE(client->write("hello"));
      std::array<std::byte, 16> out;
      EXPECT_EQ(server->read(out), 5u);
      server->set_read_deadline(Deadline::after(0s));
      EXPECT_FALSE(server->read(out));
    }
    const Families families = collect();
    EXPECT_EQ(value_of(families, "roost_connections", "awake"), 0);
    EXPECT_EQ(value_of(families, "roost_connections_opened_total", "accepted"), 1);
    EXPECT_EQ(value_of(families, "roost_connections_opened_total", "dialed"), 1);
    EXPECT_EQ(value_of(families, "roost_connections_closed_total"), 2);
    EXPECT_EQ(value_of(families, "roost_received_bytes_total"), 5);
    EXPECT_EQ(value_of(families, "roost_sent_bytes_total"), 5);
    EXPECT_EQ(value_of(families, "roost_io_failures_total", "timed_out"), 1);
  });
}

TEST(MetricsTest, ConnectionsThatWaitWithoutAFiberAreCounted) {
  class Session final : public net::OnDemand {
   public:
    explicit Session(net::Conn conn) : conn_(std::move(conn)) {}
    bool begin() { return sleep(conn_); }

   private:
    void on_ready() override { delete this; }
    net::Conn conn_;
  };
  run([] {
    auto [client, server] = connected_ends();
    ASSERT_TRUE(client && server);
    ASSERT_TRUE((new Session(std::move(*server)))->begin());
    const Families families = collect();
    EXPECT_EQ(value_of(families, "roost_connections", "awake"), 1);
    EXPECT_EQ(value_of(families, "roost_connections", "asleep"), 1);
    EXPECT_EQ(collect_fibers().asleep, 1u);
    ASSERT_TRUE(client->write("wake"));
    while (value_of(collect(), "roost_connections", "asleep") != 0) yield();
  });
}

TEST(MetricsTest, AttemptsToConnectThatFailAreCountedByReason) {
  run([] {
    auto listener = net::listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(listener);
    const net::Endpoint nobody = *listener->local_endpoint();
    listener->close();
    EXPECT_FALSE(net::dial(nobody, Deadline::after(10s)));
    EXPECT_FALSE(net::dial(nobody, Deadline::after(0s)));
    // An address that is not this machine's (TEST-NET-1).
    EXPECT_FALSE(net::Dialer{.local = *net::Endpoint::parse("192.0.2.1:0")}.dial(nobody));
    const Families families = collect();
    EXPECT_EQ(value_of(families, "roost_dial_failures_total", "refused"), 1);
    EXPECT_EQ(value_of(families, "roost_dial_failures_total", "timed_out"), 1);
    EXPECT_EQ(value_of(families, "roost_dial_failures_total", "no_address"), 1);
    EXPECT_EQ(value_of(families, "roost_dial_failures_total", "other"), 0);
  });
}

TEST(MetricsTest, WorkersTellTheirProcessorTime) {
  run([] {
    const auto before = value_of(collect(), "roost_worker_cpu_seconds_total");
    ASSERT_TRUE(before);
    while (*value_of(collect(), "roost_worker_cpu_seconds_total") <= *before) yield();
  });
}

TEST(MetricsTest, APoolTellsItsFiguresByItsName) {
  pool::PoolStats stats;
  stats.in_use = 3;
  stats.idle = 2;
  stats.waiting = 1;
  stats.closed_idle_total = 7;
  stats.wait_time = 1500ms;
  const auto collectable = pool::metrics_of("database", [&] { return stats; });
  const std::string text = to_text(collectable->Collect());
  EXPECT_THAT(text, HasSubstr("roost_pool_connections{pool=\"database\",state=\"in_use\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("roost_pool_connections{pool=\"database\",state=\"idle\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("roost_pool_waiting{pool=\"database\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("roost_pool_closed_total{pool=\"database\",reason=\"idle\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("roost_pool_wait_seconds_total{pool=\"database\"} 1.5\n"));
  // Several pools are told beside each other.
  Families both = collectable->Collect();
  merge(both, pool::metrics_of("cache", [&] { return stats; })->Collect());
  EXPECT_THAT(to_text(both), HasSubstr("roost_pool_waiting{pool=\"cache\"} 1\n"));
}

TEST(MetricsTest, SomeParksAreTimed) {
  run([] {
    for (int i = 0; i < 8000; ++i) ASSERT_TRUE(sleep_for(1us));
    for (const char* name : {"roost_fiber_park_seconds", "roost_fiber_schedule_latency_seconds"}) {
      bool found = false;
      for (const MetricFamily& family : collect()) {
        if (family.name != name) continue;
        found = true;
        const auto& histogram = family.metric.at(0).histogram;
        EXPECT_GE(histogram.sample_count, 2u) << name;
        EXPECT_LE(histogram.sample_count, 200u) << name;
        EXPECT_GT(histogram.sample_sum, 0) << name;
        EXPECT_EQ(histogram.bucket.back().cumulative_count, histogram.sample_count);
        EXPECT_TRUE(std::isinf(histogram.bucket.back().upper_bound));
      }
      EXPECT_TRUE(found) << name;
    }
  });
}

TEST(MetricsTest, WithoutARuntimeTheProcessIsTold) {
  const Families families = runtime()->Collect();
  EXPECT_FALSE(value_of(families, "roost_fibers", "parked"));
  EXPECT_GT(*value_of(families, "process_resident_memory_bytes"), 1e6);
  EXPECT_GT(*value_of(families, "process_max_fds"), 0);
  EXPECT_GT(*value_of(families, "process_open_fds"), 2);
  const auto now = static_cast<double>(std::time(nullptr));
  EXPECT_GT(*value_of(families, "process_start_time_seconds"), now - 3600);
  EXPECT_LT(*value_of(families, "process_start_time_seconds"), now + 2);
}

TEST(MetricsTest, NamesFollowPrometheusConventions) {
  run([] {
    for (const MetricFamily& family : collect()) {
      EXPECT_THAT(family.name, testing::MatchesRegex("(roost|process)_[a-z_]+"));
      EXPECT_EQ(family.name.ends_with("_total"), family.type == MetricType::Counter) << family.name;
      EXPECT_TRUE(family.help.ends_with(".")) << family.name;
      EXPECT_FALSE(family.metric.empty()) << family.name;
      for (const auto& metric : family.metric) {
        for (const auto& label : metric.label) EXPECT_THAT(label.value, testing::MatchesRegex("[a-z0-9_]+")) << family.name;
      }
    }
  });
}

// ---- text

TEST(MetricsTextTest, WhatIsWrittenIsReadBack) {
  run([] {
    const Families before = collect();
    const std::string text = to_text(before);
    const auto after = parse_text(text);
    ASSERT_TRUE(after);
    EXPECT_EQ(to_text(*after), text);
    EXPECT_EQ(after->size(), before.size());
  });
}

TEST(MetricsTextTest, ReadsWhatTheFormatAllows) {
  const auto families = parse_text(
      "# a comment\n"
      "# HELP a_total With \\\\ and\\na line.\n# TYPE a_total counter\n"
      "a_total{x=\"1\\\"2\",y=\"\"} 3 1700000000000\n"
      "# TYPE b gauge\nb NaN\n"
      "# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1.5\nh_count 2\n");
  ASSERT_TRUE(families);
  ASSERT_EQ(families->size(), 3u);
  EXPECT_EQ((*families)[0].help, "With \\ and\na line.");
  EXPECT_EQ((*families)[0].metric[0].label[0].value, "1\"2");
  EXPECT_EQ((*families)[0].metric[0].counter.value, 3);
  EXPECT_TRUE(std::isnan((*families)[1].metric[0].gauge.value));
  EXPECT_EQ((*families)[2].metric[0].histogram.sample_count, 2u);
  ASSERT_EQ((*families)[2].metric[0].histogram.bucket.size(), 2u);
}

TEST(MetricsTextTest, RefusesWhatItDoesNotAllow) {
  for (const char* text : {"a 1\n", "# TYPE a counter\nb 1\n", "# TYPE a counter\na x\n", "# TYPE a counter\na{b=1} 1\n",
                           "# TYPE a counter\na{b=\"1} 1\n", "# TYPE a counter\na\n", "# TYPE a nonsense\n", "# TYPE 1\n",
                           "# TYPE h histogram\nh_bucket 1\n", "# TYPE a counter\na{b=\"\\"}) {
    EXPECT_FALSE(parse_text(text)) << text;
  }
}

TEST(MetricsTextTest, SumsOverProcesses) {
  const std::string one =
      "# TYPE a_total counter\na_total{w=\"0\"} 1\n# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 50\n"
      "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 5\nh_count 2\n";
  const std::string two =
      "# TYPE a_total counter\na_total{w=\"0\"} 2\na_total{w=\"1\"} 4\n# TYPE b gauge\nb 7\n"
      "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 40\n"
      "# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3\n";
  Families sum = *parse_text(one);
  merge(sum, *parse_text(two));
  EXPECT_EQ(value_of(sum, "a_total", "0"), 3);
  EXPECT_EQ(value_of(sum, "a_total", "1"), 4);
  EXPECT_EQ(value_of(sum, "b"), 7);
  EXPECT_EQ(value_of(sum, "process_start_time_seconds"), 40);
  const auto& histogram = sum[2].metric[0].histogram;
  EXPECT_EQ(histogram.sample_count, 5u);
  EXPECT_EQ(histogram.sample_sum, 6);
  EXPECT_EQ(histogram.bucket[0].cumulative_count, 4u);
  EXPECT_EQ(histogram.bucket[1].cumulative_count, 5u);
}

// ---- the endpoint

TEST(MetricsServeTest, AnswersAScrapeWithTextThatParses) {
  run([] {
    auto registry = std::make_shared<prometheus::Registry>();
    prometheus::BuildCounter().Name("mine_total").Help("Mine.").Register(*registry).Add({}).Increment(3);
    auto exporter = serve("127.0.0.1:0", {.collectables = {registry}});
    ASSERT_TRUE(exporter);
    const std::string answer = get(exporter->endpoint(), "/metrics");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    const auto families = parse_text(body_of(answer));
    ASSERT_TRUE(families);
    EXPECT_GE(*value_of(*families, "roost_connections_opened_total", "accepted"), 1);
    EXPECT_EQ(value_of(*families, "mine_total"), 3);
    EXPECT_EQ(exporter->requests(), 1u);
  });
}

TEST(MetricsServeTest, ListensOnLoopbackUnlessToldOtherwise) {
  run([] {
    auto exporter = serve(":0");
    ASSERT_TRUE(exporter);
    EXPECT_TRUE(exporter->endpoint().address == net::IpAddress::loopback_v4());
    EXPECT_EQ(serve(exporter->endpoint().to_string()).error(), std::errc::address_in_use);
  });
}

TEST(MetricsServeTest, APageReplacesWhatIsThereAnywayAndItsErrorIs502) {
  run([] {
    bool is_there = true;
    auto exporter = serve("127.0.0.1:0", {.pages = {{.path = "/metrics", .content_type = "text/plain", .body = [&is_there]() -> std::expected<std::string, std::string> {
                                            if (!is_there) return std::unexpected("gone for lunch");
                                            return "mine 1\n";
                                          }}}});
    ASSERT_TRUE(exporter);
    EXPECT_EQ(body_of(get(exporter->endpoint(), "/metrics")), "mine 1\n");
    EXPECT_EQ(body_of(get(exporter->endpoint(), "/")), "/metrics\n/fibers\n/fibers.json\n");
    is_there = false;
    EXPECT_THAT(get(exporter->endpoint(), "/metrics"), StartsWith("HTTP/1.1 502 "));
    EXPECT_EQ(body_of(get(exporter->endpoint(), "/metrics")), "gone for lunch\n");
  });
}

TEST(MetricsServeTest, RefusesWhatItDoesNotKnow) {
  run([] {
    auto exporter = serve("127.0.0.1:0", {.pages = {{"/page", "text/html", [] { return std::string("<p>"); }}},
                                          .hosts = {"Metrics.example"}});
    ASSERT_TRUE(exporter);
    const net::Endpoint at = exporter->endpoint();
    EXPECT_THAT(get(at, "/elsewhere"), StartsWith("HTTP/1.1 404 "));
    EXPECT_THAT(get(at, "/page"), HasSubstr("\r\n\r\n<p>"));
    EXPECT_THAT(get(at, "/"), HasSubstr("/metrics\n/fibers\n/fibers.json\n/page\n"));
    EXPECT_THAT(get(at, "/metrics?x=y"), StartsWith("HTTP/1.1 200 "));
    EXPECT_THAT(ask(at, "POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"), StartsWith("HTTP/1.1 405 "));
    EXPECT_EQ(body_of(ask(at, "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")), "");
    // A name that is not known here may have been made to point here.
    EXPECT_THAT(get(at, "/metrics", "evil.example"), StartsWith("HTTP/1.1 421 "));
    for (const char* host : {"127.0.0.1", "127.0.0.1:9100", "[::1]:9100", "localhost:1", "metrics.EXAMPLE:80"}) {
      EXPECT_THAT(get(at, "/metrics", host), StartsWith("HTTP/1.1 200 ")) << host;
    }
    EXPECT_THAT(ask(at, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
    EXPECT_THAT(ask(at, "nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
    EXPECT_THAT(ask(at, "GET /" + std::string(20'000, 'x') + " HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 431 "));
    std::string many = "GET / HTTP/1.1\r\n";
    for (int i = 0; i < 200; ++i) many += "X: y\r\n";
    EXPECT_THAT(ask(at, many + "\r\n"), StartsWith("HTTP/1.1 431 "));
  });
}

TEST(MetricsServeTest, FibersAreToldAsTextAndAsJson) {
  run([] {
    auto exporter = serve("127.0.0.1:0");
    ASSERT_TRUE(exporter);
    auto sleeper = go({.name = "bear"}, [] { return sleep_for(1h); });
    while (value_of(collect(), "roost_fibers_parked", "sleep") != 1) yield();
    EXPECT_THAT(get(exporter->endpoint(), "/fibers"), HasSubstr("1 fiber (bear), parked: sleep"));
    const auto dump = parse_fibers(body_of(get(exporter->endpoint(), "/fibers.json")));
    ASSERT_TRUE(dump);
    bool found = false;
    for (const FiberGroup& group : dump->groups) found = found || (group.name == "bear" && group.count == 1 && !group.stack.empty());
    EXPECT_TRUE(found);
    EXPECT_THAT(get(exporter->endpoint(), "/"), HasSubstr("/fibers.json\n"));
    sleeper.cancel();
    EXPECT_FALSE(sleeper.join());
    auto without = serve("127.0.0.1:0", {.with_fibers = false});
    ASSERT_TRUE(without);
    EXPECT_THAT(get(without->endpoint(), "/fibers"), StartsWith("HTTP/1.1 404 "));
  });
}

TEST(MetricsServeTest, ManyWhoAskForFibersShareOneLook) {
  run([] {
    int looks = 0;
    auto exporter = serve("127.0.0.1:0", {.fibers = [&looks] {
                                            ++looks;
                                            return FiberDump{.fibers = 7, .took = 1h};
                                          }});
    ASSERT_TRUE(exporter);
    for (int i = 0; i < 5; ++i) EXPECT_THAT(get(exporter->endpoint(), "/fibers"), HasSubstr("7 fibers"));
    EXPECT_EQ(looks, 1);
  });
}

TEST(MetricsServeTest, APageMayTakeThePlaceOfTheList) {
  run([] {
    auto exporter = serve("127.0.0.1:0", {.pages = {{.path = "/", .content_type = "text/html", .body = [] { return std::string("<p>mine"); }}}});
    ASSERT_TRUE(exporter);
    EXPECT_EQ(body_of(get(exporter->endpoint(), "/")), "<p>mine");
    EXPECT_THAT(get(exporter->endpoint(), "/metrics"), HasSubstr("roost_workers"));
  });
}

TEST(FibersJsonTest, ComesBackAsItWas) {
  const FiberDump dump{.processes = 2, .fibers = 3, .asleep = 4, .took = 5ms,
                       .groups = {{.state = "parked", .reason = "read", .name = "\"quoted\"", .count = 3, .shortest = 1s, .longest = 2s,
                                   .stack = {"f()"},
                                   .examples = {{.id = 9, .name = "n", .waited = 2s, .descriptor = 5, .endpoint = "a from b"}, {.id = 10}}}}};
  const auto back = parse_fibers(to_json(dump));
  ASSERT_TRUE(back);
  EXPECT_EQ(to_json(*back), to_json(dump));
  EXPECT_EQ(back->groups.at(0).examples.at(0).endpoint, "a from b");
  EXPECT_EQ(back->groups.at(0).examples.at(1).descriptor, -1);
  for (const char* bad : {"", "{", "[]", "{}", "null", R"({"processes": "two"})"}) {
    EXPECT_EQ(parse_fibers(bad).error(), std::errc::invalid_argument) << bad;
  }
  // Bytes that are no text do not break the answer.
  FiberDump odd;
  odd.groups.push_back({.state = "parked", .examples = {{.id = 1, .descriptor = 1, .endpoint = "\xff\xfe"}}});
  EXPECT_TRUE(parse_fibers(to_json(odd)));
}

TEST(MetricsServeTest, ASilentClientIsLetGo) {
  run([] {
    auto exporter = serve("127.0.0.1:0", {.requests_max = 1, .request_timeout = 50ms});
    ASSERT_TRUE(exporter);
    EXPECT_THAT(ask(exporter->endpoint(), "GET /met"), StartsWith("HTTP/1.1 408 "));
    // Its place is free again, at the latest when it has been closed.
    std::string answer;
    for (int tries = 0; tries < 200 && !answer.starts_with("HTTP/1.1 200 "); ++tries) {
      answer = get(exporter->endpoint(), "/metrics");
      if (answer.starts_with("<")) static_cast<void>(sleep_for(5ms));
    }
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  });
}

TEST(MetricsServeTest, ManyScrapesAtOnceAreAnsweredOrTurnedAway) {
  run([] {
    auto exporter = serve("127.0.0.1:0", {.requests_max = 2});
    ASSERT_TRUE(exporter);
    std::atomic<int> answered{0};
    std::vector<Handle<void>> scrapes;
    for (int i = 0; i < 20; ++i) {
      scrapes.push_back(go([&] {
        const std::string answer = get(exporter->endpoint(), "/metrics");
        if (answer.starts_with("HTTP/1.1 200 ")) ++answered;
      }));
    }
    for (auto& one : scrapes) one.join();
    EXPECT_GE(answered.load(), 1);
  });
}

}  // namespace
}  // namespace roost::metrics
