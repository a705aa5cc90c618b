// One process of `roost echo`: accepts, gives each connection a fiber (for life or on demand), counts.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include <roost/error.h>
#include <roost/net/listener.h>

#include "tools/common/shards.h"
#include "tools/echo/handler.h"
#include "tools/echo/options.h"

namespace roost::echo {

// Figures of one process, or a sum of several. Travels between processes as plain bytes.
struct Totals {
  std::uint64_t open = 0;       // connections now
  std::uint64_t accepted = 0;   // served, ever
  std::uint64_t refused = 0;    // closed at once, because of max_connections or for lack of memory
  std::uint64_t timed_out = 0;  // ended by the read time-out
  std::uint64_t failed = 0;     // ended by anything but the peer's orderly end, a time-out or the stop
  std::uint64_t exhausted = 0;  // times that accept found no descriptor or no memory
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
  std::uint64_t fibers = 0;     // now

  Totals& operator+=(const Totals& other) noexcept;
};

class Server {
 public:
  // `options` and `connections_open` are borrowed and outlive the server; `slot` is this process's place in
  // `connections_open`, which all processes of the server share to keep max_connections together.
  Server(const EchoOptions& options, tools::SharedCounters& connections_open, unsigned slot) noexcept;
  ~Server();

  // Inside roost::run. Listens, and starts accepting. `shared_port`: other processes listen on the same port.
  // Errors: as net::listen().
  Result<net::Endpoint> start(bool shared_port);
  // No more connections; those that stand go on until the runtime ends.
  void stop();

  [[nodiscard]] Totals totals() const noexcept;

 private:
  class Sleeper;

  void accept_loop();
  void serve(net::Conn conn, std::uint64_t number);
  void finish(net::Conn& conn, std::error_code end);
  [[nodiscard]] Tally& tally_of(std::uint64_t number) noexcept { return tallies_[number % tallies_.size()]; }

  const EchoOptions& options_;
  tools::SharedCounters& connections_open_;
  const unsigned slot_;
  net::Listener listener_;
  std::array<Tally, 64> tallies_;
  std::atomic<std::uint64_t> accepted_{0};
  std::atomic<std::uint64_t> closed_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> timed_out_{0};
  std::atomic<std::uint64_t> failed_{0};
};

}  // namespace roost::echo
