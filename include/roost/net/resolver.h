// Looking up names: host names, service names, and the names of an address.
//
//   auto addresses = net::resolve("www.example.org");                       // best first
//   auto endpoints = net::resolve_endpoints("tcp", "www.example.org:https");
//
// A look-up parks its fiber and nothing else: questions go to the name servers over sockets that the netpoller watches (c-ares
// speaks the protocol), and no thread waits. What is asked, in this order: literal addresses ("192.0.2.1", "fe80::1%eth0") are
// answered as they stand, at once and whatever the deadline says; then the hosts file, for the families it has addresses of;
// "localhost" and names below it are this machine, whatever a name server says; then the name servers and search list of
// resolv.conf. Files are read again when they have changed (a stat(2) at each look-up tells). /etc/nsswitch.conf
// is not heeded, and neither is /etc/gai.conf. Answers are not cached: that is the name server's trade.
//
// Look-ups of the same name for the same family that are under way at the same time are one: the servers are asked once. A
// caller that gives up leaves the others alone, and when the last one has left the question is dropped.
//
// Needs a running runtime (else operation_canceled). May be called by fibers and, while a runtime runs, by plain threads.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <roost/error.h>
#include <roost/net/endpoint.h>
#include <roost/time/deadline.h>

namespace roost::net {

enum class IpFamily : std::uint8_t { any, v4, v6 };

struct ResolveOptions {
  IpFamily family = IpFamily::any;
  // When this call gives up. Without one the servers' own time-outs limit it: with the defaults of resolv.conf 5 s for the
  // first try of each server and 10 s for the second. The deadline of the fiber's context counts, too.
  Deadline deadline = Deadline::none();
};

// Where a Resolver looks. The defaults are the system's; what is set here goes before what resolv.conf says.
struct ResolverOptions {
  std::string hosts_path = "/etc/hosts";
  std::string services_path = "/etc/services";
  std::string resolv_conf_path = "/etc/resolv.conf";
  // Name servers, asked in this order. None here nor in resolv.conf: 127.0.0.1.
  std::vector<Endpoint> servers = {};
  // Domains to try a name in that has no dot at its end.
  std::optional<std::vector<std::string>> search = std::nullopt;
  // A name with at least so many dots is tried as it stands before the search list, others after it. System's default: 1.
  std::optional<unsigned> ndots = std::nullopt;
  // How long a server has for its first answer; twice as long in the next round. System's default: 5 s.
  std::optional<std::chrono::milliseconds> timeout = std::nullopt;
  // Rounds through the servers. System's default: 2.
  std::optional<unsigned> tries = std::nullopt;
  // Look-ups that wait for servers at once; others wait for their turn, first come, first served. More would overrun the
  // receive buffers of sockets here and there, and what is lost there comes back only after a time-out. A look-up here is up to
  // two questions, one per family.
  std::size_t in_flight_max = 512;
};

class ResolverCore;

class Resolver {
 public:
  explicit Resolver(ResolverOptions options = {});
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  // Nobody may be inside a call.
  ~Resolver();

  // The one with default options, which dialling and the functions below use.
  [[nodiscard]] static Resolver& system();

  // The addresses of `host`, in the order in which they are best tried (RFC 6724). Parks. At least one address, or an error.
  // Errors
  //   host_not_found        (Errc) there is no such name
  //   no_suitable_address   (Errc) the name exists, but has no address of that family
  //   name_server_failure   (Errc) no server gave an answer that could be used; trying again may help
  //   timed_out             the deadline passed, or no server answered in all tries
  //   operation_canceled    the fiber was canceled, or the runtime stops
  //   invalid_argument      (Errc::bad_address) `host` is empty, or its zone is malformed
  //   no_such_device        a literal address names an interface that does not exist
  //   too_many_files_open   no descriptor for a socket could be had
  [[nodiscard]] Result<std::vector<IpAddress>> resolve(std::string_view host, const ResolveOptions& options = {});

  // The endpoints of "host:port", where the port may be a service name. `network`: "tcp", "tcp4", "tcp6", "udp", "udp4",
  // "udp6"; a 4 or 6 goes before options.family. An empty host is this machine (loopback).
  // Errors: as resolve() and port_of(); address_family_not_supported (Errc::unknown_network); bad_address.
  [[nodiscard]] Result<std::vector<Endpoint>> resolve_endpoints(std::string_view network, std::string_view address,
                                                                const ResolveOptions& options = {});

  // The port of a service by name ("https", in any case) or number. `network` as above. Does not ask any server.
  // Errors: bad_address (no such service, or a number above 65535), address_family_not_supported.
  [[nodiscard]] Result<std::uint16_t> port_of(std::string_view network, std::string_view service);

  // The names of an address: those in the hosts file, else those the name servers know (PTR), without a dot at their end.
  // Parks. Errors: as resolve().
  [[nodiscard]] Result<std::vector<std::string>> names_of(const IpAddress& address, Deadline deadline = Deadline::none());

 private:
  const std::shared_ptr<ResolverCore> core_;  // questions that nobody waits for any more may outlive the Resolver
};

// With Resolver::system().
[[nodiscard]] inline Result<std::vector<IpAddress>> resolve(std::string_view host, const ResolveOptions& options = {}) {
  return Resolver::system().resolve(host, options);
}
[[nodiscard]] inline Result<std::vector<Endpoint>> resolve_endpoints(std::string_view network, std::string_view address,
                                                                     const ResolveOptions& options = {}) {
  return Resolver::system().resolve_endpoints(network, address, options);
}

}  // namespace roost::net
