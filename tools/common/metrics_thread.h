// A metrics endpoint for a process that has no runtime of roost: the parent of several, which must fork its children before any
// thread begins. Once they are there a runtime with one worker starts on a thread of its own, and does nothing but answer.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include <roost/error.h>
#include <roost/metrics.h>
#include <roost/net/endpoint.h>
#include <roost/sync/wait_group.h>

namespace roost::tools {

// Called at each scrape, from any thread.
std::shared_ptr<prometheus::Collectable> collectable_of(std::function<metrics::Families()> families);

class MetricsThread {
 public:
  MetricsThread() = default;
  // Ends the endpoint; the functions in its options are not called any more.
  ~MetricsThread();
  MetricsThread(const MetricsThread&) = delete;
  MetricsThread& operator=(const MetricsThread&) = delete;

  // Once, after the children were forked. Returns where it is served.
  Result<net::Endpoint> start(const net::Endpoint& address, metrics::ServeOptions options);

 private:
  WaitGroup stop_;
  std::thread thread_;
};

}  // namespace roost::tools
