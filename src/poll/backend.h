// The contract between the scheduler and the system's readiness interface. Read before porting.
//
// A backend watches descriptors edge-triggered, in both directions, from add() until the descriptor is closed, and reports
// edges with the token that add() was given. It knows nothing of fibers. One worker owns a backend and waits in it, but
// every function may be called from any thread: connections are placed on other workers' backends, and an idle worker polls
// the backend of a stuck one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include <roost/error.h>

namespace roost::poll {

using Token = std::uint64_t;

struct Event {
  Token token;
  bool readable;  // data, a connection to accept, or end of stream
  bool writable;
  bool hangup;    // HUP, RDHUP or ERR: reading will not block any more, ever. Sticky for whoever notes it.
};

class Backend {
 public:
  virtual ~Backend() = default;

  // Starts watching `fd`. An fd that is ready already is reported by one of the next waits.
  // Errors: no_space_on_device (fs.epoll.max_user_watches), not_enough_memory, operation_not_permitted (a regular file).
  virtual Result<void> add(int fd, Token token) = 0;

  // Stops watching. Only needed for a descriptor that lives on somewhere else (lent, duplicated): the last close of a
  // descriptor ends the watch by itself. Events already in flight may still arrive.
  virtual void remove(int fd) noexcept = 0;

  // Waits for events until `until_ns` on the steady clock (0: does not wait; base::never_ns: no limit). Returns how many
  // were stored; 0 means the time has come or wake() was called. Rounds up to the clock's grain, never down to a spin.
  virtual std::size_t wait(std::span<Event> out, std::int64_t until_ns) noexcept = 0;

  // Makes the wait() under way, or else the next one, return at once. From any thread; wakes coalesce.
  virtual void wake() noexcept = 0;

  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
};

[[nodiscard]] Result<std::unique_ptr<Backend>> open_epoll();
[[nodiscard]] Result<std::unique_ptr<Backend>> open_io_uring();

}  // namespace roost::poll
