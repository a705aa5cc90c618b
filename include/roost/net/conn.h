// Conn: a stream connection (TCP; Unix stream and seqpacket as well).
//
// Blocking to read, parking underneath: a call that must wait parks its fiber, never its thread. A Conn is an owner: moving it
// is cheap, destroying it closes. Two fibers may share one by reference, one reading and one writing; calls of one direction
// from several fibers take turns. close() from any fiber ends the calls inside. Only fibers may make calls that park.
//
// A waiting connection costs one PollDesc (192 bytes, see src/runtime/netpoll.h) and no buffer.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <roost/error.h>
#include <roost/io/stream.h>
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

  // All of `data`; parks while the peer does not take it. Returns data.size().
  // Errors: as read, of the write deadline; broken_pipe after close_write() or when the peer is gone. How much of
  // `data` the kernel took before is then not known.
  Result<std::size_t> write(std::span<const std::byte> data) override;
  // As much as the kernel takes at once, at least one byte.
  Result<std::size_t> write_some(std::span<const std::byte> data);
  Result<std::size_t> write_vectored(std::span<const std::span<const std::byte>> pieces) override;

  // Parks until there is something to read, the stream ended or failed. Consumes nothing, borrows nothing.
  Result<void> wait_readable() override;
  Result<void> wait_writable();
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
  Result<void> close() override;
  [[nodiscard]] bool is_open() const noexcept;

  [[nodiscard]] Result<Endpoint> local_endpoint() const;
  [[nodiscard]] Result<Endpoint> remote_endpoint() const;

  // TCP options; operation_not_supported or the kernel's error on other networks. TCP_NODELAY is on by default.
  Result<void> set_no_delay(bool on);
  Result<void> set_keep_alive(const KeepAlive& keep_alive);
  // seconds < 0: the kernel sends what is left in the background after close (the default). 0: close resets.
  // > 0: as the default, and the kernel drops what is left after so many seconds.
  Result<void> set_linger(int seconds);
  Result<void> set_user_timeout(std::chrono::milliseconds span);  // TCP_USER_TIMEOUT: unacknowledged data for so long ends it
  Result<void> set_read_buffer(std::size_t bytes);   // SO_RCVBUF; turns the kernel's autotuning off
  Result<void> set_write_buffer(std::size_t bytes);  // SO_SNDBUF; likewise

  // The descriptor, borrowed, for options that this class does not know; -1 when not open. Do not close it, and do not
  // change its non-blocking mode.
  [[nodiscard]] int native_handle() const noexcept;
  // Takes the descriptor out; the Conn is closed afterwards. It is non-blocking and yours to close.
  [[nodiscard]] Result<int> release();
  // Takes over a connected stream socket and makes it non-blocking. On error the descriptor stays yours.
  [[nodiscard]] static Result<Conn> adopt(int fd);

  // Internal: wraps a registered descriptor.
  explicit Conn(detail::PollDesc* desc) noexcept : desc_(desc) {}
  [[nodiscard]] detail::PollDesc* poll_desc() const noexcept { return desc_; }

 private:
  detail::PollDesc* desc_ = nullptr;  // owned
};

}  // namespace roost::net
