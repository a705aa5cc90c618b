// What the user asked the doctor: how many connections, at which end, and how the program will hold them.
#pragma once

#include <cstdint>
#include <string>

namespace roost::doctor {

enum class Role { server, client, both };  // both: the two ends of every connection live on this machine
enum class Handler { fiber, on_demand };   // a fiber for each connection, or one only while bytes are at hand

// Descriptors a process needs besides its connections: standard streams, listeners, a poller and an eventfd for each
// worker, logs, metrics, a resolver's socket.
inline constexpr std::uint64_t descriptors_reserved = 64;

// Address space of one fiber's stack; it counts where the kernel does not overcommit.
inline constexpr std::uint64_t stack_bytes = 64 * 1024;

struct Ask {
  std::uint64_t connections = 1'000'000;
  Role role = Role::server;
  std::uint32_t processes = 0;  // at each end; 0: as many as the descriptor limit makes necessary
  std::uint32_t sources = 0;    // local addresses to dial from; 0: one, or with Role::both as many as needed
  std::uint32_t targets = 1;    // address:port pairs that are dialled
  std::uint64_t rate = 20'000;  // connections opened in a second
  Handler handler = Handler::fiber;
  std::uint64_t user_bytes = 0;           // the server's own memory for a connection; 0: by handler
  std::uint64_t client_user_bytes = 470;  // the load generator's own (docs/load.md)
  bool ipv6 = false;                      // sockets of AF_INET6, dual-stack listeners too
  std::string unit;                       // the systemd unit that will run the server

  [[nodiscard]] bool serves() const { return role != Role::client; }
  [[nodiscard]] bool dials() const { return role != Role::server; }
  [[nodiscard]] std::uint64_t ends() const { return role == Role::both ? 2 : 1; }
  [[nodiscard]] std::uint64_t server_user_bytes() const {
    if (user_bytes != 0) return user_bytes;
    // 4.3 KB: one 4 KiB stack page with the fiber's control block in it, plus descriptor state.
    return handler == Handler::fiber ? 4'300 : 600;
  }
};

}  // namespace roost::doctor
