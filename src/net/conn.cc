#include <roost/net/conn.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>

#include "base/assert.h"
#include "base/buffer_pool.h"
#include "base/clock.h"
#include "net/io_loop.h"
#include "net/socket.h"
#include "net/sys.h"
#include "net/splice.h"
#include "runtime/worker.h"

namespace roost::net {

namespace {

// For metrics. A PollDesc that was closed already has been counted.
void destroy(PollDesc& desc) noexcept {
  if (!desc.is_closed()) runtime::count(&runtime::WorkerCounters::connections_closed);
  desc.destroy();
}

using Pieces = std::span<const std::span<const std::byte>>;

// What one sendmsg takes at most (UIO_MAXIOV).
constexpr std::size_t pieces_at_once_max = 1024;
// As many fit into 1 KB of stack, which is what a fiber's page has to spare; for more a buffer is borrowed.
constexpr std::size_t pieces_on_stack = 64;

std::size_t fill_vectors(iovec* vectors, std::size_t room, Pieces pieces, std::size_t offset) noexcept {
  const std::size_t count = std::min(pieces.size(), room);
  for (std::size_t i = 0; i < count; ++i) {
    vectors[i] = {const_cast<std::byte*>(pieces[i].data()), pieces[i].size()};
  }
  if (count > 0) {
    vectors[0].iov_base = static_cast<char*>(vectors[0].iov_base) + offset;
    vectors[0].iov_len -= offset;
  }
  return count;
}

ssize_t send_vectors(int fd, iovec* vectors, std::size_t count) noexcept {
  msghdr message{};
  message.msg_iov = vectors;
  message.msg_iovlen = count;
  return ::sendmsg(fd, &message, MSG_NOSIGNAL);
}

// Not inlined, neither of the two: their arrays belong on the stack only while they run.
[[gnu::noinline]] ssize_t send_few(int fd, Pieces pieces, std::size_t offset) noexcept {
  std::array<iovec, pieces_on_stack> vectors;
  return send_vectors(fd, vectors.data(), fill_vectors(vectors.data(), vectors.size(), pieces, offset));
}
[[gnu::noinline]] ssize_t send_many(int fd, Pieces pieces, std::size_t offset) noexcept {
  const std::size_t room = std::min(pieces.size(), pieces_at_once_max);
  const base::Buffer borrowed(room * sizeof(iovec));
  if (borrowed.data() == nullptr) return send_few(fd, pieces, offset);  // more calls, but no failure
  auto* vectors = reinterpret_cast<iovec*>(borrowed.data());
  return send_vectors(fd, vectors, fill_vectors(vectors, room, pieces, offset));
}

// Of one large piece at a time: a reader on another processor may take bytes as fast as this end gives them, and then
// nothing else would keep a single call from holding the thread for as long as the piece lasts.
constexpr std::size_t bytes_at_once_max = 1 << 20;

ssize_t send_pieces(int fd, Pieces pieces, std::size_t offset, std::size_t bytes_max) noexcept {
  if (pieces.size() == 1) {
    return sys::send(fd, pieces[0].data() + offset, std::min(pieces[0].size() - offset, bytes_max), MSG_NOSIGNAL);
  }
  return pieces.size() <= pieces_on_stack ? send_few(fd, pieces, offset) : send_many(fd, pieces, offset);
}

// Not inlined: errno's address must not be kept over a park.
[[gnu::noinline]] ssize_t no_memory() noexcept {
  errno = ENOMEM;
  return -1;
}

inline ssize_t receive(PollDesc& desc, int fd, std::span<std::byte> out, std::uint64_t edge) noexcept {
  const ssize_t count = sys::recv(fd, out.data(), out.size(), 0);
  // A short read has emptied a TCP socket; the next call parks without asking the kernel first.
  if (count >= 0 && static_cast<std::size_t>(count) < out.size()) desc.drained(Direction::read, edge);
  return count;
}

[[gnu::noinline]] ssize_t receive_few(int fd, std::span<const std::span<std::byte>> pieces) noexcept {
  std::array<iovec, pieces_on_stack> vectors;
  const std::size_t count = std::min(pieces.size(), vectors.size());
  for (std::size_t i = 0; i < count; ++i) vectors[i] = {pieces[i].data(), pieces[i].size()};
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = count;
  return ::recvmsg(fd, &message, 0);
}

}  // namespace

Conn::Conn(Conn&& other) noexcept : Stream(), desc_(std::exchange(other.desc_, nullptr)) {}

Conn& Conn::operator=(Conn&& other) noexcept {
  if (this != &other) {
    if (desc_ != nullptr) net::destroy(*desc_);
    desc_ = std::exchange(other.desc_, nullptr);
  }
  return *this;
}

Conn::~Conn() {
  if (desc_ != nullptr) net::destroy(*desc_);
}

Result<std::size_t> Conn::read(std::span<std::byte> out) {
  if (desc_ == nullptr) return fail(Errc::closed);
  PollDesc& desc = *desc_;
  const PollDesc::Call call(desc, Direction::read);
  if (!call) return fail(Errc::closed);
  if (out.empty()) {
    // Nothing to wait for; recv would take a message or, on a stream, tell nothing.
    if (const std::error_code error = desc.blocked(Direction::read)) return fail(error);
    return 0;
  }
  return try_and_wait(desc, Direction::read, [&](int fd, std::uint64_t edge) { return receive(desc, fd, out, edge); });
}

Result<std::size_t> Conn::read_when_ready(FunctionRef<std::span<std::byte>()> room) {
  if (desc_ == nullptr) return fail(Errc::closed);
  PollDesc& desc = *desc_;
  const PollDesc::Call call(desc, Direction::read);
  if (!call) return fail(Errc::closed);
  std::span<std::byte> out;
  return try_and_wait(desc, Direction::read, [&](int fd, std::uint64_t edge) -> ssize_t {
    if (out.empty()) {
      out = room();
      if (out.empty()) [[unlikely]] return no_memory();
    }
    return receive(desc, fd, out, edge);
  });
}

Result<std::size_t> Conn::read_vectored(std::span<const std::span<std::byte>> pieces) {
  std::size_t wanted = 0;
  for (const auto piece : pieces.first(std::min(pieces.size(), pieces_on_stack))) wanted += piece.size();
  if (wanted == 0) return read({});
  return one_call(desc_, Direction::read, [&](int fd, std::uint64_t edge) {
    const ssize_t count = receive_few(fd, pieces);
    if (count >= 0 && static_cast<std::size_t>(count) < wanted) desc_->drained(Direction::read, edge);
    return count;
  });
}

Result<std::size_t> Conn::write_some(std::span<const std::byte> data) {
  return one_call(desc_, Direction::write,
                  [&](int fd, std::uint64_t) { return sys::send(fd, data.data(), data.size(), MSG_NOSIGNAL); });
}

Result<std::size_t> Conn::write(std::span<const std::byte> data) {
  if (desc_ == nullptr) return fail(Errc::closed);
  PollDesc& desc = *desc_;
  const PollDesc::Call call(desc, Direction::write);
  if (!call) return fail(Errc::closed);
  const bool is_message = desc.content() == PollDesc::Content::messages;
  // Nearly always the first try takes all of it.
  std::size_t total = 0;
  for (;;) {
    const auto rest = data.subspan(total);
    const auto sent = try_and_wait(desc, Direction::write, [&](int fd, std::uint64_t) {
      return sys::send(fd, rest.data(), is_message ? rest.size() : std::min(rest.size(), bytes_at_once_max), MSG_NOSIGNAL);
    });
    if (!sent) return sent;
    total += *sent;
    if (total == data.size() || is_message) return total;
  }
}

Result<std::size_t> Conn::write_vectored(Pieces pieces) {
  if (desc_ == nullptr) return fail(Errc::closed);
  PollDesc& desc = *desc_;
  const PollDesc::Call call(desc, Direction::write);
  if (!call) return fail(Errc::closed);
  if (desc.content() == PollDesc::Content::messages) {
    // One message, or none at all.
    if (pieces.size() > pieces_at_once_max) return fail(std::errc::message_size);
    return try_and_wait(desc, Direction::write, [&](int fd, std::uint64_t) { return send_pieces(fd, pieces, 0, SIZE_MAX); });
  }
  std::size_t total = 0;
  std::size_t first = 0;   // the first piece that is not wholly sent
  std::size_t offset = 0;  // sent bytes of it
  for (;;) {
    while (first < pieces.size() && offset == pieces[first].size()) {
      ++first;
      offset = 0;
    }
    if (first == pieces.size()) break;
    const auto sent = try_and_wait(desc, Direction::write, [&](int fd, std::uint64_t) {
      return send_pieces(fd, pieces.subspan(first), offset, bytes_at_once_max);
    });
    if (!sent) return fail(sent.error());
    total += *sent;
    for (std::size_t left = *sent; left > 0;) {
      const std::size_t step = std::min(left, pieces[first].size() - offset);
      offset += step;
      left -= step;
      if (left > 0) {
        ++first;
        offset = 0;
      }
    }
  }
  // Nothing was to be written, but a connection that is closed or too late says so.
  if (total == 0) {
    if (const std::error_code error = desc.blocked(Direction::write)) return fail(error);
  }
  return total;
}

Result<std::uint64_t> Conn::send_file(int file, std::uint64_t count) {
  if (desc_ == nullptr) return fail(Errc::closed);
  const PollDesc::Call call(*desc_, Direction::write);
  if (!call) return fail(Errc::closed);
  ignore_broken_pipe_signal();
  // So that a fiber which has the disk's whole attention still heeds deadlines and gives way between the parts.
  constexpr std::uint64_t part_bytes = 4 << 20;
  std::uint64_t total = 0;
  while (total < count) {
    const auto sent = try_and_wait(*desc_, Direction::write, [&](int fd, std::uint64_t) {
      return ::sendfile(fd, file, nullptr, static_cast<std::size_t>(std::min(count - total, part_bytes)));
    });
    if (!sent) return fail(sent.error());
    if (*sent == 0) break;
    total += *sent;
  }
  return total;
}

Result<std::optional<std::uint64_t>> Conn::read_from(io::Source& from, std::uint64_t count) {
  return splice_into(*this, from, count);
}

// --- passing descriptors -------------------------------------------------------------------------------------------

namespace {

// The kernel's bound on descriptors in one message (SCM_MAX_FD).
constexpr std::size_t descriptors_at_once_max = 253;

struct alignas(cmsghdr) DescriptorRoom {
  std::array<std::byte, CMSG_SPACE(descriptors_at_once_max * sizeof(int))> bytes;
};

[[gnu::noinline]] ssize_t send_with_descriptors(int fd, std::span<const std::byte> data,
                                                std::span<const int> descriptors) noexcept {
  DescriptorRoom room;
  iovec vector{const_cast<std::byte*>(data.data()), data.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = room.bytes.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  return ::sendmsg(fd, &message, MSG_NOSIGNAL);
}

[[gnu::noinline]] ssize_t receive_with_descriptors(int fd, std::span<std::byte> data, std::span<int> descriptors,
                                                   Conn::DescriptorsReceived& received) noexcept {
  DescriptorRoom room;
  iovec vector{data.data(), data.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = room.bytes.data();
  // CMSG_LEN, not CMSG_SPACE: in the padding after an odd number there would be room for one more.
  const std::size_t wanted = std::min(descriptors.size(), descriptors_at_once_max);
  message.msg_controllen = wanted == 0 ? 0 : CMSG_LEN(wanted * sizeof(int));
  const ssize_t count = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (count < 0) return count;
  received.truncated = (message.msg_flags & MSG_CTRUNC) != 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t bytes = header->cmsg_len - CMSG_LEN(0);
    std::memcpy(descriptors.data() + received.descriptors, CMSG_DATA(header), bytes);
    received.descriptors += bytes / sizeof(int);
  }
  return count;
}

}  // namespace

Result<std::size_t> Conn::send_descriptors(std::span<const std::byte> data, std::span<const int> descriptors) {
  if (data.empty() || descriptors.size() > descriptors_at_once_max) return fail(std::errc::invalid_argument);
  const auto sent = one_call(desc_, Direction::write, [&](int fd, std::uint64_t) {
    return send_with_descriptors(fd, data, descriptors);
  });
  if (!sent || *sent == data.size()) return sent;
  // The descriptors went with the first byte.
  const auto rest = write(data.subspan(*sent));
  if (!rest) return rest;
  return data.size();
}

Result<Conn::DescriptorsReceived> Conn::receive_descriptors(std::span<std::byte> data, std::span<int> descriptors) {
  DescriptorsReceived received;
  // No conclusion from a short read: a message with descriptors ends one, though more bytes wait.
  const auto count = one_call(desc_, Direction::read, [&](int fd, std::uint64_t) {
    return receive_with_descriptors(fd, data, descriptors, received);
  });
  if (!count) return fail(count.error());
  received.bytes = *count;
  return received;
}

// --- waiting, deadlines --------------------------------------------------------------------------------------------

Result<void> Conn::wait_readable() { return wait_ready(desc_, Direction::read); }
Result<void> Conn::wait_writable() { return wait_ready(desc_, Direction::write); }
bool Conn::maybe_readable() const noexcept { return desc_ == nullptr || desc_->maybe_ready(Direction::read); }

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

// --- closing -------------------------------------------------------------------------------------------------------

namespace {

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
  runtime::count(&runtime::WorkerCounters::connections_closed);
  return {};
}

bool Conn::is_open() const noexcept { return desc_ != nullptr && !desc_->is_closed(); }

// --- addresses, options --------------------------------------------------------------------------------------------

Result<Endpoint> Conn::local_endpoint() const { return with_descriptor(desc_, &local_endpoint_of); }
Result<Endpoint> Conn::remote_endpoint() const { return with_descriptor(desc_, &remote_endpoint_of); }
Result<Address> Conn::local_address() const { return with_descriptor(desc_, &local_address_of); }
Result<Address> Conn::remote_address() const { return with_descriptor(desc_, &remote_address_of); }

std::string Conn::describe(std::string_view operation, std::error_code error) const {
  const auto text = with_descriptor(
      desc_, [&](int fd) -> Result<std::string> { return describe_failure(operation, fd, error); });
  return text ? *text : describe_failure(operation, -1, error);
}

Result<void> Conn::set_no_delay(bool on) {
  return with_descriptor(desc_, [on](int fd) { return set_option(fd, IPPROTO_TCP, TCP_NODELAY, static_cast<int>(on)); });
}
Result<void> Conn::set_keep_alive(const KeepAlive& keep_alive) {
  return with_descriptor(desc_, [&](int fd) { return apply_keep_alive(fd, keep_alive); });
}
Result<void> Conn::set_linger(int seconds) {
  const linger option{.l_onoff = seconds >= 0, .l_linger = std::max(seconds, 0)};
  return with_descriptor(desc_, [&](int fd) {
    auto set = set_option(fd, SOL_SOCKET, SO_LINGER, option);
    // Linux waits in close(2) for that time even on a non-blocking socket.
    if (set) desc_->set_lingers(seconds > 0);
    return set;
  });
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

Result<TcpInfo> Conn::tcp_info() const { return with_descriptor(desc_, &tcp_info_of); }

Result<PeerCredentials> Conn::peer_credentials() const {
  return with_descriptor(desc_, [](int fd) -> Result<PeerCredentials> {
    ucred peer{};
    socklen_t length = sizeof peer;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return fail(last_error());
    // What Linux says of a socket that is no Unix connection: nobody, without an error.
    if (peer.pid == 0 && peer.uid == static_cast<uid_t>(-1)) return fail(std::errc::operation_not_supported);
    return PeerCredentials{peer.pid, peer.uid, peer.gid};
  });
}

// --- raw access ----------------------------------------------------------------------------------------------------

Result<void> raw_call(PollDesc* desc, Direction direction, FunctionRef<bool(int fd)> done) {
  if (desc == nullptr) return fail(Errc::closed);
  const PollDesc::Call call(*desc, direction);
  if (!call) return fail(Errc::closed);
  for (;;) {
    if (const std::error_code error = desc->blocked(direction)) return fail(error);
    if (!desc->maybe_ready(direction)) {
      if (const std::error_code error = desc->wait(direction)) return fail(error);
      continue;
    }
    const std::uint64_t edge = desc->edge(direction);
    if (done(desc->lend_fd())) {
      desc->note_activity();
      return {};
    }
    desc->would_block(direction, edge);
  }
}

Result<void> raw_control(PollDesc* desc, FunctionRef<void(int fd)> act) {
  if (desc == nullptr) return fail(Errc::closed);
  const PollDesc::Hold hold(*desc);
  if (!hold) return fail(Errc::closed);
  act(desc->lend_fd());
  return {};
}

Result<void> Conn::raw_control(FunctionRef<void(int)> act) const { return net::raw_control(desc_, act); }
Result<void> Conn::raw_read(FunctionRef<bool(int)> done) { return raw_call(desc_, Direction::read, done); }
Result<void> Conn::raw_write(FunctionRef<bool(int)> done) { return raw_call(desc_, Direction::write, done); }

int Conn::native_handle() const noexcept { return is_open() ? desc_->lend_fd() : -1; }

Result<int> duplicate(PollDesc* desc) {
  if (desc == nullptr) return fail(Errc::closed);
  const PollDesc::Hold hold(*desc);
  if (!hold) return fail(Errc::closed);
  const int copy = ::fcntl(desc->lend_fd(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return fail(last_error());
  return copy;
}

Result<int> Conn::duplicate() const { return net::duplicate(desc_); }

Result<int> Conn::release() {
  const int fd = desc_ == nullptr ? -1 : desc_->detach();
  if (fd < 0) return fail(Errc::closed);
  runtime::count(&runtime::WorkerCounters::connections_closed);
  return fd;
}

Result<Conn> Conn::adopt(int fd) {
  int type = 0;
  int accepts = 0;
  socklen_t length = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return fail(last_error());
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &length) != 0) return fail(last_error());
  if (accepts != 0) return fail(std::errc::wrong_protocol_type);
  if (auto made = make_non_blocking(fd); !made) return fail(made.error());
  auto desc = PollDesc::open(fd, PollDesc::First::wait);
  if (!desc) return fail(desc.error());
  (*desc)->set_content(content_of(fd, type));
  (*desc)->end_watch_by_hand();  // whoever had it may have duplicates
  runtime::count(&runtime::WorkerCounters::adopted);
  return Conn(*desc);
}

}  // namespace roost::net
