#include "tools/doctor/spread.h"

#include <algorithm>
#include <cmath>

#include "tools/doctor/judges.h"

namespace roost::doctor {

std::uint64_t fullest_share(std::uint64_t connections, std::uint64_t processes, bool by_hash) {
  if (processes <= 1) return connections;
  if (!by_hash) return ceil_div(connections, processes);
  const double share = 1.0 / static_cast<double>(processes);
  const double mean = static_cast<double>(connections) * share;
  // No process can get more than all.
  return std::min(connections, static_cast<std::uint64_t>(std::ceil(mean + 6 * std::sqrt(mean * (1 - share)))));
}

std::uint64_t connections_held(std::uint64_t processes, std::uint64_t per_process, bool by_hash) {
  if (per_process > unlimited / std::max<std::uint64_t>(processes, 1)) return unlimited;
  std::uint64_t low = 0;                                                         // fits
  std::uint64_t high = per_process * std::max<std::uint64_t>(processes, 1) + 1;  // does not
  while (high - low > 1) {
    const auto middle = low + (high - low) / 2;
    (fullest_share(middle, processes, by_hash) <= per_process ? low : high) = middle;
  }
  return low;
}

std::uint64_t fewest_processes(std::uint64_t connections, std::uint64_t per_process, bool by_hash) {
  std::uint64_t low = ceil_div(connections, per_process);  // an even deal; a hash needs as many at least
  if (low <= 1) return 1;
  std::uint64_t high = low;
  while (fullest_share(connections, high, by_hash) > per_process && high < connections)
    high = std::min(high * 2, connections);
  if (fullest_share(connections, low, by_hash) <= per_process) return low;
  while (high - low > 1) {
    const auto middle = low + (high - low) / 2;
    (fullest_share(connections, middle, by_hash) <= per_process ? high : low) = middle;
  }
  return high;
}

}  // namespace roost::doctor
