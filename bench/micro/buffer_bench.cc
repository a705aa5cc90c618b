// How large should a buffer be? Echoes small, middle and large messages over loopback with read buffers of several sizes.
//
//   buffer_bench [seconds a turn, default 1] [rounds, default 3]
//
// The server is a process of its own: one worker, a fiber a connection, which reads into a buffer and writes what came. The
// client, on another core where there is one, is one thread on plain sockets with 16 connections, each with one message under
// way; it checks length and content. The sizes take turns within a round. Printed is, per message and buffer size, the median
// over the rounds of the throughput (MB of messages echoed a second, each counted once), the server's CPU time per MB, and its
// system calls per MB; counting those slows every call, so that is done in a stretch of its own after the measured one.
//
// What would make the numbers wrong: other work on the machine (look at the smallest and largest in brackets), and taking them
// for a network's: on loopback the copy into the peer's socket is part of the send, and nothing is ever lost.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <roost/roost.h>

#include "../compare/server_probe.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array<std::size_t, 3> message_sizes{64, 4096, 256 * 1024};
constexpr std::array<std::size_t, 6> buffer_sizes{128, 4096, 16 * 1024, 32 * 1024, 64 * 1024, 128 * 1024};
constexpr std::size_t connection_count = 16;

[[noreturn]] void stop(const char* what) {
  std::fprintf(stderr, "buffer_bench: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

void pin_to(unsigned cpu) {
  cpu_set_t allowed, one;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  const auto count = static_cast<unsigned>(CPU_COUNT(&allowed));
  int found = -1;
  for (unsigned seen = 0; seen <= cpu % count;) seen += CPU_ISSET(++found, &allowed) ? 1 : 0;
  CPU_ZERO(&one);
  CPU_SET(found, &one);
  ::sched_setaffinity(0, sizeof one, &one);
}

// In the child: tells its port and serves until it is killed.
int serve(int tell, std::size_t buffer_bytes) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  pin_to(1);
  roost::RuntimeOptions options;
  options.workers = 1;
  options.stuck_report_after = std::chrono::milliseconds(0);  // the machine may be busy
  return roost::run(options, [&]() -> int {
    auto listener = roost::net::listen("tcp4", "127.0.0.1:0");
    if (!listener) return 1;
    const std::uint16_t port = listener->local_endpoint()->port;
    if (::write(tell, &port, sizeof port) != sizeof port) return 1;
    while (auto conn = listener->accept()) {
      roost::go([conn = std::move(*conn), buffer_bytes]() mutable {
        std::vector<std::byte> buffer(buffer_bytes);
        for (;;) {
          const auto got = conn.read(buffer);
          if (!got || *got == 0) return;
          if (!conn.write(std::span<const std::byte>(buffer.data(), *got))) return;
        }
      });
    }
    return 0;
  });
}

struct Connection {
  int fd = -1;
  std::size_t sent = 0;      // of the message under way
  std::size_t received = 0;
};

class Client {
 public:
  Client(std::uint16_t port, std::size_t message_bytes) : message_(message_bytes), back_(message_bytes) {
    for (std::size_t i = 0; i < message_bytes; ++i) message_[i] = static_cast<char>(i * 131 + i / 251);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (Connection& one : connections_) {
      one.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const int on = 1;
      ::setsockopt(one.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      if (::connect(one.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) stop("connect");
      ::fcntl(one.fd, F_SETFL, O_NONBLOCK);
    }
  }
  ~Client() {
    for (const Connection& one : connections_) ::close(one.fd);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Returns how many bytes came back.
  std::uint64_t run_for(std::chrono::duration<double> span) {
    const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(span);
    std::uint64_t echoed = 0;
    std::array<pollfd, connection_count> waits;
    while (Clock::now() < until) {
      for (std::size_t i = 0; i < connection_count; ++i) {
        push(connections_[i]);
        waits[i] = {connections_[i].fd, static_cast<short>(connections_[i].sent < message_.size() ? POLLIN | POLLOUT : POLLIN), 0};
      }
      if (::poll(waits.data(), waits.size(), 1000) <= 0) stop("the server does not answer");
      for (std::size_t i = 0; i < connection_count; ++i) {
        if ((waits[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) echoed += pull(connections_[i]);
      }
    }
    return echoed;
  }

 private:
  void push(Connection& one) {
    while (one.sent < message_.size()) {
      const ssize_t n = ::send(one.fd, message_.data() + one.sent, message_.size() - one.sent, MSG_NOSIGNAL);
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) stop("send");
      one.sent += static_cast<std::size_t>(n);
    }
  }
  std::uint64_t pull(Connection& one) {
    const ssize_t n = ::recv(one.fd, back_.data(), message_.size() - one.received, 0);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) stop("recv");
    if (std::memcmp(back_.data(), message_.data() + one.received, static_cast<std::size_t>(n)) != 0) stop("a wrong echo");
    one.received += static_cast<std::size_t>(n);
    if (one.received == message_.size()) one.sent = one.received = 0;
    return static_cast<std::uint64_t>(n);
  }

  std::array<Connection, connection_count> connections_;
  std::vector<char> message_;
  std::vector<char> back_;
};

struct Sample {
  double mb_per_s = 0;
  double cpu_us_per_mb = 0;
  double calls_per_mb = -1;  // could not be counted
};

Sample measure(std::size_t message_bytes, std::size_t buffer_bytes, double seconds) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) stop("pipe");
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) stop("fork");
  if (pid == 0) ::_exit(serve(ends[1], buffer_bytes));
  ::close(ends[1]);
  std::uint16_t port = 0;
  if (::read(ends[0], &port, sizeof port) != sizeof port) stop("the server did not start");
  ::close(ends[0]);

  Sample sample;
  {
    Client client(port, message_bytes);
    const bench::ServerProbe probe(pid);
    client.run_for(std::chrono::duration<double>(seconds / 5));  // warm
    const auto cpu_before = probe.cpu();
    const auto start = Clock::now();
    const std::uint64_t echoed = client.run_for(std::chrono::duration<double>(seconds));
    const double took = std::chrono::duration<double>(Clock::now() - start).count();
    const auto cpu_after = probe.cpu();
    if (echoed == 0 || !cpu_before || !cpu_after) stop("nothing was echoed");
    const double mb = static_cast<double>(echoed) / 1e6;
    sample.mb_per_s = mb / took;
    sample.cpu_us_per_mb = (cpu_after->total_s - cpu_before->total_s) * 1e6 / mb;

    const bench::SyscallCounter counter(probe);
    if (const auto before = counter.read()) {
      const std::uint64_t counted = client.run_for(std::chrono::duration<double>(seconds / 2));
      if (counted > 0) {
        sample.calls_per_mb = static_cast<double>(*counter.read() - *before) / (static_cast<double>(counted) / 1e6);
      }
    }
  }
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return sample;
}

struct Spread {
  double low, median, high;
};
Spread spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values.front(), values[values.size() / 2], values.back()};
}

std::string size_text(std::size_t bytes) {
  return bytes < 1024 ? std::to_string(bytes) + " B" : std::to_string(bytes / 1024) + " KiB";
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 3;
  if (!(seconds > 0) || seconds > 60 || rounds < 1 || rounds > 100) {
    std::fprintf(stderr, "buffer_bench: seconds a turn are above 0 and at most 60, rounds 1 to 100: buffer_bench 1 3\n");
    return 2;
  }
  pin_to(0);
  std::vector<Sample> samples[message_sizes.size()][buffer_sizes.size()];
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t m = 0; m < message_sizes.size(); ++m) {
      for (std::size_t b = 0; b < buffer_sizes.size(); ++b) {
        samples[m][b].push_back(measure(message_sizes[m], buffer_sizes[b], seconds));
      }
    }
  }
  std::printf("| message | buffer | MB/s | server CPU, us/MB | system calls/MB |\n| --- | ---: | ---: | ---: | ---: |\n");
  for (std::size_t m = 0; m < message_sizes.size(); ++m) {
    for (std::size_t b = 0; b < buffer_sizes.size(); ++b) {
      std::vector<double> rate, cpu, calls;
      for (const Sample& one : samples[m][b]) {
        rate.push_back(one.mb_per_s);
        cpu.push_back(one.cpu_us_per_mb);
        calls.push_back(one.calls_per_mb);
      }
      const Spread r = spread(rate), c = spread(cpu);
      const double median_calls = spread(calls).median;
      std::printf("| %s | %s | %.1f (%.1f-%.1f) | %.0f (%.0f-%.0f) | %s |\n", size_text(message_sizes[m]).c_str(),
                  size_text(buffer_sizes[b]).c_str(), r.median, r.low, r.high, c.median, c.low, c.high,
                  median_calls < 0 ? "-" : std::to_string(static_cast<long>(median_calls + 0.5)).c_str());
    }
  }
  return 0;
}
