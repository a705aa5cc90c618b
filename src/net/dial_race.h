// Racing two lists of addresses: the primaries at once, the fallbacks when those fail or take too long.
#pragma once

#include <span>

#include <roost/error.h>
#include <roost/net/dial.h>

namespace roost::net {

// Each list is dialled in order. Returns the first connection; the loser's is closed. When both fail, the primaries' error.
Result<Conn> dial_parallel(const Dialer& dialer, std::span<const Endpoint> primaries, std::span<const Endpoint> fallbacks,
                           Deadline deadline);

// Splits by the family of the first address, keeping the order within each (RFC 8305 section 4, as Go does).
struct ByFamily {
  std::vector<Endpoint> primaries;
  std::vector<Endpoint> fallbacks;
};
[[nodiscard]] ByFamily split_by_family(std::span<const Endpoint> remotes);

}  // namespace roost::net
