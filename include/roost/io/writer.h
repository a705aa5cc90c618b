// Writer: buffered writing. Small writes are gathered; flush() sends them in one system call.
//
// The buffer is borrowed at the first write and given back by the flush that empties it: a connection whose answers are
// out holds none.
//
// Errors are sticky: after one, every later write and flush reports it, and what was buffered is dropped, since nobody
// knows how much of it the sink took. A Writer for the same sink can be made anew where going on makes sense.
//
// A Writer belongs to one fiber at a time. Its destructor does not flush: what was not flushed is dropped, because a
// destructor cannot report that it failed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <roost/error.h>
#include <roost/io/stream.h>

namespace roost::io {

struct WriterOptions {
  // Bytes gathered before the sink is called; rounded up to a power of two, 16 B to 1 MiB. Below 4 KiB and above 128 KiB
  // buffers are not pooled: each one is allocated.
  std::size_t buffer_bytes = 4096;
};

class Writer final : public Sink {
 public:
  // `sink` is borrowed and must outlive the writer.
  explicit Writer(Sink& sink, WriterOptions options = {}) noexcept;
  Writer(Sink& sink, std::size_t buffer_bytes) noexcept : Writer(sink, WriterOptions{.buffer_bytes = buffer_bytes}) {}
  ~Writer() override;
  // Takes what is buffered, and the error, along. The other writer goes on empty and without error.
  Writer(Writer&& other) noexcept;
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  using Sink::write;
  // Takes all of `data`; returns data.size(). Data that would fill an empty buffer goes past it in one call of the sink;
  // data of a buffer's length or more goes out together with what is buffered, in one vectored call. Parks only when
  // the sink does.
  // Errors
  //   not_enough_memory  there is none for a buffer
  //   (Errc::short_write) the sink took fewer bytes than it was given, and reported no error
  //   timed_out, ...     what the sink reports
  Result<std::size_t> write(std::span<const std::byte> data) override;
  Result<void> write_byte(std::byte value);

  // Sends what is buffered. Parks until the sink has taken it. Errors: as write.
  Result<void> flush();

  [[nodiscard]] std::size_t buffered() const noexcept { return used_; }
  [[nodiscard]] std::size_t available() const noexcept { return options_bytes_ - used_; }
  [[nodiscard]] std::size_t buffer_bytes() const noexcept { return options_bytes_; }

 private:
  // Invariants
  //   I1  used_ + room_ is options_bytes_ while there is a buffer, else both are 0.
  //   I2  after an error there is no buffer; so `fits in room_` implies that there is a buffer and no error.
  Result<std::size_t> write_slow(std::span<const std::byte> data);
  std::error_code borrow() noexcept;
  std::error_code send_buffered();
  std::error_code send_past_buffer(std::span<const std::byte> data);
  std::error_code end_sending(const Result<std::size_t>& sent, std::size_t wanted) noexcept;
  void release() noexcept;

  Sink& sink_;                   // not owned
  std::byte* buffer_ = nullptr;  // borrowed from the first write until a flush or an error
  std::uint32_t used_ = 0;
  std::uint32_t room_ = 0;
  std::uint32_t options_bytes_;
  std::error_code error_;        // sticky
};

}  // namespace roost::io
