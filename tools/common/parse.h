// Turns what people type on a command line into values, and says in one line what is wrong with it otherwise.
//
// Every function returns the value or the second half of a sentence, "`5x` is not a duration; write 250ms, 30s, 5m
// or 1h30m", which the caller prefixes with the option's name. Nothing here asks the system or a name server but
// resolve_host_port().
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include <roost/net/endpoint.h>

namespace roost::tools {

template <class T>
using Parsed = std::expected<T, std::string>;

// "250ms", "30s", "5m", "1h", "1.5s", "1h30m"; units ns, us, ms, s, m, h, d. "0" needs no unit. At most 1000 days.
Parsed<std::chrono::nanoseconds> parse_duration(std::string_view text);

// Bytes: "4096", "4KiB", "64k", "1MiB", "2G". k, M and G count in powers of 1024, with or without "iB" or "B".
Parsed<std::uint64_t> parse_size(std::string_view text);

// A number of things: "100000", "100k", "1M" (powers of 1000), "100,000".
Parsed<std::uint64_t> parse_count(std::string_view text);

// A number that may have a fraction: "1000", "0.5", "20k".
Parsed<double> parse_rate(std::string_view text);

// "HOST:PORT" as an endpoint, without asking a name server: HOST is an IP address, "localhost" or empty (any address).
Parsed<net::Endpoint> parse_listen_address(std::string_view text);

// As parse_listen_address, but HOST may be a name, which is looked up (blocking), and must not be empty; PORT must not
// be 0. Where a name has addresses of both families, the IPv4 one is taken.
Parsed<net::Endpoint> resolve_host_port(std::string_view text);

// A range of IPv4 addresses, both ends included: "127.0.1.0-127.0.1.63", or a single address of either family.
struct AddressRange {
  net::IpAddress first;
  std::uint32_t count = 1;

  [[nodiscard]] net::IpAddress at(std::uint64_t index) const noexcept;  // wraps around after the last
  friend bool operator==(const AddressRange&, const AddressRange&) noexcept = default;
};
Parsed<AddressRange> parse_address_range(std::string_view text);

}  // namespace roost::tools
