#include <roost/io/copy.h>

#include <algorithm>

#include "base/assert.h"
#include "base/buffer_pool.h"

namespace roost::io {
namespace {

constexpr std::size_t buffer_bytes = 32 * 1024;

}  // namespace

Result<std::uint64_t> copy(Sink& to, Source& from) {
  return copy_n(to, from, std::numeric_limits<std::uint64_t>::max());
}

Result<std::uint64_t> copy_n(Sink& to, Source& from, std::uint64_t count) {
  // Either side may know a way that needs no buffer here: vectored writes, sendfile, splice.
  auto moved = from.write_to(to, count);
  if (moved && !*moved) moved = to.read_from(from, count);
  if (!moved) return fail(moved.error());
  if (*moved) return **moved;

  base::Buffer buffer;
  std::uint64_t left = count;
  while (left > 0) {
    if (!from.maybe_readable()) {
      buffer.reset();
      if (const auto ready = from.wait_readable(); !ready) return fail(ready.error());
    }
    if (buffer.data() == nullptr) buffer = base::Buffer(buffer_bytes);
    if (buffer.data() == nullptr) return fail(std::errc::not_enough_memory);

    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer_bytes));
    const auto got = from.read({buffer.data(), wanted});
    if (!got) return fail(got.error());
    ROOST_ASSERT(*got <= wanted, "a source returned more bytes than it was asked for");
    if (*got == 0) break;

    const auto wrote = to.write(std::span<const std::byte>(buffer.data(), *got));
    if (!wrote) return fail(wrote.error());
    ROOST_ASSERT(*wrote <= *got, "a sink took more bytes than it was given");
    if (*wrote < *got) return fail(Errc::short_write);
    left -= *got;
  }
  return count - left;
}

}  // namespace roost::io
