// IP addresses and endpoints (address and port) as plain values.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include <roost/error.h>

struct sockaddr;
struct sockaddr_storage;

namespace roost::net {

class IpAddress {
 public:
  constexpr IpAddress() noexcept = default;  // 0.0.0.0
  [[nodiscard]] static constexpr IpAddress v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) noexcept {
    IpAddress address;
    address.bytes_ = {a, b, c, d};
    return address;
  }
  [[nodiscard]] static IpAddress v4(std::uint32_t host_order) noexcept;
  [[nodiscard]] static IpAddress v6(const std::array<std::uint8_t, 16>& bytes, std::uint32_t zone = 0) noexcept;
  [[nodiscard]] static IpAddress any_v4() noexcept { return {}; }
  [[nodiscard]] static IpAddress any_v6() noexcept { return v6({}); }
  [[nodiscard]] static IpAddress loopback_v4() noexcept { return v4(127, 0, 0, 1); }
  [[nodiscard]] static IpAddress loopback_v6() noexcept;

  // "192.0.2.1", "2001:db8::1", "fe80::1%eth0". Errors: invalid_argument (Errc::bad_address).
  [[nodiscard]] static Result<IpAddress> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;

  [[nodiscard]] constexpr bool is_v6() const noexcept { return is_v6_; }
  [[nodiscard]] constexpr bool is_v4() const noexcept { return !is_v6_; }
  [[nodiscard]] bool is_v4_mapped() const noexcept;  // ::ffff:a.b.c.d
  [[nodiscard]] bool is_loopback() const noexcept;
  [[nodiscard]] bool is_unspecified() const noexcept;
  [[nodiscard]] IpAddress unmapped() const noexcept;  // a v4-mapped address as its v4 self
  [[nodiscard]] std::uint32_t v4_host_order() const noexcept;
  [[nodiscard]] const std::array<std::uint8_t, 16>& bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint32_t zone() const noexcept { return zone_; }

  friend auto operator<=>(const IpAddress&, const IpAddress&) noexcept = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};  // v4: the first four
  std::uint32_t zone_ = 0;                // interface index of a link-local v6 address
  bool is_v6_ = false;
};

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  // "192.0.2.1:80", "[::1]:80", ":80" (any address). No names: net::resolve() looks those up.
  [[nodiscard]] static Result<Endpoint> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;

  // The kernel's form. Returns its length.
  unsigned to_sockaddr(sockaddr_storage& out) const noexcept;
  [[nodiscard]] static Result<Endpoint> from_sockaddr(const sockaddr* address, unsigned length) noexcept;

  friend auto operator<=>(const Endpoint&, const Endpoint&) noexcept = default;
};

// Splits "host:port", "[v6]:port" or ":port". Errors: invalid_argument (Errc::bad_address).
struct HostPort {
  std::string host;
  std::string port;
};
[[nodiscard]] Result<HostPort> split_host_port(std::string_view text);

}  // namespace roost::net
