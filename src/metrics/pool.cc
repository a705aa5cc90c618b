#include <roost/pool/metrics.h>

#include <chrono>
#include <initializer_list>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>

namespace roost::pool {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

struct Value {
  const char* label;  // the second one's value, or null
  double value;
};

class PoolCollectable final : public prometheus::Collectable {
 public:
  PoolCollectable(std::string name, std::function<PoolStats()> stats) : name_(std::move(name)), stats_(std::move(stats)) {}

  [[nodiscard]] std::vector<MetricFamily> Collect() const override {
    const PoolStats stats = stats_();
    const auto number = [](auto count) { return static_cast<double>(count); };
    std::vector<MetricFamily> families;
    const auto add = [&](const char* name, const char* help, MetricType type, const char* label, std::initializer_list<Value> values) {
      MetricFamily& family = families.emplace_back(MetricFamily{name, help, type, {}});
      for (const Value& one : values) {
        auto& metric = family.metric.emplace_back();
        metric.label.push_back({"pool", name_});
        if (label != nullptr) metric.label.push_back({label, one.label});
        (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = one.value;
      }
    };
    add("roost_pool_connections", "Connections of a pool, by state.", MetricType::Gauge, "state",
        {{"in_use", number(stats.in_use)}, {"idle", number(stats.idle)}, {"dialing", number(stats.dialing)}});
    add("roost_pool_waiting", "Calls that wait for a connection of the pool.", MetricType::Gauge, nullptr, {{nullptr, number(stats.waiting)}});
    add("roost_pool_acquired_total", "Connections handed out.", MetricType::Counter, nullptr, {{nullptr, number(stats.acquired_total)}});
    add("roost_pool_reused_total", "Of these, connections that stood already.", MetricType::Counter, nullptr, {{nullptr, number(stats.reused_total)}});
    add("roost_pool_dialed_total", "Connections that the pool made.", MetricType::Counter, nullptr, {{nullptr, number(stats.dialed_total)}});
    add("roost_pool_dial_failures_total", "Attempts to make one that failed.", MetricType::Counter, nullptr, {{nullptr, number(stats.dial_failures_total)}});
    add("roost_pool_waited_total", "Calls that had to wait in line.", MetricType::Counter, nullptr, {{nullptr, number(stats.waited_total)}});
    add("roost_pool_gave_up_total", "Of these, calls that got none.", MetricType::Counter, nullptr, {{nullptr, number(stats.gave_up_total)}});
    add("roost_pool_wait_seconds_total", "Time spent in line by all calls.", MetricType::Counter, nullptr,
        {{nullptr, std::chrono::duration<double>(stats.wait_time).count()}});
    add("roost_pool_closed_total", "Connections that the pool closed, by reason.", MetricType::Counter, "reason",
        {{"failed", number(stats.closed_failed_total)},
         {"dead", number(stats.closed_dead_total)},
         {"idle", number(stats.closed_idle_total)},
         {"lifetime", number(stats.closed_lifetime_total)},
         {"surplus", number(stats.closed_surplus_total)}});
    return families;
  }

 private:
  const std::string name_;
  const std::function<PoolStats()> stats_;
};

}  // namespace

std::shared_ptr<prometheus::Collectable> metrics_of(std::string name, std::function<PoolStats()> stats) {
  return std::make_shared<PoolCollectable>(std::move(name), std::move(stats));
}

}  // namespace roost::pool
