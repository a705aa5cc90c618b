// pipe(): a connection in memory. What one end writes the other reads; deadlines, half close, turns and errors are those of a
// TCP connection, so that a test or a layered protocol (TLS, a filter) can stand on either.
//
//   auto [client, server] = net::pipe();
//
// Between writer and reader lies a buffer of at most `buffer_bytes`, borrowed only while bytes are in it. With 0 there is
// none: each write goes straight into the reader's memory and returns when all of it has been read or the reader is gone.
// Fibers and plain threads may use it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include <roost/error.h>
#include <roost/io/stream.h>
#include <roost/time/deadline.h>

namespace roost::net {

class PipeConn final : public io::Stream {
 public:
  PipeConn() noexcept = default;  // not open; every call reports bad_file_descriptor
  PipeConn(PipeConn&& other) noexcept = default;
  PipeConn& operator=(PipeConn&& other) noexcept;
  // Closes. Destroying an end while a call on it is under way is a mistake that ends the process.
  ~PipeConn() override;

  using io::Sink::write;

  // Errors: as Conn. A write after the other end's close is broken_pipe; bytes that were written before a close are read
  // after it.
  Result<std::size_t> read(std::span<std::byte> out) override;
  Result<std::size_t> write(std::span<const std::byte> data) override;
  Result<std::size_t> write_vectored(std::span<const std::span<const std::byte>> pieces) override;
  Result<void> wait_readable() override;
  [[nodiscard]] bool maybe_readable() const noexcept override;

  Result<void> set_read_deadline(Deadline deadline) override;
  Result<void> set_write_deadline(Deadline deadline) override;

  Result<void> close_write() override;
  Result<void> close_read() override;
  Result<void> close() override;
  // As close_write() and close_read(), with a reason: the other end's read fails with `error` once everything was read,
  // instead of the end of the stream; its writes fail with `error`, instead of broken_pipe. The first reason stands.
  Result<void> close_write_with(std::error_code error);
  Result<void> close_read_with(std::error_code error);

  struct Core;
  PipeConn(std::shared_ptr<Core> core, int side) noexcept : core_(std::move(core)), side_(side) {}  // internal

 private:
  std::shared_ptr<Core> core_;  // shared with the other end
  int side_ = 0;
};

struct PipePair {
  PipeConn one;
  PipeConn two;
};
inline constexpr std::size_t pipe_buffer_bytes = 64 * 1024;
[[nodiscard]] PipePair pipe(std::size_t buffer_bytes = pipe_buffer_bytes);

}  // namespace roost::net
