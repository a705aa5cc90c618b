#include "tools/top/snapshot.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string_view>

#include <nlohmann/json.hpp>
#include <roost/time/deadline.h>

namespace roost::top {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

double value_of(const MetricFamily& family, const prometheus::ClientMetric& metric) {
  switch (family.type) {
    case MetricType::Counter: return metric.counter.value;
    case MetricType::Gauge: return metric.gauge.value;
    default: return metric.untyped.value;
  }
}

// Looks families up by name. What a server does not tell counts nothing.
class Figures {
 public:
  explicit Figures(const metrics::Families& families) : families_(families) {}

  [[nodiscard]] const MetricFamily* find(std::string_view name) const {
    const auto at = std::ranges::find_if(families_, [name](const MetricFamily& one) { return one.name == name; });
    return at == families_.end() ? nullptr : &*at;
  }
  // The sum of those whose first label has that value; of all when none is named.
  [[nodiscard]] double sum(std::string_view name, std::string_view label = "") const {
    const MetricFamily* family = find(name);
    if (family == nullptr) return 0;
    double total = 0;
    for (const auto& metric : family->metric) {
      if (!label.empty() && (metric.label.empty() || metric.label[0].value != label)) continue;
      total += value_of(*family, metric);
    }
    return total;
  }
  template <class F>
  void each(std::string_view name, F&& visit) const {
    const MetricFamily* family = find(name);
    if (family == nullptr) return;
    for (const auto& metric : family->metric) visit(metric.label.empty() ? std::string() : metric.label[0].value, value_of(*family, metric));
  }

 private:
  const metrics::Families& families_;
};

}  // namespace

double monotonic_s() { return std::chrono::duration<double>(Deadline::Clock::now().time_since_epoch()).count(); }

Result<Snapshot> snapshot_of(const metrics::Families& families, double time_s) {
  const Figures figures(families);
  if (figures.find("roost_workers") == nullptr) return fail(std::errc::invalid_argument);
  Snapshot now;
  now.time_s = time_s;
  now.connections = figures.sum("roost_connections");
  now.asleep = figures.sum("roost_connections", "asleep");
  now.accepted = figures.sum("roost_connections_opened_total", "accepted");
  now.dialed = figures.sum("roost_connections_opened_total", "dialed");
  now.closed = figures.sum("roost_connections_closed_total");
  now.served = figures.sum("roost_echo_connections");
  now.served_max = figures.sum("roost_echo_connections_max");
  now.turned_away = figures.sum("roost_connections_turned_away_total") + figures.sum("roost_echo_connections_refused_total");
  now.dial_failures = figures.sum("roost_dial_failures_total");
  // A time-out or a cancellation is what was asked for.
  for (const char* reason : {"closed", "reset", "broken_pipe", "other"}) now.io_failures += figures.sum("roost_io_failures_total", reason);
  now.bytes_in = figures.sum("roost_received_bytes_total");
  now.bytes_out = figures.sum("roost_sent_bytes_total");
  now.counts_messages = figures.find("roost_echo_messages_total") != nullptr;
  now.messages = figures.sum("roost_echo_messages_total");

  now.fibers_running = figures.sum("roost_fibers", "running");
  now.fibers_runnable = figures.sum("roost_fibers", "runnable");
  now.fibers_parked = figures.sum("roost_fibers", "parked");
  figures.each("roost_fibers_parked", [&](const std::string& reason, double count) {
    if (count > 0) now.waits.push_back({reason, count});
  });
  std::ranges::stable_sort(now.waits, std::ranges::greater{}, &Snapshot::Reason::count);
  if (const MetricFamily* family = figures.find("roost_fiber_schedule_latency_seconds"); family != nullptr && !family->metric.empty()) {
    for (const auto& bucket : family->metric[0].histogram.bucket) {
      now.latency.emplace_back(bucket.upper_bound, static_cast<double>(bucket.cumulative_count));
    }
  }

  const auto worker = [&](const std::string& name) -> Snapshot::Worker& {
    const auto known = std::ranges::find(now.workers, name, &Snapshot::Worker::name);
    return known != now.workers.end() ? *known : now.workers.emplace_back(Snapshot::Worker{.name = name});
  };
  const auto each_worker = [&](const char* metric, double Snapshot::Worker::*member) {
    figures.each(metric, [&](const std::string& name, double value) { worker(name).*member += value; });
  };
  each_worker("roost_run_queue_length", &Snapshot::Worker::queue);
  each_worker("roost_worker_cpu_seconds_total", &Snapshot::Worker::cpu_s);
  each_worker("roost_switches_total", &Snapshot::Worker::switches);
  each_worker("roost_polls_total", &Snapshot::Worker::polls);
  each_worker("roost_steals_total", &Snapshot::Worker::steals);
  each_worker("roost_descriptors", &Snapshot::Worker::descriptors);
  each_worker("roost_timers", &Snapshot::Worker::timers);
  now.primary_workers = figures.sum("roost_workers", "primary");
  now.shared_queue = figures.sum("roost_shared_queue_length");

  now.resident_bytes = figures.sum("process_resident_memory_bytes");
  now.cpu_s = figures.sum("process_cpu_seconds_total");
  now.started_s = figures.sum("process_start_time_seconds");
  now.stacks_in_use = figures.sum("roost_stacks", "in_use");
  now.stacks_pooled = figures.sum("roost_stacks", "pooled");
  now.buffers = figures.sum("roost_buffers_borrowed");

  now.descriptors_open = figures.sum("process_open_fds");
  now.descriptors_max = figures.sum("process_max_fds");
  now.descriptors_short = figures.sum("roost_accept_limited_total", "descriptors_or_memory");
  now.limit_met = figures.sum("roost_accept_limited_total", "connections");
  now.fiber_failures = figures.sum("roost_fiber_start_failures_total");
  now.workers_stuck = figures.sum("roost_workers_stuck_total");
  now.queue_overflows = figures.sum("roost_queue_overflows_total");
  return now;
}

nlohmann::ordered_json to_json(const Snapshot& s) {
  using nlohmann::ordered_json;
  ordered_json json{
      {"time_s", s.time_s},
      {"connections", s.connections},
      {"asleep", s.asleep},
      {"served", s.served},
      {"served_max", s.served_max},
      {"accepted", s.accepted},
      {"dialed", s.dialed},
      {"closed", s.closed},
      {"turned_away", s.turned_away},
      {"dial_failures", s.dial_failures},
      {"io_failures", s.io_failures},
      {"bytes_in", s.bytes_in},
      {"bytes_out", s.bytes_out},
      {"messages", s.counts_messages ? ordered_json(s.messages) : ordered_json(nullptr)},
      {"fibers_running", s.fibers_running},
      {"fibers_runnable", s.fibers_runnable},
      {"fibers_parked", s.fibers_parked},
      {"primary_workers", s.primary_workers},
      {"shared_queue", s.shared_queue},
      {"resident_bytes", s.resident_bytes},
      {"cpu_s", s.cpu_s},
      {"started_s", s.started_s},
      {"stacks_in_use", s.stacks_in_use},
      {"stacks_pooled", s.stacks_pooled},
      {"buffers", s.buffers},
      {"descriptors_open", s.descriptors_open},
      {"descriptors_max", s.descriptors_max},
      {"descriptors_short", s.descriptors_short},
      {"limit_met", s.limit_met},
      {"fiber_failures", s.fiber_failures},
      {"workers_stuck", s.workers_stuck},
      {"queue_overflows", s.queue_overflows},
      {"waits", ordered_json::array()},
      {"latency", ordered_json::array()},
      {"workers", ordered_json::array()},
  };
  for (const auto& [name, count] : s.waits) json["waits"].push_back({{"name", name}, {"count", count}});
  for (const auto& [bound, count] : s.latency) {
    // JSON knows no infinity.
    json["latency"].push_back({{"up_to_s", std::isinf(bound) ? ordered_json(nullptr) : ordered_json(bound)}, {"samples", count}});
  }
  for (const Snapshot::Worker& w : s.workers) {
    json["workers"].push_back({{"name", w.name},
                               {"queue", w.queue},
                               {"cpu_s", w.cpu_s},
                               {"switches", w.switches},
                               {"polls", w.polls},
                               {"steals", w.steals},
                               {"descriptors", w.descriptors},
                               {"timers", w.timers}});
  }
  return json;
}

double latency_quantile(const Snapshot& before, const Snapshot& now, double quantile) {
  if (now.latency.empty()) return -1;
  // Both have the same buckets unless the server is another one by now.
  const bool comparable = before.latency.size() == now.latency.size() && before.latency.back().second < now.latency.back().second;
  const auto samples = [&](std::size_t i) { return now.latency[i].second - (comparable ? before.latency[i].second : 0); };
  const double all = samples(now.latency.size() - 1);
  if (all <= 0) return -1;
  for (std::size_t i = 0; i < now.latency.size(); ++i) {
    if (samples(i) < quantile * all) continue;
    // Within the bucket the samples are taken to be spread evenly, as Prometheus' histogram_quantile() does.
    const double low = i == 0 ? 0 : now.latency[i - 1].first;
    const double below = i == 0 ? 0 : samples(i - 1);
    const double in_bucket = samples(i) - below;
    if (std::isinf(now.latency[i].first)) return low;
    return low + (now.latency[i].first - low) * (in_bucket > 0 ? (quantile * all - below) / in_bucket : 1);
  }
  return now.latency.back().first;
}

}  // namespace roost::top
