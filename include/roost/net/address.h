// Address: where a socket of any kind is: an IP endpoint, the name of a Unix socket, or nothing.
//
// A plain value of about a hundred bytes; making, copying and comparing one allocates nothing.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include <roost/error.h>
#include <roost/net/endpoint.h>

struct sockaddr;
struct sockaddr_storage;

namespace roost::net {

// The name of a Unix socket: a path, or "@name" in the abstract name space (Linux), which no file system knows.
class UnixName {
 public:
  static constexpr std::size_t bytes_max = 107;  // of the kernel's 108, one is the path's terminating zero

  constexpr UnixName() noexcept = default;  // no name
  // Errors: filename_too_long; invalid_argument (Errc::bad_address) for a path that holds a zero byte.
  [[nodiscard]] static Result<UnixName> parse(std::string_view text);

  [[nodiscard]] std::string_view text() const noexcept { return {text_.data(), length_}; }
  [[nodiscard]] bool empty() const noexcept { return length_ == 0; }
  [[nodiscard]] bool is_abstract() const noexcept { return length_ > 0 && text_[0] == '@'; }

  friend auto operator<=>(const UnixName& a, const UnixName& b) noexcept { return a.text() <=> b.text(); }
  friend bool operator==(const UnixName& a, const UnixName& b) noexcept { return a.text() == b.text(); }

 private:
  std::array<char, 108> text_{};
  std::uint8_t length_ = 0;
};

class Address {
 public:
  constexpr Address() noexcept = default;  // none: an unnamed Unix socket, an unconnected one's peer
  Address(const Endpoint& endpoint) noexcept : where_(endpoint) {}  // NOLINT: an endpoint is an address
  Address(const UnixName& name) noexcept : where_(name) {}          // NOLINT: likewise

  [[nodiscard]] bool is_none() const noexcept { return std::holds_alternative<std::monostate>(where_); }
  [[nodiscard]] bool is_ip() const noexcept { return std::holds_alternative<Endpoint>(where_); }
  [[nodiscard]] bool is_unix() const noexcept { return std::holds_alternative<UnixName>(where_); }
  // 0.0.0.0:0 and the empty name where it is not of that kind.
  [[nodiscard]] Endpoint endpoint() const noexcept { return is_ip() ? *std::get_if<Endpoint>(&where_) : Endpoint{}; }
  [[nodiscard]] UnixName unix_name() const noexcept { return is_unix() ? *std::get_if<UnixName>(&where_) : UnixName{}; }

  // "192.0.2.1:80", "[::1]:80", "/run/x", "@name", "".
  [[nodiscard]] std::string to_string() const;

  // The kernel's form. Returns its length; 0 for none.
  unsigned to_sockaddr(sockaddr_storage& out) const noexcept;
  // An IPv4 address that a dual-stack socket shows as ::ffff:a.b.c.d becomes the IPv4 address it is.
  [[nodiscard]] static Address from_sockaddr(const sockaddr* address, unsigned length) noexcept;

  friend auto operator<=>(const Address&, const Address&) noexcept = default;

 private:
  std::variant<std::monostate, Endpoint, UnixName> where_;
};

}  // namespace roost::net
