// What `roost echo` was asked to do.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <roost/net/endpoint.h>

namespace roost::echo {

using namespace std::chrono_literals;

enum class HandlerKind {
  fiber,      // one for the life of a connection
  on_demand,  // one while a connection has something to say; in between it holds no stack
};

enum class EchoUnit {
  line,   // a line is echoed when it is complete
  bytes,  // at once, whatever has come
};

struct EchoOptions {
  net::Endpoint listen{net::IpAddress::v4(127, 0, 0, 1), 8080};
  unsigned workers = 0;             // threads of each process; 0: all processors, or 1 when there are several processes
  unsigned processes = 1;           // 0: as many as max_connections need descriptors for
  std::uint64_t max_connections = 0;  // of all processes together; 0: as many as there are descriptors for
  std::chrono::nanoseconds read_timeout = 5min;  // for a whole line; nanoseconds::max(): none
  // Silence before the kernel probes a client; zero: never. None: never where read_timeout finds the dead ones anyway, since a
  // million connections are 67,000 probes a second with the library's 15 s; as the library does where there is no time-out.
  std::optional<std::chrono::seconds> keep_alive;
  std::uint64_t buffer_bytes = 4096;
  HandlerKind handler = HandlerKind::fiber;
  EchoUnit unit = EchoUnit::line;
  std::optional<net::Endpoint> metrics;  // where Prometheus may ask; none: nowhere
  std::chrono::nanoseconds report_interval = 5s;  // zero: no report lines
};

// Descriptors of a process that are not connections: standard streams, listener, pollers, wake-ups, one in reserve.
inline constexpr std::uint64_t descriptors_reserved = 64;

// A line may be this long; a longer one ends its connection.
inline constexpr std::size_t line_bytes_max = 64 * 1024 * 1024;

// How many processes hold `connections` when each may hold `per_process` and the kernel deals connections out by a hash:
// some get more than their share, so each must have room for the mean and six standard deviations. At least 1.
unsigned processes_needed(std::uint64_t connections, std::uint64_t per_process);
// The inverse question: would `processes` do?
bool processes_suffice(unsigned processes, std::uint64_t connections, std::uint64_t per_process);

}  // namespace roost::echo
