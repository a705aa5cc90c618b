// PacketConn: datagrams (UDP, Unix datagram sockets).
//
//   auto socket = net::listen_packet("udp", ":9000");
//   auto got = socket->read_from(buffer);              // got->bytes, got->from
//   socket->write_to(reply, got->from);
//
// The rules of ownership, turns, deadlines and closing are those of Conn. Addresses are values, and no call allocates memory.
// A datagram may be empty: a read of 0 bytes is one, not the end of anything. A datagram longer than the buffer is cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include <roost/detail/function_ref.h>
#include <roost/error.h>
#include <roost/io/stream.h>
#include <roost/net/address.h>
#include <roost/net/conn.h>
#include <roost/time/deadline.h>

namespace roost::net {

struct ListenConfig;

struct Datagram {
  std::size_t bytes = 0;
  Address from;            // none: an unnamed Unix socket sent it
  bool truncated = false;  // it was longer than the buffer; the rest is lost
};

// A datagram with what the kernel tells beside it: control messages (cmsg(3)) and flags (MSG_TRUNC, MSG_CTRUNC, ...).
struct Message {
  std::size_t bytes = 0;
  std::size_t control_bytes = 0;
  int flags = 0;
  Address from;
};

// One of a batch that is read: a buffer to fill, then what came.
struct PacketSlot {
  std::span<std::byte> buffer;
  std::size_t bytes = 0;
  Address from;
  bool truncated = false;
};
// One of a batch that is written.
struct PacketOut {
  std::span<const std::byte> data;
  Address to;  // none on a connected socket
};

class PacketConn {
 public:
  PacketConn() noexcept = default;  // not open; every call reports bad_file_descriptor
  PacketConn(PacketConn&& other) noexcept;
  PacketConn& operator=(PacketConn&& other) noexcept;
  ~PacketConn();

  // Parks until a datagram has come.
  // Errors: timed_out, bad_file_descriptor (Errc::closed), operation_canceled; on a connected UDP socket connection_refused
  // when an earlier datagram was turned away.
  Result<Datagram> read_from(std::span<std::byte> out);
  // The same without the sender.
  Result<std::size_t> read(std::span<std::byte> out);
  // `flags` as recvmsg(2), MSG_PEEK for example. Descriptors that come along are closed on exec.
  Result<Message> read_message(std::span<std::byte> out, std::span<std::byte> control, int flags = 0);

  // Sends one datagram, empty ones included; parks while the socket's buffer is full.
  // Errors
  //   timed_out, bad_file_descriptor, operation_canceled
  //   already_connected             write_to() on a connected socket
  //   destination_address_required  (Errc::missing_address) write() on one that is not connected
  //   no_suitable_address           (Errc) an IPv6 destination on an IPv4 socket, or the other way round where the socket is
  //                                 IPv6 only; a Unix name on an IP socket
  //   message_size                  longer than the network takes
  Result<std::size_t> write_to(std::span<const std::byte> data, const Address& to);
  Result<std::size_t> write_to(std::string_view text, const Address& to) { return write_to(io::as_bytes(text), to); }
  Result<std::size_t> write(std::span<const std::byte> data);
  Result<std::size_t> write(std::string_view text) { return write(io::as_bytes(text)); }
  // `to` none on a connected socket. `flags` as sendmsg(2).
  Result<std::size_t> write_message(std::span<const std::byte> data, std::span<const std::byte> control,
                                    const Address& to = {}, int flags = 0);

  // Batches: one system call for up to batch_max datagrams (recvmmsg, sendmmsg).
  static constexpr std::size_t batch_max = 64;
  // Parks until there is one, then takes as many as are there and fit, batch_max at most; returns how many slots were filled, at
  // least one, or 0 if there are no slots. Never waits for more than the first.
  Result<std::size_t> read_batch(std::span<PacketSlot> slots);
  // Sends all, in order, parking as needed; returns how many. An error after some were sent is reported by the next call: this
  // one returns how many went.
  Result<std::size_t> write_batch(std::span<const PacketOut> packets);

  // Parks until there is a datagram, or an error to tell; until there is room for one. Consumes nothing.
  Result<void> wait_readable();
  Result<void> wait_writable();

  // As those of a Stream: absolute, sticky, and an expired one beats a datagram that is there. Errors: bad_file_descriptor.
  Result<void> set_read_deadline(Deadline deadline);
  Result<void> set_write_deadline(Deadline deadline);
  Result<void> set_deadline(Deadline deadline);

  // Calls inside return bad_file_descriptor. So does a second close.
  Result<void> close();
  [[nodiscard]] bool is_open() const noexcept;

  [[nodiscard]] Result<Address> local_address() const;
  [[nodiscard]] Result<Address> remote_address() const;  // not_connected unless dialled
  [[nodiscard]] Result<Endpoint> local_endpoint() const;
  [[nodiscard]] std::string describe(std::string_view operation, std::error_code error) const;

  // As those of Conn. A datagram that finds the read buffer full is dropped without a word, so a receiver of
  // bursts wants room for the longest: the default of 212,992 B (net.core.rmem_default) held 256 datagrams of one byte each.
  Result<void> set_read_buffer(std::size_t bytes);
  Result<void> set_write_buffer(std::size_t bytes);
  // SO_BROADCAST: permission_denied is what a write to a broadcast address reports without it.
  Result<void> set_broadcast(bool on);

  Result<void> raw_control(FunctionRef<void(int fd)> act) const;
  Result<void> raw_read(FunctionRef<bool(int fd)> done);
  Result<void> raw_write(FunctionRef<bool(int fd)> done);

  // As those of Conn.
  [[nodiscard]] int native_handle() const noexcept;
  [[nodiscard]] Result<int> duplicate() const;
  [[nodiscard]] Result<int> release();
  [[nodiscard]] static Result<PacketConn> adopt(int fd);
  // A datagram socket that was dialled as a Conn. `conn` is not open afterwards.
  explicit PacketConn(Conn&& conn) noexcept;

  // Internal: takes over a registered descriptor.
  explicit PacketConn(detail::PollDesc* desc) noexcept;
  [[nodiscard]] detail::PollDesc* poll_desc() const noexcept { return desc_; }

 private:
  enum class Kind : std::uint8_t { v4, v6, dual_stack, unix_socket };

  detail::PollDesc* desc_ = nullptr;  // owned
  Kind kind_ = Kind::v4;
  bool connected_ = false;
};

// A socket that receives at `address`. network: "udp", "udp4", "udp6" ("host:port"; ":port" is every address, of both
// families with "udp"; without a port, or with 0, the kernel chooses one), "unixgram" (a path, "@name", or "" for a name of the kernel's choice). Of `config`, reuse_port and
// control apply. The file of a Unix datagram socket stays when the socket is closed; remove it yourself.
// Errors: as listen().
Result<PacketConn> listen_packet(std::string_view network, std::string_view address, const ListenConfig& config);
Result<PacketConn> listen_packet(std::string_view network, std::string_view address);

}  // namespace roost::net
