// `roost load --metrics HOST:PORT`: the load as it goes, for Prometheus, so that what the generator did stands beside what the server
// and the machine told at the same moment. docs/metrics.md lists every metric.
//
// The parent serves them; it adds up what its processes tell ten times a second. Times are in seconds, as Prometheus wants them.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include <roost/error.h>
#include <roost/metrics.h>
#include <roost/net/endpoint.h>

#include "tools/common/metrics_thread.h"
#include "tools/load/figures.h"

namespace roost::load {

// One moment of a load, over all its processes.
struct LiveFigures {
  Counters counters;
  std::map<std::string, std::uint64_t> failures;       // by error name, as Figures::failures
  std::map<std::string, FaultFigures::Counts> faults;  // by the fault's name
  Histogram latency;                                   // of every answer so far, first ones included
  Histogram lateness;
  std::string phase;                                   // one of phases
  std::uint64_t stage = 0;                             // from 1; 0: none has begun
  // What the stage asks for.
  std::uint64_t connections_asked = 0;
  double connection_rate_asked = 0;
  std::optional<double> message_rate_asked;            // none for a closed loop
  std::uint64_t processes = 0;                         // that run, without attackers'; likewise these
  double cpu_s = 0;
  std::uint64_t memory_bytes = 0;
};

inline constexpr const char* phases[] = {"opening", "running", "finishing", "closing"};

metrics::Families families_of(const LiveFigures& figures);

class LiveMetrics {
 public:
  // After the processes were forked. Returns where it is served.
  Result<net::Endpoint> start(const net::Endpoint& address);
  void set(LiveFigures figures);

 private:
  std::mutex mutex_;
  LiveFigures figures_;  // guarded by mutex_
  tools::MetricsThread thread_;  // last, so that it ends first: it reads the others
};

}  // namespace roost::load
