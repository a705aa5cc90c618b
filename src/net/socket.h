// What connections, listeners and dialling share: making sockets, setting options, turning errno into errors.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include <roost/error.h>
#include <roost/net/conn.h>
#include <roost/net/endpoint.h>

namespace roost::net {

// errno must be read in the function that made the system call: after a park this may be another thread's.
[[nodiscard]] inline std::error_code last_error() noexcept { return {errno, std::generic_category()}; }

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

// "tcp" any family, "tcp4", "tcp6".
enum class TcpFamily { any, v4, v6 };
[[nodiscard]] Result<TcpFamily> parse_tcp_network(std::string_view network);

template <class T>
Result<void> set_option(int fd, int level, int name, const T& value) noexcept {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) return fail(last_error());
  return {};
}

Result<void> apply_keep_alive(int fd, const KeepAlive& keep_alive) noexcept;
Result<void> make_non_blocking(int fd) noexcept;
Result<Endpoint> local_endpoint_of(int fd) noexcept;
Result<Endpoint> remote_endpoint_of(int fd) noexcept;

// A literal, "localhost" or an empty host (any address when listening, loopback when dialling), and a numeric port.
Result<Endpoint> literal_endpoint(TcpFamily family, std::string_view address, bool for_listen);

}  // namespace roost::net
