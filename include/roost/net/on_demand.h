// On-demand handlers: a connection that waits without a fiber, and so without a stack.
//
// A parked fiber holds a page of stack; a million of them hold 4 GB. A connection that mostly waits can do without: it
// goes to sleep with its descriptor's state and this object alone, and when bytes arrive a pooled fiber runs on_ready(), which is
// plain blocking code as ever. Server::serve_on_demand() is built on this, and what most programs want.
//
//   class Session final : public roost::net::OnDemand {
//     roost::net::Conn conn_;
//     void on_ready() override {
//       do {
//         if (!answer_one_request(conn_)) { delete this; return; }
//       } while (!sleep(conn_));            // true: asleep; this object may be running elsewhere already
//     }
//   };
#pragma once

#include <roost/detail/sleeper.h>
#include <roost/net/conn.h>

namespace roost::net {

class OnDemand : private detail::Sleeper {
 public:
  OnDemand(const OnDemand&) = delete;
  OnDemand& operator=(const OnDemand&) = delete;

 protected:
  OnDemand() noexcept : Sleeper{&OnDemand::start} {}
  virtual ~OnDemand() = default;

  // Runs on a fiber of its own when the connection has become readable, has ended or failed, its read deadline or idle
  // time-out has passed, it was closed, or the runtime stops: conn.read() tells which. May park.
  virtual void on_ready() = 0;

  // Puts `conn` to sleep until then. Never parks. Nobody may be reading from it.
  // True: asleep. on_ready() may be running on another worker already, so touch neither this object nor `conn`
  //       any more, and return.
  // False: there is something to read, or to learn, right now.
  [[nodiscard]] bool sleep(Conn& conn) noexcept;
  // Ends the sleep without a run of on_ready(). False: it was not asleep, or a run is on its way.
  [[nodiscard]] static bool take_back(Conn& conn) noexcept;

 private:
  static void start(detail::Sleeper& self) noexcept;
};

}  // namespace roost::net
