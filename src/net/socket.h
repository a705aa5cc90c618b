// What connections, listeners and dialling share: making sockets, setting options, turning errno into errors.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>
#include <utility>

#include <roost/error.h>
#include <roost/net/address.h>
#include <roost/net/conn.h>

#include "runtime/netpoll.h"

namespace roost::net {

struct ListenConfig;

// errno of the system call just made. Never `errno` itself in a function that may park: the compiler may keep its address,
// which is the thread's, across the park, and the fiber may wake on another thread. These are not inlined, so they ask anew.
[[nodiscard]] int last_errno() noexcept;
[[nodiscard]] std::error_code last_error() noexcept;

// The error of a call on a descriptor that a roost object owns and has not closed. EBADF can still mean that it was opened for the
// other direction only; where the number is free it ends the process: somebody closed it who did not own it, and the next to open
// anything would get this object's number.
[[nodiscard]] std::error_code owned_descriptor_error(int fd, int error) noexcept;

// A descriptor that closes itself.
class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(-1); }
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd) noexcept;
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

enum class Family { any, v4, v6, unix };

// What a network name stands for: "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "unixgram", "unixpacket".
struct Network {
  Family family = Family::any;
  int type = 0;  // SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET
  [[nodiscard]] bool is_unix() const noexcept { return family == Family::unix; }
  [[nodiscard]] bool is_tcp() const noexcept { return !is_unix() && type == SOCK_STREAM; }
  [[nodiscard]] bool is_stream() const noexcept { return type == SOCK_STREAM; }
  [[nodiscard]] bool is_packet() const noexcept { return type == SOCK_DGRAM; }
};
// Errors: address_family_not_supported (Errc::unknown_network).
[[nodiscard]] Result<Network> parse_network(std::string_view network);
// The name with its family, for control hooks and messages: "tcp4", "udp6", "unixgram".
[[nodiscard]] std::string_view network_name(const Network& network, const Address& address) noexcept;

template <class T>
Result<void> set_option(int fd, int level, int name, const T& value) noexcept {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) return fail(last_error());
  return {};
}

Result<void> apply_keep_alive(int fd, const KeepAlive& keep_alive) noexcept;
Result<void> make_non_blocking(int fd) noexcept;
Result<Address> local_address_of(int fd) noexcept;
Result<Address> remote_address_of(int fd) noexcept;
// Errors: as the above; wrong_protocol_type when it is no IP socket.
Result<Endpoint> local_endpoint_of(int fd) noexcept;
Result<Endpoint> remote_endpoint_of(int fd) noexcept;

Result<TcpInfo> tcp_info_of(int fd) noexcept;
// What a short read on a socket of that SOCK_ type proves.
[[nodiscard]] detail::PollDesc::Content content_of(int fd, int type) noexcept;

// A socket of that kind for that address: non-blocking, closed on exec.
Result<UniqueFd> open_socket(const Network& network, const Address& address) noexcept;

Result<std::uint16_t> parse_port(std::string_view text) noexcept;
// A literal, "localhost" or an empty host (any address when listening, loopback when dialling), and a numeric port.
Result<Endpoint> literal_endpoint(Family family, std::string_view address, bool for_listen);

// A socket bound to `address`, with the options of `config` that concern it, not listening yet. `bound`: what it was bound to.
Result<UniqueFd> bind_socket(const Network& network, std::string_view address, const ListenConfig& config,
                             Address* bound = nullptr);

// "read tcp 127.0.0.1:5000->127.0.0.1:80: connection reset by peer (ECONNRESET)". Parts that are not known are left out.
[[nodiscard]] std::string describe_failure(std::string_view operation, int fd, std::error_code error);
[[nodiscard]] std::string describe_failure(std::string_view operation, std::string_view network, std::string_view source,
                                           std::string_view target, std::error_code error);

}  // namespace roost::net
