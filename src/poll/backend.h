// The contract between the scheduler and the system's readiness interface. Read before porting.
//
// A backend watches descriptors edge-triggered, in both directions, from add() until the descriptor is closed, and reports
// edges with the token that add() was given. It knows nothing of fibers. One worker owns a backend and waits in it, but
// every function may be called from any thread: connections are placed on other workers' backends, and an idle worker polls
// the backend of a stuck one.
//
// backend_test.cc is this contract as a suite that every backend passes; backend_fake.h is the least that runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include <roost/error.h>

namespace roost::poll {

// Names a watch. Never used twice in a backend's life, so that what is left of an old watch cannot be taken for a new
// one. Bit 31 is the backends' own and must be clear.
using Token = std::uint64_t;
inline constexpr Token internal_token_bit = Token{1} << 31;

struct Event {
  Token token;
  bool readable;  // data, a connection to accept, or end of stream
  bool writable;
  // HUP, RDHUP, ERR or PRI (urgent data, at which a TCP read stops): until EAGAIN a short read does not mean that nothing is
  // left, since the end of the stream and what lies behind the urgent byte may have come with the same edge. Set on every
  // arrival of data where the system does not tell urgent data apart (io_uring, kqueue): that costs a call that finds nothing.
  bool hangup;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // Starts watching `fd`. An fd that is ready already is reported by one of the next waits. A spurious event, or one edge as
  // two events, is possible at any time: whoever is woken tries the call.
  // Errors: no_space_on_device (fs.epoll.max_user_watches), not_enough_memory, operation_not_permitted (a regular file or
  // anything else that is always ready), bad_file_descriptor. A failure that the system reports later comes as an event with
  // everything set, so that the call which is tried then tells what is wrong.
  virtual Result<void> add(int fd, Token token) = 0;

  // Stops watching. Needed
  //   where needs_remove() says so, before each close;
  //   for a descriptor that lives on somewhere else (lent, duplicated);
  //   for one whose port must be free as soon as it is closed (a listener, a datagram socket): an epoll_wait() under way in
  //   another thread holds the open file for a moment (since Linux 6.9), and then it is that thread which really closes it.
  // Once it has returned, the watch holds the open file no more. Events already in flight may still arrive. Where the last
  // close ends a watch by itself it is cheap; otherwise it makes a system call, and if another thread holds the watch it waits
  // until that thread enters the kernel: a clock tick at most.
  virtual void remove(int fd, Token token) noexcept = 0;

  // True: a watch holds the open file, so close() alone would neither send FIN nor free the port.
  [[nodiscard]] virtual bool needs_remove() const noexcept { return false; }

  // True: an event tells what was so when the system queued it, and what it reports may have been read since. False: the
  // system looks again when it hands the event out.
  [[nodiscard]] virtual bool reports_late() const noexcept { return false; }

  // Waits for events until `until_ns` on the steady clock (0: does not wait; base::never_ns: no limit). Returns how many
  // were stored; 0 means the time has come or wake() was called. Rounds up to the clock's grain, never down to a spin.
  // While a stepped clock is installed, a deadline ahead of it is no limit: whoever steps the clock wakes.
  // One thread at a time may wait; any others may look with until_ns 0 meanwhile, and get events that are then not the
  // waiting one's.
  virtual std::size_t wait(std::span<Event> out, std::int64_t until_ns) noexcept = 0;

  // Makes the wait() under way, or else the next one, return at once. From any thread; wakes coalesce. A wait with until_ns 0
  // does not count: a thread that looks on the owner's behalf cannot take the owner's wake.
  virtual void wake() noexcept = 0;

  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
};

// Each exists where the system has it (CMakeLists.txt). Errors: too_many_files_open, not_enough_memory (for io_uring also
// RLIMIT_MEMLOCK, of which a ring takes 30 to 150 KB), and for io_uring function_not_supported (before Linux 5.19) or
// operation_not_permitted (kernel.io_uring_disabled, or a container's filter).
[[nodiscard]] Result<std::unique_ptr<Backend>> open_epoll();
[[nodiscard]] Result<std::unique_ptr<Backend>> open_io_uring();
[[nodiscard]] Result<std::unique_ptr<Backend>> open_kqueue();

}  // namespace roost::poll
