// How connections spread over processes, and how many processes that takes.
//
// A client deals its connections out evenly. Processes that accept share a port by SO_REUSEPORT, and the kernel deals
// by a hash: the fullest of them has more than its share. Six standard deviations more is where `roost echo` draws the
// line, too (tools/echo/server.h).
#pragma once

#include <cstdint>

namespace roost::doctor {

// Connections in the fullest of `processes`.
[[nodiscard]] std::uint64_t fullest_share(std::uint64_t connections, std::uint64_t processes, bool by_hash);

// The most connections of which no process gets more than `per_process`; the inverse of fullest_share().
[[nodiscard]] std::uint64_t connections_held(std::uint64_t processes, std::uint64_t per_process, bool by_hash);

// The fewest processes of which none gets more than `per_process`, which must not be 0.
[[nodiscard]] std::uint64_t fewest_processes(std::uint64_t connections, std::uint64_t per_process, bool by_hash);

}  // namespace roost::doctor
