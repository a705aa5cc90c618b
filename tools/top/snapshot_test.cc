#include "tools/top/snapshot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

namespace roost::top {
namespace {

constexpr const char* text = R"(# HELP roost_connections Connections open now.
# TYPE roost_connections gauge
roost_connections{state="awake"} 20000
roost_connections{state="asleep"} 80000
# TYPE roost_echo_connections gauge
roost_echo_connections 99999
# TYPE roost_echo_connections_max gauge
roost_echo_connections_max 110000
# TYPE roost_connections_opened_total counter
roost_connections_opened_total{origin="accepted"} 120000
roost_connections_opened_total{origin="dialed"} 7
# TYPE roost_connections_turned_away_total counter
roost_connections_turned_away_total 3
# TYPE roost_echo_connections_refused_total counter
roost_echo_connections_refused_total 4
# TYPE roost_echo_messages_total counter
roost_echo_messages_total 5000
# TYPE roost_fibers gauge
roost_fibers{state="running"} 1
roost_fibers{state="runnable"} 2
roost_fibers{state="parked"} 20000
# TYPE roost_fibers_parked gauge
roost_fibers_parked{reason="sleep"} 1
roost_fibers_parked{reason="read"} 19999
roost_fibers_parked{reason="mutex"} 0
# TYPE roost_workers gauge
roost_workers{kind="primary"} 2
roost_workers{kind="spare"} 1
# TYPE roost_run_queue_length gauge
roost_run_queue_length{worker="0.0"} 5
roost_run_queue_length{worker="1.0"} 6
# TYPE roost_worker_cpu_seconds_total counter
roost_worker_cpu_seconds_total{worker="0.0"} 1.5
roost_worker_cpu_seconds_total{worker="1.0"} 2.5
# TYPE roost_fiber_schedule_latency_seconds histogram
roost_fiber_schedule_latency_seconds_bucket{le="0.001"} 50
roost_fiber_schedule_latency_seconds_bucket{le="0.01"} 100
roost_fiber_schedule_latency_seconds_bucket{le="+Inf"} 100
roost_fiber_schedule_latency_seconds_sum 0.2
roost_fiber_schedule_latency_seconds_count 100
# TYPE process_open_fds gauge
process_open_fds 100020
)";

Snapshot parsed(std::string_view from) {
  const auto families = metrics::parse_text(from);
  EXPECT_TRUE(families);
  const auto snapshot = snapshot_of(families.value_or(metrics::Families{}), 10);
  EXPECT_TRUE(snapshot);
  return snapshot.value_or(Snapshot{});
}

TEST(Snapshot, TakesWhatTheViewsNeedFromTheMetrics) {
  const Snapshot now = parsed(text);
  EXPECT_EQ(now.connections, 100'000);
  EXPECT_EQ(now.asleep, 80'000);
  EXPECT_EQ(now.served, 99'999);
  EXPECT_EQ(now.served_max, 110'000);
  EXPECT_EQ(now.accepted, 120'000);
  EXPECT_EQ(now.dialed, 7);
  EXPECT_EQ(now.turned_away, 7);
  EXPECT_TRUE(now.counts_messages);
  EXPECT_EQ(now.messages, 5'000);
  EXPECT_EQ(now.fibers(), 20'003);
  EXPECT_EQ(now.primary_workers, 2);
  EXPECT_EQ(now.descriptors_open, 100'020);
  ASSERT_EQ(now.waits.size(), 2u);  // only those that any fiber waits for
  EXPECT_EQ(now.waits[0].name, "read");
  ASSERT_EQ(now.workers.size(), 2u);
  EXPECT_EQ(now.workers[1].name, "1.0");
  EXPECT_EQ(now.workers[1].queue, 6);
  EXPECT_EQ(now.workers[1].cpu_s, 2.5);
}

TEST(Snapshot, RefusesTheMetricsOfAnotherProgram) {
  const auto families = metrics::parse_text("# TYPE go_goroutines gauge\ngo_goroutines 7\n");
  ASSERT_TRUE(families);
  EXPECT_EQ(snapshot_of(*families, 0).error(), std::errc::invalid_argument);
}

TEST(Snapshot, TellsQuantilesOfTheSamplesInBetween) {
  constexpr double endless = std::numeric_limits<double>::infinity();
  Snapshot before;
  before.latency = {{0.001, 50}, {0.01, 100}, {endless, 100}};
  Snapshot now;
  now.latency = {{0.001, 50}, {0.01, 200}, {endless, 200}};
  // All that came in between lies in the second bucket.
  EXPECT_NEAR(latency_quantile(before, now, 0.5), 0.001 + 0.009 * 0.5, 1e-9);
  // None came in between: then of all.
  EXPECT_NEAR(latency_quantile(now, now, 0.25), 0.001, 1e-9);
  // The server is another one: then of all it has.
  EXPECT_NEAR(latency_quantile(now, before, 0.5), 0.001, 1e-9);
  // Beyond the last bound nothing is known but the bound.
  now.latency.back().second = 10'000;
  EXPECT_EQ(latency_quantile(before, now, 0.99), 0.01);
  EXPECT_LT(latency_quantile(Snapshot{}, Snapshot{}, 0.5), 0);
}

TEST(Snapshot, IsJsonForThePage) {
  const auto json = to_json(parsed(text));
  EXPECT_EQ(json["connections"], 100'000);
  EXPECT_EQ(json["messages"], 5'000);
  EXPECT_EQ(json["workers"][0]["name"], "0.0");
  EXPECT_EQ(json["waits"][0]["name"], "read");
  EXPECT_TRUE(json["latency"].back()["up_to_s"].is_null());  // there is no infinity
  EXPECT_TRUE(to_json(Snapshot{})["messages"].is_null());    // a server that counts none
}

}  // namespace
}  // namespace roost::top
