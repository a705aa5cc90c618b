// Descriptor: any descriptor that a poller can watch (pipe, terminal, eventfd, timerfd, ...), with reads and writes that park.
//
// What Conn is to sockets; the same rules of ownership, turns and deadlines hold. Regular files are always ready and cannot be
// watched: see File.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include <roost/detail/function_ref.h>
#include <roost/error.h>
#include <roost/io/stream.h>
#include <roost/time/deadline.h>

namespace roost::detail {
class PollDesc;
}

namespace roost::net {

class Descriptor : public io::Source, public io::Sink {
 public:
  Descriptor() noexcept = default;  // not open; every call reports bad_file_descriptor
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() override;

  // Takes over `fd` and makes it non-blocking, for all who share it. On error it stays yours.
  // Errors: operation_not_permitted (a regular file or directory), bad_file_descriptor.
  [[nodiscard]] static Result<Descriptor> adopt(int fd);

  using io::Sink::write;

  // read(2) and write(2) with waiting; write goes on until all is written. Errors: those, and as Conn.
  // A write into a pipe whose reader is gone is broken_pipe. The system sends SIGPIPE with it, which ends a program by
  // default; where that default is still set when the first Descriptor is adopted, roost installs a handler that does nothing.
  Result<std::size_t> read(std::span<std::byte> out) override;
  Result<std::size_t> write(std::span<const std::byte> data) override;
  Result<void> wait_readable() override;
  Result<void> wait_writable();
  [[nodiscard]] bool maybe_readable() const noexcept override;

  // As those of a Stream: absolute, sticky, and an expired one beats ready data. Errors: bad_file_descriptor.
  Result<void> set_read_deadline(Deadline deadline);
  Result<void> set_write_deadline(Deadline deadline);

  // As those of Conn, and so are the rest: raw_read() is the way to the calls of an eventfd, a timerfd or a device.
  Result<void> raw_control(FunctionRef<void(int fd)> act) const;
  Result<void> raw_read(FunctionRef<bool(int fd)> done);
  Result<void> raw_write(FunctionRef<bool(int fd)> done);

  // Wakes calls inside, which return bad_file_descriptor, waits until they have left, then closes. A second close is
  // bad_file_descriptor.
  Result<void> close();
  [[nodiscard]] bool is_open() const noexcept;
  [[nodiscard]] int native_handle() const noexcept;
  [[nodiscard]] Result<int> duplicate() const;
  [[nodiscard]] Result<int> release();

  explicit Descriptor(detail::PollDesc* desc) noexcept : desc_(desc) {}  // internal
  [[nodiscard]] detail::PollDesc* poll_desc() const noexcept { return desc_; }

 private:
  detail::PollDesc* desc_ = nullptr;  // owned
};

// The two ends of a pipe of the kernel's. What is written to the one is read from the other; it holds 64 KiB (pipe(7)). Reading
// ends when every write end is closed, those a child process has inherited included; writing then is broken_pipe, and likewise.
struct OsPipe {
  Descriptor read_end;
  Descriptor write_end;
};
// A new one, of two descriptors that are closed on exec: for a child's standard output, or to splice through. To hand an end to
// a child, duplicate() it and clear O_NONBLOCK only if the child cannot do with it: both share that mode.
// Never parks. Errors: too_many_files_open, not_enough_memory; operation_canceled when no runtime runs.
[[nodiscard]] Result<OsPipe> os_pipe();

}  // namespace roost::net
