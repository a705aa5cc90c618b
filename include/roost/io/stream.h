// The small interfaces that buffered I/O, copying and connections meet in: what io.Reader, io.Writer and net.Conn are to Go.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include <roost/detail/function_ref.h>
#include <roost/error.h>
#include <roost/time/deadline.h>

namespace roost::io {

[[nodiscard]] inline std::span<const std::byte> as_bytes(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class Sink;

// Something bytes come from.
class Source {
 public:
  virtual ~Source() = default;

  // Reads at most out.size() bytes and returns how many; parks until there is at least one.
  // 0 means end of stream, or that `out` is empty.
  virtual Result<std::size_t> read(std::span<std::byte> out) = 0;

  // Parks until read() would return at once, so that the caller need not hold a buffer while it waits. May return
  // early; read() parks then. Sources that never wait keep this default.
  virtual Result<void> wait_readable() { return {}; }
  // False when read() is known to have to wait. Never parks.
  [[nodiscard]] virtual bool maybe_readable() const noexcept { return true; }

  // As read(), for a caller that holds no buffer while it waits: `room` is called when there is something to read, and says
  // where to. An empty room is the error not_enough_memory. May call it earlier, and then waits in read().
  virtual Result<std::size_t> read_when_ready(FunctionRef<std::span<std::byte>()> room) {
    if (!maybe_readable()) {
      if (auto ready = wait_readable(); !ready) return std::unexpected(ready.error());
    }
    const std::span<std::byte> out = room();
    if (out.empty()) return fail(std::errc::not_enough_memory);
    return read(out);
  }

  // A way from here to `to` that is quicker than a buffer in between, for a source that knows one: at most `count` bytes, as
  // io::copy_n. Empty: there is none, and nothing was moved. io::copy asks here first and then Sink::read_from().
  virtual Result<std::optional<std::uint64_t>> write_to([[maybe_unused]] Sink& to, [[maybe_unused]] std::uint64_t count) {
    return std::nullopt;
  }

 protected:
  Source() = default;
  Source(const Source&) = default;
  Source& operator=(const Source&) = default;
};

// Something bytes go to.
class Sink {
 public:
  virtual ~Sink() = default;

  // Writes all of `data`, parking as often as needed, and returns its size. On an error some of it may have been written.
  virtual Result<std::size_t> write(std::span<const std::byte> data) = 0;
  Result<std::size_t> write(std::string_view text) { return write(as_bytes(text)); }

  // Writes all pieces in order, as few system calls as possible; returns the sum of their sizes.
  virtual Result<std::size_t> write_vectored(std::span<const std::span<const std::byte>> pieces) {
    std::size_t total = 0;
    for (const auto piece : pieces) {
      const auto wrote = write(piece);
      if (!wrote) return wrote;
      total += *wrote;
    }
    return total;
  }

  // As Source::write_to(), for a sink that knows a quicker way: sendfile, splice.
  virtual Result<std::optional<std::uint64_t>> read_from([[maybe_unused]] Source& from,
                                                         [[maybe_unused]] std::uint64_t count) {
    return std::nullopt;
  }

 protected:
  Sink() = default;
  Sink(const Sink&) = default;
  Sink& operator=(const Sink&) = default;
};

// A connection: both directions, deadlines, half close. One fiber may read while another writes; calls of one
// direction from several fibers take turns.
class Stream : public Source, public Sink {
 public:
  using Sink::write;

  // A deadline is absolute and sticky: every call of that direction, pending or later, fails with timed_out once it has
  // passed, even if data is ready, until another deadline is set. Deadline::none() lifts it. Moving one costs
  // nanoseconds; a pending call notices at once.
  // Errors: bad_file_descriptor when the connection is closed.
  virtual Result<void> set_read_deadline(Deadline deadline) = 0;
  virtual Result<void> set_write_deadline(Deadline deadline) = 0;
  Result<void> set_deadline(Deadline deadline) {
    if (auto set = set_read_deadline(deadline); !set) return set;
    return set_write_deadline(deadline);
  }

  // No more bytes out; the peer reads end of stream. Reading goes on.
  virtual Result<void> close_write() = 0;
  // No more bytes in: reads return 0, a pending one at once. What had arrived before may still be read first; what the peer goes
  // on to send is dropped, or read all the same, as the system has it (Linux hands it over on TCP). Writing goes on.
  virtual Result<void> close_read() = 0;
  // Ends both directions. Calls inside, of any fiber, return bad_file_descriptor. Closing again is that error, too.
  virtual Result<void> close() = 0;
};

}  // namespace roost::io
