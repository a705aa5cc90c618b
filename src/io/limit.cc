#include <roost/io/limit.h>

#include "base/assert.h"

namespace roost::io {

Result<std::size_t> LimitSource::read(std::span<std::byte> out) {
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), remaining_));
  if (wanted == 0) return 0;
  const auto got = source_.read(out.first(wanted));
  if (got) {
    ROOST_ASSERT(*got <= wanted, "a source returned more bytes than it was asked for");
    remaining_ -= *got;
  }
  return got;
}

Result<void> LimitSource::wait_readable() {
  if (remaining_ == 0) return {};
  return source_.wait_readable();
}

Result<std::optional<std::uint64_t>> LimitSource::write_to(Sink& to, std::uint64_t count) {
  const std::uint64_t wanted = std::min(count, remaining_);
  auto moved = source_.write_to(to, wanted);
  if (moved && !*moved) moved = to.read_from(source_, wanted);
  if (moved && *moved) remaining_ -= **moved;
  return moved;
}

}  // namespace roost::io
