#include <roost/net/dial.h>

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include <roost/go.h>

#include "net/socket.h"
#include "runtime/netpoll.h"

namespace roost::net {

using detail::PollDesc;
using runtime::Direction;

namespace {

// Linux lets a connect to a local port that nobody listens on meet itself when the kernel happens to choose that very port
// as the source (simultaneous open). Nobody wants that connection.
bool met_itself(int fd, const Endpoint& remote) noexcept {
  if (!remote.address.is_loopback()) return false;
  const auto local = local_endpoint_of(fd);
  return local && local->port == remote.port && local->address == remote.address;
}

Result<void> prepare_socket(int fd, const Dialer& dialer, const Endpoint& remote) {
  if (dialer.no_delay) {
    if (auto set = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); !set) return set;
  }
  if (dialer.keep_alive.enable) {
    if (auto set = apply_keep_alive(fd, dialer.keep_alive); !set) return set;
  }
  if (dialer.control) {
    if (auto set = dialer.control(fd, remote.address.is_v6() ? "tcp6" : "tcp4", remote.to_string()); !set) return set;
  }
  if (dialer.local) {
    if (dialer.local->address.is_v6() != remote.address.is_v6()) return fail(Errc::no_suitable_address);
    // Choose the port at connect time, when the whole four-tuple is known; else one source has 28 k connections in all.
    if (dialer.local->port == 0) {
      if (auto set = set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1); !set) return set;
    }
    sockaddr_storage address{};
    const socklen_t length = dialer.local->to_sockaddr(address);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), length) != 0) return fail(last_error());
  }
  return {};
}

Result<Conn> dial_once(const Dialer& dialer, const Endpoint& remote, Deadline deadline) {
  if (deadline.has_passed()) return fail(Errc::deadline_exceeded);
  if (runtime::current_is_canceled()) return fail(Errc::canceled);
  UniqueFd fd(::socket(remote.address.is_v6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail(last_error());
  if (auto prepared = prepare_socket(fd.get(), dialer, remote); !prepared) return fail(prepared.error());
  sockaddr_storage address{};
  const socklen_t length = remote.to_sockaddr(address);
  int error = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0 ? 0 : errno;
  if (error != 0 && error != EINPROGRESS && error != EINTR) return fail(std::error_code(error, std::generic_category()));

  // Only now: an unconnected socket reports a hang-up, which would stick.
  auto desc = PollDesc::open(fd.get(), PollDesc::First::wait);
  if (!desc) return fail(desc.error());
  const int raw = fd.release();
  Conn conn(*desc);
  if (error != 0) {
    // What the poller reports first is the end of the handshake, well or ill.
    const PollDesc::Call call(**desc, Direction::write);
    (*desc)->set_deadline(Direction::write, deadline);
    (*desc)->drained(Direction::write, (*desc)->edge(Direction::write));
    if (auto waited = (*desc)->wait(Direction::write); !waited) return fail(waited.error());
    socklen_t size = sizeof error;
    if (::getsockopt(raw, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return fail(last_error());
    if (error != 0) return fail(std::error_code(error, std::generic_category()));
    (*desc)->set_deadline(Direction::write, Deadline::none());
  }
  if (met_itself(raw, remote)) return fail(std::errc::connection_refused);
  return conn;
}

// The system's look-up, on a thread that may block.
Result<std::vector<Endpoint>> look_up(TcpFamily family, const std::string& host, const std::string& port) {
  return blocking([&]() -> Result<std::vector<Endpoint>> {
    addrinfo hints{};
    hints.ai_family = family == TcpFamily::v4 ? AF_INET : family == TcpFamily::v6 ? AF_INET6 : AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    switch (::getaddrinfo(host.c_str(), port.c_str(), &hints, &found)) {
      case 0: break;
      case EAI_SERVICE: return fail(Errc::bad_address);
      case EAI_AGAIN:
      case EAI_FAIL: return fail(Errc::name_server_failure);
      default: return fail(Errc::host_not_found);
    }
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, &::freeaddrinfo);
    std::vector<Endpoint> endpoints;
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
      if (auto endpoint = Endpoint::from_sockaddr(one->ai_addr, one->ai_addrlen)) endpoints.push_back(*endpoint);
    }
    return endpoints;
  });
}

Deadline effective_deadline(const Dialer& dialer) noexcept {
  return std::min(dialer.deadline, Deadline::after(dialer.timeout));
}

}  // namespace

Result<Conn> Dialer::dial(const Endpoint& remote) const { return dial_once(*this, remote, effective_deadline(*this)); }

Result<Conn> Dialer::dial(std::string_view network, std::string_view address) const {
  const Deadline until = effective_deadline(*this);
  const auto family = parse_tcp_network(network);
  if (!family) return fail(family.error());
  if (auto literal = literal_endpoint(*family, address, false)) return dial_once(*this, *literal, until);
  const auto parts = split_host_port(address);
  if (!parts) return fail(parts.error());
  // A port that is wrong, or a literal of the other family, is no name to look up.
  if (parts->host.empty() || parts->host == "localhost" || IpAddress::parse(parts->host)) {
    return fail(literal_endpoint(*family, address, false).error());
  }
  const auto endpoints = look_up(*family, parts->host, parts->port);
  if (!endpoints) return fail(endpoints.error());
  std::error_code error = Errc::no_suitable_address;
  for (const Endpoint& remote : *endpoints) {
    auto conn = dial_once(*this, remote, until);
    if (conn || conn.error() == Errc::canceled || conn.error() == Errc::deadline_exceeded) return conn;
    error = conn.error();
  }
  return fail(error);
}

}  // namespace roost::net
