// Server: accepts connections, runs a handler for each, and stops in good order.
//
// Two ways to serve, with the same blocking code:
//   serve()            a fiber for each connection: the plain way. A waiting connection costs a page of stack.
//   serve_on_demand()  a fiber for each connection that has something to say at the moment. A waiting connection costs its
//                      descriptor's state and `State` alone, some 300 bytes.
//
//   roost::net::Server server({.idle_timeout = 5min});
//   server.serve(listener, [](roost::net::Conn& conn) { ... });                          // parks until shutdown()
//   server.serve_on_demand<Session>(listener, [](roost::net::Conn& conn, Session&) {     // one round: bytes have come
//     ...
//     return roost::net::Round::wait;
//   });
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include <roost/detail/function_ref.h>
#include <roost/error.h>
#include <roost/net/conn.h>
#include <roost/net/listener.h>
#include <roost/net/on_demand.h>
#include <roost/time/deadline.h>

namespace roost::net {

struct ServerOptions {
  // Connections at once; 0: as many as there are descriptors for. One that comes beyond it is accepted and reset at once, so
  // that its client learns of it now and not by a time-out.
  std::size_t connections_max = 0;
  // A connection on which nothing has moved for so long ends: its pending call fails with timed_out. Zero: never.
  std::chrono::nanoseconds idle_timeout{0};
};

struct ServerStats {
  std::uint64_t accepted = 0;   // in all, refused ones not counted
  std::uint64_t refused = 0;    // beyond connections_max
  std::uint64_t open = 0;       // now
  std::uint64_t asleep = 0;     // of these, without a fiber
};

// What a round of an on-demand handler ends with.
enum class Round : std::uint8_t {
  wait,   // the connection goes to sleep until more bytes arrive; one that the handler has closed is done all the same
  close,  // it is done
};

namespace server_detail {
class ServerCore;
class SleepingConn;
}  // namespace server_detail

class Server {
 public:
  explicit Server(ServerOptions options = {});
  // As close(), and waits for the handlers to leave.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Accepts from `listener` and runs handler(conn) on a fiber of its own for each connection; the connection is closed when
  // the handler returns. Parks until shutdown() or close(), or until accepting fails for good. Handlers go on when it returns;
  // shutdown() and the destructor wait for them. Several listeners may be served at once, from several fibers.
  // Errors
  //   bad_file_descriptor (Errc::closed)   the server was shut down, before or meanwhile, or the listener closed
  //   operation_canceled                   the runtime stops or the fiber was canceled
  Result<void> serve(Listener& listener, std::function<void(Conn&)> handler);

  // As serve(), but on_readable(conn, state) runs only when bytes have arrived (or the connection has ended, failed or timed
  // out, which its next read reports), and says whether to wait for more. It should read all that is there: while
  // conn.maybe_readable() it is run again. `State` is what the program keeps for each connection meanwhile.
  template <class State, class F>
    requires std::invocable<F&, Conn&, State&>
  Result<void> serve_on_demand(Listener& listener, F on_readable);

  // Stops in good order: closes the listeners, ends sleeping connections, and tells the others by an end of stream that no
  // more will come; requests that have arrived are answered. Parks until all handlers have returned.
  // Errors
  //   timed_out   `until` passed first; the connections that were left were closed
  Result<void> shutdown(Deadline until = Deadline::none());
  // Ends the connections that sleep at this moment.
  void close_idle();
  // Closes everything at once. Does not wait for handlers to return.
  void close();

  [[nodiscard]] ServerStats stats() const;

 private:
  // Keeps the handler until the server ends, and makes a connection's object from it.
  Result<void> serve_sleeping(Listener& listener, FunctionRef<server_detail::SleepingConn*(Conn conn)> make);
  void keep(std::shared_ptr<void> handler);

  std::unique_ptr<server_detail::ServerCore> core_;
};

namespace server_detail {

// A connection of a server, in the server's list from construction to destruction.
class Served {
 public:
  Served(ServerCore& core, Conn conn, bool on_demand);
  ~Served();
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  Conn conn;

 protected:
  friend class ServerCore;
  ServerCore& core_;          // outlives it: the server waits for its connections
  Served* next_ = nullptr;    // guarded by the core's lock
  Served* previous_ = nullptr;
  const bool on_demand_;
};

class SleepingConn : public Served, public OnDemand {
 public:
  SleepingConn(ServerCore& core, Conn accepted) : Served(core, std::move(accepted), true) {}

 protected:
  friend class ServerCore;
  friend class net::Server;
  virtual Round round() = 0;  // runs the user's handler once
  void begin();
  void on_ready() final;
};

template <class State, class F>
class StatefulConn final : public SleepingConn {
 public:
  StatefulConn(ServerCore& core, Conn accepted, F& on_readable)
      : SleepingConn(core, std::move(accepted)), on_readable_(on_readable) {}

 private:
  Round round() override { return on_readable_(conn, state_); }

  F& on_readable_;  // kept by the server
  [[no_unique_address]] State state_{};
};

}  // namespace server_detail

template <class State, class F>
  requires std::invocable<F&, Conn&, State&>
Result<void> Server::serve_on_demand(Listener& listener, F on_readable) {
  auto handler = std::make_shared<F>(std::move(on_readable));
  keep(handler);
  return serve_sleeping(listener, [this, &handler](Conn conn) -> server_detail::SleepingConn* {
    return new server_detail::StatefulConn<State, F>(*core_, std::move(conn), *handler);
  });
}

}  // namespace roost::net
