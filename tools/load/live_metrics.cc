#include "tools/load/live_metrics.h"

#include <array>
#include <limits>
#include <utility>

namespace roost::load {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricType;

// Upper ends of the histograms' buckets, in microseconds: from what a loopback takes to longer than --io-timeout's default.
constexpr std::array<std::uint64_t, 17> bounds_us{50,      100,     250,     500,       1'000,     2'500,     5'000,      10'000,    25'000,
                                                  50'000,  100'000, 250'000, 500'000,   1'000'000, 2'500'000, 5'000'000,  10'000'000};

class Builder {
 public:
  Builder& family(const char* name, const char* help, MetricType type) {
    families_.push_back({name, help, type, {}});
    return *this;
  }
  Builder& counter(const char* name, const char* help) { return family(name, help, MetricType::Counter); }
  Builder& gauge(const char* name, const char* help) { return family(name, help, MetricType::Gauge); }

  // Of the family begun last; with a label if it has a name.
  template <class T>
  Builder& value(T number, const char* label = nullptr, std::string of = {}) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    if (label != nullptr) metric.label.push_back({label, std::move(of)});
    (families_.back().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = static_cast<double>(number);
    return *this;
  }

  // A bucket of ours that lies across a bound, 0.8 % wide at most, counts above it: times never look shorter than they were.
  Builder& histogram(const char* name, const char* help, const Histogram& times) {
    family(name, help, MetricType::Histogram);
    auto& told = families_.back().metric.emplace_back().histogram;
    std::size_t at = 0;
    std::uint64_t count = 0;
    for (const std::uint64_t bound : bounds_us) {
      for (; at < Histogram::bucket_count && Histogram::bucket_highest(at) <= bound; ++at) count += times.bucket(at);
      told.bucket.push_back({count, static_cast<double>(bound) / 1e6});
    }
    told.bucket.push_back({times.count(), std::numeric_limits<double>::infinity()});
    told.sample_count = times.count();
    told.sample_sum = times.mean() * static_cast<double>(times.count()) / 1e6;
    return *this;
  }

  [[nodiscard]] metrics::Families take() { return std::move(families_); }

 private:
  metrics::Families families_;
};

}  // namespace

metrics::Families families_of(const LiveFigures& figures) {
  const Counters& c = figures.counters;
  Builder out;
  out.gauge("roost_load_phase", "1 for what the load is doing: opening connections, running, finishing, closing; 0 for the others.");
  for (const char* phase : phases) out.value(figures.phase == phase ? 1 : 0, "phase", phase);
  out.gauge("roost_load_stage", "The stage, from 1; 0 before the first.").value(figures.stage);

  const std::uint64_t decided = c.established + c.failed;
  out.gauge("roost_load_connections", "Connections now: dialing, or open and held.")
      .value(c.attempted > decided ? c.attempted - decided : 0, "state", "dialing")
      .value(c.open, "state", "open");
  out.gauge("roost_load_connections_wanted", "Connections that the stage is to hold.").value(figures.connections_asked);
  out.gauge("roost_load_connection_rate_wanted", "Connections a second that the stage asks for.").value(figures.connection_rate_asked);
  out.counter("roost_load_connections_established_total", "Connections that stood; those that churn dialled are counted apart.").value(c.established);
  out.counter("roost_load_connections_closed_total", "Connections that ended, by why: dropped by the server or an error, released, churned by us.")
      .value(c.dropped, "reason", "dropped")
      .value(c.released, "reason", "released")
      .value(c.churn_closed, "reason", "churned");
  out.counter("roost_load_connections_failed_total", "Connections that never stood.").value(c.failed);
  out.counter("roost_load_churn_dials_total", "Connections dialled in the place of churned ones, by outcome.")
      .value(c.churn_established, "outcome", "established")
      .value(c.churn_failed, "outcome", "failed");
  out.counter("roost_load_connection_errors_total", "Failed and dropped connections by cause: ECONNREFUSED, timed_out, ...");
  for (const auto& [cause, times] : figures.failures) out.value(times, "cause", cause);

  if (figures.message_rate_asked) {
    out.gauge("roost_load_message_rate_wanted", "Messages a second that the stage asks for; a closed loop asks for none.").value(*figures.message_rate_asked);
  }
  out.counter("roost_load_messages_sent_total", "Messages sent.").value(c.sent);
  out.counter("roost_load_messages_received_total", "Answers that came and were what was sent.").value(c.received);
  out.counter("roost_load_messages_lost_total", "Messages without a good answer: timed out, lost to an error, answered by something else.")
      .value(c.timeouts, "reason", "timed_out")
      .value(c.errors, "reason", "error")
      .value(c.mismatched, "reason", "mismatched");
  out.gauge("roost_load_messages_in_flight", "Messages that wait for their answer.").value(c.in_flight);
  out.counter("roost_load_sent_bytes_total", "Bytes of messages sent.").value(c.bytes_sent);
  out.counter("roost_load_received_bytes_total", "Bytes of answers.").value(c.bytes_received);
  out.histogram("roost_load_latency_seconds", "Until the answer, from when a message was due; the first of each connection from its sending.", figures.latency);
  out.histogram("roost_load_lateness_seconds", "How long after its due time the generator sent a message of the run.", figures.lateness);

  if (!figures.faults.empty()) {
    const auto each = [&](std::uint64_t FaultFigures::Counts::*count) {
      for (const auto& [fault, counts] : figures.faults) out.value(counts.*count, "fault", fault);
    };
    out.gauge("roost_load_attackers", "Connections of attackers now, by fault.");
    each(&FaultFigures::Counts::open);
    out.counter("roost_load_attacker_connections_opened_total", "Connections that attackers opened, by fault.");
    each(&FaultFigures::Counts::opened);
    out.counter("roost_load_attacker_connections_failed_total", "Connections that attackers could not open, by fault.");
    each(&FaultFigures::Counts::failed);
    out.counter("roost_load_attackers_cut_off_total", "Connections of attackers that the server ended, by fault.");
    each(&FaultFigures::Counts::cut_off);
  }

  out.gauge("roost_load_processes", "Processes of the generator that run, its parent included, those of attackers left out.").value(figures.processes);
  out.counter("roost_load_cpu_seconds_total", "Processor time of all of them.").value(figures.cpu_s);
  out.gauge("roost_load_memory_bytes", "Their anonymous memory.").value(figures.memory_bytes);
  return out.take();
}

Result<net::Endpoint> LiveMetrics::start(const net::Endpoint& address) {
  const auto collect = [this] {
    LiveFigures now;
    {
      const std::lock_guard lock(mutex_);
      now = figures_;
    }
    return families_of(now);
  };
  return thread_.start(address, {.with_runtime = false, .collectables = {tools::collectable_of(collect)}, .with_fibers = false});
}

void LiveMetrics::set(LiveFigures figures) {
  const std::lock_guard lock(mutex_);
  figures_ = std::move(figures);
}

}  // namespace roost::load
