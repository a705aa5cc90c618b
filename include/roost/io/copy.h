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
// Errors: what either side reports; not_enough_memory; Errc::short_write when `to` took fewer bytes than it was given, without
// an error. After an error of `from` all bytes before it have been copied. After one of `to`, a time-out of its write deadline
// included, bytes that were read and not written are lost: up to 32 KiB, or 256 KiB between two connections, where they lie in a
// pipe. How many were copied is then not known; where that matters, read and write_some() by hand.
Result<std::uint64_t> copy(Sink& to, Source& from);

// At most `count` bytes, reading none beyond them. Fewer when `from` ends before.
Result<std::uint64_t> copy_n(Sink& to, Source& from, std::uint64_t count);

}  // namespace roost::io
