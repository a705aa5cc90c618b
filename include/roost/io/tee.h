// TeeSource: a source that writes a copy of all that is read from it elsewhere.
#pragma once

#include <cstddef>
#include <span>

#include <roost/error.h>
#include <roost/io/stream.h>

namespace roost::io {

// Nothing is buffered here: a read returns when its bytes are written.
class TeeSource final : public Source {
 public:
  // Both are borrowed and must outlive this.
  TeeSource(Source& source, Sink& copy_to) noexcept : source_(source), copy_to_(copy_to) {}

  // Parks as either side does.
  // Errors: what either side reports; Errc::short_write. Bytes whose copy failed were read and are in `out`.
  Result<std::size_t> read(std::span<std::byte> out) override;
  Result<void> wait_readable() override { return source_.wait_readable(); }
  [[nodiscard]] bool maybe_readable() const noexcept override { return source_.maybe_readable(); }

 private:
  Source& source_;  // not owned
  Sink& copy_to_;   // not owned
};

}  // namespace roost::io
