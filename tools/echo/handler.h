// What a connection of `roost echo` runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <system_error>

#include <roost/net/conn.h>

#include "tools/echo/options.h"

namespace roost::echo {

// Counts what one group of connections was sent. A cache line of its own: connections on different processors
// count in different groups most of the time.
struct alignas(64) Tally {
  std::atomic<std::uint64_t> messages{0};
  std::atomic<std::uint64_t> bytes{0};

  void count(std::size_t line_bytes) noexcept {
    messages.fetch_add(1, std::memory_order_relaxed);
    bytes.fetch_add(line_bytes, std::memory_order_relaxed);
  }
};

// When echo() returns without an error.
enum class Until {
  end,    // never: it parks for the next line, for as long as the connection stands
  quiet,  // when all that has come was echoed and nothing is left to read: the connection may go to sleep
};

// Answers every line with itself (or with EchoUnit::bytes whatever has come) until the peer ends its side. Parks. Returns
// end_of_stream when the peer is done and everything was echoed; timed_out when a line did not come, or an answer was not
// taken, within the read time-out; else what the connection reports. The read deadline is set for the next line when it
// returns without an error.
std::error_code echo(net::Conn& conn, const EchoOptions& options, Tally& tally, Until until);

}  // namespace roost::echo
