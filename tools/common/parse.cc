#include "tools/common/parse.h"

#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace roost::tools {
namespace {

using std::chrono::nanoseconds;

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes a number off the front of `text`: digits, and a fraction if there is a point. Signs, exponents, "inf" and "nan",
// which from_chars would take, are not numbers to us.
std::expected<double, bool> take_number(std::string_view& text) {
  std::size_t length = 0;
  bool point = false;
  while (length < text.size() && (is_digit(text[length]) || (text[length] == '.' && !point))) {
    point = point || text[length] == '.';
    ++length;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + length, value);
  if (length == 0 || error != std::errc() || end != text.data() + length) return std::unexpected(false);
  text.remove_prefix(length);
  return value;
}

std::string_view take_letters(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && !is_digit(text[length]) && text[length] != '.') ++length;
  const std::string_view letters = text.substr(0, length);
  text.remove_prefix(length);
  return letters;
}

template <class Unit, std::size_t N>
const Unit* find_unit(const std::array<std::pair<std::string_view, Unit>, N>& units, std::string_view name) {
  for (const auto& [known, unit] : units) {
    if (known == name) return &unit;
  }
  return nullptr;
}

// Without the thousands separators of "100,000": a comma is one only with digits before and exactly three behind.
std::expected<std::string, bool> without_separators(std::string_view text) {
  if (text.find(',') == std::string_view::npos) return std::string(text);
  std::string digits;
  std::size_t group = 0;
  bool first_group = true;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || text[i] == ',') {
      if (first_group ? group == 0 || group > 3 : group != 3) return std::unexpected(false);
      first_group = false;
      group = 0;
    } else if (is_digit(text[i])) {
      digits += text[i];
      ++group;
    } else {
      return std::unexpected(false);
    }
  }
  return digits;
}

Parsed<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::unexpected(fmt::format("`{}` is not a port; write a number from 0 to 65535", text));
  }
  return port;
}

struct HostAndPort {
  std::string host;
  std::uint16_t port;
};

Parsed<HostAndPort> split(std::string_view text) {
  const Result<net::HostPort> parts = net::split_host_port(text);
  if (!parts) {
    return std::unexpected(fmt::format("`{}` is not an address; write HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080", text));
  }
  Parsed<std::uint16_t> port = parse_port(parts->port);
  if (!port) return std::unexpected(std::move(port.error()));
  return HostAndPort{parts->host, *port};
}

}  // namespace

Parsed<nanoseconds> parse_duration(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 7> units{
      {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}}};
  constexpr double longest = 1000 * 86400e9;

  if (text == "0") return nanoseconds(0);
  double total = 0;
  std::string_view rest = text;
  do {
    const auto number = take_number(rest);
    const std::string_view name = take_letters(rest);
    const double* unit = find_unit(units, name);
    if (number && name.empty()) {
      return std::unexpected(fmt::format("`{}` has no unit; write {}s for seconds, or use ms, m, h", text, text));
    }
    if (!number || unit == nullptr) {
      return std::unexpected(fmt::format("`{}` is not a duration; write it like 250ms, 30s, 5m or 1h30m", text));
    }
    total += *number * *unit;
  } while (!rest.empty());
  if (total > longest) return std::unexpected(fmt::format("`{}` is too long; at most 1000d is possible", text));
  return nanoseconds(std::llround(total));
}

Parsed<std::uint64_t> parse_size(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 18> units{
      {{"", 1}, {"B", 1},
       {"k", 0x1p10}, {"K", 0x1p10}, {"kB", 0x1p10}, {"KB", 0x1p10}, {"KiB", 0x1p10}, {"kiB", 0x1p10},
       {"M", 0x1p20}, {"m", 0x1p20}, {"MB", 0x1p20}, {"MiB", 0x1p20},
       {"G", 0x1p30}, {"g", 0x1p30}, {"GB", 0x1p30}, {"GiB", 0x1p30},
       {"T", 0x1p40}, {"TiB", 0x1p40}}};
  std::string_view rest = text;
  const auto number = take_number(rest);
  const double* unit = find_unit(units, rest);
  if (!number || unit == nullptr) {
    return std::unexpected(fmt::format("`{}` is not a size; write bytes as 4096, 4KiB, 64k or 1MiB", text));
  }
  const double bytes = *number * *unit;
  if (bytes > 0x1p53) return std::unexpected(fmt::format("`{}` is too large", text));
  return static_cast<std::uint64_t>(std::llround(bytes));
}

Parsed<double> parse_rate(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 5> units{
      {{"", 1}, {"k", 1e3}, {"K", 1e3}, {"m", 1e6}, {"M", 1e6}}};
  const auto digits = without_separators(text);
  std::string_view rest = digits ? std::string_view(*digits) : std::string_view();
  const auto number = take_number(rest);
  const double* unit = find_unit(units, rest);
  if (!number || unit == nullptr) {
    return std::unexpected(fmt::format("`{}` is not a number; write it like 1000, 20k or 1M", text));
  }
  return *number * *unit;
}

Parsed<std::uint64_t> parse_count(std::string_view text) {
  const auto number = parse_rate(text);
  if (!number) return std::unexpected(number.error());
  if (*number != std::floor(*number) || *number > 0x1p53) {
    return std::unexpected(fmt::format("`{}` is not a whole number; write it like 1000, 20k or 1M", text));
  }
  return static_cast<std::uint64_t>(*number);
}

Parsed<net::Endpoint> parse_listen_address(std::string_view text) {
  Parsed<HostAndPort> parts = split(text);
  if (!parts) return std::unexpected(std::move(parts.error()));
  if (parts->host.empty()) return net::Endpoint{net::IpAddress::any_v4(), parts->port};
  if (parts->host == "localhost") return net::Endpoint{net::IpAddress::loopback_v4(), parts->port};
  const Result<net::IpAddress> address = net::IpAddress::parse(parts->host);
  if (!address) {
    return std::unexpected(fmt::format("`{}` is not an IP address; name one of this machine's, localhost, or none for all",
                                       parts->host));
  }
  return net::Endpoint{*address, parts->port};
}

Parsed<net::Endpoint> resolve_host_port(std::string_view text) {
  Parsed<HostAndPort> parts = split(text);
  if (!parts) return std::unexpected(std::move(parts.error()));
  if (parts->host.empty()) {
    return std::unexpected(fmt::format("`{}` names no host; write HOST:PORT, as in 127.0.0.1:8080", text));
  }
  if (parts->port == 0) return std::unexpected(fmt::format("`{}`: port 0 cannot be connected to; name the server's", text));
  if (parts->host == "localhost") return net::Endpoint{net::IpAddress::loopback_v4(), parts->port};
  if (const auto address = net::IpAddress::parse(parts->host)) return net::Endpoint{*address, parts->port};

  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(parts->host.c_str(), nullptr, &hints, &found); error != 0) {
    return std::unexpected(fmt::format("`{}` was not found ({}); check the name, or give its IP address", parts->host,
                                       ::gai_strerror(error)));
  }
  const addrinfo* chosen = found;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family == AF_INET) {
      chosen = entry;
      break;
    }
  }
  Result<net::Endpoint> endpoint = net::Endpoint::from_sockaddr(chosen->ai_addr, chosen->ai_addrlen);
  ::freeaddrinfo(found);
  if (!endpoint) return std::unexpected(fmt::format("`{}` has no IP address", parts->host));
  endpoint->port = parts->port;
  return *endpoint;
}

net::IpAddress AddressRange::at(std::uint64_t index) const noexcept {
  if (first.is_v6()) return first;
  return net::IpAddress::v4(static_cast<std::uint32_t>(first.v4_host_order() + index % count));
}

Parsed<AddressRange> parse_address_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const auto first = net::IpAddress::parse(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : net::IpAddress::parse(text.substr(dash + 1));
  if (!first || !last) {
    return std::unexpected(
        fmt::format("`{}` is not a range of addresses; write FIRST-LAST, as in 127.0.1.0-127.0.1.63", text));
  }
  if (dash == std::string_view::npos) return AddressRange{*first, 1};
  if (first->is_v6() || last->is_v6()) {
    return std::unexpected(fmt::format("`{}`: a range has IPv4 addresses; of IPv6 name a single one", text));
  }
  if (last->v4_host_order() < first->v4_host_order()) {
    return std::unexpected(fmt::format("`{}` ends before it begins; write the lower address first", text));
  }
  const std::uint64_t count = std::uint64_t{last->v4_host_order()} - first->v4_host_order() + 1;
  if (count > std::numeric_limits<std::uint32_t>::max()) return std::unexpected(fmt::format("`{}` is too many addresses", text));
  return AddressRange{*first, static_cast<std::uint32_t>(count)};
}

}  // namespace roost::tools
