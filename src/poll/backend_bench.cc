// What does an event cost with each backend, and what do looks, wakes, adds and removes?
//
// Prints CPU time (user and system, of the one thread that serves), not elapsed time, because client and server share the
// machine. The echo is closed-loop: `active` connections have one 64-byte message each under way. Kinds take turns, and
// medians over the rounds are shown.
//
// What would make the numbers wrong: a frequency governor that changes between turns; a busy machine (a preempted client
// makes smaller batches, and the smaller the batch the dearer the event): events per wait are shown for that reason.
//
//   backend_bench [rounds] [messages]
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "poll/backend.h"

namespace {

using namespace roost;
using namespace roost::poll;

struct Kind {
  const char* name;
  Result<std::unique_ptr<Backend>> (*open)();
};
constexpr std::array kinds{Kind{"epoll", &open_epoll}, Kind{"io_uring", &open_io_uring}};

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::exit(1);
}

double thread_cpu_us() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);  // what getrusage() tells, without its grain of a tick
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
}

struct Ends {
  int server;
  int client;
};

std::vector<Ends> make_pairs(bool tcp, std::size_t count) {
  std::vector<Ends> pairs(count);
  int listener = -1;
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (tcp) {
    listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener, 16) != 0) {
      give_up("listen");
    }
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  }
  for (Ends& pair : pairs) {
    if (tcp) {
      pair.client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (::connect(pair.client, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) give_up("connect");
      pair.server = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      const int on = 1;
      ::setsockopt(pair.client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ::setsockopt(pair.server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      // Ends by a reset, so that rounds leave no ports in TIME_WAIT.
      const linger at_once{.l_onoff = 1, .l_linger = 0};
      ::setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    } else {
      int fds[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) give_up("socketpair");
      pair = {fds[0], fds[1]};
    }
  }
  if (tcp) ::close(listener);
  return pairs;
}

void close_pairs(Backend& backend, const std::vector<Ends>& pairs) {
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    ::close(pairs[i].client);
    if (backend.needs_remove()) backend.remove(pairs[i].server, i);
    ::close(pairs[i].server);
  }
}

std::unique_ptr<Backend> open_kind(const Kind& kind) {
  auto opened = kind.open();
  if (!opened) {
    std::fprintf(stderr, "backend_bench: cannot open %s: %s\n", kind.name, opened.error().message().c_str());
    std::exit(2);
  }
  return std::move(*opened);
}

struct EchoResult {
  double cpu_us;           // a message
  double events_per_wait;
};

EchoResult echo(const Kind& kind, bool tcp, std::size_t connections, std::size_t active, std::size_t messages) {
  auto backend = open_kind(kind);
  const std::vector<Ends> pairs = make_pairs(tcp, connections);
  for (std::size_t i = 0; i < connections; ++i) {
    if (!backend->add(pairs[i].server, i)) give_up("add");
  }
  std::thread client([&] {
    pin(1);
    const int epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
    std::array<char, 64> message{};
    for (std::size_t i = 0; i < active; ++i) {
      epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.fd = pairs[i].client}};
      ::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pairs[i].client, &event);
      if (::send(pairs[i].client, message.data(), message.size(), 0) != 64) give_up("send");
    }
    std::array<epoll_event, 256> events;
    for (std::size_t done = 0; done < messages;) {
      const int count = ::epoll_wait(epoll_fd, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (::recv(fd, message.data(), message.size(), MSG_DONTWAIT) != 64) continue;
        ++done;
        if (::send(fd, message.data(), message.size(), 0) != 64) give_up("send");
      }
    }
    ::close(epoll_fd);
    backend->wake();
  });
  pin(0);
  std::array<Event, 256> events;
  std::array<char, 4096> buffer;
  std::size_t served = 0;
  std::size_t waits = 0;
  double start = 0;
  std::size_t start_served = 0;
  while (served < messages) {
    const std::size_t count = backend->wait(events, base::never_ns);
    ++waits;
    for (std::size_t i = 0; i < count; ++i) {
      if (!events[i].readable) continue;
      const int fd = pairs[events[i].token].server;
      const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
      if (got <= 0) continue;
      ::send(fd, buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
      ++served;
    }
    if (start == 0 && served >= messages / 10) {  // warm
      start = thread_cpu_us();
      start_served = served;
      waits = 0;
    }
  }
  const double cpu = (thread_cpu_us() - start) / static_cast<double>(served - start_served);
  const double per_wait = static_cast<double>(served - start_served) / static_cast<double>(std::max<std::size_t>(waits, 1));
  // The last answers keep the client going until it has counted all of its own.
  std::atomic<bool> joined{false};
  std::thread joiner([&] {
    client.join();
    joined.store(true);
    backend->wake();
  });
  while (!joined.load()) {
    const std::size_t count = backend->wait(events, base::never_ns);
    for (std::size_t i = 0; i < count; ++i) {
      const int fd = pairs[events[i].token].server;
      const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
      if (got > 0) ::send(fd, buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
    }
  }
  joiner.join();
  close_pairs(*backend, pairs);
  return {cpu, per_wait};
}

double slab_kb() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  double value = 0;
  while (file >> word) {
    if (word == "Slab:") {
      file >> value;
      break;
    }
  }
  return value;
}

// What stands beside the events, in microseconds of the calling thread.
std::map<std::string, double> small_costs(const Kind& kind, std::size_t watches) {
  std::map<std::string, double> costs;
  auto backend = open_kind(kind);
  const std::vector<Ends> pairs = make_pairs(false, watches);
  std::array<Event, 256> events;
  const double slab_before = slab_kb();
  double start = thread_cpu_us();
  for (std::size_t i = 0; i < watches; ++i) {
    if (!backend->add(pairs[i].server, i)) give_up("add");
    if (i % 64 == 63) backend->wait(events, 0);
  }
  while (backend->wait(events, 0) > 0) continue;
  costs["add, us"] = (thread_cpu_us() - start) / static_cast<double>(watches);
  costs["kernel bytes a watch"] = (slab_kb() - slab_before) * 1024 / static_cast<double>(watches);

  constexpr int looks = 200'000;
  start = thread_cpu_us();
  for (int i = 0; i < looks; ++i) backend->wait(events, 0);
  costs["look that finds nothing, us"] = (thread_cpu_us() - start) / looks;

  start = thread_cpu_us();
  for (std::size_t i = 0; i < watches; ++i) {
    if (backend->needs_remove()) backend->remove(pairs[i].server, i);
    ::close(pairs[i].server);
  }
  costs["close, us"] = (thread_cpu_us() - start) / static_cast<double>(watches);
  for (const Ends& pair : pairs) ::close(pair.client);

  // A wake that ends a wait, and the answer: elapsed, both threads on their own processor.
  constexpr int rounds = 20'000;
  auto other = open_kind(kind);
  std::atomic<int> turn{0};
  std::thread echoer([&] {
    pin(1);
    std::array<Event, 4> none;
    for (int i = 0; i < rounds; ++i) {
      while (turn.load() != 1) other->wait(none, base::never_ns);
      turn.store(0);
      backend->wake();
    }
  });
  pin(0);
  const std::int64_t elapsed = base::now_ns();
  for (int i = 0; i < rounds; ++i) {
    turn.store(1);
    other->wake();
    while (turn.load() != 0) backend->wait(events, base::never_ns);
  }
  costs["wake of a sleeper, elapsed us"] = static_cast<double>(base::now_ns() - elapsed) / 1e3 / rounds / 2;
  echoer.join();
  return costs;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  const auto messages = static_cast<std::size_t>(argc > 2 ? std::atol(argv[2]) : 200'000);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);

  struct Load {
    bool tcp;
    std::size_t connections, active;
  };
  std::printf("echo of 64 bytes: server's CPU us a message (events per wait), median of %d\n", rounds);
  std::printf("%-28s %20s %20s\n", "", kinds[0].name, kinds[1].name);
  for (const Load load : {Load{false, 1, 1}, Load{false, 100, 100}, Load{false, 2'000, 2'000}, Load{true, 1, 1},
                          Load{true, 100, 100}, Load{true, 2'000, 2'000}, Load{true, 9'000, 1'000}}) {
    std::array<std::vector<double>, kinds.size()> cpu;
    std::array<std::vector<double>, kinds.size()> per_wait;
    for (int round = 0; round < rounds; ++round) {
      for (std::size_t k = 0; k < kinds.size(); ++k) {
        // One connection alone is a chain of sleeps and wakes, many times slower.
        const std::size_t share = load.active == 1 ? messages / 10 : messages;
        const EchoResult result = echo(kinds[k], load.tcp, load.connections, load.active, share);
        cpu[k].push_back(result.cpu_us);
        per_wait[k].push_back(result.events_per_wait);
      }
    }
    std::printf("%-4s %5zu conns, %5zu active", load.tcp ? "tcp" : "unix", load.connections, load.active);
    for (std::size_t k = 0; k < kinds.size(); ++k) std::printf("   %8.2f (%6.1f)", median(cpu[k]), median(per_wait[k]));
    std::printf("\n");
    std::fflush(stdout);
  }

  for (const std::size_t watches : {std::size_t{100}, std::size_t{2'000}, std::size_t{9'000}}) {
    std::printf("\nwith %zu watches, median of %d\n", watches, rounds);
    std::array<std::map<std::string, std::vector<double>>, kinds.size()> all;
    for (int round = 0; round < rounds; ++round) {
      for (std::size_t k = 0; k < kinds.size(); ++k) {
        for (const auto& [what, cost] : small_costs(kinds[k], watches)) all[k][what].push_back(cost);
      }
    }
    for (const auto& [what, costs] : all[0]) {
      std::printf("%-33s %12.2f %12.2f\n", what.c_str(), median(costs), median(all[1][what]));
    }
  }
  return 0;
}
