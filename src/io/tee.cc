#include <roost/io/tee.h>

#include "base/assert.h"

namespace roost::io {

Result<std::size_t> TeeSource::read(std::span<std::byte> out) {
  const auto got = source_.read(out);
  if (!got || *got == 0) return got;
  ROOST_ASSERT(*got <= out.size(), "a source returned more bytes than it was asked for");
  const auto wrote = copy_to_.write(std::span<const std::byte>(out.first(*got)));
  if (!wrote) return wrote;
  if (*wrote != *got) return fail(Errc::short_write);
  return got;
}

}  // namespace roost::io
