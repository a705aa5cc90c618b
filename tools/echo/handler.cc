#include "tools/echo/handler.h"

#include <roost/roost.h>

namespace roost::echo {
namespace {

std::error_code echo_lines(net::Conn& conn, const EchoOptions& options, Tally& tally, Until until) {
  io::Reader in(conn, {.buffer_bytes = options.buffer_bytes, .token_bytes_max = line_bytes_max});
  io::Writer out(conn, options.buffer_bytes);
  // The deadline of a connection that slept runs since it fell asleep.
  if (until == Until::end) conn.set_read_deadline_after(options.read_timeout);
  for (;;) {
    const auto line = in.read_until('\n');
    conn.set_write_deadline_after(options.read_timeout);
    if (!line) {
      // The last line may lack its newline; it is echoed like any other.
      if (line.error() == Errc::end_of_stream && in.buffered() > 0) {
        tally.count(in.buffered());
        if (out.write(in.take_buffered())) out.flush();
      }
      return line.error();
    }
    if (auto written = out.write(*line); !written) return written.error();
    tally.count(line->size());
    // While another complete line waits in the buffer, its answer can go out together with this one.
    if (in.has_buffered('\n')) continue;
    if (auto flushed = out.flush(); !flushed) return flushed.error();
    conn.set_read_deadline_after(options.read_timeout);
    if (until == Until::quiet && in.buffered() == 0 && !conn.maybe_readable()) return {};
  }
}

std::error_code echo_bytes(net::Conn& conn, const EchoOptions& options, Tally& tally, Until until) {
  io::Reader in(conn, {.buffer_bytes = options.buffer_bytes});
  if (until == Until::end) conn.set_read_deadline_after(options.read_timeout);
  for (;;) {
    if (const auto some = in.peek(1); !some) return some.error();
    const std::string_view come = in.take_buffered();
    tally.count(come.size());
    conn.set_write_deadline_after(options.read_timeout);
    if (const auto written = conn.write(come); !written) return written.error();
    conn.set_read_deadline_after(options.read_timeout);
    if (until == Until::quiet && !conn.maybe_readable()) return {};
  }
}

}  // namespace

std::error_code echo(net::Conn& conn, const EchoOptions& options, Tally& tally, Until until) {
  return options.unit == EchoUnit::bytes ? echo_bytes(conn, options, tally, until) : echo_lines(conn, options, tally, until);
}

}  // namespace roost::echo
