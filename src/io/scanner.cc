#include <roost/io/scanner.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/buffer_pool.h"

namespace roost::io {
namespace {

constexpr std::size_t buffer_bytes_min = 16;
constexpr std::size_t buffer_bytes_max = 1024 * 1024;
constexpr std::size_t token_bytes_most = 1024 * 1024 * 1024;
static_assert(2 * token_bytes_most <= UINT32_MAX, "positions in the buffer are 32 bits");
constexpr std::uint32_t idle_tokens_max = 100;

constexpr std::string_view replacement_character = "\xEF\xBF\xBD";

struct Rune {
  char32_t value;
  std::uint32_t bytes;  // 0: the data ends within it
  bool valid;
};

// The first character of `data`, which is not empty. Refuses what RFC 3629 does: overlong forms, surrogates, more than
// U+10FFFF; then one byte is consumed.
Rune first_rune(std::string_view data, bool at_end) noexcept {
  const auto byte = [data](std::size_t i) { return static_cast<unsigned char>(data[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1, true};
  const Rune invalid{0xFFFD, 1, false};
  if (first < 0xC2 || first > 0xF4) return invalid;
  const std::uint32_t bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // The second byte's range tells overlong forms, surrogates and values beyond the last one.
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  char32_t value = first & (0x7Fu >> bytes);
  for (std::uint32_t i = 1; i < bytes; ++i) {
    if (i == data.size()) return at_end ? invalid : Rune{0, 0, false};
    if (byte(i) < low || byte(i) > high) return invalid;
    low = 0x80;
    high = 0xBF;
    value = value << 6 | (byte(i) & 0x3Fu);
  }
  return {value, bytes, true};
}

// The characters with Unicode's property White_Space.
bool is_space(char32_t value) noexcept {
  if (value <= 0xFF) return value == ' ' || (value >= '\t' && value <= '\r') || value == 0x85 || value == 0xA0;
  return value == 0x1680 || (value >= 0x2000 && value <= 0x200A) || value == 0x2028 || value == 0x2029 ||
         value == 0x202F || value == 0x205F || value == 0x3000;
}

}  // namespace

// ---- split functions

Split split_lines(std::string_view data, bool at_end) {
  if (data.empty()) return {};
  const std::size_t newline = data.find('\n');
  if (newline == std::string_view::npos && !at_end) return {};
  std::string_view line = data.substr(0, newline);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return {.advance = newline == std::string_view::npos ? data.size() : newline + 1, .token = line};
}

Split split_words(std::string_view data, bool at_end) {
  std::size_t begin = 0;  // of the word, once one is found
  bool in_word = false;
  for (std::size_t at = 0; at < data.size();) {
    const Rune rune = first_rune(data.substr(at), at_end);
    if (rune.bytes == 0) return {.advance = in_word ? begin : at};
    const bool space = rune.valid && is_space(rune.value);
    if (in_word && space) return {.advance = at + rune.bytes, .token = data.substr(begin, at - begin)};
    if (!in_word && !space) {
      begin = at;
      in_word = true;
    }
    at += rune.bytes;
  }
  if (!in_word) return {.advance = data.size()};  // nothing but space: it is done with
  if (at_end) return {.advance = data.size(), .token = data.substr(begin)};
  return {.advance = begin};
}

Split split_bytes(std::string_view data, [[maybe_unused]] bool at_end) {
  if (data.empty()) return {};
  return {.advance = 1, .token = data.substr(0, 1)};
}

Split split_runes(std::string_view data, bool at_end) {
  if (data.empty()) return {};
  const Rune rune = first_rune(data, at_end);
  if (rune.bytes == 0) return {};
  return {.advance = rune.bytes, .token = rune.valid ? data.substr(0, rune.bytes) : replacement_character};
}

// ---- Scanner

Scanner::Scanner(Source& source, ScannerOptions options)
    : source_(source),
      split_(std::move(options.split)),
      token_bytes_max_(static_cast<std::uint32_t>(std::clamp<std::size_t>(options.token_bytes_max, 1, token_bytes_most))),
      options_bytes_(static_cast<std::uint32_t>(
          std::bit_ceil(std::clamp(options.buffer_bytes, buffer_bytes_min, buffer_bytes_max)))) {
  ROOST_ASSERT(split_ != nullptr, "a scanner was made without a split function");
}

Scanner::~Scanner() { release(); }

bool Scanner::scan() {
  token_ = {};
  if (finished_) return false;
  for (;;) {
    const std::uint32_t unread = end_ - begin_;
    if (unread > 0 || source_ended_) {
      const std::uint32_t shown = std::min(unread, token_bytes_max_);
      const std::string_view data(reinterpret_cast<const char*>(buffer_) + begin_, shown);
      const Split split = split_(data, source_ended_ && shown == unread);
      if (split.error) return finish(split.error);
      ROOST_ASSERT(split.advance <= shown, "a split function advanced beyond the data it was shown");
      begin_ += static_cast<std::uint32_t>(split.advance);
      if (split.token) {
        // A function that forgets to advance would go on for ever.
        idle_tokens_ = split.advance > 0 ? 0 : idle_tokens_ + 1;
        ROOST_ASSERT(idle_tokens_ <= idle_tokens_max, "a split function delivered 100 tokens without advancing");
        token_ = *split.token;
        finished_ = split.last;
        return true;
      }
      if (split.last) return finish({});
      if (split.advance > 0 && begin_ != end_) continue;
      if (source_ended_) return finish(error_);
      if (end_ - begin_ >= token_bytes_max_) return finish(Errc::token_too_long);
    }
    if (const std::error_code error = fill()) {
      if (error == std::errc::not_enough_memory) return finish(error);
      source_ended_ = true;
      if (error != Errc::end_of_stream) error_ = error;
    }
  }
}

// The error may be that of the source, kept from before.
bool Scanner::finish(std::error_code error) noexcept {
  release();
  finished_ = true;
  error_ = error;
  return false;
}

// Calls the source once for bytes behind those that are unread; end_of_stream when there are none to come.
std::error_code Scanner::fill() {
  if (begin_ == end_) {
    begin_ = end_ = 0;
    if (capacity_ != options_bytes_) release();  // one that had grown
    if (!source_.maybe_readable()) {
      release();
      if (const auto ready = source_.wait_readable(); !ready) return ready.error();
    }
    if (buffer_ == nullptr && !grow(options_bytes_)) return std::make_error_code(std::errc::not_enough_memory);
  } else if (begin_ > 0 && (end_ == capacity_ || begin_ > capacity_ / 2)) {
    std::memmove(buffer_, buffer_ + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == capacity_ && !grow(2 * capacity_)) return std::make_error_code(std::errc::not_enough_memory);
  const std::size_t room = capacity_ - end_;
  const auto got = source_.read({buffer_ + end_, room});
  if (!got) return got.error();
  ROOST_ASSERT(*got <= room, "a source returned more bytes than it was asked for");
  if (*got == 0) return Errc::end_of_stream;
  end_ += static_cast<std::uint32_t>(*got);
  return {};
}

// Moves the unread bytes into a larger buffer. False, and nothing changed, if there is no memory.
bool Scanner::grow(std::uint32_t capacity) noexcept {
  std::byte* buffer = base::borrow(capacity);
  if (buffer == nullptr) return false;
  const std::uint32_t unread = end_ - begin_;
  if (unread > 0) std::memcpy(buffer, buffer_ + begin_, unread);
  base::give_back(buffer_, capacity_);
  buffer_ = buffer;
  capacity_ = capacity;
  begin_ = 0;
  end_ = unread;
  return true;
}

void Scanner::release() noexcept {
  if (buffer_ == nullptr) return;
  base::give_back(std::exchange(buffer_, nullptr), std::exchange(capacity_, 0));
  begin_ = end_ = 0;
}

}  // namespace roost::io
