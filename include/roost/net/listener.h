// Listening for stream connections.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <roost/error.h>
#include <roost/net/conn.h>
#include <roost/net/endpoint.h>

namespace roost::net {

struct ListenConfig {
  // Options the kernel hands on to accepted connections are set once, here, and cost nothing per connection.
  bool reuse_address = true;   // SO_REUSEADDR: bind although old connections are in TIME_WAIT
  bool reuse_port = false;     // SO_REUSEPORT: several processes share the port; the kernel spreads connections by hash
  bool no_delay = true;        // TCP_NODELAY on accepted connections
  KeepAlive keep_alive{};      // on accepted connections
  // Connections the kernel completes before they are accepted. 0: net.core.somaxconn, which also caps it silently.
  int backlog = 0;
  // Called with the raw descriptor before bind, for any option not named here. An error ends listen() with that error.
  std::function<Result<void>(int fd, std::string_view network, std::string_view address)> control = nullptr;
};

class Listener {
 public:
  Listener() noexcept = default;
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener();

  // Parks until a connection has come and returns it. Several fibers may accept on one listener.
  //
  // Out of descriptors (EMFILE, ENFILE) or kernel memory never ends a listener and never spins: accept() backs off,
  // keeps one descriptor in reserve to turn waiting peers away, and goes on as soon as descriptors are free.
  // Errors
  //   timed_out            the deadline passed; the listener goes on
  //   bad_file_descriptor  (Errc::closed) the listener was closed
  //   operation_canceled   the runtime stops or the fiber was canceled
  Result<Conn> accept();

  Result<void> set_deadline(Deadline deadline);
  // Connections that were not accepted are reset. Calls inside return bad_file_descriptor.
  Result<void> close();
  [[nodiscard]] bool is_open() const noexcept;

  // Where it listens; the port is the real one even if 0 was asked for.
  [[nodiscard]] Result<Endpoint> local_endpoint() const;
  [[nodiscard]] int native_handle() const noexcept;
  // Takes over a listening socket. On error the descriptor stays yours.
  [[nodiscard]] static Result<Listener> adopt(int fd);

  // Times that accept found no descriptor or no memory and backed off.
  [[nodiscard]] std::uint64_t exhausted_total() const noexcept;

  Listener(detail::PollDesc* desc, int spare_fd) noexcept : desc_(desc), spare_fd_(spare_fd) {}  // internal

 private:
  detail::PollDesc* desc_ = nullptr;  // owned
  int spare_fd_ = -1;                 // owned; given up to turn peers away when descriptors are exhausted
  std::uint64_t exhausted_total_ = 0;
};

// network: "tcp" (both families; ":port" listens dual-stack), "tcp4", "tcp6". address: "host:port", "[v6]:port", ":port".
// Errors
//   address_in_use, address_not_available, permission_denied     as bind(2)
//   invalid_argument   (Errc::bad_address) not an address; a host must be an IP address or "localhost"
//   address_family_not_supported   (Errc::unknown_network)
Result<Listener> listen(std::string_view network, std::string_view address, const ListenConfig& config = {});
Result<Listener> listen(const Endpoint& local, const ListenConfig& config = {});

}  // namespace roost::net
