// `roost echo --metrics`: the figures of all processes at one address.
//
// One process alone serves its own. Of several the parent does: each child tells it its figures once a second, as text, and a
// scrape adds up what came last (tools/common/metrics_thread.h).
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <roost/metrics.h>
#include <roost/net/endpoint.h>

#include "tools/common/metrics_thread.h"
#include "tools/echo/server.h"

namespace roost::echo {

// `totals` is called at each scrape, from any thread. Without a limit of connections `connections_max` is 0.
std::shared_ptr<prometheus::Collectable> collect_totals(std::function<Totals()> totals, std::uint64_t connections_max);

// What a child sends: everything but what the parent counts by itself. Inside roost::run.
std::string child_metrics();

class SharedMetrics {
 public:
  SharedMetrics(unsigned processes, std::uint64_t connections_max) : connections_max_(connections_max), texts_(processes) {}

  // Starts to serve; after the children were forked. Returns where. `fibers` is called on a fiber and may park.
  Result<net::Endpoint> start(const net::Endpoint& address, std::function<FiberDump()> fibers);

  // What a child sent last; nothing once it has ended.
  void set(unsigned process, std::string text);
  void set_totals(const Totals& totals);

 private:
  [[nodiscard]] metrics::Families sum() const;

  const std::uint64_t connections_max_;
  mutable std::mutex mutex_;
  std::vector<std::string> texts_;  // guarded by mutex_, as totals_
  Totals totals_;
  tools::MetricsThread thread_;     // last, so that it ends first: it reads the others
};

}  // namespace roost::echo
