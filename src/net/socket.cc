#include "net/socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>

#include "base/assert.h"

namespace roost::net {

void UniqueFd::reset(int fd) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

[[gnu::noinline]] int last_errno() noexcept { return errno; }
[[gnu::noinline]] std::error_code last_error() noexcept { return {errno, std::generic_category()}; }

[[gnu::noinline]] std::error_code owned_descriptor_error(int fd, int error) noexcept {
  if (error == EBADF && ::fcntl(fd, F_GETFD) < 0) {
    std::array<char, 160> text;
    std::snprintf(text.data(), text.size(),
                  "descriptor %d was closed behind its owner's back: close() belongs to the object, release() takes it out", fd);
    base::panic(__FILE__, __LINE__, text.data());
  }
  return {error, std::generic_category()};
}

namespace {
constexpr struct {
  std::string_view name;
  Network network;
} networks[] = {
    {"tcp", {Family::any, SOCK_STREAM}},       {"tcp4", {Family::v4, SOCK_STREAM}},
    {"tcp6", {Family::v6, SOCK_STREAM}},       {"udp", {Family::any, SOCK_DGRAM}},
    {"udp4", {Family::v4, SOCK_DGRAM}},        {"udp6", {Family::v6, SOCK_DGRAM}},
    {"unix", {Family::unix, SOCK_STREAM}},     {"unixgram", {Family::unix, SOCK_DGRAM}},
    {"unixpacket", {Family::unix, SOCK_SEQPACKET}},
};
}  // namespace

Result<Network> parse_network(std::string_view network) {
  for (const auto& known : networks) {
    if (known.name == network) return known.network;
  }
  return fail(Errc::unknown_network);
}

std::string_view network_name(const Network& network, const Address& address) noexcept {
  const Family family = network.is_unix()                           ? Family::unix
                        : address.endpoint().address.is_v6() ? Family::v6
                                                             : Family::v4;
  for (const auto& known : networks) {
    if (known.network.family == family && known.network.type == network.type) return known.name;
  }
  return "?";
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

namespace {

template <class Ask>
Result<Address> ask_address(int fd, Ask ask) noexcept {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (ask(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return fail(last_error());
  return Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
}

Result<Endpoint> only_endpoint(const Result<Address>& address) noexcept {
  if (!address) return fail(address.error());
  if (!address->is_ip()) return fail(std::errc::wrong_protocol_type);
  return address->endpoint();
}

}  // namespace

Result<Address> local_address_of(int fd) noexcept { return ask_address(fd, &::getsockname); }
Result<Address> remote_address_of(int fd) noexcept { return ask_address(fd, &::getpeername); }
Result<Endpoint> local_endpoint_of(int fd) noexcept { return only_endpoint(local_address_of(fd)); }
Result<Endpoint> remote_endpoint_of(int fd) noexcept { return only_endpoint(remote_address_of(fd)); }

Result<UniqueFd> open_socket(const Network& network, const Address& address) noexcept {
  const int family = network.is_unix() ? AF_UNIX : address.endpoint().address.is_v6() ? AF_INET6 : AF_INET;
  UniqueFd fd(::socket(family, network.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail(last_error());
  return fd;
}

detail::PollDesc::Content content_of(int fd, int type) noexcept {
  using Content = detail::PollDesc::Content;
  if (type != SOCK_STREAM) return Content::messages;
  int domain = 0;
  socklen_t length = sizeof domain;
  const bool known = ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0;
  return known && (domain == AF_INET || domain == AF_INET6) ? Content::tcp : Content::stream;
}

Result<std::uint16_t> parse_port(std::string_view text) noexcept {
  unsigned port = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, port);
  if (parsed.ec != std::errc{} || parsed.ptr != end || port > 65'535) return fail(Errc::bad_address);
  return static_cast<std::uint16_t>(port);
}

Result<Endpoint> literal_endpoint(Family family, std::string_view address, bool for_listen) {
  const auto parts = split_host_port(address);
  if (!parts) return fail(parts.error());
  const auto port = for_listen && parts->port.empty() ? Result<std::uint16_t>(0) : parse_port(parts->port);
  if (!port) return fail(port.error());
  IpAddress ip;
  if (parts->host.empty()) {
    if (for_listen) {
      ip = family == Family::v4 ? IpAddress::any_v4() : IpAddress::any_v6();
    } else {
      ip = family == Family::v6 ? IpAddress::loopback_v6() : IpAddress::loopback_v4();
    }
  } else if (parts->host == "localhost") {
    ip = family == Family::v6 ? IpAddress::loopback_v6() : IpAddress::loopback_v4();
  } else {
    const auto literal = IpAddress::parse(parts->host);
    if (!literal) return fail(literal.error());
    ip = *literal;
  }
  if ((family == Family::v4 && !ip.is_v4()) || (family == Family::v6 && !ip.is_v6())) {
    return fail(Errc::no_suitable_address);
  }
  return Endpoint{ip, *port};
}

// --- messages ------------------------------------------------------------------------------------------------------

std::string describe_failure(std::string_view operation, std::string_view network, std::string_view source,
                             std::string_view target, std::error_code error) {
  std::string text(operation);
  if (!network.empty()) text.append(" ").append(network);
  if (!source.empty()) text.append(" ").append(source);
  if (!target.empty()) text.append(source.empty() ? " " : "->").append(target);
  return text.append(": ").append(error.message()).append(" (").append(error_name(error)).append(")");
}

std::string describe_failure(std::string_view operation, int fd, std::error_code error) {
  int type = 0;
  socklen_t length = sizeof type;
  const auto local = fd < 0 ? Result<Address>(Address()) : local_address_of(fd);
  if (fd < 0 || !local || ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) {
    return describe_failure(operation, "", "", "", error);
  }
  const auto remote = remote_address_of(fd);
  const Network network{local->is_ip() ? Family::any : Family::unix, type};
  std::string_view name = network_name(network, *local);
  if (local->is_ip()) name.remove_suffix(1);  // the addresses show the family
  return describe_failure(operation, name, local->to_string(), remote ? remote->to_string() : "", error);
}

}  // namespace roost::net
