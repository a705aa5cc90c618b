#include <roost/net/pipe.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "base/assert.h"
#include "base/buffer_pool.h"
#include "base/clock.h"
#include "base/spin_lock.h"
#include "runtime/fd_mutex.h"
#include "runtime/parking.h"

namespace roost::net {

using runtime::Direction;
using runtime::Waiter;

namespace {

constexpr int index_of(Direction direction) noexcept { return static_cast<int>(direction); }

// One direction: bytes on their way. At most one writer and one reader are inside (End::mutex sees to that).
//
// Invariants
//   H1  the buffer holds `size` bytes from `head` on, around its end; it is borrowed while size > 0.
//   H2  bytes in the buffer are older than those in `pending`.
//   H3  a waiter is stored under the lock, after its condition was found false under it.
struct Half {
  base::SpinLock lock;  // leaf
  base::Buffer buffer ROOST_GUARDED_BY(lock);
  std::size_t head ROOST_GUARDED_BY(lock) = 0;
  std::size_t size ROOST_GUARDED_BY(lock) = 0;
  std::span<const std::byte> pending ROOST_GUARDED_BY(lock);  // without a buffer: in the memory of a writer that waits
  Waiter reader ROOST_GUARDED_BY(lock);
  Waiter writer ROOST_GUARDED_BY(lock);
  bool write_closed ROOST_GUARDED_BY(lock) = false;
  bool read_closed ROOST_GUARDED_BY(lock) = false;
  std::error_code write_reason ROOST_GUARDED_BY(lock);  // for the reader; none: end of stream
  std::error_code read_reason ROOST_GUARDED_BY(lock);   // for the writer
};

void wake(Half& half, Waiter Half::* stored) noexcept {
  Waiter waiter;
  {
    base::SpinGuard guard(half.lock);
    waiter = std::exchange(half.*stored, Waiter());
  }
  runtime::unpark(waiter);
}

struct End {
  runtime::FdMutex mutex;
  std::array<std::atomic<std::int64_t>, 2> deadlines_ns{base::never_ns, base::never_ns};
  std::atomic<std::uintptr_t> closer{0};  // a Waiter: whoever waits for the last call to leave
  std::atomic<bool> closed_now{false};
};

}  // namespace

struct PipeConn::Core {
  explicit Core(std::size_t bytes) noexcept : buffer_bytes(bytes) {}

  const std::size_t buffer_bytes;
  std::array<Half, 2> halves;  // halves[i]: written by end i
  std::array<End, 2> ends;

  Half& outgoing(int side) noexcept { return halves[static_cast<std::size_t>(side)]; }
  Half& incoming(int side) noexcept { return halves[static_cast<std::size_t>(1 - side)]; }
  End& end(int side) noexcept { return ends[static_cast<std::size_t>(side)]; }

  // What a call of that direction fails with before anything else is looked at.
  std::error_code blocked(End& own, Direction direction) noexcept {
    if (own.mutex.is_closed()) return Errc::closed;
    if (const std::error_code interrupted = runtime::current_interruption()) return interrupted;
    const std::int64_t limit = own.deadlines_ns[static_cast<std::size_t>(index_of(direction))].load(std::memory_order_seq_cst);
    if (limit != base::never_ns && base::now_ns() >= limit) return Errc::deadline_exceeded;
    return {};
  }
  // Parks until somebody wakes the stored waiter or the deadline comes.
  void park(End& own, Direction direction) noexcept {
    const auto reason =
        direction == Direction::read ? runtime::WaitReason::channel_receive : runtime::WaitReason::channel_send;
    const std::int64_t limit = own.deadlines_ns[static_cast<std::size_t>(index_of(direction))].load(std::memory_order_seq_cst);
    runtime::park_until(reason, limit, this);
  }

  void leave(End& own, Direction direction) noexcept {
    if (own.mutex.leave(direction)) finish_close(own);
  }
  void finish_close(End& own) noexcept {
    const Waiter closer = Waiter::from_bits(own.closer.load(std::memory_order_seq_cst));
    own.closed_now.store(true, std::memory_order_seq_cst);
    runtime::unpark(closer);
  }

  // The writer's side: takes what there is room for.
  std::size_t store(Half& half, std::span<const std::byte> data) ROOST_REQUIRES(half.lock) {
    const std::size_t count = std::min(data.size(), buffer_bytes - half.size);
    if (count == 0) return 0;
    if (half.buffer.data() == nullptr) {
      half.buffer = base::Buffer(buffer_bytes);
      half.head = 0;
      if (half.buffer.data() == nullptr) return 0;
    }
    const std::size_t tail = (half.head + half.size) % buffer_bytes;
    const std::size_t straight = std::min(count, buffer_bytes - tail);
    std::memcpy(half.buffer.data() + tail, data.data(), straight);
    std::memcpy(half.buffer.data(), data.data() + straight, count - straight);
    half.size += count;
    return count;
  }
  std::size_t fetch(Half& half, std::span<std::byte> out) ROOST_REQUIRES(half.lock) {
    if (half.size == 0) {
      const std::size_t count = std::min(out.size(), half.pending.size());
      std::memcpy(out.data(), half.pending.data(), count);
      half.pending = half.pending.subspan(count);
      return count;
    }
    const std::size_t count = std::min(out.size(), half.size);
    const std::size_t straight = std::min(count, buffer_bytes - half.head);
    std::memcpy(out.data(), half.buffer.data() + half.head, straight);
    std::memcpy(out.data() + straight, half.buffer.data(), count - straight);
    half.head = (half.head + count) % buffer_bytes;
    half.size -= count;
    if (half.size == 0) half.buffer.reset();
    return count;
  }

  Result<std::size_t> write_all(int side, std::span<const std::byte> data) noexcept {
    End& own = end(side);
    Half& half = outgoing(side);
    std::size_t total = 0;
    for (bool published = false;;) {
      const std::error_code error = blocked(own, Direction::write);
      Waiter reader;
      bool done = false;
      std::error_code failed;
      {
        base::SpinGuard guard(half.lock);
        half.writer = Waiter();
        if (published && half.pending.empty()) {
          done = true;  // even if a deadline has passed meanwhile: all of it was read
        } else if (error || half.write_closed || half.read_closed) {
          half.pending = {};
          failed = error                               ? error
                   : half.write_closed || !half.read_reason ? std::make_error_code(std::errc::broken_pipe)
                                                            : half.read_reason;
        } else if (data.empty()) {
          done = true;
        } else if (buffer_bytes == 0) {
          if (!published) half.pending = data;
          published = true;
          reader = std::exchange(half.reader, Waiter());
          half.writer = runtime::current_waiter();
        } else {
          total += store(half, data.subspan(total));
          if (half.buffer.data() == nullptr && half.size == 0) failed = std::make_error_code(std::errc::not_enough_memory);
          reader = std::exchange(half.reader, Waiter());
          done = total == data.size();
          if (!done) half.writer = runtime::current_waiter();
        }
      }
      runtime::unpark(reader);
      if (failed) return fail(failed);
      if (done) {
        runtime::spend_budget();
        return data.size();
      }
      // A deadline that was moved before the waiter was stored has woken nobody.
      if (!blocked(own, Direction::write)) park(own, Direction::write);
    }
  }

  // With `out` empty: waits until there is something.
  Result<std::size_t> read_some(int side, std::span<std::byte> out) noexcept {
    End& own = end(side);
    Half& half = incoming(side);
    for (;;) {
      if (const std::error_code error = blocked(own, Direction::read)) return fail(error);
      Waiter writer;
      std::size_t count = 0;
      bool ended = false;
      std::error_code reason;
      {
        base::SpinGuard guard(half.lock);
        half.reader = Waiter();
        if (half.read_closed) {
          ended = true;
        } else if (half.size > 0 || !half.pending.empty()) {
          if (out.empty()) return 0;
          count = fetch(half, out);
          // A writer without a buffer goes on when all of its bytes were read; one with a buffer, when there is room.
          if (half.pending.empty()) writer = std::exchange(half.writer, Waiter());
        } else if (half.write_closed) {
          ended = true;
          reason = half.write_reason;
        } else {
          half.reader = runtime::current_waiter();
        }
      }
      runtime::unpark(writer);
      if (count > 0) {
        runtime::spend_budget();
        return count;
      }
      if (ended) {
        if (reason) return fail(reason);
        return 0;
      }
      if (!blocked(own, Direction::read)) park(own, Direction::read);
    }
  }

  void end_writing(int side, std::error_code reason) noexcept {
    Half& half = outgoing(side);
    Waiter reader;
    Waiter writer;
    {
      base::SpinGuard guard(half.lock);
      if (!half.write_closed) half.write_reason = reason;
      half.write_closed = true;
      reader = std::exchange(half.reader, Waiter());
      writer = std::exchange(half.writer, Waiter());
    }
    runtime::unpark(reader);
    runtime::unpark(writer);
  }
  void end_reading(int side, std::error_code reason) noexcept {
    Half& half = incoming(side);
    Waiter reader;
    Waiter writer;
    {
      base::SpinGuard guard(half.lock);
      if (!half.read_closed) half.read_reason = reason;
      half.read_closed = true;
      half.size = 0;
      half.buffer.reset();
      reader = std::exchange(half.reader, Waiter());
      writer = std::exchange(half.writer, Waiter());
    }
    runtime::unpark(reader);
    runtime::unpark(writer);
  }

  bool close(int side) noexcept {
    End& own = end(side);
    if (!own.mutex.close()) return false;
    own.closer.store(runtime::current_waiter().bits(), std::memory_order_seq_cst);
    end_writing(side, {});
    end_reading(side, {});
    if (own.mutex.release()) {
      finish_close(own);
    } else {
      while (!own.closed_now.load(std::memory_order_seq_cst)) runtime::park(runtime::WaitReason::close, this);
    }
    return true;
  }
};

namespace {

// A turn, as PollDesc::Call.
class Turn {
 public:
  Turn(PipeConn::Core* core, int side, Direction direction) noexcept
      : core_(core), side_(side), direction_(direction), entered_(core != nullptr && core->end(side).mutex.enter(direction)) {}
  ~Turn() {
    if (entered_) core_->leave(core_->end(side_), direction_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  explicit operator bool() const noexcept { return entered_; }

 private:
  PipeConn::Core* const core_;
  const int side_;
  const Direction direction_;
  const bool entered_;
};

}  // namespace

PipePair pipe(std::size_t buffer_bytes) {
  auto core = std::make_shared<PipeConn::Core>(buffer_bytes);
  return {PipeConn(core, 0), PipeConn(core, 1)};
}

PipeConn& PipeConn::operator=(PipeConn&& other) noexcept {
  std::swap(core_, other.core_);
  std::swap(side_, other.side_);
  return *this;
}

PipeConn::~PipeConn() {
  if (core_ == nullptr) return;
  const End& own = core_->end(side_);
  ROOST_ASSERT(own.mutex.is_closed() ? own.closed_now.load(std::memory_order_seq_cst) : own.mutex.is_quiet(),
               "an end of a pipe was destroyed while a call on it was under way");
  core_->close(side_);
}

Result<std::size_t> PipeConn::read(std::span<std::byte> out) {
  const Turn turn(core_.get(), side_, Direction::read);
  if (!turn) return fail(Errc::closed);
  if (out.empty()) {
    if (const std::error_code error = core_->blocked(core_->end(side_), Direction::read)) return fail(error);
    return 0;
  }
  return core_->read_some(side_, out);
}

Result<std::size_t> PipeConn::write(std::span<const std::byte> data) {
  const Turn turn(core_.get(), side_, Direction::write);
  if (!turn) return fail(Errc::closed);
  return core_->write_all(side_, data);
}

Result<std::size_t> PipeConn::write_vectored(std::span<const std::span<const std::byte>> pieces) {
  const Turn turn(core_.get(), side_, Direction::write);
  if (!turn) return fail(Errc::closed);
  std::size_t total = 0;
  for (const auto piece : pieces) {
    const auto wrote = core_->write_all(side_, piece);
    if (!wrote) return wrote;
    total += *wrote;
  }
  return total;
}

Result<void> PipeConn::wait_readable() {
  const Turn turn(core_.get(), side_, Direction::read);
  if (!turn) return fail(Errc::closed);
  const auto waited = core_->read_some(side_, {});
  // The reason for which the other end stopped writing is for read() to tell.
  if (!waited && core_->blocked(core_->end(side_), Direction::read)) return fail(waited.error());
  return {};
}

bool PipeConn::maybe_readable() const noexcept {
  if (core_ == nullptr) return true;
  Half& half = core_->incoming(side_);
  base::SpinGuard guard(half.lock);
  return half.size > 0 || !half.pending.empty() || half.write_closed || half.read_closed;
}

Result<void> PipeConn::set_read_deadline(Deadline deadline) {
  if (core_ == nullptr || core_->end(side_).mutex.is_closed()) return fail(Errc::closed);
  core_->end(side_).deadlines_ns[0].store(deadline.ns(), std::memory_order_seq_cst);
  wake(core_->incoming(side_), &Half::reader);
  return {};
}
Result<void> PipeConn::set_write_deadline(Deadline deadline) {
  if (core_ == nullptr || core_->end(side_).mutex.is_closed()) return fail(Errc::closed);
  core_->end(side_).deadlines_ns[1].store(deadline.ns(), std::memory_order_seq_cst);
  wake(core_->outgoing(side_), &Half::writer);
  return {};
}

Result<void> PipeConn::close_write() { return close_write_with({}); }
Result<void> PipeConn::close_read() { return close_read_with({}); }
Result<void> PipeConn::close_write_with(std::error_code error) {
  if (core_ == nullptr || core_->end(side_).mutex.is_closed()) return fail(Errc::closed);
  core_->end_writing(side_, error);
  return {};
}
Result<void> PipeConn::close_read_with(std::error_code error) {
  if (core_ == nullptr || core_->end(side_).mutex.is_closed()) return fail(Errc::closed);
  core_->end_reading(side_, error);
  return {};
}
Result<void> PipeConn::close() {
  if (core_ == nullptr || !core_->close(side_)) return fail(Errc::closed);
  return {};
}

}  // namespace roost::net
