// Scanner: walking through a stream token by token: lines, words, bytes, runes, or whatever a function of yours cuts off.
//
//   io::Scanner lines(conn);
//   while (lines.scan()) use(lines.token());
//   if (lines.error()) ...                       // nothing: the stream ended
//
// or `for (std::string_view line : lines)`. A Reader leaves what follows a token to other calls; a Scanner reads ahead as it
// likes, so what comes after it on the same source must come from it.
//
// As a Reader, a Scanner that waits with nothing buffered holds no buffer. It belongs to one fiber at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>

#include <roost/error.h>
#include <roost/io/stream.h>

namespace roost::io {

// What a split function found at the front of the bytes it was shown.
struct Split {
  std::size_t advance = 0;                 // bytes that are done with, token included; at most all that were shown
  std::optional<std::string_view> token{}; // may be empty text; may point elsewhere than into the data. None: not yet
  std::error_code error{};                 // ends the scan; a token beside it is not delivered
  bool last = false;                       // the token, if there is one, is the last; no error
};

// Looks at what is unread (`data`) and cuts off one token. Returns {} to see more: it is called again with a longer `data`, or
// with `at_end`, when nothing will follow. Empty `data` is shown only with `at_end`; a token may be delivered even then. Must
// not park. Advancing beyond `data`, or delivering more than 100 tokens in a row without advancing, is a mistake that ends the
// process.
using SplitFunction = std::function<Split(std::string_view data, bool at_end)>;

// A line without its end ("\n" or "\r\n"); the last one may lack it. An empty line is a token; nothing after the last line
// end is none.
[[nodiscard]] Split split_lines(std::string_view data, bool at_end);
// What stands between white space, as Unicode defines it; never empty.
[[nodiscard]] Split split_words(std::string_view data, bool at_end);
// One byte each.
[[nodiscard]] Split split_bytes(std::string_view data, bool at_end);
// One UTF-8 encoded character each. A byte that belongs to none becomes U+FFFD ("\xEF\xBF\xBD"), which cannot be told from
// the same character in the stream.
[[nodiscard]] Split split_runes(std::string_view data, bool at_end);

struct ScannerOptions {
  SplitFunction split = &split_lines;
  // Longest stretch a split function is shown, delimiter included; at least 1, at most 1 GiB. Where it finds no token in so
  // much, the scan ends with token_too_long.
  std::size_t token_bytes_max = 64 * 1024;
  // Bytes asked of the source at once; rounded up to a power of two, 16 B to 1 MiB. The buffer doubles for longer tokens.
  std::size_t buffer_bytes = 4096;
};

class Scanner {
 public:
  // `source` is borrowed and must outlive the scanner.
  explicit Scanner(Source& source, ScannerOptions options = {});
  ~Scanner();
  Scanner(const Scanner&) = delete;
  Scanner& operator=(const Scanner&) = delete;

  // Goes on to the next token; parks while the source has nothing. False: there is none, and there will be none.
  //
  // An error of the source does not cut tokens off: what came before it is split as at the end of the stream, and the error
  // is reported afterwards.
  [[nodiscard]] bool scan();

  // What the last scan() found; valid until the next one. Empty after scan() returned false.
  [[nodiscard]] std::string_view token() const noexcept { return token_; }

  // Why scan() returned false
  //   no error           the stream ended, or the split function said so
  //   message_size       (Errc::token_too_long) no token within token_bytes_max
  //   not_enough_memory  there is none for a buffer
  //   timed_out, ...     what the source or the split function reports
  [[nodiscard]] std::error_code error() const noexcept { return error_; }

  // Of `for (std::string_view token : scanner)`; scans, so it parks. There is one position: the scanner's own.
  class Iterator {
   public:
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    Iterator() noexcept = default;
    explicit Iterator(Scanner* scanner) : scanner_(scanner) { ++*this; }
    [[nodiscard]] std::string_view operator*() const noexcept { return scanner_->token(); }
    Iterator& operator++() {
      if (!scanner_->scan()) scanner_ = nullptr;
      return *this;
    }
    void operator++(int) { ++*this; }
    [[nodiscard]] bool operator==(std::default_sentinel_t) const noexcept { return scanner_ == nullptr; }

   private:
    Scanner* scanner_ = nullptr;
  };
  [[nodiscard]] Iterator begin() { return Iterator(this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  // Invariants
  //   I1  begin_ <= end_ <= capacity_; the unread bytes are [begin_, end_).
  //   I2  without a buffer all three are 0; with one, capacity_ is a power of two.
  //   I3  once source_ended_ the source is not asked again; once finished_ nothing is.
  bool finish(std::error_code error) noexcept;
  std::error_code fill();
  bool grow(std::uint32_t capacity) noexcept;
  void release() noexcept;

  Source& source_;               // not owned
  const SplitFunction split_;
  const std::uint32_t token_bytes_max_;
  const std::uint32_t options_bytes_;
  std::byte* buffer_ = nullptr;  // borrowed; null while nothing is buffered and nobody scans
  std::uint32_t capacity_ = 0;
  std::uint32_t begin_ = 0;
  std::uint32_t end_ = 0;
  std::uint32_t idle_tokens_ = 0;  // delivered in a row without advancing
  bool source_ended_ = false;
  bool finished_ = false;
  std::string_view token_;
  std::error_code error_;
};

}  // namespace roost::io
