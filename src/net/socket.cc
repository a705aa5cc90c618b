#include "net/socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <charconv>

namespace roost::net {

void UniqueFd::reset(int fd) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<TcpFamily> parse_tcp_network(std::string_view network) {
  if (network == "tcp") return TcpFamily::any;
  if (network == "tcp4") return TcpFamily::v4;
  if (network == "tcp6") return TcpFamily::v6;
  return fail(Errc::unknown_network);
}

Result<void> apply_keep_alive(int fd, const KeepAlive& keep_alive) noexcept {
  constexpr KeepAlive defaults;
  if (auto set = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, static_cast<int>(keep_alive.enable)); !set) return set;
  if (!keep_alive.enable) return {};
  const auto seconds = [](std::chrono::seconds wanted, std::chrono::seconds fallback) {
    return static_cast<int>((wanted.count() == 0 ? fallback : wanted).count());
  };
  if (const int idle = seconds(keep_alive.idle, defaults.idle); idle > 0) {
    if (auto set = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle); !set) return set;
  }
  if (const int interval = seconds(keep_alive.interval, defaults.interval); interval > 0) {
    if (auto set = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval); !set) return set;
  }
  if (const int count = keep_alive.count == 0 ? defaults.count : keep_alive.count; count > 0) {
    if (auto set = set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, count); !set) return set;
  }
  return {};
}

Result<void> make_non_blocking(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return fail(last_error());
  if ((flags & O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return fail(last_error());
  return {};
}

Result<Endpoint> local_endpoint_of(int fd) noexcept {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return fail(last_error());
  return Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&address), length);
}

Result<Endpoint> remote_endpoint_of(int fd) noexcept {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return fail(last_error());
  return Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&address), length);
}

Result<Endpoint> literal_endpoint(TcpFamily family, std::string_view address, bool for_listen) {
  const auto parts = split_host_port(address);
  if (!parts) return fail(parts.error());
  unsigned port = 0;
  const char* end = parts->port.data() + parts->port.size();
  if (const auto parsed = std::from_chars(parts->port.data(), end, port);
      parsed.ec != std::errc{} || parsed.ptr != end || port > 65'535) {
    return fail(Errc::bad_address);
  }
  IpAddress ip;
  if (parts->host.empty()) {
    if (for_listen) {
      ip = family == TcpFamily::v4 ? IpAddress::any_v4() : IpAddress::any_v6();
    } else {
      ip = family == TcpFamily::v6 ? IpAddress::loopback_v6() : IpAddress::loopback_v4();
    }
  } else if (parts->host == "localhost") {
    ip = family == TcpFamily::v6 ? IpAddress::loopback_v6() : IpAddress::loopback_v4();
  } else {
    const auto literal = IpAddress::parse(parts->host);
    if (!literal) return fail(literal.error());
    ip = *literal;
  }
  if ((family == TcpFamily::v4 && !ip.is_v4()) || (family == TcpFamily::v6 && !ip.is_v6())) {
    return fail(Errc::no_suitable_address);
  }
  return Endpoint{ip, static_cast<std::uint16_t>(port)};
}

}  // namespace roost::net
