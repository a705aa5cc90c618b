// Metrics: what the runtime counts, for Prometheus.
//
//   auto exporter = roost::metrics::serve("127.0.0.1:9100");     // GET /metrics
//
// The workers count for themselves all the time, at the price of a load and a store; only a scrape adds their counters up.
// It does so on a thread of roost::blocking(), so no worker waits for it; it takes as long with a million connections as with
// none. docs/metrics.md lists every metric.
//
// Beside /metrics stand /fibers, for people, and /fibers.json: what all fibers are doing (roost/fiber_dump.h).
//
// A program's own metrics come beside them by prometheus-cpp (a prometheus::Registry is a Collectable), which this header
// rests on; so it is not part of roost/roost.h.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <roost/error.h>
#include <roost/fiber_dump.h>
#include <roost/net/endpoint.h>

namespace roost::metrics {

using Families = std::vector<prometheus::MetricFamily>;

// The runtime, its connections, fibers, stacks and buffers, and the process. Collect() may be called from any thread, at best
// one that may be held up for a while; without a runtime it tells of the process alone.
[[nodiscard]] std::shared_ptr<prometheus::Collectable> runtime();

// Prometheus's text format, version 0.0.4.
[[nodiscard]] std::string to_text(const Families& families);
// The inverse, for figures that come from another process. Sums and counts are kept; time stamps are not.
// Errors: invalid_argument for anything that to_text() would not write.
[[nodiscard]] Result<Families> parse_text(std::string_view text);
// Adds the figures of another process to those in `into`: metrics of the same name and labels are added up. (Of
// process_start_time_seconds the earliest is kept.)
void merge(Families& into, const Families& from);

// What /fibers.json answers; and the inverse, for figures that come from another process.
// Errors: invalid_argument.
[[nodiscard]] std::string to_json(const FiberDump& dump);
[[nodiscard]] Result<FiberDump> parse_fibers(std::string_view json);

// Something else to be had from the same port.
struct Page {
  std::string path;                    // "/status"
  std::string content_type;            // "text/plain; charset=utf-8"
  // Called on a fiber for each request; may park. An error, a line of text, is answered with status 502: what stands behind the page
  // does not answer.
  std::function<std::expected<std::string, std::string>()> body;
};

struct ServeOptions {
  bool with_runtime = true;            // include runtime()
  // Collected at each scrape, on a thread that may not park.
  std::vector<std::shared_ptr<prometheus::Collectable>> collectables{};
  std::vector<Page> pages{};           // one with the path of what there is anyway, such as "/" or "/metrics", replaces that
  bool with_fibers = true;             // answer /fibers and /fibers.json
  // Where those come from; by default collect_fibers(). Called on a fiber; may park. What it returned is answered again for a
  // second and for as long as 20 times what it took, so that nobody keeps a large server busy with it.
  std::function<FiberDump()> fibers{};
  // Names, beside IP addresses and localhost, by which a request may call this host. Any other is refused: a web page that
  // got its own name to mean this address could read the figures otherwise.
  std::vector<std::string> hosts{};
  std::size_t requests_max = 8;        // at a time; a connection beyond that is reset
  std::chrono::milliseconds request_timeout{5'000};  // to receive a request; and to send the answer
};

// The endpoint. Destroying it stops it and waits for requests under way.
class Exporter {
 public:
  Exporter(Exporter&&) noexcept;
  Exporter& operator=(Exporter&&) noexcept;
  ~Exporter();

  [[nodiscard]] net::Endpoint endpoint() const noexcept;
  [[nodiscard]] std::uint64_t requests() const noexcept;  // answered, errors included

 private:
  struct State;
  friend Result<Exporter> serve(std::string_view address, ServeOptions options);
  explicit Exporter(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

// Starts to answer GET /metrics on `address` ("127.0.0.1:9100", "[::1]:9100"). Without a host (":9100") it is the loopback's:
// name one to be seen from elsewhere. On a fiber. There is no encryption and no password.
// Errors: as net::listen().
[[nodiscard]] Result<Exporter> serve(std::string_view address, ServeOptions options = {});

}  // namespace roost::metrics
