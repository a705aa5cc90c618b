// What all fibers are doing: those with the same stack are told once, with their number.
//
//   roost::dump_fibers(stderr);                 // for people
//   roost::FiberDump dump = roost::collect_fibers();
//
// Works on a server with a million fibers while it runs: no worker is stopped. Each parked fiber is held still for the microsecond
// that reading its stack takes, and a wake-up that comes meanwhile is carried out afterwards. One thread does it, at about a
// microsecond a fiber (bench/micro/fiber_dump_bench). Stacks are followed by frame pointers: code that was built
// without them (-fno-omit-frame-pointer is what keeps them) ends its stack early.
//
// RuntimeOptions::dump_on_sigquit prints the same at SIGQUIT (Ctrl-\), and metrics::serve() answers /fibers with it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace roost {

// One fiber of a group.
struct FiberExample {
  std::uint64_t id = 0;
  std::string name{};
  std::chrono::nanoseconds waited{0};
  int descriptor = -1;        // what it waits for, or -1
  std::string endpoint{};       // of the descriptor: "127.0.0.1:8080 from 127.0.0.1:51234", "listening on [::1]:80", "pipe:[4711]"
};

// Fibers with the same state, reason and stack.
struct FiberGroup {
  std::string state{};          // "running", "runnable", "parked"
  std::string reason{};         // what parked ones wait for: "read", "sleep", "channel receive"
  std::string name{};           // of all of them; empty when they differ or have none
  std::uint64_t count = 0;
  std::chrono::nanoseconds shortest{0};   // of the waits; for parked ones
  std::chrono::nanoseconds longest{0};
  std::vector<std::string> stack{};         // innermost first, from the call that waits; empty for runnable ones
  std::vector<FiberExample> examples{};     // those that wait longest, longest first
};

struct FiberDump {
  std::uint64_t processes = 1;
  std::uint64_t fibers = 0;
  std::uint64_t asleep = 0;               // connections that wait without a fiber (net/on_demand.h)
  std::chrono::nanoseconds took{0};
  std::vector<FiberGroup> groups{};         // running, runnable, parked; the larger before the smaller
};

struct FiberDumpOptions {
  std::size_t examples_max = 3;           // of each group; each costs a few system calls where a descriptor is waited for
  std::size_t frames_max = 32;            // of a stack
  // The part of one processor that the collector takes at most, above 0. Below 1 it pauses after each millisecond of work: the
  // machine's other threads get more, but all takes longer, and each time that it wakes it takes a processor from somebody.
  // By measurement an echo client beside it fared better without pauses.
  double share = 1;
};

// Any thread; on a fiber it parks while a thread of blocking() collects. Empty when no runtime runs.
[[nodiscard]] FiberDump collect_fibers(const FiberDumpOptions& options = {});

// Adds the fibers of another process of the same program.
void merge(FiberDump& into, const FiberDump& from, std::size_t examples_max = FiberDumpOptions{}.examples_max);

// With so many examples of each group at most.
[[nodiscard]] std::string to_text(const FiberDump& dump, std::size_t examples_max = FiberDumpOptions{}.examples_max);

// Both in one.
void dump_fibers(std::FILE* out = stderr, const FiberDumpOptions& options = {});

}  // namespace roost
