// Dialling out: making a connection to somewhere else.
//
//   auto conn = net::dial("tcp", "www.example.org:https");
//   auto quick = net::Dialer{.timeout = 2s, .keep_alive = {.idle = 60s}}.dial("tcp", "192.0.2.1:80");
//
// A Dialer is a set of options and holds nothing: make one where it is needed, or keep one; any number of fibers may dial with
// the same one at once. A dial parks its fiber and must be made on one. Cancelling the fiber or its context ends it at once.
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
  KeepAlive keep_alive{};  // probes of the kernel on the connection; on by default, after 15 s of silence
  bool no_delay = true;    // TCP_NODELAY: a small write is sent at once and does not wait for the last one's acknowledgement
  // Called with each socket's raw descriptor before it is bound and connected. `network` names the family: "tcp4", "udp6",
  // "unix". An error ends that attempt with that error. When both families are
  // raced it runs on a fiber of dial()'s own for each, perhaps at the same time, under the caller's context.
  std::function<Result<void>(int fd, std::string_view network, std::string_view address)> control = nullptr;
  // Looks host and service names up. Null: Resolver::system(). Not owned.
  Resolver* resolver = nullptr;

  // Parks until the connection stands. network: "tcp", "tcp4", "tcp6" ("host:port"; an empty host is this machine: 127.0.0.1,
  // or ::1 for "tcp6"; "localhost" is the one and, if nobody answers there, the other), "unix",
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
  // As dial("tcp", ...), without a name to look up.
  Result<Conn> dial(const Endpoint& remote) const;
  // Parks until a TCP connection to one of `remotes` stands, which are several addresses of one service, best first. Those of one
  // family are tried one after the other in their order: the next when one has failed, or has used up its share of the time that
  // is left (an equal share for each that is left, and not below 2 s; without a deadline, the kernel's own limit). The family of
  // the first begins; the other one is tried beside it after fallback_delay, or as soon as the first has failed. The connection
  // that stands first is returned and the attempts beside it are closed.
  // Errors: as dial(). Where all have failed it is the error of the first address, and no_suitable_address if `remotes` is
  // empty. No descriptor is left open.
  Result<Conn> dial_any(std::span<const Endpoint> remotes) const;

  // A connected datagram socket: it sends to one address and receives from there alone. network: "udp", "udp4", "udp6",
  // "unixgram". Nothing is sent, so nobody needs to be there: that shows at a later call, as connection_refused (UDP).
  // Parks only where a name is looked up. Errors: as dial(); of a Unix socket that is not there, no_such_file_or_directory.
  Result<PacketConn> dial_packet(std::string_view network, std::string_view address) const;
};

// With the default options.
inline Result<Conn> dial(std::string_view network, std::string_view address) { return Dialer{}.dial(network, address); }
inline Result<Conn> dial(const Endpoint& remote, Deadline deadline = Deadline::none()) {
  return Dialer{.deadline = deadline}.dial(remote);
}
inline Result<PacketConn> dial_packet(std::string_view network, std::string_view address) {
  return Dialer{}.dial_packet(network, address);
}

}  // namespace roost::net
