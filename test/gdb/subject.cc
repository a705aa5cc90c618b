// What the test of scripts/gdb/roost.py looks at: three fibers that sleep, one that reads a pipe, and main, which stops here for
// the debugger once all of them are parked.
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include <roost/roost.h>

using namespace std::chrono_literals;

// Their names must be in the stacks, so they may neither be inlined nor end in a jump.
[[gnu::noinline]] void hibernate() {
  static_cast<void>(roost::sleep_for(1h));
  asm volatile("" ::: "memory");
}
[[gnu::noinline]] void listen_at_the_door(int fd) {
  auto door = roost::net::Conn::adopt(fd);
  std::byte knock;
  if (door) static_cast<void>(door->read({&knock, 1}));
  asm volatile("" ::: "memory");
}

int main() {
  roost::RuntimeOptions options;
  options.workers = 2;
  options.shutdown_grace = 10s;
  return roost::run(options, [] {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 1;
    for (int i = 0; i < 3; ++i) roost::go({.name = "bear"}, [] { hibernate(); }).detach();
    roost::go({.name = "porter"}, [fd = ends[0]] { listen_at_the_door(fd); }).detach();
    for (;;) {
      std::uint64_t parked = 0;
      for (const roost::FiberGroup& group : roost::collect_fibers().groups) {
        if (group.reason == "sleep" || group.reason == "read") parked += group.count;
      }
      if (parked == 4) break;
      roost::yield();
    }
    ::raise(SIGTRAP);
    ::close(ends[1]);
    return 0;
  });
}
