#include "tools/common/listen.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include <fmt/format.h>

namespace roost::tools {

Parsed<std::optional<net::Endpoint>> parse_metrics_address(std::string_view text) {
  const auto endpoint = parse_listen_address(text.starts_with(':') ? "127.0.0.1" + std::string(text) : std::string(text));
  if (!endpoint) return std::unexpected(endpoint.error());
  return *endpoint;
}

std::string listen_error(const net::Endpoint& endpoint, std::error_code error, std::string_view option) {
  const std::string where = endpoint.to_string();
  if (error == std::errc::address_in_use) {
    return fmt::format("{} {}: the port is in use; choose another, or see who has it: ss -ltnp 'sport = :{}'", option, where,
                       endpoint.port);
  }
  if (error == std::errc::permission_denied) {
    return fmt::format("{} {}: ports below net.ipv4.ip_unprivileged_port_start are root's; choose one above 1023", option, where);
  }
  if (error == std::errc::address_not_available) {
    return fmt::format("{} {}: no interface has this address; `ip addr` lists those that exist", option, where);
  }
  return fmt::format("{} {}: {}", option, where, error.message());
}

std::expected<net::Endpoint, std::string> claim_port(const net::Endpoint& wanted, std::string_view option) {
  sockaddr_storage storage{};
  socklen_t length = wanted.to_sockaddr(storage);
  const int fd = ::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return std::unexpected(listen_error(wanted, {errno, std::generic_category()}, option));
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  std::expected<net::Endpoint, std::string> claimed = wanted;
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&storage), length) != 0 || ::listen(fd, 1) != 0) {
    claimed = std::unexpected(listen_error(wanted, {errno, std::generic_category()}, option));
  } else {
    length = sizeof storage;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length);
    if (const auto endpoint = net::Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length)) claimed = *endpoint;
  }
  ::close(fd);
  return claimed;
}

}  // namespace roost::tools
