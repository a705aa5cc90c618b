// Dialling out.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string_view>

#include <roost/error.h>
#include <roost/net/conn.h>
#include <roost/net/endpoint.h>
#include <roost/time/deadline.h>

namespace roost::net {

struct Dialer {
  // The whole of dial(), name look-up included. nanoseconds::max(): no limit but the kernel's own (about 127 s with
  // Linux's default net.ipv4.tcp_syn_retries = 6). Zero or less has passed already.
  std::chrono::nanoseconds timeout = std::chrono::nanoseconds::max();
  Deadline deadline = Deadline::none();  // the earlier of the two counts
  // The address to dial from. A port of 0 lets the kernel choose one at connect time, per destination
  // (IP_BIND_ADDRESS_NO_PORT), so that one source address reaches 64 k ports per target and not per machine.
  std::optional<Endpoint> local = std::nullopt;
  KeepAlive keep_alive{};
  bool no_delay = true;
  // Called with the raw descriptor before connect. An error ends dial() with that error.
  std::function<Result<void>(int fd, std::string_view network, std::string_view address)> control = nullptr;

  // Parks until the connection stands.
  // Errors
  //   timed_out              the deadline passed; no descriptor is left open
  //   connection_refused, network_unreachable, host_unreachable, address_not_available (out of local ports), ...   as connect(2)
  //   too_many_files_open    a process or system limit; `roost doctor` says which
  //   operation_canceled     the runtime stops or the fiber was canceled
  //   invalid_argument       (Errc::bad_address)
  Result<Conn> dial(std::string_view network, std::string_view address) const;
  Result<Conn> dial(const Endpoint& remote) const;
};

inline Result<Conn> dial(std::string_view network, std::string_view address) { return Dialer{}.dial(network, address); }
inline Result<Conn> dial(const Endpoint& remote, Deadline deadline = Deadline::none()) {
  return Dialer{.deadline = deadline}.dial(remote);
}

}  // namespace roost::net
