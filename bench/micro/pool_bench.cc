// What does a request cost over a connection of a pool, and what over one that is dialled for it?
//
//   pool_bench [ADDRESS [REQUESTS [FIBERS]]]      a Redis server; without one (or "-") a small server in this process
//
// A request is a Redis PING (6 bytes out, 7 bytes back). Each round runs both ways in turn, with as many fibers asking at
// once. Printed are the requests a second, the median and the 99th percentile of one request in microseconds (connecting
// included, where one connects), and how many connections in TIME_WAIT it left (/proc/net/sockstat). `roost cases --case 4`
// asks the same of a server of its own, and counts CPU as well.
//
// Wrong numbers come from: other work on the machine; other programs whose connections end meanwhile, as TIME_WAIT is counted
// for the whole network namespace (run it in one of its own: unshare -n); a client that shares its processors with the server,
// which makes every request look slower than the server is, and both ways alike.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include <roost/pool/conn_pool.h>
#include <roost/roost.h>

#include "tools/cases/requests.h"

namespace {

using roost::Result;
using roost::net::Conn;

constexpr int rounds = 3;

long time_waits() {
  std::ifstream sockstat("/proc/net/sockstat");
  for (std::string word; sockstat >> word;) {
    long count = 0;
    if (word == "tw" && sockstat >> count) return count;
  }
  return -1;
}

struct Figures {
  double per_second = 0;
  double median_us = 0;
  double p99_us = 0;
  long left_waiting = 0;
};

template <class Request>
Result<Figures> measure(std::size_t requests, std::size_t fibers, Request request) {
  const long waiting_before = time_waits();
  auto made = roost::cases::measure_requests(requests, fibers, std::move(request));
  if (!made) return roost::fail(made.error());
  std::ranges::sort(made->took_us);
  return Figures{static_cast<double>(requests) / made->seconds, made->took_us[requests / 2], made->took_us[requests * 99 / 100],
                 time_waits() - waiting_before};
}

bool print(int round, const char* way, const Result<Figures>& figures) {
  if (!figures) {
    std::fprintf(stderr, "pool_bench: %s: %s\n", way, figures.error().message().c_str());
    return false;
  }
  std::printf("%5d  %-5s %12.0f %12.1f %12.1f %12ld\n", round, way, figures->per_second, figures->median_us, figures->p99_us,
              figures->left_waiting);
  std::fflush(stdout);
  return true;
}

bool parse(const char* text, std::size_t max, std::size_t& number) {
  const char* end = text + std::strlen(text);
  return std::from_chars(text, end, number) == std::from_chars_result{end, std::errc()} && number > 0 && number <= max;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t requests = 5000;  // three rounds leave 15,000 ports in TIME_WAIT, of 28,232 that there are by default
  std::size_t fibers = 16;
  if (argc > 4 || (argc > 2 && !parse(argv[2], 9000, requests)) || (argc > 3 && !parse(argv[3], 1000, fibers))) {
    std::fprintf(stderr, "usage: pool_bench [ADDRESS [REQUESTS [FIBERS]]], with 1 to 9000 requests and 1 to 1000 fibers\n");
    return 2;
  }
  return roost::run([&] {
    auto listener = roost::net::listen("tcp4", "127.0.0.1:0").value();
    std::string address = argc > 1 ? argv[1] : "-";
    if (address == "-") {
      address = listener.local_endpoint()->to_string();
      roost::go([&listener] { roost::cases::serve_pings(listener); }).detach();
    }
    roost::pool::ConnPool<Conn> pool(
        [&](roost::Deadline deadline) { return roost::net::Dialer{.deadline = deadline}.dial("tcp", address); },
        {.max_open = fibers});
    std::printf("round  way     requests/s    median/us       p99/us    TIME_WAIT\n");
    for (int round = 1; round <= rounds; ++round) {
      if (!print(round, "dial", measure(requests, fibers, [&]() -> Result<void> {
            auto conn = roost::net::dial("tcp", address);
            if (!conn) return roost::fail(conn.error());
            return roost::cases::ping(*conn);
          }))) {
        return 1;
      }
      if (!print(round, "pool", measure(requests, fibers, [&]() -> Result<void> {
            auto lease = pool.acquire();
            if (!lease) return roost::fail(lease.error());
            return lease->check(roost::cases::ping(**lease));
          }))) {
        return 1;
      }
    }
    const auto stats = pool.stats();
    std::printf("pool: %llu requests over %llu connections\n", static_cast<unsigned long long>(stats.acquired_total),
                static_cast<unsigned long long>(stats.dialed_total));
    static_cast<void>(pool.close());
    static_cast<void>(listener.close());
    return 0;
  });
}
