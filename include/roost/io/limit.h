// LimitSource: the first bytes of a source as a source of its own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <roost/error.h>
#include <roost/io/stream.h>

namespace roost::io {

// Ends after `count` bytes, or where `source` ends. Never reads beyond them, so the next reader of `source` goes on right
// behind. Copying from it takes the quick way (splice, sendfile) where the source knows one.
class LimitSource final : public Source {
 public:
  // `source` is borrowed and must outlive this.
  LimitSource(Source& source, std::uint64_t count) noexcept : source_(source), remaining_(count) {}

  // As the source's, at most what remains.
  Result<std::size_t> read(std::span<std::byte> out) override;
  Result<void> wait_readable() override;
  [[nodiscard]] bool maybe_readable() const noexcept override { return remaining_ == 0 || source_.maybe_readable(); }
  Result<std::optional<std::uint64_t>> write_to(Sink& to, std::uint64_t count) override;

  // Bytes that may still come.
  [[nodiscard]] std::uint64_t remaining() const noexcept { return remaining_; }

 private:
  Source& source_;  // not owned
  std::uint64_t remaining_;
};

}  // namespace roost::io
