// pipe: a sink whose bytes come out of a source, from one fiber to another, without a buffer in between.
//
//   auto [reader, writer] = io::pipe();
//   roost::go([writer = std::move(writer)]() mutable { render(writer); });   // wants a sink
//   send(reader);                                                            // wants a source
//
// A write parks until its bytes were read, by one read or by many, or until the reader is closed. Writes of several fibers take
// turns: none comes in the middle of another. So do reads. Any fiber or thread may call any of this at any time; but a
// PipeReader or PipeWriter must not be moved or destroyed while calls are inside. (For a pair of connections with deadlines
// see net; for an operating system's pipe, pipe(2) and net::Descriptor.)
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <system_error>

#include <roost/error.h>
#include <roost/io/stream.h>

namespace roost::io {

namespace detail {
class PipeState;
}
struct Pipe;

class PipeReader final : public Source {
 public:
  PipeReader(PipeReader&&) noexcept = default;
  PipeReader& operator=(PipeReader&&) noexcept;
  ~PipeReader() override;  // as close()

  // At most out.size() bytes of one write. 0: the writer was closed, or `out` is empty.
  // Errors
  //   bad_file_descriptor  (Errc::closed) this side was closed, before or meanwhile
  //   operation_canceled   the runtime stops or the fiber was canceled
  //   what the writer was closed with
  Result<std::size_t> read(std::span<std::byte> out) override;
  Result<void> wait_readable() override;
  [[nodiscard]] bool maybe_readable() const noexcept override;

  // Writes, pending and later ones, fail with `reason`; pending reads with bad_file_descriptor. The first close counts.
  void close(std::error_code reason = std::make_error_code(std::errc::broken_pipe)) noexcept;

 private:
  friend Pipe pipe();
  explicit PipeReader(std::shared_ptr<detail::PipeState> state) noexcept : state_(std::move(state)) {}
  std::shared_ptr<detail::PipeState> state_;
};

class PipeWriter final : public Sink {
 public:
  PipeWriter(PipeWriter&&) noexcept = default;
  PipeWriter& operator=(PipeWriter&&) noexcept;
  ~PipeWriter() override;  // as close()

  using Sink::write;
  // All of `data`; parks until it was read. Empty data is written at once.
  // Errors: as read; broken_pipe, or what the reader was closed with. How much of `data` was read before is then not known.
  Result<std::size_t> write(std::span<const std::byte> data) override;

  // Reads, pending and later ones, fail with `reason`, or see the end of the stream without one; pending writes fail with
  // bad_file_descriptor. The first close counts.
  void close(std::error_code reason = {}) noexcept;

 private:
  friend Pipe pipe();
  explicit PipeWriter(std::shared_ptr<detail::PipeState> state) noexcept : state_(std::move(state)) {}
  std::shared_ptr<detail::PipeState> state_;
};

struct Pipe {
  PipeReader reader;
  PipeWriter writer;
};

// Allocates once.
[[nodiscard]] Pipe pipe();

}  // namespace roost::io
