// Dialling out.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include <roost/error.h>
#include <roost/net/address.h>
#include <roost/net/conn.h>
#include <roost/net/endpoint.h>
#include <roost/net/packet.h>
#include <roost/time/deadline.h>

namespace roost::net {

class Resolver;

struct Dialer {
  // The whole of dial(), name look-up included. nanoseconds::max(): no limit but the kernel's own (about 127 s with
  // Linux's default net.ipv4.tcp_syn_retries = 6). Zero or less has passed already.
  std::chrono::nanoseconds timeout = std::chrono::nanoseconds::max();
  Deadline deadline = Deadline::none();  // the earlier of the two counts
  // The address to dial from: an Endpoint for TCP and UDP, a UnixName for the others. The unspecified address (0.0.0.0 or ::)
  // is any of the family that is dialled. A port of 0 lets the kernel choose one at connect time, per destination
  // (IP_BIND_ADDRESS_NO_PORT), so that one source address reaches 64 k ports per target and not per machine.
  std::optional<Address> local = std::nullopt;
  // A name with addresses of both families is dialled in the resolver's order; when its first family has not answered after
  // this long, or has failed, the other one is dialled beside it and the first connection wins ("happy eyeballs"). 250 ms is
  // RFC 8305's recommendation. Negative: one address after the other.
  std::chrono::nanoseconds fallback_delay = std::chrono::milliseconds(250);
  KeepAlive keep_alive{};
  bool no_delay = true;
  // Called with each socket's raw descriptor before it is bound and connected. `network` names the family: "tcp4", "udp6",
  // "unix". An error ends that attempt with that error. When both families are
  // raced it runs on a fiber of dial()'s own for each, perhaps at the same time, under the caller's context.
  std::function<Result<void>(int fd, std::string_view network, std::string_view address)> control = nullptr;
  // Looks host and service names up. Null: Resolver::system(). Not owned.
  Resolver* resolver = nullptr;

  // Parks until the connection stands. network: "tcp", "tcp4", "tcp6" ("host:port"; an empty host is this machine), "unix",
  // "unixpacket" (a path or "@name"); also "udp", "udp4", "udp6", "unixgram", for a Conn that reads and writes datagrams.
  // Errors
  //   timed_out              the deadline passed; no descriptor is left open
  //   connection_refused, network_unreachable, host_unreachable, address_not_available (out of local ports), ...   as connect(2)
  //   too_many_files_open    a process or system limit; `roost doctor` says which
  //   host_not_found, name_server_failure   (Errc) as Resolver::resolve(), whose other errors may come, too
  //   operation_canceled     the runtime stops, or the fiber or its context was canceled; no descriptor is left open
  //   invalid_argument       (Errc::bad_address) a malformed address, or `local` is of the wrong kind
  //   no_suitable_address    (Errc) `local`, or a literal address, is not of the network's family
  //   address_family_not_supported   (Errc::unknown_network)
  Result<Conn> dial(std::string_view network, std::string_view address) const;
  Result<Conn> dial(const Endpoint& remote) const;  // TCP
  // TCP to the first of `remotes` that answers, raced by family as above. Empty: no_suitable_address.
  Result<Conn> dial_any(std::span<const Endpoint> remotes) const;

  // A connected datagram socket. network: "udp", "udp4", "udp6", "unixgram".
  Result<PacketConn> dial_packet(std::string_view network, std::string_view address) const;
};

inline Result<Conn> dial(std::string_view network, std::string_view address) { return Dialer{}.dial(network, address); }
inline Result<Conn> dial(const Endpoint& remote, Deadline deadline = Deadline::none()) {
  return Dialer{.deadline = deadline}.dial(remote);
}
inline Result<PacketConn> dial_packet(std::string_view network, std::string_view address) {
  return Dialer{}.dial_packet(network, address);
}

}  // namespace roost::net
