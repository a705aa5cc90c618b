// The figures of connection pools, for Prometheus:
//
//   roost::metrics::serve(":9100", {.collectables = {roost::pool::metrics_of("database", [&] { return pool.stats(); })}});
//
// Each pool's name is the label `pool`; several pools share the metrics' names.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <prometheus/collectable.h>

#include <roost/pool/conn_pool.h>

namespace roost::pool {

// `stats` is called at each scrape, on any thread, and must not park.
[[nodiscard]] std::shared_ptr<prometheus::Collectable> metrics_of(std::string name, std::function<PoolStats()> stats);

}  // namespace roost::pool
