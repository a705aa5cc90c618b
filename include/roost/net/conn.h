// Conn: a connection (TCP; Unix stream and seqpacket; a datagram socket that was dialled).
//
// Blocking to read, parking underneath: a call that must wait parks its fiber, never its thread. A Conn is an owner: moving it
// is cheap, destroying it closes. Two fibers may share one by reference, one reading and one writing; calls of one direction
// from several fibers take turns. close() from any fiber ends the calls inside. Only fibers may make calls that park.
//
// On a socket that keeps message boundaries (seqpacket, datagram) one read takes one message, cut to the buffer's size, and
// one write, vectored or not, sends one. There an empty message reads as 0, too.
//
// A waiting connection costs one PollDesc (192 bytes, see src/runtime/netpoll.h) and no buffer. No call allocates memory,
// but describe().
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <roost/detail/function_ref.h>
#include <roost/error.h>
#include <roost/io/stream.h>
#include <roost/net/address.h>
#include <roost/net/endpoint.h>
#include <roost/time/deadline.h>

namespace roost::detail {
class PollDesc;
}

namespace roost::net {

// Keep-alive probes of the kernel. A zero means the default given here; a negative value keeps the system's.
struct KeepAlive {
  bool enable = true;
  std::chrono::seconds idle{15};      // silence before the first probe
  std::chrono::seconds interval{15};  // between probes
  int count = 9;                      // unanswered probes that end the connection with ETIMEDOUT
};

// What the kernel knows of a TCP connection (tcp(7), TCP_INFO). Fields an older kernel lacks are 0.
struct TcpInfo {
  std::uint8_t state = 0;             // TCP_ESTABLISHED is 1
  std::chrono::microseconds rtt{};    // smoothed round trip time
  std::chrono::microseconds rtt_variance{};
  std::chrono::microseconds rtt_min{};
  std::chrono::microseconds retransmit_timeout{};
  std::uint32_t send_window_segments = 0;
  std::uint32_t send_segment_bytes = 0;
  std::uint32_t receive_segment_bytes = 0;
  std::uint32_t unacknowledged_segments = 0;
  std::uint32_t lost_segments = 0;
  std::uint32_t retransmits_total = 0;
  std::uint64_t bytes_acknowledged = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t not_sent_bytes = 0;   // accepted from the program and not yet on the wire
  std::uint64_t delivery_bytes_per_second = 0;
};

// Who is at the other end of a Unix connection, as of its connect.
struct PeerCredentials {
  std::int64_t process_id = 0;
  std::uint32_t user_id = 0;
  std::uint32_t group_id = 0;
};

class Conn : public io::Stream {
 public:
  Conn() noexcept = default;  // not open; every call reports bad_file_descriptor
  Conn(Conn&& other) noexcept;
  Conn& operator=(Conn&& other) noexcept;
  ~Conn() override;

  using io::Sink::write;

  // At most out.size() bytes, at least one; parks until there are some. 0 at the end of the stream.
  // Errors
  //   timed_out              the read deadline or the idle time-out passed (even if data is ready)
  //   connection_reset       the peer reset the connection
  //   bad_file_descriptor    (Errc::closed) closed here, before or meanwhile
  //   operation_canceled     the runtime stops or the fiber was canceled
  Result<std::size_t> read(std::span<std::byte> out) override;
  Result<std::size_t> read_when_ready(FunctionRef<std::span<std::byte>()> room) override;

  // All of `data`; parks while the peer does not take it. Returns data.size(). An expired deadline fails even the write of
  // nothing.
  // Errors: as read, of the write deadline; broken_pipe after close_write() or when the peer is gone. How much of
  // `data` the kernel took before is then not known: a program that needs the count writes with write_some().
  Result<std::size_t> write(std::span<const std::byte> data) override;
  // As much as the kernel takes at once, at least one byte; parks until it takes that. Errors: as write; nothing was taken then.
  Result<std::size_t> write_some(std::span<const std::byte> data);
  // As few system calls as possible: up to 1024 pieces each. One turn for the whole of it: writes of other fibers do not
  // come between. message_size: more than 1024 pieces for one message.
  Result<std::size_t> write_vectored(std::span<const std::span<const std::byte>> pieces) override;
  // Into all pieces in turn, as far as bytes are there; at least one byte.
  Result<std::size_t> read_vectored(std::span<const std::span<std::byte>> pieces);

  // Sends at most `count` bytes of a file from its current offset, which moves along, without a copy through user space
  // (sendfile). Fewer when the file ends before. Waiting for the disk blocks the thread, as every file access does.
  Result<std::uint64_t> send_file(int file, std::uint64_t count = std::uint64_t(-1));
  // What io::copy(conn, from) uses: splice between two connections, or from a Descriptor (a pipe); send_file from a File.
  Result<std::optional<std::uint64_t>> read_from(io::Source& from, std::uint64_t count) override;

  // Unix sockets: passes open descriptors along with at least one byte of data. The receiver gets duplicates.
  Result<std::size_t> send_descriptors(std::span<const std::byte> data, std::span<const int> descriptors);
  struct DescriptorsReceived {
    std::size_t bytes = 0;             // of data
    std::size_t descriptors = 0;       // stored; yours to close, closed on exec
    bool truncated = false;            // more came than there was room for; the kernel closed those
  };
  Result<DescriptorsReceived> receive_descriptors(std::span<std::byte> data, std::span<int> descriptors);

  // Parks until there is something to read, the stream ended or failed. Consumes nothing, borrows nothing. Takes its turn among
  // reads. Errors: timed_out, bad_file_descriptor, operation_canceled, as read; a failure of the connection shows at the read.
  Result<void> wait_readable() override;
  // Parks until the kernel would take a byte: on TCP when a third of the send buffer is free. Takes its turn among writes.
  Result<void> wait_writable();
  // False: a read would have to wait. True: it might not.
  [[nodiscard]] bool maybe_readable() const noexcept override;

  Result<void> set_read_deadline(Deadline deadline) override;
  Result<void> set_write_deadline(Deadline deadline) override;
  // The same, `span` from now; spans of a second or more are measured on the coarse clock, up to one kernel tick
  // (4 ms at 250 Hz) late and never early, because that clock is cheaper to read.
  Result<void> set_read_deadline_after(std::chrono::nanoseconds span);
  Result<void> set_write_deadline_after(std::chrono::nanoseconds span);
  // Calls of either direction fail with timed_out once no byte has moved in either direction for `span`.
  // Set once; zero lifts it. Applies beside the deadlines: whatever comes first.
  Result<void> set_idle_timeout(std::chrono::nanoseconds span);

  Result<void> close_write() override;
  Result<void> close_read() override;
  // Wakes calls inside and waits until they have left, then closes. A second close reports bad_file_descriptor.
  // Destroying a Conn while a call on it is under way is a mistake that ends the process: close it and join first.
  Result<void> close() override;
  [[nodiscard]] bool is_open() const noexcept;

  // Looked up when asked for. An endpoint only of IP sockets, else wrong_protocol_type; an address of any.
  [[nodiscard]] Result<Endpoint> local_endpoint() const;
  [[nodiscard]] Result<Endpoint> remote_endpoint() const;
  [[nodiscard]] Result<Address> local_address() const;
  [[nodiscard]] Result<Address> remote_address() const;
  // An error for people, with what was done and to whom: "read tcp 127.0.0.1:5000->127.0.0.1:80: connection reset by peer
  // (ECONNRESET)". Calls return the bare error, so that a connection's failure costs nothing where nobody reads it.
  [[nodiscard]] std::string describe(std::string_view operation, std::error_code error) const;

  // TCP options; operation_not_supported or the kernel's error on other networks. TCP_NODELAY is on by default.
  Result<void> set_no_delay(bool on);
  Result<void> set_keep_alive(const KeepAlive& keep_alive);
  // seconds < 0: the kernel sends what is left in the background after close (the default). 0: close resets.
  // > 0: close waits until the peer has acknowledged what is left, so many seconds at most, and then the kernel drops it.
  // The closing fiber parks meanwhile; its thread does not wait.
  Result<void> set_linger(int seconds);
  // TCP_USER_TIMEOUT: data that was not acknowledged for so long ends the connection with ETIMEDOUT, which is_timeout() knows.
  // Zero or less: the system's default, some 15 minutes (net.ipv4.tcp_retries2). Rules over keep-alive's count, too (tcp(7)).
  Result<void> set_user_timeout(std::chrono::milliseconds span);
  // The kernel's buffer for bytes that arrived and were not read (SO_RCVBUF), or were written and not acknowledged (SO_SNDBUF), in
  // bytes; any kind of socket. The kernel doubles the number, for what it keeps beside the data, and cuts it to
  // net.core.rmem_max or wmem_max without an error. Setting one turns off the kernel's own tuning of it on this connection, which
  // mostly does better: set them where memory per connection matters more than throughput, or for bursts of datagrams.
  Result<void> set_read_buffer(std::size_t bytes);
  Result<void> set_write_buffer(std::size_t bytes);
  // A system call: for reports, not for each message. operation_not_supported: not TCP.
  [[nodiscard]] Result<TcpInfo> tcp_info() const;
  // operation_not_supported: not a Unix connection.
  [[nodiscard]] Result<PeerCredentials> peer_credentials() const;

  // Raw access, for system calls that this class does not know. `act(fd)` runs once, while the descriptor is certain to stay
  // open. `done(fd)` makes a call of its own and returns false if that would block (EAGAIN): the fiber then parks until the
  // descriptor is ready, and `done` is called again. It takes its turn among reads or writes, and heeds their deadlines: once
  // they have passed `done` is not called. Nor is it before the first bytes have come where none can be there yet.
  // Errors: bad_file_descriptor (closed); of the latter two also timed_out, operation_canceled. What the calls inside report is for
  // them to keep.
  Result<void> raw_control(FunctionRef<void(int fd)> act) const;
  Result<void> raw_read(FunctionRef<bool(int fd)> done);
  Result<void> raw_write(FunctionRef<bool(int fd)> done);

  // The descriptor, borrowed, for options that this class does not know; -1 when not open. Do not change its non-blocking mode.
  // Do not close it: the kernel then forgets the watch without a word, and a call that waits on it waits until its deadline or the
  // Conn's close(). If the number was given to another file meanwhile, close() would close that one.
  [[nodiscard]] int native_handle() const noexcept;
  // Another descriptor of the same socket, yours to close (closed on exec). The two share everything, the non-blocking mode
  // and the position in the stream included; the connection ends when both are closed.
  [[nodiscard]] Result<int> duplicate() const;
  // Takes the descriptor out; the Conn is closed afterwards. It is non-blocking and yours to close.
  [[nodiscard]] Result<int> release();
  // Takes over a connected socket and makes it non-blocking. On error the descriptor stays yours.
  // A descriptor has one owner: adopting one that roost owns already is a mistake that ends the process with its number.
  // Errors: not_a_socket, bad_file_descriptor; wrong_protocol_type for a listener.
  [[nodiscard]] static Result<Conn> adopt(int fd);

  // Internal: wraps a registered descriptor.
  explicit Conn(detail::PollDesc* desc) noexcept : desc_(desc) {}
  [[nodiscard]] detail::PollDesc* poll_desc() const noexcept { return desc_; }
  [[nodiscard]] detail::PollDesc* give_up() noexcept { return std::exchange(desc_, nullptr); }

 private:
  detail::PollDesc* desc_ = nullptr;  // owned
};

}  // namespace roost::net
