// Listening for stream connections: TCP, Unix stream and seqpacket.
//
//   auto listener = net::listen("tcp", ":8080", {.limits = {.connections_per_peer = 100}});
//   while (auto conn = listener->accept()) roost::go([conn = std::move(*conn)]() mutable { serve(conn); });
//
// The rules of ownership, closing and use by several fibers are those of Conn. net::Server accepts, serves and stops in good order.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <roost/detail/function_ref.h>
#include <roost/error.h>
#include <roost/net/address.h>
#include <roost/net/conn.h>
#include <roost/net/endpoint.h>

namespace roost::net {

// How many connections a listener lets in. 0 everywhere: no limit, and no cost.
//
// A connection counts from accept() until it is closed (or released). Limits that concern everybody make accept() wait, and
// peers with it, in the kernel's backlog; the limit per peer cannot, so it turns the surplus away with a reset.
struct ListenLimits {
  std::uint32_t connections = 0;           // open at a time
  std::uint32_t connections_per_peer = 0;  // of one address; for IPv6 of one /64, which is what a site is given
  std::uint32_t accepts_per_second = 0;
  std::uint32_t accept_burst = 0;          // at once after a quiet time; 0: a tenth of accepts_per_second, at least 1
};

struct ListenConfig {
  // Options the kernel hands on to accepted connections are set once, here, and cost nothing per connection.
  bool reuse_address = true;   // SO_REUSEADDR (TCP): bind although old connections are in TIME_WAIT
  bool reuse_port = false;     // SO_REUSEPORT: several sockets share the port; the kernel spreads connections by hash
  bool no_delay = true;        // TCP_NODELAY on accepted connections
  // On accepted connections. Each that is silent costs the kernel a probe and its answer every keep_alive.idle; for a million
  // that is 67,000 of each a second. Where a read deadline ends dead peers anyway, switch it off (docs/tuning.md).
  KeepAlive keep_alive{};
  // Connections the kernel completes before they are accepted. 0: net.core.somaxconn, which also caps it silently.
  int backlog = 0;
  ListenLimits limits{};
  // Called with the raw descriptor before bind, for any option not named here, on the calling fiber. `network` names the
  // family: "tcp4", "tcp6", "udp6", "unix", ... An error ends listen() with that error.
  std::function<Result<void>(int fd, std::string_view network, std::string_view address)> control = nullptr;
};

struct ListenerStats {
  std::uint64_t accepted_total = 0;     // connections handed out
  std::uint64_t exhausted_total = 0;    // times that there was no descriptor or no memory for one
  std::uint64_t turned_away_total = 0;  // connections reset: out of descriptors, or too many of one peer
  std::uint64_t full_total = 0;         // times that accept() waited for limits.connections
  std::uint32_t open = 0;               // connections handed out and still open; counted only with limits
};

class Listener {
 public:
  Listener() noexcept = default;
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener();

  // Parks until a connection has come and returns it. Several fibers may accept on one listener; they take turns.
  //
  // Out of descriptors (EMFILE, ENFILE) or kernel memory never ends a listener and never spins: accept() backs off,
  // keeps one descriptor in reserve to turn waiting peers away, and goes on as soon as descriptors are free.
  // Errors
  //   timed_out            the deadline passed; the listener goes on
  //   bad_file_descriptor  (Errc::closed) the listener was closed
  //   operation_canceled   the runtime stops or the fiber was canceled
  Result<Conn> accept();

  // Of accept(), pending and later ones: absolute, sticky, and an expired one beats a connection that waits. Deadline::none()
  // lifts it. Errors: bad_file_descriptor.
  Result<void> set_deadline(Deadline deadline);
  // Connections that were not accepted are reset. Calls inside return bad_file_descriptor. The file of a Unix socket that
  // listen() made is removed, unless another file stands at its path by now; a second close is bad_file_descriptor and
  // removes nothing. release() removes nothing either.
  Result<void> close();
  [[nodiscard]] bool is_open() const noexcept;
  // False: the file of a Unix socket stays, as for a listener that is handed to a successor. True: an adopted one's goes, too.
  void set_unlink_on_close(bool on) noexcept;

  // Where it listens; the port is the real one even if 0 was asked for, and so is a Unix name the kernel chose.
  [[nodiscard]] Result<Endpoint> local_endpoint() const;
  [[nodiscard]] Result<Address> local_address() const;
  // "accept tcp 127.0.0.1:80: deadline exceeded (timed_out)".
  [[nodiscard]] std::string describe(std::string_view operation, std::error_code error) const;

  // As those of Conn.
  Result<void> raw_control(FunctionRef<void(int fd)> act) const;
  [[nodiscard]] int native_handle() const noexcept;
  [[nodiscard]] Result<int> duplicate() const;
  [[nodiscard]] Result<int> release();
  // Takes over a listening socket and makes it non-blocking. The file of a Unix socket stays when it is closed. On error the
  // descriptor stays yours.
  // Errors: not_a_socket, bad_file_descriptor; invalid_argument when it does not listen.
  [[nodiscard]] static Result<Listener> adopt(int fd, const ListenLimits& limits = {});

  [[nodiscard]] ListenerStats stats() const noexcept;
  // Times that accept found no descriptor or no memory and backed off.
  [[nodiscard]] std::uint64_t exhausted_total() const noexcept { return stats().exhausted_total; }

  struct State;
  Listener(detail::PollDesc* desc, State* state) noexcept : desc_(desc), state_(state) {}  // internal

 private:
  detail::PollDesc* desc_ = nullptr;  // owned
  State* state_ = nullptr;            // shared with the connections that count towards a limit
};

// network: "tcp" (both families; ":port" listens dual-stack), "tcp4", "tcp6"; address: "host:port", "[v6]:port", ":port", where
// the port may be a service's name (":http"). 0 or none ("127.0.0.1:") is a port of the kernel's choice.
// network: "unix", "unixpacket"; address: a path, "@name" (abstract), or "" for an abstract name of the kernel's choice.
// Errors
//   address_in_use, address_not_available, permission_denied     as bind(2)
//   invalid_argument   (Errc::bad_address) not an address, or no such service; a host must be an IP address or "localhost"
//   filename_too_long  a Unix name of more than 107 bytes
//   address_family_not_supported   (Errc::unknown_network)
Result<Listener> listen(std::string_view network, std::string_view address, const ListenConfig& config = {});
// Never parks, but where a service's name is looked up in a large file.
Result<Listener> listen(const Endpoint& local, const ListenConfig& config = {});

// "listen tcp :80: permission denied (EACCES)", "dial tcp 127.0.0.1:1: connection refused (ECONNREFUSED)".
[[nodiscard]] std::string describe_failure(std::string_view operation, std::string_view network, std::string_view address,
                                           std::error_code error);

}  // namespace roost::net
