// Starting and stopping the runtime.
//
// A process has at most one runtime at a time. `run` starts its workers (one thread each), runs `main` as the first
// fiber and returns when that has ended and every other fiber has left. Nothing of roost needs to be set up before.
//
// When main returns, everything is canceled: calls that park, in every fiber, fail with operation_canceled from then
// on, so that loops end and destructors run. run waits `shutdown_grace` for them and then names on standard error
// the fibers that did not leave.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include <roost/detail/function_ref.h>

namespace roost {

enum class PollerKind : std::uint8_t {
  automatic,  // the environment's ROOST_POLLER if set ("epoll", "io_uring"), else the system's default (epoll)
  epoll,
  io_uring,
};

// A fiber that kept its worker's thread for longer than RuntimeOptions::stuck_report_after: a long computation, or
// a call that blocks the thread. See roost::blocking() for the remedy.
struct StuckReport {
  std::uint64_t fiber_id;
  std::string fiber_name;
  std::chrono::nanoseconds stuck_for;
  std::string stack;  // one frame a line, innermost first
};

struct RuntimeOptions {
  // Threads that run fibers. 0: as many as this process may use processors, by its affinity mask and its cgroup's
  // CPU quota (rounded up). Raising it above the processors gains nothing: fibers that block the thread are
  // noticed and worked around (see stuck_after).
  unsigned workers = 0;

  // Address space per fiber stack, in bytes, guard page included; rounded up to a power of two. Pages are committed
  // on first touch: a parked fiber that never went deep holds one 4 KiB page, and 1'000'000 of them reserve 64 GB
  // of address space and hold 4 GB. Raise it for deep recursion; SpawnOptions::stack_bytes does so for one fiber.
  // Builds under a sanitizer reserve four times as much, because instrumented frames are larger.
  std::size_t stack_bytes = 64 * 1024;

  PollerKind poller = PollerKind::automatic;

  // Bind worker i to the i-th processor of the process's affinity mask, and never move a fiber to another worker.
  bool pin_workers = false;

  // A worker whose fiber has not parked for this long is stuck: from then on other workers (or a spare one,
  // started for this) run its queue, its timers and its poller.
  std::chrono::milliseconds stuck_after{10};
  // ... and after this long it is reported, once for each time it happens. Zero: never.
  std::chrono::milliseconds stuck_report_after{100};
  // Where the report goes. Empty: standard error. Called on the watchdog's thread, which may not park.
  std::function<void(const StuckReport&)> on_stuck;
  // Spare workers at most; each is a thread that exists only once it was needed.
  unsigned spare_workers_max = 16;

  // How long run() waits, after main returned, for the other fibers to leave.
  std::chrono::milliseconds shutdown_grace{5'000};

  // Threads of blocking() at most. They start on demand and end after ten idle seconds.
  unsigned blocking_threads_max = 256;

  // Raise RLIMIT_NOFILE's soft limit to the hard one at start.
  bool raise_descriptor_limit = true;

  // When every fiber waits for another one and no timer, descriptor or blocking call could ever wake any of them, the
  // process prints the fibers and ends with status 2 (as Go's does) instead of hanging.
  bool detect_deadlock = true;

  // Print all fibers, grouped by their stack, on standard error at SIGQUIT (Ctrl-\ in a terminal, kill -QUIT), and go on
  // (roost/fiber_dump.h). Costs a thread that sleeps. Off: SIGQUIT ends the process, as the system has it.
  bool dump_on_sigquit = false;

  // Debugging: move a fiber to another worker at every suspension. Shows code that keeps thread-locals across a park.
  bool migrate_always = false;
};

namespace detail {
int run(const RuntimeOptions& options, FunctionRef<int()> main);
}

// Runs `main` as the first fiber. Returns what main returns, or 0 if it returns void. Must not be called from a fiber.
// Throws std::system_error when the runtime cannot start (no descriptor for a poller, no memory for a stack).
template <class F>
int run(const RuntimeOptions& options, F&& main) {
  return detail::run(options, [&]() -> int {
    if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
      std::invoke(main);
      return 0;
    } else {
      return static_cast<int>(std::invoke(main));
    }
  });
}
template <class F>
  requires std::invocable<F&>
int run(F&& main) {
  return run(RuntimeOptions{}, std::forward<F>(main));
}

// What the runtime holds at this moment. Each number is a sum over workers of counters that only grow, so two of
// them may be a few events apart.
struct RuntimeStats {
  unsigned workers = 0;              // threads that run fibers, spares included
  std::uint64_t fibers = 0;          // started and not yet ended
  std::uint64_t fibers_started = 0;
  std::uint64_t descriptors = 0;     // registered with a poller
  std::uint64_t switches = 0;        // picks of a fiber to run
  std::uint64_t polls = 0;           // calls of a poller
  std::uint64_t poll_events = 0;
  std::uint64_t steals = 0;          // fibers taken from another worker's queue
  std::uint64_t worker_wakes = 0;    // idle workers woken by another thread
  std::uint64_t stuck = 0;           // times that a worker was found stuck
  std::uint64_t stacks_reserved = 0; // slots carved out of the arena, in use or pooled
  std::uint64_t timers = 0;          // armed now
};
// Any fiber or thread, also while run() ends; zeros when no runtime runs. Takes as long with a million fibers as with none.
[[nodiscard]] RuntimeStats runtime_stats();

}  // namespace roost
