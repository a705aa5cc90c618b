// Reader: buffered reading.
//
// A Reader that waits holds no buffer: it waits for readiness first, then borrows a buffer from a pool of the worker's
// thread, and gives it back when everything was consumed and it has to wait again. So 100,000 idle connections
// hold no read buffers at all.
//
// A Reader belongs to one fiber at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <roost/error.h>
#include <roost/io/stream.h>

namespace roost::io {

struct ReaderOptions {
  // Bytes asked of the source at once; rounded up to a power of two, 16 B to 1 MiB. Suits messages under 1 KB; 16-32 KiB
  // suit messages up to 10 KB, 64-128 KiB those above 100 KB. Below 4 KiB and above 128 KiB buffers are not pooled: each
  // one is allocated.
  std::size_t buffer_bytes = 4096;
  // read_until() and read_line() give up with token_too_long beyond this many bytes, delimiter included; at least 1,
  // at most 1 GiB. The buffer doubles up to it, and shrinks back as soon as it is empty.
  std::size_t token_bytes_max = 16 * 1024 * 1024;
};

class Reader final : public Source {
 public:
  // `source` is borrowed and must outlive the reader.
  explicit Reader(Source& source, ReaderOptions options = {}) noexcept;
  Reader(Source& source, std::size_t buffer_bytes) noexcept : Reader(source, ReaderOptions{.buffer_bytes = buffer_bytes}) {}
  ~Reader() override;
  // Takes the buffer and what is in it along: views stay valid. The other reader goes on with an empty buffer.
  Reader(Reader&& other) noexcept;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // All views returned here point into the buffer and are valid until the next call of this reader that is not const.
  //
  // Every call that reads parks while the source has nothing, and can fail with
  //   end_of_stream      the source ended first
  //   not_enough_memory  there is none for a buffer
  //   timed_out, ...     what the source reports
  // An error consumes nothing but what the call says. What was read so far stays buffered, and the call can be repeated.

  // Up to and including the first `delimiter`.
  // Errors
  //   end_of_stream      without a delimiter before the end; buffered_text() shows what came, take_buffered() takes it
  //   message_size       (Errc::token_too_long) no delimiter within token_bytes_max
  Result<std::string_view> read_until(char delimiter);

  // As read_until('\n'), without the line end ("\n" or "\r\n"). A last line without one is returned as a line.
  Result<std::string_view> read_line();

  // As read_until, but never grows the buffer.
  // Errors
  //   no_buffer_space    (Errc::buffer_full) no delimiter within buffer_bytes; take_buffered() takes the full buffer, and
  //                      the next call goes on behind it
  Result<std::string_view> read_slice(char delimiter);

  // At most out.size() bytes, at least one; 0 at the end of the stream, or if `out` is empty. One call of the source at
  // most, none if something is buffered. Reads that are at least a buffer long go past the buffer.
  Result<std::size_t> read(std::span<std::byte> out) override;
  // Exactly out.size() bytes. On an error the bytes read so far are in `out`, and consumed.
  Result<std::size_t> read_full(std::span<std::byte> out);
  // The next byte.
  Result<std::byte> read_byte();
  // Puts the last byte back that read, read_byte, read_until, ... consumed. Once per read.
  // Errors: invalid_argument (Errc::invalid_unread) after peek, discard, another unread, before any read, or when
  // a failed read has moved what is buffered since.
  Result<void> unread_byte();

  // The next `count` bytes without consuming them.
  // Errors: no_buffer_space (Errc::buffer_full) when count exceeds buffer_bytes; end_of_stream when fewer are left, which
  // stay buffered.
  Result<std::span<const std::byte>> peek(std::size_t count);
  // Skips exactly `count` bytes. On an error the bytes that there were are skipped.
  Result<std::size_t> discard(std::size_t count);

  // What is buffered now, without reading.
  [[nodiscard]] std::size_t buffered() const noexcept { return end_ - begin_; }
  [[nodiscard]] std::string_view buffered_text() const noexcept {
    return {reinterpret_cast<const char*>(buffer_) + begin_, end_ - begin_};
  }
  [[nodiscard]] bool has_buffered(char delimiter) const noexcept {
    return buffered_text().find(delimiter) != std::string_view::npos;
  }
  // Consumes what is buffered and returns it.
  std::string_view take_buffered() noexcept;

  Result<void> wait_readable() override;
  [[nodiscard]] bool maybe_readable() const noexcept override;
  [[nodiscard]] std::size_t buffer_bytes() const noexcept { return options_bytes_; }

 private:
  // Invariants
  //   I1  begin_ <= end_ <= capacity_; the unread bytes are [begin_, end_).
  //   I2  without a buffer all three are 0; with one, capacity_ is a power of two and at least options_bytes_.
  //   I3  while can_unread_, the byte before the unread ones is buffer_[begin_ - 1], or last_byte_ where begin_ is 0.
  std::error_code fill();
  std::error_code fill_behind_unread();
  std::error_code read_source();
  std::error_code end_read(const Result<std::size_t>& got, std::size_t room) noexcept;
  Result<std::string_view> read_token(char delimiter, std::uint32_t bytes_max, Errc too_long);
  bool relocate(std::uint32_t capacity) noexcept;
  void forget_consumed() noexcept;
  void release() noexcept;
  std::size_t take(std::span<std::byte> out) noexcept;
  Result<std::size_t> read_past_buffer(std::span<std::byte> out);

  Source& source_;               // not owned
  std::byte* buffer_ = nullptr;  // borrowed; null while nothing is buffered and nobody reads
  std::uint32_t capacity_ = 0;
  std::uint32_t begin_ = 0;
  std::uint32_t end_ = 0;
  std::uint32_t options_bytes_;
  std::uint32_t token_bytes_max_;
  bool can_unread_ = false;
  std::byte last_byte_{};
};

}  // namespace roost::io
