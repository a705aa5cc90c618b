// Requests over connections that are dialled for each, or kept in a pool: what case 4 and bench/micro/pool_bench.cc measure.
//
// A request is a Redis PING, 6 bytes out and 7 back, so that a Redis server will do as well.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include <roost/roost.h>

namespace roost::cases {

// One request over a connection that stands; the answer is checked. Parks.
inline Result<void> ping(net::Conn& conn) {
  if (auto wrote = conn.write("PING\r\n"); !wrote) return fail(wrote.error());
  char answer[64];
  std::size_t got = 0;
  while (got < 7) {
    const auto more = conn.read(std::as_writable_bytes(std::span(answer)).subspan(got));
    if (!more) return fail(more.error());
    if (*more == 0) return fail(Errc::end_of_stream);
    got += *more;
  }
  if (std::string_view(answer, got) != "+PONG\r\n") return fail(std::errc::protocol_error);
  return {};
}

// Answers pings on every connection, until the listener is closed.
inline void serve_pings(net::Listener& listener) {
  while (auto accepted = listener.accept()) {
    go([conn = std::move(*accepted)]() mutable {
      io::Reader in(conn);
      while (in.read_line() && conn.write("+PONG\r\n")) {}
    });
  }
}

struct RequestFigures {
  double seconds = 0;
  std::vector<double> took_us;  // of each request, in no order that matters
};

// `fibers` of them call request() until `requests` were made in all. The first that fails ends the measurement with its error.
template <class Request>
Result<RequestFigures> measure_requests(std::size_t requests, std::size_t fibers, Request request) {
  using Clock = std::chrono::steady_clock;
  RequestFigures figures;
  figures.took_us.resize(requests);
  std::atomic<std::size_t> next{0};
  const auto start = Clock::now();
  TaskGroup group;
  for (std::size_t i = 0; i < fibers; ++i) {
    group.go([&]() -> Result<void> {
      for (;;) {
        const std::size_t index = next.fetch_add(1);
        if (index >= requests) return {};
        const auto begin = Clock::now();
        if (auto done = request(); !done) return done;
        figures.took_us[index] = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
      }
    });
  }
  if (auto all = group.wait(); !all) return fail(all.error());
  figures.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return figures;
}

}  // namespace roost::cases
