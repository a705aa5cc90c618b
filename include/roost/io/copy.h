// Moving bytes from a source to a sink until the source ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include <roost/error.h>
#include <roost/io/stream.h>

namespace roost::io {

// Copies until `from` ends; returns the number of bytes. Parks as either side does. The buffer (32 KiB) is borrowed only
// while bytes are there. `to` need not be flushed when it is a connection; a Writer must be.
//
// Errors: what either side reports, with the bytes before it copied; not_enough_memory; Errc::short_write when `to` took
// fewer bytes than it was given, without an error.
Result<std::uint64_t> copy(Sink& to, Source& from);

// At most `count` bytes, reading none beyond them. Fewer when `from` ends before.
Result<std::uint64_t> copy_n(Sink& to, Source& from, std::uint64_t count);

}  // namespace roost::io
