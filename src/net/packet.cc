#include <roost/net/packet.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <cstring>

#include <roost/net/listener.h>

#include "base/buffer_pool.h"
#include "base/clock.h"
#include "net/io_loop.h"
#include "net/socket.h"
#include "net/sys.h"

namespace roost::net {
namespace {

// The kernel's form of an address, with its length.
struct Wire {
  sockaddr_storage storage;
  socklen_t length;
};

// What stands for "no destination": EDESTADDRREQ of UDP, ENOTCONN of a Unix socket.
std::error_code name_missing_address(std::error_code error) noexcept {
  if (error == std::errc::destination_address_required || error == std::errc::not_connected) return Errc::missing_address;
  return error;
}

// recvfrom(2) with MSG_TRUNC returns how long the datagram was, so it tells all that recvmsg(2) would, and is cheaper by the
// copying of a msghdr in and out.
[[gnu::noinline]] ssize_t receive(int fd, std::span<std::byte> out, Datagram& datagram) noexcept {
  Wire from;
  from.length = sizeof from.storage;
  auto* address = reinterpret_cast<sockaddr*>(&from.storage);
  const ssize_t length = sys::recv_from(fd, out.data(), out.size(), MSG_TRUNC, address, &from.length);
  if (length < 0) return length;
  datagram.from = Address::from_sockaddr(address, from.length);
  datagram.truncated = static_cast<std::size_t>(length) > out.size();
  return datagram.truncated ? static_cast<ssize_t>(out.size()) : length;
}

constexpr std::chrono::microseconds full_peer_pause_min{50};
constexpr std::chrono::microseconds full_peer_pause_max{5'000};

// Room for one batch: it is too much for a fiber's stack.
struct BatchRoom {
  std::array<mmsghdr, PacketConn::batch_max> headers;
  std::array<iovec, PacketConn::batch_max> vectors;
  std::array<sockaddr_storage, PacketConn::batch_max> names;
};

}  // namespace

PacketConn::PacketConn(detail::PollDesc* desc) noexcept : desc_(desc) {
  desc->set_content(PollDesc::Content::messages);
  desc->end_watch_by_hand();  // its port shall be free as soon as it is closed
  const int fd = desc->fd();
  int domain = 0;
  int v6_only = 0;
  socklen_t length = sizeof domain;
  ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
  if (domain == AF_UNIX) {
    kind_ = Kind::unix_socket;
  } else if (domain == AF_INET6) {
    length = sizeof v6_only;
    ::getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, &length);
    kind_ = v6_only != 0 ? Kind::v6 : Kind::dual_stack;
  }
  connected_ = remote_address_of(fd).has_value();
}

PacketConn::PacketConn(Conn&& conn) noexcept : PacketConn(conn.give_up()) {}

PacketConn::PacketConn(PacketConn&& other) noexcept
    : desc_(std::exchange(other.desc_, nullptr)), kind_(other.kind_), connected_(other.connected_) {}

PacketConn& PacketConn::operator=(PacketConn&& other) noexcept {
  if (this != &other) {
    if (desc_ != nullptr) desc_->destroy();
    desc_ = std::exchange(other.desc_, nullptr);
    kind_ = other.kind_;
    connected_ = other.connected_;
  }
  return *this;
}

PacketConn::~PacketConn() {
  if (desc_ != nullptr) desc_->destroy();
}

// --- reading -------------------------------------------------------------------------------------------------------

Result<Datagram> PacketConn::read_from(std::span<std::byte> out) {
  Datagram datagram;
  const auto count =
      one_call(desc_, Direction::read, [&](int fd, std::uint64_t) { return receive(fd, out, datagram); });
  if (!count) return fail(count.error());
  datagram.bytes = *count;
  return datagram;
}

Result<std::size_t> PacketConn::read(std::span<std::byte> out) {
  return one_call(desc_, Direction::read, [&](int fd, std::uint64_t) { return sys::recv(fd, out.data(), out.size(), 0); });
}

Result<Message> PacketConn::read_message(std::span<std::byte> out, std::span<std::byte> control, int flags) {
  Message read;
  Wire from;
  iovec vector{out.data(), out.size()};
  msghdr message{};
  const auto count = one_call(desc_, Direction::read, [&](int fd, std::uint64_t) {
    message = {};
    message.msg_name = &from.storage;
    message.msg_namelen = sizeof from.storage;
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    return ::recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
  });
  if (!count) return fail(count.error());
  read.bytes = *count;
  read.control_bytes = message.msg_controllen;
  read.flags = message.msg_flags & ~MSG_CMSG_CLOEXEC;
  read.from = Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&from.storage), message.msg_namelen);
  return read;
}

Result<std::size_t> PacketConn::read_batch(std::span<PacketSlot> slots) {
  if (slots.empty()) return 0;
  const base::Buffer borrowed(sizeof(BatchRoom));
  if (borrowed.data() == nullptr) return fail(std::errc::not_enough_memory);
  auto* room = reinterpret_cast<BatchRoom*>(borrowed.data());
  const std::size_t wanted = std::min(slots.size(), batch_max);
  const auto count = one_call<Moves::something_else>(desc_, Direction::read, [&](int fd, std::uint64_t) -> ssize_t {
    for (std::size_t i = 0; i < wanted; ++i) {
      room->vectors[i] = {slots[i].buffer.data(), slots[i].buffer.size()};
      room->headers[i] = {};
      room->headers[i].msg_hdr.msg_name = &room->names[i];
      room->headers[i].msg_hdr.msg_namelen = sizeof room->names[i];
      room->headers[i].msg_hdr.msg_iov = &room->vectors[i];
      room->headers[i].msg_hdr.msg_iovlen = 1;
    }
    return ::recvmmsg(fd, room->headers.data(), static_cast<unsigned>(wanted), 0, nullptr);
  });
  if (!count) return count;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < *count; ++i) {
    const mmsghdr& header = room->headers[i];
    bytes += header.msg_len;
    slots[i].bytes = header.msg_len;
    slots[i].truncated = (header.msg_hdr.msg_flags & MSG_TRUNC) != 0;
    slots[i].from =
        Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&room->names[i]), header.msg_hdr.msg_namelen);
  }
  runtime::spend_budget(Direction::read, bytes);
  return count;
}

// --- writing -------------------------------------------------------------------------------------------------------

namespace {

// `to` as a socket of `kind` wants it. An IPv6 socket that serves both families knows IPv4 addresses as ::ffff:a.b.c.d.
template <class Kind>
Result<void> address_for(Kind kind, Address to, Wire& out) noexcept {
  const bool wants_unix = kind == Kind::unix_socket;
  if (to.is_unix() != wants_unix) return fail(Errc::no_suitable_address);
  if (!wants_unix) {
    Endpoint endpoint = to.endpoint();
    const IpAddress plain = endpoint.address.unmapped();
    if (plain.is_v4() && kind == Kind::dual_stack) {
      std::array<std::uint8_t, 16> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
      std::copy_n(plain.bytes().begin(), 4, mapped.begin() + 12);
      endpoint.address = IpAddress::v6(mapped);
    } else if (plain.is_v4() != (kind == Kind::v4)) {
      return fail(Errc::no_suitable_address);
    } else {
      endpoint.address = plain;
    }
    to = endpoint;
  }
  out.length = to.to_sockaddr(out.storage);
  return {};
}

}  // namespace

Result<std::size_t> PacketConn::write_to(std::span<const std::byte> data, const Address& to) {
  if (to.is_none()) return fail(Errc::missing_address);
  if (connected_) return fail(std::errc::already_connected);
  Wire wire;
  if (auto made = address_for(kind_, to, wire); !made) return fail(made.error());
  const auto send = [&](int fd, std::uint64_t) {
    return sys::send_to(fd, data.data(), data.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&wire.storage),
                        wire.length);
  };
  if (kind_ != Kind::unix_socket) return one_call(desc_, Direction::write, send);

  // The queue of a Unix peer that this socket is not connected to may be full, and no poller tells when it no longer is.
  if (desc_ == nullptr) return fail(Errc::closed);
  const PollDesc::Call call(*desc_, Direction::write);
  if (!call) return fail(Errc::closed);
  for (auto pause = full_peer_pause_min;; pause = std::min(pause * 2, full_peer_pause_max)) {
    if (const std::error_code error = desc_->blocked(Direction::write)) return fail(error);
    const ssize_t count = send(desc_->fd(), 0);
    if (count >= 0) {
      runtime::spend_budget(Direction::write, static_cast<std::uint64_t>(count));
      return static_cast<std::size_t>(count);
    }
    const std::error_code error = last_error();
    if (error == std::errc::interrupted) continue;
    if (error != std::errc::operation_would_block) return fail(error);
    const std::int64_t until = base::saturating_add(base::now_ns(), std::chrono::nanoseconds(pause).count());
    if (auto paused = desc_->pause_until(Direction::write, until); !paused) return fail(paused.error());
  }
}

Result<std::size_t> PacketConn::write(std::span<const std::byte> data) {
  const auto wrote = one_call(desc_, Direction::write, [&](int fd, std::uint64_t) {
    return sys::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
  });
  if (!wrote) return fail(connected_ ? wrote.error() : name_missing_address(wrote.error()));
  return wrote;
}

Result<std::size_t> PacketConn::write_message(std::span<const std::byte> data, std::span<const std::byte> control,
                                              const Address& to, int flags) {
  Wire wire;
  iovec vector{const_cast<std::byte*>(data.data()), data.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = const_cast<std::byte*>(control.data());
  message.msg_controllen = control.size();
  if (!to.is_none()) {
    if (connected_) return fail(std::errc::already_connected);
    if (auto made = address_for(kind_, to, wire); !made) return fail(made.error());
    message.msg_name = &wire.storage;
    message.msg_namelen = wire.length;
  }
  const auto wrote = one_call(desc_, Direction::write, [&](int fd, std::uint64_t) {
    return ::sendmsg(fd, &message, flags | MSG_NOSIGNAL);
  });
  if (!wrote) return fail(connected_ ? wrote.error() : name_missing_address(wrote.error()));
  return wrote;
}

Result<std::size_t> PacketConn::write_batch(std::span<const PacketOut> packets) {
  if (packets.empty()) return 0;
  if (desc_ == nullptr) return fail(Errc::closed);
  const base::Buffer borrowed(sizeof(BatchRoom));
  if (borrowed.data() == nullptr) return fail(std::errc::not_enough_memory);
  auto* room = reinterpret_cast<BatchRoom*>(borrowed.data());
  // One turn: batches of two fibers do not mix.
  const PollDesc::Call call(*desc_, Direction::write);
  if (!call) return fail(Errc::closed);
  std::size_t total = 0;
  while (total < packets.size()) {
    const auto batch = packets.subspan(total, std::min(batch_max, packets.size() - total));
    std::error_code failed;
    std::size_t ready = 0;  // those before the first bad address
    for (; ready < batch.size(); ++ready) {
      msghdr& message = room->headers[ready].msg_hdr;
      message = {};
      room->vectors[ready] = {const_cast<std::byte*>(batch[ready].data.data()), batch[ready].data.size()};
      message.msg_iov = &room->vectors[ready];
      message.msg_iovlen = 1;
      if (batch[ready].to.is_none()) continue;
      Wire wire;
      if (connected_) {
        failed = std::make_error_code(std::errc::already_connected);
        break;
      }
      if (auto made = address_for(kind_, batch[ready].to, wire); !made) {
        failed = made.error();
        break;
      }
      room->names[ready] = wire.storage;
      message.msg_name = &room->names[ready];
      message.msg_namelen = wire.length;
    }
    if (ready > 0) {
      const auto sent = try_and_wait<Moves::something_else>(*desc_, Direction::write, [&](int fd, std::uint64_t) -> ssize_t {
        return ::sendmmsg(fd, room->headers.data(), static_cast<unsigned>(ready), MSG_NOSIGNAL);
      });
      if (sent) {
        total += *sent;
        std::uint64_t bytes = 0;
        for (const PacketOut& packet : batch.first(*sent)) bytes += packet.data.size();
        runtime::spend_budget(Direction::write, bytes);
        if (*sent < ready || !failed) continue;
      } else {
        failed = connected_ ? sent.error() : name_missing_address(sent.error());
      }
    }
    if (total > 0) break;
    return fail(failed);
  }
  return total;
}

// --- the rest ------------------------------------------------------------------------------------------------------

Result<void> PacketConn::wait_readable() { return wait_ready(desc_, Direction::read); }
Result<void> PacketConn::wait_writable() { return wait_ready(desc_, Direction::write); }

Result<void> PacketConn::set_read_deadline(Deadline deadline) { return set_deadline_on(desc_, Direction::read, deadline); }
Result<void> PacketConn::set_write_deadline(Deadline deadline) {
  return set_deadline_on(desc_, Direction::write, deadline);
}
Result<void> PacketConn::set_deadline(Deadline deadline) {
  if (auto set = set_read_deadline(deadline); !set) return set;
  return set_write_deadline(deadline);
}

Result<void> PacketConn::close() {
  if (desc_ == nullptr || !desc_->close()) return fail(Errc::closed);
  return {};
}
bool PacketConn::is_open() const noexcept { return desc_ != nullptr && !desc_->is_closed(); }

Result<Address> PacketConn::local_address() const { return with_descriptor(desc_, &local_address_of); }
Result<Address> PacketConn::remote_address() const { return with_descriptor(desc_, &remote_address_of); }
Result<Endpoint> PacketConn::local_endpoint() const { return with_descriptor(desc_, &local_endpoint_of); }

std::string PacketConn::describe(std::string_view operation, std::error_code error) const {
  const auto text = with_descriptor(
      desc_, [&](int fd) -> Result<std::string> { return describe_failure(operation, fd, error); });
  return text ? *text : describe_failure(operation, -1, error);
}

Result<void> PacketConn::set_read_buffer(std::size_t bytes) {
  const auto size = static_cast<int>(std::min<std::size_t>(bytes, INT_MAX));
  return with_descriptor(desc_, [&](int fd) { return set_option(fd, SOL_SOCKET, SO_RCVBUF, size); });
}
Result<void> PacketConn::set_write_buffer(std::size_t bytes) {
  const auto size = static_cast<int>(std::min<std::size_t>(bytes, INT_MAX));
  return with_descriptor(desc_, [&](int fd) { return set_option(fd, SOL_SOCKET, SO_SNDBUF, size); });
}
Result<void> PacketConn::set_broadcast(bool on) {
  return with_descriptor(desc_, [on](int fd) { return set_option(fd, SOL_SOCKET, SO_BROADCAST, static_cast<int>(on)); });
}

Result<void> PacketConn::raw_control(FunctionRef<void(int)> act) const { return net::raw_control(desc_, act); }
Result<void> PacketConn::raw_read(FunctionRef<bool(int)> done) { return raw_call(desc_, Direction::read, done); }
Result<void> PacketConn::raw_write(FunctionRef<bool(int)> done) { return raw_call(desc_, Direction::write, done); }

int PacketConn::native_handle() const noexcept { return is_open() ? desc_->lend_fd() : -1; }
Result<int> PacketConn::duplicate() const { return net::duplicate(desc_); }
Result<int> PacketConn::release() {
  const int fd = desc_ == nullptr ? -1 : desc_->detach();
  if (fd < 0) return fail(Errc::closed);
  return fd;
}

Result<PacketConn> PacketConn::adopt(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return fail(last_error());
  if (type != SOCK_DGRAM) return fail(std::errc::wrong_protocol_type);
  if (auto made = make_non_blocking(fd); !made) return fail(made.error());
  auto desc = PollDesc::open(fd, PollDesc::First::try_it);
  if (!desc) return fail(desc.error());
  return PacketConn(*desc);
}

Result<PacketConn> listen_packet(std::string_view network, std::string_view address) {
  return listen_packet(network, address, ListenConfig{});
}

Result<PacketConn> listen_packet(std::string_view network, std::string_view address, const ListenConfig& config) {
  const auto kind = parse_network(network);
  if (!kind) return fail(kind.error());
  if (!kind->is_packet()) return fail(Errc::unknown_network);
  auto fd = bind_socket(*kind, address, config);
  if (!fd) return fail(fd.error());
  auto desc = PollDesc::open(fd->get(), PollDesc::First::try_it);
  if (!desc) return fail(desc.error());
  static_cast<void>(fd->release());
  return PacketConn(*desc);
}

}  // namespace roost::net
