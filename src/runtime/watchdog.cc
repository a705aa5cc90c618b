#include "runtime/watchdog.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <ucontext.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "arch/frame_walk.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/sanitizer.h"
#include "base/symbol_table.h"
#include "runtime/fiber_dump.h"
#include "runtime/netpoll.h"

namespace roost::runtime {
namespace {

constexpr int idle_looks_before_deep_sleep = 10;
constexpr std::int64_t trim_interval_ns = 5'000'000'000;
constexpr std::int64_t stack_idle_ns = 10'000'000'000;

// --- stacks of running fibers: one capture at a time ---

struct Capture {
  std::mutex mutex;
  std::array<void*, 48> frames{};
  std::atomic<std::size_t> count{0};
  std::atomic<int> state{0};  // 0 idle, 1 asked, 2 done
};
Capture capture;
int capture_signal() noexcept { return SIGRTMIN + 7; }

// It reads the interrupted fiber's own frames, which ThreadSanitizer takes for another thread's, and every word where none is found.
ROOST_LOOKS_AT_STACKS void on_capture(int, siginfo_t*, void* machine_context) noexcept {
  const int saved_errno = errno;
  int asked = 1;
  const Fiber* fiber = current_fiber();
  std::size_t count = 0;
#if defined(__x86_64__)
  const auto* context = static_cast<const ucontext_t*>(machine_context);
  capture.frames[count++] = reinterpret_cast<void*>(context->uc_mcontext.gregs[REG_RIP]);
  if (fiber != nullptr) {
    const auto high = reinterpret_cast<std::uintptr_t>(fiber->stack_top);
    const auto stack_pointer = static_cast<std::uintptr_t>(context->uc_mcontext.gregs[REG_RSP]);
    const auto frame_pointer = static_cast<std::uintptr_t>(context->uc_mcontext.gregs[REG_RBP]);
    const auto low = reinterpret_cast<std::uintptr_t>(fiber->stack_low);
    if (stack_pointer >= low && stack_pointer < high) {
      count += arch::walk_frames(frame_pointer, stack_pointer, high, std::span(capture.frames).subspan(1));
      // Code without frame pointers (libc) leaves rbp alone or uses it for data. Then look for the first frame of ours: a
      // word on the stack that continues a chain of frames up to the fiber's entry.
      if (count <= 2) {
        for (std::uintptr_t at = stack_pointer & ~std::uintptr_t{7}; at + 16 < high && at < stack_pointer + 2048; at += 8) {
          const std::uintptr_t word = *reinterpret_cast<const std::uintptr_t*>(at);
          if (word <= at || word >= high || high - word < 16) continue;
          const std::size_t found = arch::walk_frames(at, at, high, std::span(capture.frames).subspan(1));
          if (found >= 2) {
            count = 1 + found;
            break;
          }
        }
      }
    }
  }
#else
  (void)machine_context;
  (void)fiber;
#endif
  capture.count.store(count, std::memory_order_relaxed);
  // Release pairs with the acquire in capture_running_stack().
  capture.state.compare_exchange_strong(asked, 2, std::memory_order_release);
  errno = saved_errno;
}

void install_capture() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = &on_capture;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    ::sigaction(capture_signal(), &action, nullptr);
  });
}

std::string format_frames(std::span<void* const> frames) {
  std::string text;
  for (void* frame : frames) text += "    " + base::describe_function(frame) + "\n";
  return text;
}

}  // namespace

std::vector<void*> capture_running_stack(Worker& worker) {
  install_capture();
  std::lock_guard lock(capture.mutex);
  const pthread_t thread = worker.thread_id();
  if (thread == 0) return {};
  capture.state.store(1, std::memory_order_release);
  if (::pthread_kill(thread, capture_signal()) != 0) return {};
  for (int tries = 0; tries < 200; ++tries) {
    if (capture.state.load(std::memory_order_acquire) == 2) {
      capture.state.store(0, std::memory_order_relaxed);
      const std::span<void* const> frames(capture.frames.data(), capture.count.load(std::memory_order_relaxed));
      return {frames.begin(), frames.end()};
    }
    timespec pause{.tv_sec = 0, .tv_nsec = 100'000};
    ::nanosleep(&pause, nullptr);
  }
  capture.state.store(0, std::memory_order_relaxed);
  return {};  // the thread does not get to run, or blocks signals
}

std::string describe_fiber(const Fiber& fiber) {
  const char* name = fiber.name.load(std::memory_order_relaxed);
  const std::uint64_t id = fiber.id.load(std::memory_order_relaxed);
  return name == nullptr ? fmt::format("fiber {}", id) : fmt::format("fiber {} ({})", id, name);
}

Watchdog::Watchdog(Runtime& runtime) : runtime_(runtime) {
  install_capture();
  thread_ = std::thread([this] { thread_main(); });
}

void Watchdog::stop() noexcept {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  condition_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::wake() noexcept {
  {
    std::lock_guard lock(mutex_);
    deep_sleep_.store(false, std::memory_order_seq_cst);
  }
  condition_.notify_all();
}

void Watchdog::thread_main() {
  ::pthread_setname_np(::pthread_self(), "roost-watchdog");
  const auto interval = std::max(runtime_.options.stuck_after / 2, std::chrono::milliseconds(1));
  int idle_looks = 0;
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (idle_looks < idle_looks_before_deep_sleep) {
      condition_.wait_for(lock, interval, [this] { return stop_; });
    } else {
      deep_sleep_.store(true, std::memory_order_seq_cst);
      // The last look before sleep comes after the flag is up: a worker that starts now either is seen or wakes us.
      lock.unlock();
      const bool active = look();
      if (!active) check_deadlock();
      lock.lock();
      if (!active && !stop_) {
        condition_.wait_for(lock, std::chrono::seconds(5),
                            [this] { return stop_ || !deep_sleep_.load(std::memory_order_seq_cst); });
      }
      deep_sleep_.store(false, std::memory_order_seq_cst);
      idle_looks = 0;
    }
    if (stop_) return;
    lock.unlock();
    idle_looks = look() ? 0 : idle_looks + 1;
    lock.lock();
  }
}

bool Watchdog::look() {
  const std::int64_t now = base::now_ns();
  const unsigned count = runtime_.worker_count();
  seen_.resize(count);
  bool active = false;
  unsigned waiting = 0;
  for (unsigned i = 0; i < count; ++i) {
    Worker& worker = runtime_.worker(i);
    const std::uint64_t before = seen_[i].switches;
    look_at(worker, seen_[i], now);
    if (worker.current() != nullptr || before != seen_[i].switches) active = true;
    if (seen_[i].waiting >= 2) ++waiting;
  }
  if (waiting > 0 || !runtime_.shared.empty()) runtime_.wake_one();
  if (now - last_trim_ns_ > trim_interval_ns) {
    last_trim_ns_ = now;
    runtime_.arena.trim(now, stack_idle_ns);
  }
  return active;
}

void Watchdog::look_at(Worker& worker, Seen& seen, std::int64_t now) {
  const std::uint64_t switches = worker.counters.switches.get();
  const Fiber* fiber = worker.current();
  const bool moved = switches != seen.switches || fiber != seen.fiber || fiber == nullptr;
  seen.waiting = !worker.queue.empty() && switches == seen.switches ? seen.waiting + 1 : 0;
  if (moved) {
    seen = {.switches = switches, .fiber = fiber, .since_ns = now, .waiting = seen.waiting, .reported = false};
    if (worker.stuck.exchange(false, std::memory_order_seq_cst)) {
      runtime_.stuck_count_.fetch_sub(1, std::memory_order_seq_cst);
    }
    return;
  }
  const std::int64_t stuck_for = now - seen.since_ns;
  const auto ns = [](std::chrono::milliseconds span) { return std::chrono::nanoseconds(span).count(); };
  if (stuck_for < ns(runtime_.options.stuck_after)) return;
  if (!worker.stuck.exchange(true, std::memory_order_seq_cst)) {
    runtime_.stuck_count_.fetch_add(1, std::memory_order_seq_cst);
    runtime_.stuck_total_.fetch_add(1, std::memory_order_relaxed);
  }
  // Every look while it lasts: the helper may have gone to sleep, or got stuck itself.
  if (runtime_.idle_count_.load(std::memory_order_seq_cst) > 0) {
    runtime_.wake_one();
  } else {
    runtime_.start_spare();
  }
  const auto report_after = runtime_.options.stuck_report_after;
  if (report_after.count() > 0 && stuck_for >= ns(report_after) && !seen.reported) {
    seen.reported = true;
    report(worker, seen, now);
  }
}

void Watchdog::report(Worker& worker, const Seen& seen, std::int64_t now) {
  const std::string stack = format_frames(capture_running_stack(worker));
  const Fiber* fiber = worker.current();
  // It went on in the meantime, or another fiber has its control block.
  if (fiber == nullptr || fiber != seen.fiber || worker.counters.switches.get() != seen.switches) return;
  const char* name = fiber->name.load(std::memory_order_relaxed);
  const StuckReport report{.fiber_id = fiber->id.load(std::memory_order_relaxed),
                           .fiber_name = name == nullptr ? "" : name,
                           .stuck_for = std::chrono::nanoseconds(now - seen.since_ns),
                           .stack = stack};
  if (runtime_.options.on_stuck) {
    runtime_.options.on_stuck(report);
    return;
  }
  fmt::print(stderr,
             "roost: {} has kept worker {} for {} ms without parking; other workers run its queue. Use roost::blocking() "
             "for calls that block, roost::yield() in long computations.\n{}",
             describe_fiber(*fiber), worker.index(), (now - seen.since_ns) / 1'000'000, stack);
}

// Threads of the process that roost did not start: any of them may be about to wake a fiber, by a channel for instance.
bool Watchdog::has_foreign_threads() const noexcept {
  struct stat tasks {};
  if (::stat("/proc/self/task", &tasks) != 0) return true;  // cannot tell
#if defined(ROOST_TSAN)
  constexpr std::uint64_t others = 3;  // ... and the sanitizer's own
#else
  constexpr std::uint64_t others = 2;  // the one that called run(), and this one
#endif
  const std::uint64_t threads = tasks.st_nlink - 2;  // a directory each, beside "." and ".."
  const std::uint64_t dumping = runtime_.options.dump_on_sigquit ? 1 : 0;
  return threads > runtime_.worker_count() + runtime_.blocking.threads() + dumping + others;
}

void Watchdog::check_deadlock() {
  if (!runtime_.options.detect_deadlock || runtime_.stopping() || base::ManualClock::installed()) return;
  if (runtime_.external_wakes() != 0 || runtime_.blocking.outstanding() != 0 || !runtime_.shared.empty()) return;
  std::uint64_t switches = 0;
  for (unsigned i = 0; i < runtime_.worker_count(); ++i) {
    const Worker& worker = runtime_.worker(i);
    if (!worker.asleep.load(std::memory_order_seq_cst) || worker.timers.size() != 0 || !worker.inbox.empty()) return;
    switches += worker.counters.switches.get();
  }
  bool external = false;
  bool any = false;
  runtime_.arena.for_each([&](Fiber& fiber) {
    if (external || !fiber.live.load(std::memory_order_acquire) || fiber.ended.load(std::memory_order_acquire)) return;
    any = true;
    const bool parked = fiber.state.load(std::memory_order_acquire) == FiberState::parked;
    if (!parked || is_external(fiber.wait_reason.load(std::memory_order_relaxed))) external = true;
  });
  if (!any || external || any_sleeper() || has_foreign_threads()) return;
  for (unsigned i = 0; i < runtime_.worker_count(); ++i) switches -= runtime_.worker(i).counters.switches.get();
  if (switches != 0) return;  // somebody ran while we looked

  fmt::print(stderr, "roost: deadlock: every fiber waits for another one, and no descriptor, timer or blocking call is left "
                     "to wake any\n");
  fmt::print(stderr, "{}", to_text(collect_fibers(runtime_, {})));
  std::fflush(stderr);
  std::_Exit(2);
}

}  // namespace roost::runtime
