#include <roost/io/reader.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "base/buffer_pool.h"

// Frames here lie below those of the source's read() on a fiber's stack, whose single page they share with everything
// else a waiting fiber has called: keep them small, and buffers off the stack.
namespace roost::io {
namespace {

constexpr std::size_t buffer_bytes_min = 16;
constexpr std::size_t buffer_bytes_max = 1024 * 1024;
constexpr std::size_t token_bytes_most = 1024 * 1024 * 1024;
static_assert(2 * token_bytes_most <= std::numeric_limits<std::uint32_t>::max(), "positions in the buffer are 32 bits");

}  // namespace

Reader::Reader(Source& source, ReaderOptions options) noexcept
    : source_(source),
      options_bytes_(static_cast<std::uint32_t>(
          std::bit_ceil(std::clamp(options.buffer_bytes, buffer_bytes_min, buffer_bytes_max)))),
      token_bytes_max_(
          static_cast<std::uint32_t>(std::clamp<std::size_t>(options.token_bytes_max, 1, token_bytes_most))) {}

Reader::~Reader() { base::give_back(buffer_, capacity_); }

Reader::Reader(Reader&& other) noexcept
    : source_(other.source_),
      buffer_(std::exchange(other.buffer_, nullptr)),
      capacity_(std::exchange(other.capacity_, 0)),
      begin_(std::exchange(other.begin_, 0)),
      end_(std::exchange(other.end_, 0)),
      options_bytes_(other.options_bytes_),
      token_bytes_max_(other.token_bytes_max_),
      can_unread_(std::exchange(other.can_unread_, false)),
      last_byte_(other.last_byte_) {}

// ---- tokens

Result<std::string_view> Reader::read_until(char delimiter) {
  return read_token(delimiter, token_bytes_max_, Errc::token_too_long);
}

Result<std::string_view> Reader::read_slice(char delimiter) {
  return read_token(delimiter, options_bytes_, Errc::buffer_full);
}

Result<std::string_view> Reader::read_line() {
  auto line = read_token('\n', token_bytes_max_, Errc::token_too_long);
  if (line) {
    line->remove_suffix(1);
    if (line->ends_with('\r')) line->remove_suffix(1);
  } else if (line.error() == Errc::end_of_stream && begin_ != end_) {
    return take_buffered();
  }
  return line;
}

Result<std::string_view> Reader::read_token(char delimiter, std::uint32_t bytes_max, Errc too_long) {
  for (std::uint32_t scanned = 0;;) {
    const std::uint32_t limit = std::min(end_ - begin_, bytes_max);
    if (scanned < limit) {
      const auto* token = reinterpret_cast<const char*>(buffer_ + begin_);
      if (const void* found = std::memchr(token + scanned, delimiter, limit - scanned)) {
        const std::size_t size = static_cast<std::size_t>(static_cast<const char*>(found) - token) + 1;
        begin_ += static_cast<std::uint32_t>(size);
        can_unread_ = true;
        return std::string_view(token, size);
      }
      scanned = limit;
    }
    if (scanned == bytes_max) return fail(too_long);
    if (const std::error_code error = fill()) return fail(error);
  }
}

// ---- bytes

Result<std::size_t> Reader::read(std::span<std::byte> out) {
  if (out.empty()) return 0;
  if (begin_ == end_) {
    if (out.size() >= options_bytes_) return read_past_buffer(out);
    if (const std::error_code error = fill()) {
      if (error == Errc::end_of_stream) return 0;
      return fail(error);
    }
  }
  return take(out);
}

Result<std::size_t> Reader::read_full(std::span<std::byte> out) {
  const std::size_t size = out.size();
  while (!out.empty()) {
    if (begin_ != end_) {
      out = out.subspan(take(out));
    } else if (out.size() >= options_bytes_) {
      const auto got = read_past_buffer(out);
      if (!got) return got;
      if (*got == 0) return fail(Errc::end_of_stream);
      out = out.subspan(*got);
    } else if (const std::error_code error = fill()) {
      return fail(error);
    }
  }
  return size;
}

Result<std::byte> Reader::read_byte() {
  if (begin_ == end_) {
    if (const std::error_code error = fill()) return fail(error);
  }
  can_unread_ = true;
  return buffer_[begin_++];
}

Result<void> Reader::unread_byte() {
  if (!can_unread_) return fail(Errc::invalid_unread);
  if (begin_ == 0) {
    if (end_ != 0) return fail(Errc::invalid_unread);  // unread bytes lie where it would have to go
    if (buffer_ == nullptr && !relocate(options_bytes_)) return fail(std::errc::not_enough_memory);
    buffer_[0] = last_byte_;
    begin_ = end_ = 1;
  }
  --begin_;
  can_unread_ = false;
  return {};
}

Result<std::span<const std::byte>> Reader::peek(std::size_t count) {
  can_unread_ = false;
  if (count > options_bytes_) return fail(Errc::buffer_full);
  while (end_ - begin_ < count) {
    if (const std::error_code error = fill()) return fail(error);
  }
  return std::span<const std::byte>(buffer_ + begin_, count);
}

Result<std::size_t> Reader::discard(std::size_t count) {
  if (count == 0) return 0;
  can_unread_ = false;
  for (std::size_t left = count;;) {
    const auto step = static_cast<std::uint32_t>(std::min<std::size_t>(left, end_ - begin_));
    begin_ += step;
    left -= step;
    if (left == 0) return count;
    if (const std::error_code error = fill()) return fail(error);
  }
}

std::string_view Reader::take_buffered() noexcept {
  const std::string_view text = buffered_text();
  if (!text.empty()) {
    begin_ = end_;
    can_unread_ = true;
  }
  return text;
}

// Copies what is buffered, as much as fits.
std::size_t Reader::take(std::span<std::byte> out) noexcept {
  const std::size_t size = std::min<std::size_t>(out.size(), end_ - begin_);
  std::memcpy(out.data(), buffer_ + begin_, size);
  begin_ += static_cast<std::uint32_t>(size);
  can_unread_ = true;
  // No view points into it, and the caller may now wait for something else than this source.
  if (begin_ == end_) release();
  return size;
}

// With nothing buffered.
Result<std::size_t> Reader::read_past_buffer(std::span<std::byte> out) {
  release();
  const auto got = source_.read(out);
  if (got && *got > 0) {
    ROOST_ASSERT(*got <= out.size(), "a source returned more bytes than it was asked for");
    last_byte_ = out[*got - 1];
    can_unread_ = true;
  }
  return got;
}

// ---- waiting

bool Reader::maybe_readable() const noexcept { return begin_ != end_ || source_.maybe_readable(); }

Result<void> Reader::wait_readable() {
  if (begin_ != end_) return {};
  if (!source_.maybe_readable()) release();
  return source_.wait_readable();
}

// Calls the source once for bytes behind those that are buffered. Invalidates views. Keeps I3.
//
// With nothing buffered there is no buffer either while the source has nothing: one is borrowed when there are bytes.
std::error_code Reader::fill() {
  if (begin_ != end_) [[unlikely]] return fill_behind_unread();
  release();
  const auto room = [this]() noexcept -> std::span<std::byte> {
    buffer_ = base::borrow(options_bytes_);
    if (buffer_ == nullptr) [[unlikely]] return {};
    capacity_ = options_bytes_;
    return {buffer_, capacity_};
  };
  return end_read(source_.read_when_ready(room), options_bytes_);
}

// A token is here in part: the buffer stays, whatever the wait.
[[gnu::noinline]] std::error_code Reader::fill_behind_unread() {
  const std::uint32_t unread = end_ - begin_;
  if (unread == capacity_) {
    if (!relocate(2 * capacity_)) return std::make_error_code(std::errc::not_enough_memory);
  } else if (capacity_ > options_bytes_ && unread < options_bytes_) {
    // The token that the buffer has grown for is consumed. (While one grows it, more is unread than this.)
    if (!relocate(options_bytes_)) forget_consumed();
  } else {
    forget_consumed();  // so that the source is asked for as much as possible
  }
  return read_source();
}

// Reads into the room behind end_, of which there is some.
std::error_code Reader::read_source() {
  const std::size_t room = capacity_ - end_;
  return end_read(source_.read({buffer_ + end_, room}), room);
}

std::error_code Reader::end_read(const Result<std::size_t>& got, std::size_t room) noexcept {
  if (got && *got > 0) [[likely]] {
    ROOST_ASSERT(*got <= room, "a source returned more bytes than it was asked for");
    end_ += static_cast<std::uint32_t>(*got);
    return {};
  }
  if (end_ == 0) release();
  return got ? make_error_code(Errc::end_of_stream) : got.error();
}

// Moves the unread bytes to the front of the buffer.
void Reader::forget_consumed() noexcept {
  if (begin_ == 0) return;
  last_byte_ = buffer_[begin_ - 1];
  const std::uint32_t unread = end_ - begin_;
  if (unread != 0) std::memmove(buffer_, buffer_ + begin_, unread);
  begin_ = 0;
  end_ = unread;
}

// Moves the unread bytes, which fit, to the front of another buffer. False, and nothing changed, if there is no memory.
[[gnu::noinline]] bool Reader::relocate(std::uint32_t capacity) noexcept {
  std::byte* buffer = base::borrow(capacity);
  if (buffer == nullptr) return false;
  if (begin_ != 0) last_byte_ = buffer_[begin_ - 1];
  const std::uint32_t unread = end_ - begin_;
  if (unread != 0) std::memcpy(buffer, buffer_ + begin_, unread);
  base::give_back(buffer_, capacity_);
  buffer_ = buffer;
  capacity_ = capacity;
  begin_ = 0;
  end_ = unread;
  return true;
}

// Gives the buffer back, if there is one; nothing in it is unread.
void Reader::release() noexcept {
  if (buffer_ == nullptr) return;
  if (begin_ != 0) last_byte_ = buffer_[begin_ - 1];
  base::give_back(std::exchange(buffer_, nullptr), std::exchange(capacity_, 0));
  begin_ = end_ = 0;
}

}  // namespace roost::io
