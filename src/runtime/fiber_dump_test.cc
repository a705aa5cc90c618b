#include <roost/fiber_dump.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <roost/go.h>
#include <roost/runtime.h>
#include <roost/time/sleep.h>

#include "arch/frame_walk.h"
#include "runtime/fiber_dump.h"
#include "runtime/netpoll.h"
#include "runtime/parking.h"
#include "sanitized.h"

namespace roost {
namespace {

using namespace std::chrono_literals;
using runtime::Direction;
using runtime::PollDesc;
using testing::ContainsRegex;
using testing::HasSubstr;

// Its name must be in the stacks, so it may neither be inlined nor end in a jump.
[[gnu::noinline]] Result<void> hibernate() {
  auto slept = sleep_for(1h);
  asm volatile("" ::: "memory");
  return slept;
}

const FiberGroup* group_with(const FiberDump& dump, std::string_view frame) {
  for (const FiberGroup& group : dump.groups) {
    if (std::ranges::any_of(group.stack, [&](const std::string& line) { return line.find(frame) != std::string::npos; })) return &group;
  }
  return nullptr;
}

std::string first_frame(const FiberGroup& group) { return group.stack.empty() ? "" : group.stack.front(); }

TEST(FiberDump, TellsOfEqualStacksOnce) {
  run([] {
    std::vector<Handle<Result<void>>> sleepers;
    for (int i = 0; i < 100; ++i) sleepers.push_back(go({.name = "bear"}, [] { return hibernate(); }));
    FiberDump dump;
    const FiberGroup* group = nullptr;
    while (group == nullptr || group->count < 100) {
      yield();
      dump = collect_fibers();
      group = group_with(dump, "hibernate");
    }
    EXPECT_EQ(group->count, 100u);
    EXPECT_EQ(group->state, "parked");
    EXPECT_EQ(group->reason, "sleep");
    EXPECT_EQ(group->name, "bear");
    EXPECT_EQ(group->examples.size(), 3u);
    EXPECT_LE(group->shortest, group->longest);
    // The switch itself and what is below the fiber's function say nothing.
    EXPECT_THAT(first_frame(*group), HasSubstr("roost::sleep_until"));
    EXPECT_EQ(group_with(dump, "fiber_entry"), nullptr);
    EXPECT_GE(dump.fibers, 101u);
    for (auto& one : sleepers) {
      one.cancel();
      EXPECT_FALSE(one.join());
    }
    EXPECT_EQ(group_with(collect_fibers(), "hibernate"), nullptr);
  });
}

TEST(FiberDump, ShowsTheDescriptorAndItsPeer) {
  run([] {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), length), 0);
    ASSERT_EQ(::listen(listener, 1), 0);
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
    const std::string local = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(client, reinterpret_cast<const sockaddr*>(&address), length), 0);
    length = sizeof address;
    ::getsockname(client, reinterpret_cast<sockaddr*>(&address), &length);
    const std::string peer = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    ASSERT_GE(fd, 0);
    auto desc = PollDesc::open(fd, PollDesc::First::wait);
    ASSERT_TRUE(desc);
    auto reader = go({.name = "reader"}, [&] {
      const PollDesc::Call call(**desc, Direction::read);
      while (!(*desc)->blocked(Direction::read)) static_cast<void>((*desc)->wait(Direction::read));
    });
    std::optional<FiberExample> example;
    while (!example || example->descriptor < 0) {
      yield();
      const FiberDump dump = collect_fibers();
      for (const FiberGroup& group : dump.groups) {
        if (group.reason == "read" && !group.examples.empty()) example = group.examples.front();
      }
    }
    EXPECT_EQ(example->descriptor, fd);
    EXPECT_EQ(example->name, "reader");
    EXPECT_EQ(example->endpoint, local + " from " + peer);
    (*desc)->close();
    reader.join();
    (*desc)->destroy();
    ::close(client);
    ::close(listener);
  });
}

TEST(FiberDump, AWakeUpThatComesWhileAStackIsReadIsKept) {
  run([] {
    std::atomic<runtime::Fiber*> waiter{nullptr};
    std::atomic<bool> go_on{false};
    std::atomic<bool> ran{false};
    auto handle = go([&] {
      waiter = runtime::current_fiber();
      while (!go_on) runtime::park(runtime::WaitReason::condition);
      ran = true;
    });
    while (waiter == nullptr || !runtime::begin_examination(*waiter)) yield();
    EXPECT_FALSE(runtime::begin_examination(*waiter));  // one at a time
    go_on = true;
    runtime::unpark(waiter);
    for (int i = 0; i < 100; ++i) yield();
    EXPECT_FALSE(ran);  // still held
    runtime::end_examination(*waiter);
    handle.join();
    EXPECT_TRUE(ran);
  });
}

TEST(FiberDump, FibersThatWakeEachOtherLoseNoWakeUpToIt) {
  RuntimeOptions options;
  options.workers = 3;
  options.detect_deadlock = false;  // a thread outside takes part
  run(options, [] {
    runtime::Runtime* runtime = runtime::Runtime::current();
    std::atomic<bool> stop{false};
    std::atomic<int> dumps{0};
    std::thread collector([&] {
      while (!stop) {
        static_cast<void>(runtime::collect_fibers(*runtime, {}));
        ++dumps;
      }
    });
    constexpr int pairs = 8;
    constexpr int rounds = 2'000;
    std::vector<Handle<void>> players;
    struct Table {
      std::atomic<int> turn{0};
      std::atomic<runtime::Fiber*> seats[2]{};
    };
    std::vector<Table> tables(pairs);
    for (int i = 0; i < 2 * pairs; ++i) {
      players.push_back(go([&table = tables[static_cast<std::size_t>(i / 2)], seat = i % 2] {
        table.seats[seat] = runtime::current_fiber();
        for (int round = 0; round < rounds; ++round) {
          while (table.turn % 2 != seat) runtime::park(runtime::WaitReason::condition);
          ++table.turn;
          if (runtime::Fiber* other = table.seats[1 - seat]) runtime::unpark(other);
        }
      }));
    }
    for (auto& one : players) one.join();
    // At least one whole dump fell into the game, or came after it: starved machines exist.
    while (dumps == 0) yield();
    stop = true;
    collector.join();
    for (const Table& table : tables) EXPECT_EQ(table.turn, 2 * rounds);
  });
}

TEST(FiberDump, ShowsWhatRunsWithItsStack) {
  RuntimeOptions options;
  options.stuck_report_after = 0ms;
  run(options, [] {
    std::atomic<bool> stop{false};
    auto spinner = go({.name = "spinner"}, [&] {
      while (!stop) asm volatile("" ::: "memory");
    });
    bool found = false;
    while (!found) {
      for (const FiberGroup& group : collect_fibers().groups) {
        found = found || (group.state == "running" && group.name == "spinner" && !group.stack.empty());
      }
    }
    stop = true;
    spinner.join();
  });
}

// rbp may hold anything where code is built without frame pointers: -8, too, whose end would be beyond the last address.
TEST(FrameWalk, LeavesAloneWhatIsNoFrame) {
  std::array<void*, 8> out{};
  alignas(16) std::uintptr_t stack[16] = {};
  const auto low = reinterpret_cast<std::uintptr_t>(stack);
  const auto high = reinterpret_cast<std::uintptr_t>(std::end(stack));
  for (const std::uintptr_t frame : {std::uintptr_t{0}, low - 8, low + 1, high - 8, high, ~std::uintptr_t{0}, ~std::uintptr_t{0} - 7,
                                     ~std::uintptr_t{0} - 15, ~std::uintptr_t{0} - 23}) {
    EXPECT_EQ(arch::walk_frames(frame, low, high, out), 0u) << std::hex << frame;
  }
  // Nor does a chain lead out of the stack.
  stack[2] = ~std::uintptr_t{0} - 7;
  stack[3] = 0x1234;
  EXPECT_EQ(arch::walk_frames(reinterpret_cast<std::uintptr_t>(&stack[2]), low, high, out), 1u);
}

// libc keeps no frame pointers, so the walker searches the words of the stack for a frame; under AddressSanitizer some lie in between
// variables.
TEST(FiberDump, LooksAtAStackInTheMiddleOfALibraryCall) {
  RuntimeOptions options;
  options.workers = 2;
  options.stuck_report_after = 0ms;
  run(options, [] {
    std::atomic<bool> stop{false};
    auto filler = go({.name = "filler"}, [&] {
      while (!stop) {
        char small[64];
        char large[4096];
        std::memset(large, stop ? 1 : 2, sizeof large);
        std::memset(small, large[17], sizeof small);
        asm volatile("" ::"r"(small), "r"(large) : "memory");
      }
    });
    int found = 0;
    while (found < test::rounds(200)) {
      for (const FiberGroup& group : collect_fibers().groups) found += group.state == "running" && group.name == "filler";
    }
    stop = true;
    filler.join();
  });
}

// A control block is used again at once, so what a dump reads of a running fiber may be its successor's by then.
TEST(FiberDump, NeverMixesARunningFiberWithTheNextOneOnItsStack) {
  RuntimeOptions options;
  options.workers = 2;
  options.detect_deadlock = false;  // a thread outside takes part
  options.stuck_report_after = 0ms;
  run(options, [] {
    runtime::Runtime* runtime = runtime::Runtime::current();
    std::atomic<bool> stop{false};
    std::atomic<int> dumps{0};
    std::vector<FiberExample> seen;
    std::thread collector([&] {
      while (!stop) {
        for (FiberGroup& group : runtime::collect_fibers(*runtime, {}).groups) {
          if (group.state == "running") std::ranges::move(group.examples, std::back_inserter(seen));
        }
        ++dumps;
      }
    });
    std::map<std::uint64_t, std::string> names;
    for (int i = 0; dumps < 30; ++i) {
      const char* name = i % 2 == 0 ? "even" : "odd";
      auto short_lived = go({.name = name}, [] {});
      names[short_lived.id()] = name;
      short_lived.join();
    }
    stop = true;
    collector.join();
    for (const FiberExample& example : seen) {
      const auto at = names.find(example.id);
      EXPECT_EQ(example.name, at == names.end() ? "main" : at->second) << "fiber " << example.id;
    }
  });
}

TEST(FiberDump, SumsSeveralProcesses) {
  const FiberGroup readers{.state = "parked", .reason = "read", .name = "connection", .count = 10, .shortest = 1s, .longest = 5s,
                           .stack = {"read"}, .examples = {{.id = 1, .name = "connection", .waited = 5s}, {.id = 2, .waited = 4s}}};
  FiberGroup others = readers;
  others.count = 5;
  others.longest = 9s;
  others.examples = {{.id = 3, .waited = 9s}};
  FiberGroup writers = readers;
  writers.reason = "write";
  writers.count = 100;
  FiberDump sum{.fibers = 10, .asleep = 7, .groups = {readers}};
  merge(sum, {.fibers = 105, .asleep = 1, .groups = {others, writers}}, 2);
  EXPECT_EQ(sum.processes, 2u);
  EXPECT_EQ(sum.fibers, 115u);
  EXPECT_EQ(sum.asleep, 8u);
  ASSERT_EQ(sum.groups.size(), 2u);
  EXPECT_EQ(sum.groups[0].count, 100u);  // the larger first
  EXPECT_EQ(sum.groups[1].count, 15u);
  EXPECT_EQ(sum.groups[1].shortest, 1s);
  EXPECT_EQ(sum.groups[1].longest, 9s);
  ASSERT_EQ(sum.groups[1].examples.size(), 2u);
  EXPECT_EQ(sum.groups[1].examples[0].id, 3u);
  EXPECT_EQ(sum.groups[1].examples[1].id, 1u);
}

TEST(FiberDump, ReadsAsText) {
  const FiberDump dump{.processes = 2, .fibers = 12, .asleep = 3,
                       .groups = {{.state = "runnable", .count = 1},
                                  {.state = "parked", .reason = "read", .name = "connection", .count = 11, .shortest = 20ms,
                                   .longest = 61s, .stack = {"a()+0x1", "b()+0x2"},
                                   .examples = {{.id = 7, .name = "other", .waited = 61s, .descriptor = 5, .endpoint = "here from there"}}}}};
  EXPECT_EQ(to_text(dump),
            "12 fibers in 2 groups, 2 processes; 3 connections wait without a fiber\n"
            "\n"
            "1 fiber, runnable\n"
            "\n"
            "11 fibers (connection), parked: read, for 20 ms to 1 m 01 s\n"
            "    a()+0x1\n"
            "    b()+0x2\n"
            "  fiber 7 (other), 1 m 01 s, descriptor 5: here from there\n");
}

TEST(FiberDump, IsEmptyWithoutARuntime) { EXPECT_EQ(to_text(collect_fibers()), "0 fibers in 0 groups\n"); }

TEST(FiberDumpDeathTest, SigquitPrintsAllFibersAndGoesOn) {
  EXPECT_EXIT(
      {
        RuntimeOptions options;
        options.dump_on_sigquit = true;
        // The report is to be whole before the process ends, and nothing here knows when it is: so ask until it is there.
        int ends[2];
        if (::pipe(ends) != 0) std::_Exit(1);
        const int before = ::dup(STDERR_FILENO);
        ::dup2(ends[1], STDERR_FILENO);
        std::string report;
        run(options, [&] {
          go({.name = "bear"}, [] { static_cast<void>(hibernate()); }).detach();
          yield();
          ::raise(SIGQUIT);
          blocking([&] {
            char part[4096];
            while (report.find("ms)\n") == std::string::npos) {
              const ssize_t got = ::read(ends[0], part, sizeof part);
              if (got > 0) report.append(part, static_cast<std::size_t>(got));
            }
          });
        });
        ::dup2(before, STDERR_FILENO);
        std::fputs(report.c_str(), stderr);
        std::_Exit(0);
      },
      testing::ExitedWithCode(0), "roost: SIGQUIT: [0-9]+ fibers in(.|\n)*\\(bear\\), parked: sleep(.|\n)*hibernate");
}

}  // namespace
}  // namespace roost
