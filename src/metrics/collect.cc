// Adds up what the workers counted and reads what the kernel knows of the process.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <utility>

#include <roost/metrics.h>

#include "base/buffer_pool.h"
#include "runtime/runtime_state.h"

namespace roost::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using runtime::Counter;
using runtime::DurationCounter;
using runtime::Runtime;
using runtime::WaitReason;
using runtime::Worker;
using runtime::WorkerCounters;

constexpr double ns_per_s = 1e9;

struct Label {
  const char* name;
  std::string value;
};

// Appends to one family after the other.
class Builder {
 public:
  Builder& counter(const char* name, const char* help) { return family(name, help, MetricType::Counter); }
  Builder& gauge(const char* name, const char* help) { return family(name, help, MetricType::Gauge); }
  Builder& histogram(const char* name, const char* help) { return family(name, help, MetricType::Histogram); }

  // Of the family begun last.
  template <class T>
  Builder& value(T number, std::initializer_list<Label> labels = {}) {
    ClientMetric& metric = add(labels);
    const auto as_double = static_cast<double>(number);
    if (families_.back().type == MetricType::Counter) {
      metric.counter.value = as_double;
    } else {
      metric.gauge.value = as_double;
    }
    return *this;
  }
  Builder& durations(const Runtime& runtime, DurationCounter WorkerCounters::*which) {
    auto& histogram = add({}).histogram;
    std::array<std::uint64_t, DurationCounter::bounds_ns.size() + 1> counts{};
    std::uint64_t sum_ns = 0;
    for (unsigned i = 0; i < runtime.worker_count(); ++i) {
      const DurationCounter& one = runtime.worker(i).counters.*which;
      for (std::size_t bucket = 0; bucket < counts.size(); ++bucket) counts[bucket] += one.count(bucket);
      sum_ns += one.sum_ns();
    }
    for (std::size_t bucket = 0; bucket < counts.size(); ++bucket) {
      histogram.sample_count += counts[bucket];
      const bool last = bucket == DurationCounter::bounds_ns.size();
      histogram.bucket.push_back(
          {histogram.sample_count, last ? std::numeric_limits<double>::infinity()
                                        : static_cast<double>(DurationCounter::bounds_ns[bucket]) / ns_per_s});
    }
    histogram.sample_sum = static_cast<double>(sum_ns) / ns_per_s;
    return *this;
  }
  // One value for each worker.
  Builder& per_worker(const Runtime& runtime, Counter WorkerCounters::*which) {
    for (unsigned i = 0; i < runtime.worker_count(); ++i) {
      value((runtime.worker(i).counters.*which).get(), {{"worker", std::to_string(i)}});
    }
    return *this;
  }

  Families take() { return std::move(families_); }

 private:
  Builder& family(const char* name, const char* help, MetricType type) {
    families_.push_back(MetricFamily{name, help, type, {}});
    return *this;
  }
  ClientMetric& add(std::initializer_list<Label> labels) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    for (const Label& label : labels) metric.label.push_back({label.name, label.value});
    return metric;
  }

  Families families_;
};

std::uint64_t sum(const Runtime& runtime, Counter WorkerCounters::*which) {
  std::uint64_t total = 0;
  for (unsigned i = 0; i < runtime.worker_count(); ++i) total += (runtime.worker(i).counters.*which).get();
  return total;
}

// A label's value is an identifier: "channel_send", not "channel send".
std::string reason_label(WaitReason reason) {
  std::string name = wait_reason_name(reason);
  std::replace_if(name.begin(), name.end(), [](char letter) { return letter == ' ' || letter == '-'; }, '_');
  return name;
}

void collect_runtime(Builder& out, const Runtime& runtime) {
  const RuntimeStats stats = runtime.stats();
  const unsigned workers = runtime.worker_count();

  // --- connections
  const std::uint64_t closed = sum(runtime, &WorkerCounters::connections_closed);  // first, so that open is never negative
  const std::uint64_t accepted = sum(runtime, &WorkerCounters::accepted);
  const std::uint64_t dialed = sum(runtime, &WorkerCounters::dialed);
  const std::uint64_t adopted = sum(runtime, &WorkerCounters::adopted);
  const std::uint64_t opened = accepted + dialed + adopted;
  // The two are not read in one moment.
  const std::uint64_t open = opened > closed ? opened - closed : 0;
  const std::uint64_t asleep = std::min(runtime.sleepers(), open);
  out.gauge("roost_connections", "Connections open now; asleep are those that wait on demand, without a fiber.")
      .value(open - asleep, {{"state", "awake"}})
      .value(asleep, {{"state", "asleep"}});
  out.counter("roost_connections_opened_total", "Connections that came to be, by their origin.")
      .value(accepted, {{"origin", "accepted"}})
      .value(dialed, {{"origin", "dialed"}})
      .value(adopted, {{"origin", "adopted"}});
  out.counter("roost_connections_closed_total", "Connections closed by this side, for whatever reason.").value(closed);
  const auto by_reason = [&](const auto& names, auto counters) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      std::uint64_t total = 0;
      for (unsigned w = 0; w < workers; ++w) total += (runtime.worker(w).counters.*counters)[i].get();
      out.value(total, {{"reason", names[i]}});
    }
  };
  out.counter("roost_dial_failures_total", "Attempts to connect that failed, by reason.");
  by_reason(std::array<const char*, runtime::dial_failure_count>{"refused", "timed_out", "canceled", "unreachable", "no_address", "no_descriptor", "other"},
            &WorkerCounters::dial_failures);
  out.counter("roost_io_failures_total", "Calls on connections and sockets that failed, by reason.");
  by_reason(std::array<const char*, runtime::io_failure_count>{"timed_out", "canceled", "closed", "reset", "broken_pipe", "other"},
            &WorkerCounters::io_failures);
  out.counter("roost_accept_limited_total", "Times that a listener met a limit, by limit.")
      .value(sum(runtime, &WorkerCounters::accept_exhausted), {{"limit", "descriptors_or_memory"}})
      .value(sum(runtime, &WorkerCounters::accept_full), {{"limit", "connections"}});
  out.counter("roost_connections_turned_away_total", "Connections reset by a listener, because of a limit.")
      .value(sum(runtime, &WorkerCounters::turned_away));
  out.counter("roost_received_bytes_total", "Bytes read from sockets.").value(sum(runtime, &WorkerCounters::bytes_in));
  out.counter("roost_sent_bytes_total", "Bytes written to sockets.").value(sum(runtime, &WorkerCounters::bytes_out));

  // --- fibers
  std::uint64_t running = 0;
  std::uint64_t runnable = runtime.shared.size();
  for (unsigned i = 0; i < workers; ++i) {
    running += runtime.worker(i).current() != nullptr ? 1 : 0;
    runnable += runtime.worker(i).queue.size() + runtime.worker(i).inbox.size();
  }
  const std::uint64_t moving = running + runnable;
  out.gauge("roost_fibers", "Fibers now, by state.")
      .value(running, {{"state", "running"}})
      .value(runnable, {{"state", "runnable"}})
      .value(stats.fibers > moving ? stats.fibers - moving : 0, {{"state", "parked"}});
  out.gauge("roost_fibers_parked", "Fibers that wait, by what for; woken ones until they run.");
  for (std::size_t i = 0; i < runtime::wait_reason_count; ++i) {
    const auto reason = static_cast<WaitReason>(i);
    if (reason != WaitReason::none) out.value(runtime.waiting(reason), {{"reason", reason_label(reason)}});
  }
  out.counter("roost_fibers_started_total", "Fibers started.").value(stats.fibers_started);
  out.counter("roost_fiber_start_failures_total", "Fibers that could not be started for lack of memory.")
      .value(sum(runtime, &WorkerCounters::fiber_start_failures));
  out.histogram("roost_fiber_park_seconds", "How long fibers were parked; one park in 1024.")
      .durations(runtime, &WorkerCounters::park_durations);
  out.histogram("roost_fiber_schedule_latency_seconds", "From a wake-up until the fiber ran; one park in 1024.")
      .durations(runtime, &WorkerCounters::schedule_latencies);

  // --- workers
  unsigned spares = 0;
  for (unsigned i = 0; i < workers; ++i) spares += runtime.worker(i).is_spare() ? 1 : 0;
  out.gauge("roost_workers", "Threads that run fibers.")
      .value(workers - spares, {{"kind", "primary"}})
      .value(spares, {{"kind", "spare"}});
  out.gauge("roost_run_queue_length", "Runnable fibers in a worker's own queue.");
  for (unsigned i = 0; i < workers; ++i) out.value(runtime.worker(i).queue.size(), {{"worker", std::to_string(i)}});
  out.gauge("roost_shared_queue_length", "Runnable fibers that belong to no worker.").value(runtime.shared.size());
  out.counter("roost_switches_total", "Times that a worker picked a fiber to run.").per_worker(runtime, &WorkerCounters::switches);
  out.counter("roost_parks_total", "Times that a fiber parked.").per_worker(runtime, &WorkerCounters::parks);
  out.counter("roost_polls_total", "Calls of a worker's poller.").per_worker(runtime, &WorkerCounters::polls);
  out.counter("roost_poll_events_total", "Events that the poller reported.").per_worker(runtime, &WorkerCounters::poll_events);
  out.counter("roost_steals_total", "Fibers taken from another worker's queue.").per_worker(runtime, &WorkerCounters::steals);
  out.counter("roost_sleeps_total", "Times that a worker had nothing to do.").per_worker(runtime, &WorkerCounters::sleeps);
  out.counter("roost_queue_overflows_total", "Times that a worker's queue was full and half of it was shared.")
      .per_worker(runtime, &WorkerCounters::overflows);
  out.counter("roost_worker_cpu_seconds_total", "Processor time of a worker's thread.");
  for (unsigned i = 0; i < workers; ++i) {
    out.value(static_cast<double>(runtime.worker(i).cpu_ns()) / ns_per_s, {{"worker", std::to_string(i)}});
  }
  out.counter("roost_worker_wakes_total", "Idle workers woken by another thread.").value(stats.worker_wakes);
  out.counter("roost_workers_stuck_total", "Times that a fiber kept its worker for too long.").value(stats.stuck);
  out.gauge("roost_descriptors", "Descriptors in a worker's poller: connections, listeners, files.");
  for (unsigned i = 0; i < workers; ++i) {
    out.value(runtime.worker(i).descriptors.load(std::memory_order_relaxed), {{"worker", std::to_string(i)}});
  }
  out.gauge("roost_timers", "Timers armed.");
  for (unsigned i = 0; i < workers; ++i) out.value(runtime.worker(i).timers.size(), {{"worker", std::to_string(i)}});

  out.gauge("roost_blocking_calls", "Calls of roost::blocking() under way or in line.").value(runtime.blocking.outstanding());
  out.gauge("roost_blocking_threads", "Threads for calls of roost::blocking().").value(runtime.blocking.threads());

  // --- memory
  const std::uint64_t stacks = stats.stacks_reserved;
  out.gauge("roost_stacks", "Fiber stacks ever made, by use.")
      .value(std::min(stats.fibers, stacks), {{"state", "in_use"}})
      .value(stacks > stats.fibers ? stacks - stats.fibers : 0, {{"state", "pooled"}});
}

// --- the process ---------------------------------------------------------------------------------------------------

// The time at which the process started, as seconds since 1970; 0 when /proc does not tell.
double start_time_s() {
  std::ifstream stat("/proc/self/stat");
  std::string line;
  std::getline(stat, line);
  const std::size_t name_end = line.rfind(')');  // the name may hold blanks and brackets of its own
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  double ticks = 0;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  fields >> ticks;
  std::ifstream machine("/proc/stat");
  for (std::string word; machine >> word;) {
    double booted = 0;
    if (word == "btime" && machine >> booted) return booted + ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  return 0;
}

// Open descriptors; the directory's size tells since Linux 6.2. 0 when it does not.
std::uint64_t open_descriptors() {
  struct stat info {};
  if (::stat("/proc/self/fd", &info) != 0 || info.st_size < 0) return 0;
  return static_cast<std::uint64_t>(info.st_size);
}

void collect_process(Builder& out) {
  std::ifstream statm("/proc/self/statm");
  double virtual_pages = 0;
  double resident_pages = 0;
  statm >> virtual_pages >> resident_pages;
  const auto page_bytes = static_cast<double>(::sysconf(_SC_PAGESIZE));
  out.gauge("process_resident_memory_bytes", "Memory of the process that is in RAM, shared pages included.")
      .value(resident_pages * page_bytes);
  out.gauge("process_virtual_memory_bytes", "Address space of the process.").value(virtual_pages * page_bytes);

  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  out.counter("process_cpu_seconds_total", "User and system time of all threads.")
      .value(static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / ns_per_s);
  out.gauge("process_start_time_seconds", "When the process started, since the epoch.").value(start_time_s());

  if (const std::uint64_t open = open_descriptors(); open > 0) {
    out.gauge("process_open_fds", "Open descriptors.").value(open);
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  out.gauge("process_max_fds", "Descriptors that the process may open.").value(limit.rlim_cur);

  out.gauge("roost_buffers_borrowed", "I/O buffers that hold bytes now.").value(base::buffers_borrowed());
  out.gauge("roost_buffer_ready_bytes", "Memory of pooled buffers that nobody uses.").value(base::buffer_bytes_ready());
}

class RuntimeCollectable final : public prometheus::Collectable {
 public:
  [[nodiscard]] Families Collect() const override {
    Builder out;
    {
      const runtime::Visit visit;
      if (const Runtime* runtime = visit.runtime()) collect_runtime(out, *runtime);
    }
    collect_process(out);
    return out.take();
  }
};

}  // namespace

std::shared_ptr<prometheus::Collectable> runtime() { return std::make_shared<RuntimeCollectable>(); }

}  // namespace roost::metrics
