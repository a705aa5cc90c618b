#include <roost/io/writer.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/buffer_pool.h"

namespace roost::io {
namespace {

constexpr std::size_t buffer_bytes_min = 16;
constexpr std::size_t buffer_bytes_max = 1024 * 1024;

}  // namespace

Writer::Writer(Sink& sink, WriterOptions options) noexcept
    : sink_(sink),
      options_bytes_(static_cast<std::uint32_t>(
          std::bit_ceil(std::clamp(options.buffer_bytes, buffer_bytes_min, buffer_bytes_max)))) {}

Writer::~Writer() { release(); }

Writer::Writer(Writer&& other) noexcept
    : sink_(other.sink_),
      buffer_(std::exchange(other.buffer_, nullptr)),
      used_(std::exchange(other.used_, 0)),
      room_(std::exchange(other.room_, 0)),
      options_bytes_(other.options_bytes_),
      error_(std::exchange(other.error_, {})) {}

Result<std::size_t> Writer::write(std::span<const std::byte> data) {
  // Each comparison of size - 1 refuses empty data as well: 0 - 1 is larger than any room.
  if (data.size() - 1 >= room_) {
    if (buffer_ != nullptr || error_ || data.size() - 1 >= options_bytes_ - 1) return write_slow(data);
    if (const std::error_code error = borrow()) return fail(error);  // the first write after a flush
  }
  std::memcpy(buffer_ + used_, data.data(), data.size());
  used_ += static_cast<std::uint32_t>(data.size());
  room_ -= static_cast<std::uint32_t>(data.size());
  return data.size();
}

Result<void> Writer::write_byte(std::byte value) {
  if (room_ != 0) [[likely]] {
    buffer_[used_++] = value;
    --room_;
    return {};
  }
  if (const auto wrote = write({&value, 1}); !wrote) return fail(wrote.error());
  return {};
}

Result<void> Writer::flush() {
  if (used_ != 0) [[likely]] {
    if (const std::error_code error = send_buffered()) return fail(error);
    return {};
  }
  if (error_) return fail(error_);
  return {};
}

// What neither fits into the buffer's room nor starts a buffer.
[[gnu::noinline]] Result<std::size_t> Writer::write_slow(std::span<const std::byte> data) {
  if (error_) return fail(error_);
  if (data.empty()) return 0;
  const std::size_t size = data.size();
  if (size >= options_bytes_) {
    if (const std::error_code error = send_past_buffer(data)) return fail(error);
    return size;
  }
  // Fill the buffer, send it, keep the rest.
  std::memcpy(buffer_ + used_, data.data(), room_);
  data = data.subspan(room_);
  used_ = options_bytes_;
  room_ = 0;
  if (const std::error_code error = send_buffered()) return fail(error);
  if (const std::error_code error = borrow()) return fail(error);
  std::memcpy(buffer_, data.data(), data.size());
  used_ = static_cast<std::uint32_t>(data.size());
  room_ = options_bytes_ - used_;
  return size;
}

std::error_code Writer::borrow() noexcept {
  buffer_ = base::borrow(options_bytes_);
  if (buffer_ == nullptr) [[unlikely]] return error_ = std::make_error_code(std::errc::not_enough_memory);
  room_ = options_bytes_;
  return {};
}

// Sends what is buffered, if anything is, and `data` behind it.
[[gnu::noinline]] std::error_code Writer::send_past_buffer(std::span<const std::byte> data) {
  if (used_ == 0) return end_sending(sink_.write(data), data.size());
  const std::array<std::span<const std::byte>, 2> pieces{std::span<const std::byte>(buffer_, used_), data};
  return end_sending(sink_.write_vectored(pieces), used_ + data.size());
}

// Sends the buffer's content and gives the buffer back.
[[gnu::noinline]] std::error_code Writer::send_buffered() {
  return end_sending(sink_.write(std::span<const std::byte>(buffer_, used_)), used_);
}

// Whatever the sink said, the buffer's content is done with.
std::error_code Writer::end_sending(const Result<std::size_t>& sent, std::size_t wanted) noexcept {
  release();
  if (!sent) {
    error_ = sent.error();
  } else if (*sent != wanted) [[unlikely]] {
    ROOST_ASSERT(*sent < wanted, "a sink took more bytes than it was given");
    error_ = Errc::short_write;
  }
  return error_;
}

void Writer::release() noexcept {
  if (buffer_ == nullptr) return;
  base::give_back(std::exchange(buffer_, nullptr), options_bytes_);
  used_ = room_ = 0;
}

}  // namespace roost::io
