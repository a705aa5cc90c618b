#include "tools/common/metrics_thread.h"

#include <future>
#include <utility>

#include <roost/runtime.h>

namespace roost::tools {
namespace {

class Function final : public prometheus::Collectable {
 public:
  explicit Function(std::function<metrics::Families()> function) : function_(std::move(function)) {}
  [[nodiscard]] metrics::Families Collect() const override { return function_(); }

 private:
  const std::function<metrics::Families()> function_;
};

}  // namespace

std::shared_ptr<prometheus::Collectable> collectable_of(std::function<metrics::Families()> families) {
  return std::make_shared<Function>(std::move(families));
}

MetricsThread::~MetricsThread() {
  if (!thread_.joinable()) return;
  stop_.done();
  thread_.join();
}

Result<net::Endpoint> MetricsThread::start(const net::Endpoint& address, metrics::ServeOptions options) {
  std::promise<Result<net::Endpoint>> started;
  auto result = started.get_future();
  stop_.add();
  thread_ = std::thread([this, address, options = std::move(options), &started]() mutable {
    RuntimeOptions runtime;
    runtime.workers = 1;
    runtime.detect_deadlock = false;
    run(runtime, [&] {
      auto exporter = metrics::serve(address.to_string(), std::move(options));
      if (!exporter) {
        started.set_value(fail(exporter.error()));
        return;
      }
      started.set_value(exporter->endpoint());
      stop_.wait();
    });
  });
  return result.get();
}

}  // namespace roost::tools
