#include "base/descriptor_name.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <string_view>

namespace roost::base {
namespace {

// net::Endpoint writes addresses, too, but stands above this room.
std::string address_of(const sockaddr_storage& storage, socklen_t length) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  switch (storage.ss_family) {
    case AF_INET: {
      const auto& address = reinterpret_cast<const sockaddr_in&>(storage);
      ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
      return fmt::format("{}:{}", text.data(), ntohs(address.sin_port));
    }
    case AF_INET6: {
      const auto& address = reinterpret_cast<const sockaddr_in6&>(storage);
      ::inet_ntop(AF_INET6, &address.sin6_addr, text.data(), text.size());
      return fmt::format("[{}]:{}", text.data(), ntohs(address.sin6_port));
    }
    case AF_UNIX: {
      const auto& address = reinterpret_cast<const sockaddr_un&>(storage);
      if (length <= offsetof(sockaddr_un, sun_path)) return "an unnamed Unix socket";
      const std::string_view path(address.sun_path, length - offsetof(sockaddr_un, sun_path));
      if (path.front() == '\0') return fmt::format("@{}", path.substr(1));  // abstract
      return std::string(path.substr(0, path.find('\0')));
    }
    default:
      return fmt::format("a socket of family {}", storage.ss_family);
  }
}

std::string file_of(int fd) {
  std::array<char, 256> target;
  const ssize_t n = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), target.data(), target.size());
  return n > 0 ? std::string(target.data(), static_cast<std::size_t>(n)) : std::string();
}

}  // namespace

std::string describe_descriptor(int fd) {
  sockaddr_storage own{};
  socklen_t own_length = sizeof own;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_length) != 0) return file_of(fd);
  int listens = 0;
  socklen_t length = sizeof listens;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens != 0) {
    return "listening on " + address_of(own, own_length);
  }
  sockaddr_storage peer{};
  socklen_t peer_length = sizeof peer;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_length) != 0) return address_of(own, own_length);
  if (peer.ss_family == AF_UNIX) {  // one end of the two has the name, if any
    const bool own_named = own_length > offsetof(sockaddr_un, sun_path);
    return own_named ? address_of(own, own_length) : address_of(peer, peer_length);
  }
  return fmt::format("{} from {}", address_of(own, own_length), address_of(peer, peer_length));
}

}  // namespace roost::base
