// The life of a call: take the turn, make sure the call may be made, try it, park if there is nothing, try again.
//
// Every read, write and accept is this loop around one system call. The turn (PollDesc::Call) is the caller's to take, since
// some calls loop several times within one turn.
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <roost/error.h>

#include "net/socket.h"
#include "runtime/netpoll.h"
#include "runtime/parking.h"
#include "runtime/worker.h"

namespace roost::net {

using detail::PollDesc;
using runtime::Direction;

// Calls `attempt(fd, edge)`, which makes one system call and returns what that returned, until it does not have to wait.
// `edge` is for PollDesc::drained() after a short read. What is counted as bytes moved is the call's result; for calls whose
// result is something else the caller counts.
enum class Moves : bool { bytes, something_else };
template <Moves moves = Moves::bytes, class Attempt>
Result<std::size_t> try_and_wait(PollDesc& desc, Direction direction, Attempt&& attempt) {
  for (;;) {
    if (!desc.maybe_ready(direction)) {
      if (const std::error_code error = desc.wait(direction)) return fail(runtime::count_failure(error));
    }
    // From here to the end of the try nothing parks, so the worker stays the same.
    runtime::Worker* worker = runtime::current_worker();
    runtime::Fiber* self = worker == nullptr ? nullptr : worker->current();
    // Before every try, because an expired deadline beats ready data.
    if (desc.maybe_blocked(direction, self)) [[unlikely]] {
      if (const std::error_code error = desc.blocked(direction)) return fail(runtime::count_failure(error));
    }
    const std::uint64_t edge = desc.edge(direction);
    const ssize_t count = attempt(desc.fd(), edge);
    if (count >= 0) {
      desc.note_activity();
      if (self != nullptr) {
        if constexpr (moves == Moves::bytes) worker->count_bytes(direction == Direction::read, static_cast<std::uint64_t>(count));
        worker->spend_budget();
      }
      return static_cast<std::size_t>(count);
    }
    const int error = last_errno();
    if (error == EINTR) continue;
    if (error != EAGAIN) return fail(runtime::count_failure(owned_descriptor_error(desc.fd(), error)));
    desc.would_block(direction, edge);
  }
}

// One turn and one try_and_wait().
template <Moves moves = Moves::bytes, class Attempt>
Result<std::size_t> one_call(PollDesc* desc, Direction direction, Attempt&& attempt) {
  if (desc == nullptr) return fail(Errc::closed);
  const PollDesc::Call call(*desc, direction);
  if (!call) return fail(Errc::closed);
  return try_and_wait<moves>(*desc, direction, std::forward<Attempt>(attempt));
}

// Parks until a call of that direction may succeed.
inline Result<void> wait_ready(PollDesc* desc, Direction direction) {
  if (desc == nullptr) return fail(Errc::closed);
  const PollDesc::Call call(*desc, direction);
  if (!call) return fail(Errc::closed);
  // wait() looks for itself before it parks.
  const std::error_code error = desc->maybe_ready(direction) ? desc->blocked(direction) : desc->wait(direction);
  if (error) return fail(error);
  return {};
}

// Runs `act(fd)`, which does not wait, while the descriptor is certain to stay open.
template <class F>
auto with_descriptor(PollDesc* desc, F&& act) -> decltype(act(0)) {
  if (desc == nullptr) return fail(Errc::closed);
  const PollDesc::Hold hold(*desc);
  if (!hold) return fail(Errc::closed);
  return act(desc->fd());
}

// Raw access: `done(fd)` makes a system call of the caller's own and returns false if it would block. One turn.
Result<void> raw_call(PollDesc* desc, Direction direction, FunctionRef<bool(int fd)> done);
Result<void> raw_control(PollDesc* desc, FunctionRef<void(int fd)> act);

Result<void> set_deadline_on(PollDesc* desc, Direction direction, Deadline deadline);
// `span` from now, on the coarse clock where that is exact enough.
[[nodiscard]] Deadline deadline_after(std::chrono::nanoseconds span) noexcept;

// A duplicate for somebody else, with close-on-exec. It shares the file's non-blocking mode.
Result<int> duplicate(PollDesc* desc);

}  // namespace roost::net
