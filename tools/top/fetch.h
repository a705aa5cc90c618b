// Asks a metrics endpoint.
#pragma once

#include <chrono>
#include <expected>
#include <string>

#include <roost/fiber_dump.h>
#include <roost/net/endpoint.h>

#include "tools/top/snapshot.h"

namespace roost::top {

// The body of `GET path`. On a fiber. The error is half a sentence: "nobody listens there".
std::expected<std::string, std::string> http_get(const net::Endpoint& endpoint, const std::string& path, std::chrono::nanoseconds timeout);

struct Sample {
  Snapshot snapshot;
  FiberDump fibers;
  bool has_fibers = false;  // the endpoint tells of its fibers
};

// What /metrics says alone.
std::expected<Snapshot, std::string> fetch_snapshot(const net::Endpoint& endpoint, std::chrono::nanoseconds timeout);
// Both endpoints at once. On a fiber. The error is half a sentence.
std::expected<Sample, std::string> fetch(const net::Endpoint& endpoint, std::chrono::nanoseconds timeout);

}  // namespace roost::top
