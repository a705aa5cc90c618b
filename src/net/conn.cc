// The life of a read: take the turn, make sure the call may be made, try it, park if there is nothing, try again.
#include <roost/net/conn.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "base/assert.h"
#include "base/clock.h"
#include "net/socket.h"
#include "runtime/netpoll.h"

namespace roost::net {

using detail::PollDesc;
using runtime::Direction;

namespace {

bool would_block(int error) noexcept { return error == EAGAIN || error == EWOULDBLOCK; }

// sendmsg of as many pieces as one call takes. Not inlined: its array belongs on the stack only while it runs.
[[gnu::noinline]] ssize_t send_vectored(int fd, std::span<const std::span<const std::byte>> pieces,
                                        std::size_t offset) noexcept {
  constexpr std::size_t pieces_at_once = 64;  // of the kernel's 1024: 1 KB of stack is what a fiber's page has to spare
  std::array<iovec, pieces_at_once> vectors;
  std::size_t count = 0;
  for (; count < std::min(pieces.size(), pieces_at_once); ++count) {
    vectors[count] = {const_cast<std::byte*>(pieces[count].data()), pieces[count].size()};
  }
  vectors[0].iov_base = static_cast<char*>(vectors[0].iov_base) + offset;
  vectors[0].iov_len -= offset;
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = count;
  return ::sendmsg(fd, &message, MSG_NOSIGNAL);
}

}  // namespace

Conn::Conn(Conn&& other) noexcept : Stream(), desc_(std::exchange(other.desc_, nullptr)) {}

Conn& Conn::operator=(Conn&& other) noexcept {
  if (this != &other) {
    if (desc_ != nullptr) desc_->destroy();
    desc_ = std::exchange(other.desc_, nullptr);
  }
  return *this;
}

Conn::~Conn() {
  if (desc_ != nullptr) desc_->destroy();
}

Result<std::size_t> Conn::read(std::span<std::byte> out) {
  if (desc_ == nullptr) return fail(Errc::closed);
  PollDesc& desc = *desc_;
  const PollDesc::Call call(desc, Direction::read);
  if (!call) return fail(Errc::closed);
  for (;;) {
    if (const std::error_code error = desc.blocked(Direction::read)) return fail(error);
    if (out.empty()) return 0;
    if (!desc.maybe_ready(Direction::read)) {
      if (auto ready = desc.wait(Direction::read); !ready) return fail(ready.error());
      continue;  // the deadline may have passed meanwhile
    }
    const std::uint64_t edge = desc.edge(Direction::read);
    const ssize_t count = ::recv(desc.fd(), out.data(), out.size(), 0);
    if (count >= 0) {
      // A short read has emptied a stream socket; the next call parks without asking the kernel first.
      if (static_cast<std::size_t>(count) < out.size()) desc.drained(Direction::read, edge);
      desc.note_activity();
      runtime::spend_budget();
      return static_cast<std::size_t>(count);
    }
    const int error = errno;
    if (error == EINTR) continue;
    if (!would_block(error)) return fail(std::error_code(error, std::generic_category()));
    desc.drained(Direction::read, edge);
  }
}

Result<std::size_t> Conn::write_some(std::span<const std::byte> data) {
  if (desc_ == nullptr) return fail(Errc::closed);
  PollDesc& desc = *desc_;
  const PollDesc::Call call(desc, Direction::write);
  if (!call) return fail(Errc::closed);
  for (;;) {
    if (const std::error_code error = desc.blocked(Direction::write)) return fail(error);
    if (!desc.maybe_ready(Direction::write)) {
      if (auto ready = desc.wait(Direction::write); !ready) return fail(ready.error());
      continue;
    }
    const std::uint64_t edge = desc.edge(Direction::write);
    const ssize_t count = ::send(desc.fd(), data.data(), data.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      desc.note_activity();
      runtime::spend_budget();
      return static_cast<std::size_t>(count);
    }
    const int error = errno;
    if (error == EINTR) continue;
    if (!would_block(error)) return fail(std::error_code(error, std::generic_category()));
    desc.drained(Direction::write, edge);
  }
}

Result<std::size_t> Conn::write(std::span<const std::byte> data) {
  const std::array<std::span<const std::byte>, 1> one{data};
  return write_vectored(one);
}

Result<std::size_t> Conn::write_vectored(std::span<const std::span<const std::byte>> pieces) {
  if (desc_ == nullptr) return fail(Errc::closed);
  PollDesc& desc = *desc_;
  // One turn for the whole of it: writes of other fibers do not come between.
  const PollDesc::Call call(desc, Direction::write);
  if (!call) return fail(Errc::closed);
  std::size_t total = 0;
  std::size_t first = 0;   // the first piece that is not wholly sent
  std::size_t offset = 0;  // sent bytes of it
  for (;;) {
    if (const std::error_code error = desc.blocked(Direction::write)) return fail(error);
    while (first < pieces.size() && offset == pieces[first].size()) {
      ++first;
      offset = 0;
    }
    if (first == pieces.size()) return total;
    if (!desc.maybe_ready(Direction::write)) {
      if (auto ready = desc.wait(Direction::write); !ready) return fail(ready.error());
      continue;
    }
    const std::uint64_t edge = desc.edge(Direction::write);
    ssize_t count;
    if (first + 1 == pieces.size()) {
      count = ::send(desc.fd(), pieces[first].data() + offset, pieces[first].size() - offset, MSG_NOSIGNAL);
    } else {
      count = send_vectored(desc.fd(), pieces.subspan(first), offset);
    }
    if (count >= 0) {
      desc.note_activity();
      total += static_cast<std::size_t>(count);
      auto left = static_cast<std::size_t>(count);
      while (left > 0) {
        const std::size_t step = std::min(left, pieces[first].size() - offset);
        offset += step;
        left -= step;
        if (left > 0) {
          ++first;
          offset = 0;
        }
      }
      runtime::spend_budget();
      continue;
    }
    const int error = errno;
    if (error == EINTR) continue;
    if (!would_block(error)) return fail(std::error_code(error, std::generic_category()));
    desc.drained(Direction::write, edge);
  }
}

Result<void> Conn::wait_readable() {
  if (desc_ == nullptr) return fail(Errc::closed);
  const PollDesc::Call call(*desc_, Direction::read);
  if (!call) return fail(Errc::closed);
  if (const std::error_code error = desc_->blocked(Direction::read)) return fail(error);
  return desc_->wait(Direction::read);
}

Result<void> Conn::wait_writable() {
  if (desc_ == nullptr) return fail(Errc::closed);
  const PollDesc::Call call(*desc_, Direction::write);
  if (!call) return fail(Errc::closed);
  if (const std::error_code error = desc_->blocked(Direction::write)) return fail(error);
  return desc_->wait(Direction::write);
}

bool Conn::maybe_readable() const noexcept { return desc_ == nullptr || desc_->maybe_ready(Direction::read); }

// --- deadlines -----------------------------------------------------------------------------------------------------

namespace {

Result<void> set_deadline_on(PollDesc* desc, Direction direction, Deadline deadline) {
  if (desc == nullptr || !desc->set_deadline(direction, deadline)) return fail(Errc::closed);
  return {};
}

Deadline deadline_after(std::chrono::nanoseconds span) noexcept {
  constexpr std::chrono::nanoseconds coarse_enough = std::chrono::seconds(1);
  if (span == std::chrono::nanoseconds::max()) return Deadline::none();
  // The coarse clock is behind by up to a tick: add one, so that the deadline is never early.
  if (span >= coarse_enough) {
    return Deadline::from_ns(base::saturating_add(base::coarse_now_ns() + base::coarse_tick_ns(), span.count()));
  }
  return Deadline::after(span);
}

}  // namespace

Result<void> Conn::set_read_deadline(Deadline deadline) { return set_deadline_on(desc_, Direction::read, deadline); }
Result<void> Conn::set_write_deadline(Deadline deadline) { return set_deadline_on(desc_, Direction::write, deadline); }
Result<void> Conn::set_read_deadline_after(std::chrono::nanoseconds span) {
  return set_deadline_on(desc_, Direction::read, deadline_after(span));
}
Result<void> Conn::set_write_deadline_after(std::chrono::nanoseconds span) {
  return set_deadline_on(desc_, Direction::write, deadline_after(span));
}
Result<void> Conn::set_idle_timeout(std::chrono::nanoseconds span) {
  if (desc_ == nullptr || !desc_->set_idle_timeout(span.count())) return fail(Errc::closed);
  return {};
}

// --- closing, options ----------------------------------------------------------------------------------------------

namespace {

// Runs `act(fd)` while the descriptor is certain to stay open.
template <class F>
auto with_descriptor(PollDesc* desc, F&& act) -> decltype(act(0)) {
  if (desc == nullptr) return fail(Errc::closed);
  const PollDesc::Hold hold(*desc);
  if (!hold) return fail(Errc::closed);
  return act(desc->fd());
}

Result<void> shut_down(PollDesc* desc, int how) {
  return with_descriptor(desc, [how](int fd) -> Result<void> {
    if (::shutdown(fd, how) != 0) return fail(last_error());
    return {};
  });
}

}  // namespace

Result<void> Conn::close_write() { return shut_down(desc_, SHUT_WR); }
Result<void> Conn::close_read() { return shut_down(desc_, SHUT_RD); }

Result<void> Conn::close() {
  if (desc_ == nullptr || !desc_->close()) return fail(Errc::closed);
  return {};
}

bool Conn::is_open() const noexcept { return desc_ != nullptr && !desc_->is_closed(); }

Result<Endpoint> Conn::local_endpoint() const {
  return with_descriptor(desc_, [](int fd) { return local_endpoint_of(fd); });
}
Result<Endpoint> Conn::remote_endpoint() const {
  return with_descriptor(desc_, [](int fd) { return remote_endpoint_of(fd); });
}

Result<void> Conn::set_no_delay(bool on) {
  return with_descriptor(desc_, [on](int fd) { return set_option(fd, IPPROTO_TCP, TCP_NODELAY, static_cast<int>(on)); });
}
Result<void> Conn::set_keep_alive(const KeepAlive& keep_alive) {
  return with_descriptor(desc_, [&](int fd) { return apply_keep_alive(fd, keep_alive); });
}
Result<void> Conn::set_linger(int seconds) {
  const linger option{.l_onoff = seconds >= 0, .l_linger = std::max(seconds, 0)};
  return with_descriptor(desc_, [&](int fd) { return set_option(fd, SOL_SOCKET, SO_LINGER, option); });
}
Result<void> Conn::set_user_timeout(std::chrono::milliseconds span) {
  const auto milliseconds = static_cast<unsigned>(std::clamp<std::int64_t>(span.count(), 0, INT_MAX));
  return with_descriptor(desc_, [&](int fd) { return set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, milliseconds); });
}
Result<void> Conn::set_read_buffer(std::size_t bytes) {
  const auto size = static_cast<int>(std::min<std::size_t>(bytes, INT_MAX));
  return with_descriptor(desc_, [&](int fd) { return set_option(fd, SOL_SOCKET, SO_RCVBUF, size); });
}
Result<void> Conn::set_write_buffer(std::size_t bytes) {
  const auto size = static_cast<int>(std::min<std::size_t>(bytes, INT_MAX));
  return with_descriptor(desc_, [&](int fd) { return set_option(fd, SOL_SOCKET, SO_SNDBUF, size); });
}

int Conn::native_handle() const noexcept { return is_open() ? desc_->fd() : -1; }

Result<int> Conn::release() {
  const int fd = desc_ == nullptr ? -1 : desc_->detach();
  if (fd < 0) return fail(Errc::closed);
  return fd;
}

Result<Conn> Conn::adopt(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return fail(last_error());
  if (type != SOCK_STREAM && type != SOCK_SEQPACKET) return fail(std::errc::wrong_protocol_type);
  if (auto made = make_non_blocking(fd); !made) return fail(made.error());
  auto desc = PollDesc::open(fd, PollDesc::First::wait);
  if (!desc) return fail(desc.error());
  return Conn(*desc);
}

}  // namespace roost::net
