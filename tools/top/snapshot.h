// What a running server tells at /metrics, as the views of `roost top` need it: the terminal's and the web page's.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>
#include <roost/error.h>
#include <roost/metrics.h>

namespace roost::top {

// One moment of a server. Totals only grow; a view shows their differences.
struct Snapshot {
  struct Worker {
    std::string name;  // "0"; of several processes "2.0"
    double queue = 0;
    double cpu_s = 0;
    double switches = 0;
    double polls = 0;
    double steals = 0;
    double descriptors = 0;
    double timers = 0;
  };
  struct Reason {
    std::string name;
    double count = 0;
  };

  double time_s = 0;  // when it was taken; any clock that does not jump

  double connections = 0;
  double asleep = 0;         // of these, without a fiber
  double served = 0;         // by `roost echo`, and how many it may serve at once; 0 where there is no such limit
  double served_max = 0;
  double accepted = 0;
  double dialed = 0;
  double closed = 0;
  double turned_away = 0;    // by a listener or by `roost echo`
  double dial_failures = 0;
  double io_failures = 0;    // calls; time-outs and cancellations left out
  double bytes_in = 0;
  double bytes_out = 0;
  bool counts_messages = false;  // `roost echo` does, a server in general does not
  double messages = 0;

  double fibers_running = 0;
  double fibers_runnable = 0;
  double fibers_parked = 0;
  std::vector<Reason> waits;     // by what parked fibers wait for; those that any waits for, most first
  std::vector<std::pair<double, double>> latency;  // until a woken fiber runs: upper bound in seconds, samples up to it

  std::vector<Worker> workers;
  double primary_workers = 0;
  double shared_queue = 0;

  double resident_bytes = 0;
  double cpu_s = 0;
  double started_s = 0;      // since the epoch
  double stacks_in_use = 0;
  double stacks_pooled = 0;
  double buffers = 0;

  // What limits are near, or were met.
  double descriptors_open = 0;
  double descriptors_max = 0;
  double descriptors_short = 0;   // times that a listener found none, or no memory
  double limit_met = 0;           // times that a listener met its limit of connections
  double fiber_failures = 0;      // fibers that could not be started
  double workers_stuck = 0;
  double queue_overflows = 0;

  [[nodiscard]] double fibers() const noexcept { return fibers_running + fibers_runnable + fibers_parked; }
};

// The time that snapshots are told by: seconds of a clock that only goes forward.
[[nodiscard]] double monotonic_s();

// Taken at `time_s` of that. Errors: invalid_argument when these are not the figures of a program on roost.
Result<Snapshot> snapshot_of(const metrics::Families& families, double time_s);

// For the page: the members by their names.
nlohmann::ordered_json to_json(const Snapshot& snapshot);

// The duration below which the part `quantile` of the samples between two snapshots lies, in seconds; of all samples so far when
// there are none in between; negative when there are none at all.
double latency_quantile(const Snapshot& before, const Snapshot& now, double quantile);

}  // namespace roost::top
