#include "net/splice.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <mutex>

#include <roost/net/conn.h>
#include <roost/net/descriptor.h>
#include <roost/net/file.h>

#include "base/buffer_pool.h"
#include "base/spin_lock.h"
#include "net/io_loop.h"

namespace roost::net {
namespace {

constexpr std::size_t pipes_pooled_max = 32;
// Larger than the default of 64 KiB, so that one round moves what a fast peer has sent meanwhile. Memory is held only
// while bytes are inside. Where the user's share of pipe memory is spent the kernel refuses, and the default has to do.
constexpr int pipe_bytes = 256 * 1024;

class PipePool {
 public:
  static PipePool& instance() noexcept {
    static auto* pool = new PipePool;  // never destroyed: transfers may outlive static destruction
    return *pool;
  }
  bool take(SplicePipe& out) noexcept {
    base::SpinGuard guard(lock_);
    if (count_ == 0) return false;
    out = std::move(pipes_[--count_]);
    return true;
  }
  // False: full.
  bool give(SplicePipe& pipe) noexcept {
    base::SpinGuard guard(lock_);
    if (count_ == pipes_pooled_max) return false;
    pipes_[count_++] = std::move(pipe);
    return true;
  }
  [[nodiscard]] std::size_t count() noexcept {
    base::SpinGuard guard(lock_);
    return count_;
  }

 private:
  base::SpinLock lock_;  // leaf
  std::array<SplicePipe, pipes_pooled_max> pipes_ ROOST_GUARDED_BY(lock_);
  std::size_t count_ ROOST_GUARDED_BY(lock_) = 0;
};

}  // namespace

SplicePipe& SplicePipe::operator=(SplicePipe&& other) noexcept {
  std::swap(read_end_, other.read_end_);
  std::swap(write_end_, other.write_end_);
  std::swap(bytes_inside, other.bytes_inside);
  return *this;
}

Result<SplicePipe> SplicePipe::take() noexcept {
  SplicePipe pipe;
  if (PipePool::instance().take(pipe)) return pipe;
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return fail(last_error());
  pipe.read_end_ = UniqueFd(ends[0]);
  pipe.write_end_ = UniqueFd(ends[1]);
  ::fcntl(ends[0], F_SETPIPE_SZ, pipe_bytes);
  return pipe;
}

void SplicePipe::put_back() noexcept {
  if (!read_end_) return;
  if (bytes_inside == 0 && PipePool::instance().give(*this)) return;
  read_end_.reset(-1);
  write_end_.reset(-1);
  bytes_inside = 0;
}

std::size_t SplicePipe::trim() noexcept {
  std::size_t closed = 0;
  for (SplicePipe pipe; PipePool::instance().take(pipe); ++closed) {
    pipe.read_end_.reset(-1);
    pipe.write_end_.reset(-1);
  }
  return closed;
}

std::size_t SplicePipe::pooled() noexcept { return PipePool::instance().count(); }

void ignore_broken_pipe_signal() noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction current {};
    if (::sigaction(SIGPIPE, nullptr, &current) != 0 || current.sa_handler != SIG_DFL) return;
    struct sigaction nothing {};
    nothing.sa_handler = [](int) {};
    nothing.sa_flags = SA_RESTART | SA_ONSTACK;
    ::sigaction(SIGPIPE, &nothing, nullptr);
  });
}

namespace {

// Whatever is inside the pipe goes to `to`.
Result<void> empty_into(PollDesc& to, SplicePipe& pipe) {
  const PollDesc::Call call(to, Direction::write);
  if (!call) return fail(Errc::closed);
  while (pipe.bytes_inside > 0) {
    const auto moved = try_and_wait(to, Direction::write, [&](int fd, std::uint64_t) {
      return ::splice(pipe.read_end(), nullptr, fd, nullptr, pipe.bytes_inside, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    });
    if (!moved) return fail(moved.error());
    pipe.bytes_inside -= *moved;
  }
  return {};
}

// No descriptors for a pipe: a piece goes through user space.
Result<std::size_t> copy_piece(Conn& to, Conn& from, std::uint64_t count) {
  const base::Buffer buffer(32 * 1024);
  if (buffer.data() == nullptr) return fail(std::errc::not_enough_memory);
  const auto got = from.read({buffer.data(), static_cast<std::size_t>(std::min<std::uint64_t>(count, buffer.size()))});
  if (!got || *got == 0) return got;
  return to.write(std::span<const std::byte>(buffer.data(), *got));
}

// Fills the pipe with what there is, up to `count` bytes. 0: end of stream. The pipe is not held while there is nothing.
// Empty: no pipe is to be had.
Result<std::optional<std::size_t>> fill_from(PollDesc& from, SplicePipe& pipe, std::uint64_t count) {
  const PollDesc::Call call(from, Direction::read);
  if (!call) return fail(Errc::closed);
  for (;;) {
    if (const std::error_code error = from.blocked(Direction::read)) return fail(error);
    if (!from.maybe_ready(Direction::read)) {
      pipe.put_back();
      if (const std::error_code error = from.wait(Direction::read)) return fail(error);
      continue;
    }
    if (!pipe) {
      auto taken = SplicePipe::take();
      if (!taken) return std::nullopt;
      pipe = std::move(*taken);
    }
    const std::uint64_t edge = from.edge(Direction::read);
    const auto room = static_cast<std::size_t>(std::min<std::uint64_t>(count, pipe_bytes));
    const ssize_t moved =
        ::splice(from.fd(), nullptr, pipe.write_end(), nullptr, room, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (moved >= 0) {
      pipe.bytes_inside = static_cast<std::size_t>(moved);
      from.note_activity();
      runtime::spend_budget(Direction::read, pipe.bytes_inside);
      return pipe.bytes_inside;
    }
    const int error = last_errno();
    if (error == EINTR) continue;
    // The pipe is empty, so it is the socket that has nothing.
    if (error != EAGAIN) return fail(owned_descriptor_error(from.fd(), error));
    from.would_block(Direction::read, edge);
  }
}

Result<std::optional<std::uint64_t>> splice_streams(Conn& to, Conn& from, std::uint64_t count) {
  SplicePipe pipe;
  std::uint64_t total = 0;
  while (total < count) {
    const auto filled = fill_from(*from.poll_desc(), pipe, count - total);
    if (!filled) {
      // A socket that cannot be spliced (a protocol on top of TCP in the kernel) says so at once.
      if (total == 0 && filled.error() == std::errc::invalid_argument) return std::nullopt;
      return fail(filled.error());
    }
    if (!*filled) {
      const auto copied = copy_piece(to, from, count - total);
      if (!copied) return fail(copied.error());
      if (*copied == 0) break;
      total += *copied;
      continue;
    }
    if (**filled == 0) break;
    if (auto emptied = empty_into(*to.poll_desc(), pipe); !emptied) return fail(emptied.error());
    total += **filled;
  }
  return total;
}

enum class PipeState { empty, has_bytes, ended };

PipeState state_of_pipe(int fd) noexcept {
  pollfd state{.fd = fd, .events = POLLIN, .revents = 0};
  if (::poll(&state, 1, 0) <= 0) return PipeState::empty;
  return (state.revents & POLLIN) != 0 ? PipeState::has_bytes : PipeState::ended;
}

// `from` is a pipe itself.
Result<std::optional<std::uint64_t>> splice_pipe(PollDesc& to, PollDesc& from, std::uint64_t count) {
  const PollDesc::Call reading(from, Direction::read);
  if (!reading) return fail(Errc::closed);
  std::uint64_t total = 0;
  while (total < count) {
    if (const std::error_code error = from.blocked(Direction::read)) return fail(error);
    if (!from.maybe_ready(Direction::read)) {
      if (const std::error_code error = from.wait(Direction::read)) return fail(error);
      continue;
    }
    // EAGAIN from splice does not say which end it was, so the pipe is asked first.
    const std::uint64_t edge = from.edge(Direction::read);
    const PipeState state = state_of_pipe(from.fd());
    if (state == PipeState::ended) break;
    if (state == PipeState::empty) {
      from.would_block(Direction::read, edge);
      continue;
    }
    const PollDesc::Call writing(to, Direction::write);
    if (!writing) return fail(Errc::closed);
    const auto moved = try_and_wait(to, Direction::write, [&](int fd, std::uint64_t) {
      return ::splice(from.fd(), nullptr, fd, nullptr, static_cast<std::size_t>(std::min<std::uint64_t>(count - total, pipe_bytes)),
                      SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    });
    if (!moved) return fail(moved.error());
    if (*moved == 0) break;
    total += *moved;
  }
  return total;
}

bool is_pipe(int fd) noexcept {
  struct stat about {};
  return ::fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode);
}

}  // namespace

Result<std::optional<std::uint64_t>> splice_into(Conn& to, io::Source& from, std::uint64_t count) {
  PollDesc* target = to.poll_desc();
  if (target == nullptr || target->content() == PollDesc::Content::messages) return std::nullopt;
  if (auto* conn = dynamic_cast<Conn*>(&from)) {
    if (conn->poll_desc() == nullptr || conn->poll_desc()->content() == PollDesc::Content::messages) return std::nullopt;
    ignore_broken_pipe_signal();
    return splice_streams(to, *conn, count);
  }
  if (auto* file = dynamic_cast<File*>(&from)) {
    if (file->native_handle() < 0) return std::nullopt;  // read() tells
    const auto sent = to.send_file(file->native_handle(), count);
    // Not a file that can be sent this way; nothing was.
    if (!sent && sent.error() == std::errc::invalid_argument) return std::nullopt;
    if (!sent) return fail(sent.error());
    return *sent;
  }
  if (auto* descriptor = dynamic_cast<Descriptor*>(&from)) {
    PollDesc* source = descriptor->poll_desc();
    if (source == nullptr) return std::nullopt;
    const auto pipe = with_descriptor(source, [](int fd) -> Result<bool> { return is_pipe(fd); });
    if (!pipe || !*pipe) return std::nullopt;
    return splice_pipe(*target, *source, count);
  }
  return std::nullopt;
}

}  // namespace roost::net
