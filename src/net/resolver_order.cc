#include "net/resolver_order.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <numeric>

#include "net/socket.h"

namespace roost::net {

namespace {

using Bytes = std::array<std::uint8_t, 16>;

// A v4 address in its v4-mapped form, which is how the policy table speaks of it.
Bytes as_v6(const IpAddress& address) noexcept {
  if (address.is_v6()) return address.bytes();
  Bytes bytes{};
  bytes[10] = bytes[11] = 0xff;
  std::copy_n(address.bytes().begin(), 4, bytes.begin() + 12);
  return bytes;
}

int common_prefix_bits(const Bytes& a, const Bytes& b) noexcept {
  int bits = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto difference = static_cast<std::uint8_t>(a[i] ^ b[i]);
    bits += std::countl_zero(difference);
    if (difference != 0) break;
  }
  return bits;
}

struct Policy {
  Bytes prefix;
  int bits;
  int precedence;
  int label;
};
// RFC 6724, section 2.1, longest prefix first.
constexpr Policy policies[] = {
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128, 50, 0},  // ::1
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, 35, 4},         // ::ffff:0:0/96, which is IPv4
    {{}, 96, 1, 3},                                                  // ::/96
    {{0x20, 0x01}, 32, 5, 5},                                        // 2001::/32, Teredo
    {{0x20, 0x02}, 16, 30, 2},                                       // 2002::/16, 6to4
    {{0x3f, 0xfe}, 16, 1, 12},                                       // 3ffe::/16
    {{0xfe, 0xc0}, 10, 1, 11},                                       // fec0::/10
    {{0xfc}, 7, 3, 13},                                              // fc00::/7
};
constexpr Policy policy_of_the_rest{{}, 0, 40, 1};

const Policy& policy_for(const Bytes& address) noexcept {
  for (const Policy& policy : policies) {
    if (common_prefix_bits(policy.prefix, address) >= policy.bits) return policy;
  }
  return policy_of_the_rest;
}

// RFC 4291, section 2.7.
constexpr int scope_link_local = 0x2;
constexpr int scope_site_local = 0x5;
constexpr int scope_global = 0xe;

int scope_of(const IpAddress& address) noexcept {
  if (address.is_loopback()) return scope_link_local;
  const Bytes& bytes = address.bytes();
  if (address.is_v4()) return bytes[0] == 169 && bytes[1] == 254 ? scope_link_local : scope_global;
  if (bytes[0] == 0xff) return bytes[1] & 0xf;  // multicast
  if (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) return scope_link_local;
  if (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0xc0) return scope_site_local;
  return scope_global;
}

struct Candidate {
  IpAddress destination;
  std::optional<IpAddress> source;
  int precedence = 0;
  int scope = 0;
  bool scopes_match = false;
  bool labels_match = false;
  int common_bits = 0;
  std::size_t place = 0;  // where it stood

  Candidate(const IpAddress& to, const std::optional<IpAddress>& from, std::size_t index) noexcept
      : destination(to.unmapped()), source(from), scope(scope_of(destination)), place(index) {
    const Bytes bytes = as_v6(destination);
    const Policy& policy = policy_for(bytes);
    precedence = policy.precedence;
    if (!source) return;
    source = source->unmapped();
    scopes_match = scope_of(*source) == scope;
    labels_match = policy_for(as_v6(*source)).label == policy.label;
    // Only the network's half of the address counts (section 2.2). Rule 9 is for IPv6: among IPv4 addresses it would undo
    // what the name server does to spread the load.
    constexpr int prefix_bits_max = 64;
    if (destination.is_v6()) common_bits = std::min(common_prefix_bits(as_v6(*source), bytes), prefix_bits_max);
  }
};

bool comes_before(const Candidate& a, const Candidate& b) noexcept {
  if (a.source.has_value() != b.source.has_value()) return a.source.has_value();        // rule 1
  if (!a.source) return a.place < b.place;                                              // no way to either
  if (a.scopes_match != b.scopes_match) return a.scopes_match;                          // rule 2
  if (a.labels_match != b.labels_match) return a.labels_match;                          // rule 5
  if (a.precedence != b.precedence) return a.precedence > b.precedence;                 // rule 6
  if (a.scope != b.scope) return a.scope < b.scope;                                     // rule 8
  if (a.common_bits != b.common_bits) return a.common_bits > b.common_bits;             // rule 9; both v6, or both 0
  return a.place < b.place;                                                             // rule 10
}

}  // namespace

std::optional<IpAddress> source_for(const IpAddress& destination) noexcept {
  const UniqueFd fd(::socket(destination.is_v6() ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP));
  if (!fd) return std::nullopt;
  sockaddr_storage storage{};
  constexpr std::uint16_t any_port = 9;  // connecting a datagram socket asks the routing table and sends nothing
  const socklen_t length = Endpoint{destination, any_port}.to_sockaddr(storage);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) return std::nullopt;
  const auto local = local_endpoint_of(fd.get());
  if (!local) return std::nullopt;
  return local->address;
}

std::vector<IpAddress> in_order(std::span<const IpAddress> destinations,
                                std::span<const std::optional<IpAddress>> sources) {
  std::vector<Candidate> candidates;
  candidates.reserve(destinations.size());
  for (std::size_t i = 0; i < destinations.size(); ++i) candidates.emplace_back(destinations[i], sources[i], i);
  std::ranges::sort(candidates, comes_before);
  std::vector<IpAddress> sorted;
  sorted.reserve(candidates.size());
  for (const Candidate& candidate : candidates) sorted.push_back(destinations[candidate.place]);
  return sorted;
}

std::vector<IpAddress> in_order(std::vector<IpAddress> destinations) {
  if (destinations.size() <= 1) return destinations;
  std::vector<std::optional<IpAddress>> sources;
  sources.reserve(destinations.size());
  for (const IpAddress& destination : destinations) sources.push_back(source_for(destination));
  return in_order(destinations, sources);
}

}  // namespace roost::net
