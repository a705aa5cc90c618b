// How long does it take to look at 100,000 fibers, and what does an echo client notice of it?
//
// 100,000 fibers sleep (a quarter of them below a deeper stack), an echo server runs beside them in the same process, and a client on
// a thread of its own sends a line, awaits it, and waits a moment, all the time. Printed: the round trip's p50, p99 and longest without
// dumps, then with one dump after the other, as SIGQUIT and /fibers make them and with pauses; and how long a dump and a scrape of the
// metrics took. Units are in the table.
//
// What would make the numbers wrong: anything else that runs; fewer than three processors make the client wait for the collector's thread, too,
// which a client elsewhere would not.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <roost/metrics.h>
#include <roost/roost.h>

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto phase_lasts = 4s;

[[gnu::noinline]] void hibernate(int depth) {
  if (depth > 0) {
    hibernate(depth - 1);
  } else {
    static_cast<void>(roost::sleep_for(1h));
  }
  asm volatile("" ::: "memory");
}

double us(Clock::duration span) { return std::chrono::duration<double, std::micro>(span).count(); }

// Round trips, in microseconds, until `stop`.
std::vector<double> probe(std::uint16_t port, const std::atomic<bool>& stop) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) std::abort();
  std::vector<double> trips;
  char line[64] = "ping\n";
  while (!stop) {
    const auto began = Clock::now();
    if (::send(fd, line, 5, MSG_NOSIGNAL) != 5 || ::recv(fd, line, sizeof line, 0) != 5) std::abort();
    trips.push_back(us(Clock::now() - began));
    std::this_thread::sleep_for(200us);
  }
  ::close(fd);
  return trips;
}

void print(const char* what, std::vector<double> trips, const std::vector<double>& works) {
  std::ranges::sort(trips);
  const auto at = [&trips](double q) { return trips[static_cast<std::size_t>(q * static_cast<double>(trips.size() - 1))]; };
  fmt::print("{:<28} {:>8} {:>9.0f} {:>9.0f} {:>9.0f}", what, trips.size(), at(0.5), at(0.99), trips.back());
  if (!works.empty()) {
    fmt::print("   {:>4} {:>9.1f} {:>9.1f}", works.size(), *std::ranges::min_element(works) / 1e3, *std::ranges::max_element(works) / 1e3);
  }
  fmt::print("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const int fibers = argc > 1 ? std::atoi(argv[1]) : 100'000;
  return roost::run([fibers] {
    for (int i = 0; i < fibers; ++i) roost::go({.name = "sleeper"}, [depth = i % 4 == 0 ? 12 : 0] { hibernate(depth); }).detach();
    auto listener = roost::net::listen("tcp", "127.0.0.1:0").value();
    const std::uint16_t port = listener.local_endpoint()->port;
    auto accepting = roost::go([&listener] {
      while (auto accepted = listener.accept()) {
        roost::go([conn = std::move(*accepted)]() mutable {
          std::array<std::byte, 64> part;
          for (;;) {
            const auto got = conn.read(part);
            if (!got || *got == 0 || !conn.write(std::span(part).first(*got))) return;
          }
        }).detach();
      }
    });
    static_cast<void>(roost::sleep_for(1s));

    fmt::print("{:<28} {:>8} {:>9} {:>9} {:>9}   {:>4} {:>9} {:>9}\n", fmt::format("{} fibers", fibers), "trips", "p50 us", "p99 us",
               "max us", "runs", "min ms", "max ms");
    const auto phase = [port](const char* what, auto work) {
      std::atomic<bool> stop{false};
      std::vector<double> trips;
      std::thread client([&] { trips = probe(port, stop); });
      std::vector<double> works;
      for (const auto ends = Clock::now() + phase_lasts; Clock::now() < ends;) {
        const auto began = Clock::now();
        if (work()) {
          works.push_back(us(Clock::now() - began));
        } else {
          static_cast<void>(roost::sleep_for(100ms));
        }
      }
      stop = true;
      roost::blocking([&] { client.join(); });
      print(what, std::move(trips), works);
    };
    phase("nothing else", [] { return false; });
    phase("a dump after the other", [] { return roost::collect_fibers().fibers > 0; });
    phase("... with pauses", [] { return roost::collect_fibers({.share = 0.5}).fibers > 0; });
    phase("a scrape after the other", [] {
      return !roost::blocking([] { return roost::metrics::to_text(roost::metrics::runtime()->Collect()); }).empty();
    });
    phase("nothing else", [] { return false; });
    static_cast<void>(listener.close());
    accepting.join();
    return 0;
  });
}
