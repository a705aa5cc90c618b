#include "runtime/parking.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>
#include <utility>

#include <roost/go.h>
#include <roost/time/sleep.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/spin_lock.h"
#include "runtime/fd_mutex.h"
#include "runtime/runtime_state.h"
#include "runtime/switching.h"

namespace roost::runtime {

// How a plain thread waits. Never freed, since a late wake-up must find it, but used again by another thread.
struct ThreadParker {
  std::atomic<std::uint32_t> notified{0};
  ThreadParker* next_free = nullptr;  // guarded by ThreadParkers' lock
};

namespace {

class ThreadParkers {
 public:
  static ThreadParkers& instance() noexcept {
    static auto* parkers = new ThreadParkers;  // never destroyed: threads end late
    return *parkers;
  }
  ThreadParker* take() {
    {
      base::SpinGuard guard(lock_);
      if (ThreadParker* parker = free_; parker != nullptr) {
        free_ = parker->next_free;
        return parker;
      }
    }
    return new ThreadParker;
  }
  void give(ThreadParker* parker) noexcept {
    base::SpinGuard guard(lock_);
    parker->next_free = free_;
    free_ = parker;
  }

 private:
  base::SpinLock lock_;  // leaf
  ThreadParker* free_ ROOST_GUARDED_BY(lock_) = nullptr;
};

constinit thread_local ThreadParker* this_threads_parker = nullptr;

// Gives the parker back when its thread ends. Apart from the pointer, which is read often and must stay trivial.
struct ParkerReturn {
  ~ParkerReturn() { ThreadParkers::instance().give(std::exchange(this_threads_parker, nullptr)); }
};

[[gnu::noinline]] ThreadParker* thread_parker() {
  asm volatile("" ::: "memory");
  if (this_threads_parker == nullptr) [[unlikely]] {
    this_threads_parker = ThreadParkers::instance().take();
    static thread_local ParkerReturn give_back;
    static_cast<void>(&give_back);
  }
  return this_threads_parker;
}

void park_thread(std::int64_t until_ns) noexcept {
  ThreadParker* self = thread_parker();
  // Acquire pairs with the release in unpark().
  if (self->notified.exchange(0, std::memory_order_acquire) != 0) return;
  timespec until{.tv_sec = static_cast<time_t>(until_ns / 1'000'000'000),
                 .tv_nsec = static_cast<long>(until_ns % 1'000'000'000)};
  ::syscall(SYS_futex, &self->notified, FUTEX_WAIT_BITSET_PRIVATE, 0, until_ns == base::never_ns ? nullptr : &until,
            nullptr, FUTEX_BITSET_MATCH_ANY);
  self->notified.exchange(0, std::memory_order_acquire);
}

// Whoever took the fiber out of its park, before anybody else may run it.
[[gnu::noinline]] void note_wake(Fiber& fiber) noexcept {
  const std::int64_t now = base::now_ns();
  // A wake-up by a plain thread goes uncounted: no counter is its own.
  if (Worker* here = current_worker()) {
    here->counters.park_durations.record(now - fiber.wait_since_ns.load(std::memory_order_relaxed));
  }
  fiber.wait_since_ns.store(now, std::memory_order_relaxed);
  fiber.sample = Fiber::Sample::woken;
}

// Runtime::schedule, with the common case first.
inline void make_runnable(Fiber* fiber) noexcept {
  Worker* here = current_worker();
  if (here != nullptr && fiber->home == nullptr && !here->migrates()) [[likely]] {
    here->push(fiber);
  } else if (Runtime* runtime = Runtime::current()) {
    runtime->schedule(fiber);
  }
}

}  // namespace

[[gnu::noinline]] void begin_sample(Fiber& self) noexcept {
  self.wait_since_ns.store(base::now_ns(), std::memory_order_relaxed);
  self.sample = Fiber::Sample::parked;
}

// (Woken on its way out, it was never parked.)
[[gnu::noinline]] void end_sample(Fiber& self) noexcept {
  if (std::exchange(self.sample, Fiber::Sample::none) != Fiber::Sample::woken) return;
  current_worker()->counters.schedule_latencies.record(base::now_ns() - self.wait_since_ns.load(std::memory_order_relaxed));
}

const char* wait_reason_name(WaitReason reason) noexcept {
  switch (reason) {
    case WaitReason::none: return "runnable";
    case WaitReason::io_read: return "read";
    case WaitReason::io_write: return "write";
    case WaitReason::io_turn: return "its turn on a descriptor";
    case WaitReason::sleep: return "sleep";
    case WaitReason::join: return "join";
    case WaitReason::blocking: return "blocking call";
    case WaitReason::channel_send: return "channel send";
    case WaitReason::channel_receive: return "channel receive";
    case WaitReason::select: return "select";
    case WaitReason::mutex: return "mutex";
    case WaitReason::rw_lock: return "read-write lock";
    case WaitReason::condition: return "condition";
    case WaitReason::wait_group: return "wait group";
    case WaitReason::semaphore: return "semaphore";
    case WaitReason::once: return "once";
    case WaitReason::task_group: return "task group";
    case WaitReason::context: return "context";
    case WaitReason::pool: return "connection pool";
    case WaitReason::close: return "close";
    case WaitReason::resolver: return "name look-up";
    case WaitReason::shutdown: return "shutdown";
  }
  return "?";
}

Fiber* current_fiber() noexcept {
  const Worker* worker = current_worker();
  return worker == nullptr ? nullptr : worker->current();
}

Waiter current_waiter() noexcept {
  Fiber* fiber = current_fiber();
  return fiber != nullptr ? Waiter(fiber) : Waiter(thread_parker());
}

void park(WaitReason reason, const void* object) noexcept {
  Worker* worker = current_worker();
  if (worker == nullptr) {
    park_thread(base::never_ns);
    return;
  }
  Fiber* self = worker->current();
  ROOST_DEBUG_ASSERT(self != nullptr, "the worker's loop tried to park");
  if (take_notification(*self)) return;
  park_fiber(*worker, *self, reason, object);
}

void park_until(WaitReason reason, std::int64_t until_ns, const void* object) noexcept {
  if (until_ns == base::never_ns) {
    park(reason, object);
    return;
  }
  Worker* worker = current_worker();
  if (worker == nullptr) {
    park_thread(until_ns);
    return;
  }
  Fiber* self = worker->current();
  if (take_notification(*self)) return;
  worker->timers.arm(*self, until_ns);
  park_fiber(*worker, *self, reason, object);
  time::TimerQueue::cancel(*self);
}

void unpark(Waiter waiter) noexcept {
  if (!waiter.is_fiber()) {
    if (!waiter) return;
    ThreadParker* thread = waiter.thread();
    if (thread->notified.exchange(1, std::memory_order_release) == 0) {
      ::syscall(SYS_futex, &thread->notified, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
    return;
  }
  Fiber* fiber = waiter.fiber();
  FiberState state = fiber->state.load(std::memory_order_relaxed);
  for (;;) {
    if (state == FiberState::parked) [[likely]] {
      // Acquire pairs with the release that marked it parked: its registers are saved.
      if (!fiber->state.compare_exchange_weak(state, FiberState::running, std::memory_order_acq_rel)) continue;
      if (fiber->sample != Fiber::Sample::none) [[unlikely]] note_wake(*fiber);
      make_runnable(fiber);
      return;
    }
    // Running, or notified already: then a plain load would let our earlier stores be seen after the wake-up is consumed.
    // Release pairs with the acquire in take_notification().
    if (fiber->state.compare_exchange_weak(state, FiberState::notified, std::memory_order_acq_rel)) return;
  }
}

void unpark_and_yield_to(Fiber* fiber) noexcept {
  Worker* worker = current_worker();
  if (worker == nullptr || worker->current() == nullptr || worker->runtime().options.pin_workers) {
    unpark(fiber);
    return;
  }
  FiberState parked = FiberState::parked;
  if (!fiber->state.compare_exchange_strong(parked, FiberState::running, std::memory_order_acq_rel)) {
    unpark(fiber);  // on its way out; it will be queued
    return;
  }
  if (fiber->sample != Fiber::Sample::none) [[unlikely]] note_wake(*fiber);
  worker->yield_to(fiber);
}

bool begin_examination(Fiber& fiber) noexcept {
  FiberState parked = FiberState::parked;
  // Acquire pairs with the release that marked it parked: its registers are saved.
  return fiber.state.compare_exchange_strong(parked, FiberState::examined, std::memory_order_acq_rel);
}

void end_examination(Fiber& fiber) noexcept {
  FiberState examined = FiberState::examined;
  // Release pairs with the acquire in unpark(): what was read here was read before the fiber runs on.
  if (fiber.state.compare_exchange_strong(examined, FiberState::parked, std::memory_order_acq_rel)) return;
  // Woken meanwhile: unpark() has left "notified", and the rest of its work to us. Acquire pairs with its release, also of one
  // that comes just now: the fiber must see what it was woken for.
  fiber.state.exchange(FiberState::running, std::memory_order_acquire);
  if (fiber.sample != Fiber::Sample::none) [[unlikely]] note_wake(fiber);
  make_runnable(&fiber);
}

bool current_is_canceled() noexcept {
  const Fiber* self = current_fiber();
  return self != nullptr && self->is_canceled();
}

std::error_code current_interruption() noexcept {
  const Fiber* self = current_fiber();
  if (self == nullptr || !self->is_canceled()) [[likely]] return {};
  return self->is_expired() ? Errc::deadline_exceeded : Errc::canceled;
}

void spend_budget() noexcept {
  Worker* worker = current_worker();
  if (worker != nullptr && worker->current() != nullptr) worker->spend_budget();
}

void spend_budget(Direction direction, std::uint64_t bytes) noexcept {
  Worker* worker = current_worker();
  if (worker == nullptr || worker->current() == nullptr) return;
  worker->count_bytes(direction == Direction::read, bytes);
  worker->spend_budget();
}

std::error_code count_failure(std::error_code error) noexcept {
  if (Worker* worker = current_worker()) {
    auto failure = IoFailure::other;
    if (is_timeout(error)) {
      failure = IoFailure::timed_out;
    } else if (error == Errc::canceled) {
      failure = IoFailure::canceled;
    } else if (error == Errc::closed) {
      failure = IoFailure::closed;
    } else if (error == std::errc::connection_reset) {
      failure = IoFailure::reset;
    } else if (error == std::errc::broken_pipe) {
      failure = IoFailure::broken_pipe;
    }
    worker->counters.io_failures[static_cast<std::size_t>(failure)].add();
  }
  return error;
}

void count_dial_failure(std::error_code error) noexcept {
  Worker* worker = current_worker();
  if (worker == nullptr) return;
  auto failure = DialFailure::other;
  if (error == std::errc::connection_refused) {
    failure = DialFailure::refused;
  } else if (is_timeout(error) || error == std::errc::timed_out) {
    failure = DialFailure::timed_out;
  } else if (error == Errc::canceled) {
    failure = DialFailure::canceled;
  } else if (error == std::errc::network_unreachable || error == std::errc::host_unreachable) {
    failure = DialFailure::unreachable;
  } else if (error == std::errc::address_not_available || error == std::errc::address_in_use) {
    failure = DialFailure::no_address;
  } else if (error == std::errc::too_many_files_open || error == std::errc::too_many_files_open_in_system) {
    failure = DialFailure::no_descriptor;
  }
  worker->counters.dial_failures[static_cast<std::size_t>(failure)].add();
}

}  // namespace roost::runtime

namespace roost::detail {
void Fiber::on_timer(time::Timer& timer) noexcept { runtime::unpark(static_cast<Fiber*>(&timer)); }
}  // namespace roost::detail

namespace roost {

Result<void> sleep_until(Deadline wake) {
  if (const std::error_code error = runtime::current_interruption()) return fail(error);
  if (wake.has_passed()) {
    yield();
    return {};
  }
  while (!wake.has_passed()) {
    runtime::park_until(runtime::WaitReason::sleep, wake.ns());
    if (const std::error_code error = runtime::current_interruption()) return fail(error);
  }
  return {};
}

void yield() {
  runtime::Worker* worker = runtime::current_worker();
  if (worker == nullptr || worker->current() == nullptr) return;
  worker->yield();
}

namespace this_fiber {
bool exists() noexcept { return runtime::current_fiber() != nullptr; }
std::uint64_t id() noexcept {
  const detail::Fiber* self = runtime::current_fiber();
  return self == nullptr ? 0 : self->id.load(std::memory_order_relaxed);
}
void set_name(const char* name) noexcept {
  if (detail::Fiber* self = runtime::current_fiber()) self->name.store(name, std::memory_order_relaxed);
}
const char* name() noexcept {
  const detail::Fiber* self = runtime::current_fiber();
  const char* name = self == nullptr ? nullptr : self->name.load(std::memory_order_relaxed);
  return name == nullptr ? "" : name;
}
bool is_canceled() noexcept { return runtime::current_is_canceled(); }
std::size_t stack_bytes_left() noexcept {
  const detail::Fiber* self = runtime::current_fiber();
  if (self == nullptr) return 0;
  return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) - reinterpret_cast<std::uintptr_t>(self->stack_low);
}
}  // namespace this_fiber

}  // namespace roost
