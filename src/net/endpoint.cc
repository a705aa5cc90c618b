#include <roost/net/endpoint.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace roost::net {
namespace {

constexpr std::array<std::uint8_t, 12> v4_mapped_prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

// Decimal digits and nothing else: no sign, no space.
template <class T>
bool parse_number(std::string_view text, T& out) noexcept {
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, out);
  return error == std::errc() && at == end;
}

// inet_pton and if_nametoindex want their text to end with a zero.
template <std::size_t size>
bool copy_text(std::string_view text, std::array<char, size>& out) noexcept {
  if (text.size() >= size || text.contains('\0')) return false;
  *std::copy(text.begin(), text.end(), out.begin()) = '\0';
  return true;
}

// "eth0" or "3". A name goes first: an interface may be called "3".
Result<std::uint32_t> parse_zone(std::string_view text) noexcept {
  std::array<char, IF_NAMESIZE> name;
  std::uint32_t zone = 0;
  if (text.empty()) return fail(Errc::bad_address);
  if (copy_text(text, name)) zone = ::if_nametoindex(name.data());
  if (zone == 0 && !parse_number(text, zone)) return fail(std::errc::no_such_device);
  if (zone == 0) return fail(Errc::bad_address);  // index 0 means no zone
  return zone;
}

}  // namespace

// ---- IpAddress

IpAddress IpAddress::v4(std::uint32_t host_order) noexcept {
  const auto byte = [=](int shift) { return static_cast<std::uint8_t>(host_order >> shift); };
  return v4(byte(24), byte(16), byte(8), byte(0));
}

IpAddress IpAddress::v6(const std::array<std::uint8_t, 16>& bytes, std::uint32_t zone) noexcept {
  IpAddress address;
  address.bytes_ = bytes;
  address.zone_ = zone;
  address.is_v6_ = true;
  return address;
}

IpAddress IpAddress::loopback_v6() noexcept { return v6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}); }

Result<IpAddress> IpAddress::parse(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> digits;
  IpAddress address;
  if (!text.contains(':')) {
    if (!copy_text(text, digits) || ::inet_pton(AF_INET, digits.data(), address.bytes_.data()) != 1) {
      return fail(Errc::bad_address);
    }
    return address;
  }
  const std::size_t percent = text.find('%');
  if (!copy_text(text.substr(0, percent), digits) ||
      ::inet_pton(AF_INET6, digits.data(), address.bytes_.data()) != 1) {
    return fail(Errc::bad_address);
  }
  address.is_v6_ = true;
  if (percent != std::string_view::npos) {
    if (address.is_v4_mapped()) return fail(Errc::bad_address);  // v4 knows no zones
    const auto zone = parse_zone(text.substr(percent + 1));
    if (!zone) return fail(zone.error());
    address.zone_ = *zone;
  }
  return address;
}

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> digits;
  ::inet_ntop(is_v6_ ? AF_INET6 : AF_INET, bytes_.data(), digits.data(), digits.size());
  std::string text = digits.data();
  if (zone_ != 0) {
    std::array<char, IF_NAMESIZE> name;
    text += '%';
    text += ::if_indextoname(zone_, name.data()) != nullptr ? name.data() : std::to_string(zone_);
  }
  return text;
}

bool IpAddress::is_v4_mapped() const noexcept {
  return is_v6_ && std::equal(v4_mapped_prefix.begin(), v4_mapped_prefix.end(), bytes_.begin());
}

bool IpAddress::is_loopback() const noexcept {
  const IpAddress plain = unmapped();
  if (!plain.is_v6_) return plain.bytes_[0] == 127;
  return plain.bytes_ == loopback_v6().bytes_;
}

bool IpAddress::is_unspecified() const noexcept {
  const IpAddress plain = unmapped();
  return plain.bytes_ == std::array<std::uint8_t, 16>{};
}

IpAddress IpAddress::unmapped() const noexcept {
  return is_v4_mapped() ? v4(bytes_[12], bytes_[13], bytes_[14], bytes_[15]) : *this;
}

std::uint32_t IpAddress::v4_host_order() const noexcept {
  const IpAddress plain = unmapped();
  const auto byte = [&](std::size_t i) { return std::uint32_t{plain.bytes_[i]}; };
  return byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
}

// ---- Endpoint

Result<Endpoint> Endpoint::parse(std::string_view text) {
  const auto parts = split_host_port(text);
  if (!parts) return fail(parts.error());
  Endpoint endpoint;
  if (!parse_number(std::string_view(parts->port), endpoint.port)) return fail(Errc::bad_address);
  if (!parts->host.empty()) {
    const auto address = IpAddress::parse(parts->host);
    if (!address) return fail(address.error());
    if (address->is_v6() != text.starts_with('[')) return fail(Errc::bad_address);  // "[192.0.2.1]:80"
    endpoint.address = *address;
  } else if (text.starts_with('[')) {  // "[]:80"
    return fail(Errc::bad_address);
  }
  return endpoint;
}

std::string Endpoint::to_string() const {
  const std::string host = address.to_string();
  return (address.is_v6() ? '[' + host + ']' : host) + ':' + std::to_string(port);
}

unsigned Endpoint::to_sockaddr(sockaddr_storage& out) const noexcept {
  // Copied into place rather than written through a cast pointer: the storage is whatever the caller declared.
  const auto fill = [&](const auto& form) {
    static_assert(sizeof form <= sizeof out);
    std::memcpy(&out, &form, sizeof form);
    return static_cast<unsigned>(sizeof form);
  };
  if (address.is_v4()) {
    sockaddr_in form{};
    form.sin_family = AF_INET;
    form.sin_port = htons(port);
    std::memcpy(&form.sin_addr, address.bytes().data(), sizeof form.sin_addr);
    return fill(form);
  }
  sockaddr_in6 form{};
  form.sin6_family = AF_INET6;
  form.sin6_port = htons(port);
  form.sin6_scope_id = address.zone();
  std::memcpy(&form.sin6_addr, address.bytes().data(), sizeof form.sin6_addr);
  return fill(form);
}

Result<Endpoint> Endpoint::from_sockaddr(const sockaddr* address, unsigned length) noexcept {
  if (address == nullptr || length < sizeof(address->sa_family)) return fail(Errc::bad_address);
  sa_family_t family;
  std::memcpy(&family, &address->sa_family, sizeof family);
  if (family == AF_INET) {
    sockaddr_in form;
    if (length < sizeof form) return fail(Errc::bad_address);
    std::memcpy(&form, address, sizeof form);
    return Endpoint{IpAddress::v4(ntohl(form.sin_addr.s_addr)), ntohs(form.sin_port)};
  }
  if (family == AF_INET6) {
    sockaddr_in6 form;
    if (length < sizeof form) return fail(Errc::bad_address);
    std::memcpy(&form, address, sizeof form);
    std::array<std::uint8_t, 16> bytes;
    std::memcpy(bytes.data(), &form.sin6_addr, sizeof bytes);
    return Endpoint{IpAddress::v6(bytes, form.sin6_scope_id), ntohs(form.sin6_port)};
  }
  return fail(Errc::unknown_network);
}

// ---- text

Result<HostPort> split_host_port(std::string_view text) {
  std::string_view host;
  std::string_view rest;  // from the colon before the port
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return fail(Errc::bad_address);  // missing ']'
    host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    host = text.substr(0, colon);
    rest = text.substr(colon);
  }
  if (!rest.starts_with(':')) return fail(Errc::bad_address);  // missing port, or text between ']' and ':'
  const std::string_view port = rest.substr(1);
  if (port.contains(':')) return fail(Errc::bad_address);      // a v6 address without brackets
  if (host.find_first_of("[]") != std::string_view::npos) return fail(Errc::bad_address);
  if (port.find_first_of("[]") != std::string_view::npos) return fail(Errc::bad_address);
  return HostPort{std::string(host), std::string(port)};
}

}  // namespace roost::net
