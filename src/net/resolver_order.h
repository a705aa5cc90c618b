// In which order a host's addresses are best tried: RFC 6724, section 6, as far as a program without privileges knows what
// its rules ask for (rules 1, 2, 5, 6, 8, 9 and 10; deprecated, home and tunnelled addresses go unnoticed).
#pragma once

#include <optional>
#include <span>
#include <vector>

#include <roost/net/endpoint.h>

namespace roost::net {

// The address this machine would send from, or none if there is no way to `destination`. Sends nothing.
[[nodiscard]] std::optional<IpAddress> source_for(const IpAddress& destination) noexcept;

// Best first; equals stay in their order. sources[i] is for destinations[i].
[[nodiscard]] std::vector<IpAddress> in_order(std::span<const IpAddress> destinations,
                                              std::span<const std::optional<IpAddress>> sources);
// With the sources that this machine would use now.
[[nodiscard]] std::vector<IpAddress> in_order(std::vector<IpAddress> destinations);

}  // namespace roost::net
