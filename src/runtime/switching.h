// The half of Worker that every switch goes through, inline where fibers park.
//
// Frames between a call that waits and the switch lie on the stack of every waiting fiber, and each of their cache lines
// must be fetched when it wakes. So what parks includes this file and leaves one frame instead of four.
//
// Nothing here looks at a thread-local directly: after a switch the thread may be another one, and the worker arrives with it.
#pragma once

#include <cerrno>
#include <utility>

#include "arch/context.h"
#include "base/assert.h"
#include "runtime/fiber.h"
#include "runtime/runtime_state.h"
#include "runtime/stack_arena.h"
#include "runtime/worker.h"

namespace roost::runtime {

// What a fiber touches when it goes on: its control block and the stack below it, down to where it parked. One that has
// waited for long is in no cache near by; fetched while another one runs, it costs no time. The addresses follow from the
// fiber's own, so nothing of it is read. Most parked fibers of a server are so deep; a look beyond costs little.
inline void prefetch_parked(const Fiber* fiber) noexcept {
  constexpr int lines = 12;
  const auto* top = reinterpret_cast<const char*>(fiber);
  __builtin_prefetch(top);
#pragma GCC unroll 12
  for (int line = 1; line <= lines; ++line) __builtin_prefetch(top - 64 * line);
}

// --- picking -------------------------------------------------------------------------------------------------------

inline bool Worker::time_to_look() noexcept {
  if (--picks_until_clock_ != 0) [[likely]] return false;
  return look_at_clock();
}

inline Fiber* Worker::pick() noexcept {
  if (time_to_look()) [[unlikely]] return nullptr;
  Fiber* fiber = queue.pop();
  if (fiber == nullptr) return nullptr;
  counters.switches.add();
  if (const Fiber* following = queue.peek()) prefetch_parked(following);
  return fiber;
}

inline void Worker::push(Fiber* fiber) noexcept {
  if (!queue.push(fiber)) [[unlikely]] {
    overflow(fiber);
    return;
  }
  // One fiber will be run here as soon as the current one parks; waking another worker for it costs more than it gains. The
  // watchdog catches the case where the current one does not park.
  if (runtime_.idle_count_.load(std::memory_order_relaxed) > 0 && queue.size() > 1) [[unlikely]] runtime_.wake_one();
}

// --- switching -----------------------------------------------------------------------------------------------------

inline void Worker::finish_departure(arch::Arrival arrival) noexcept {
  auto* worker = static_cast<Worker*>(arrival.data);
  Fiber* fiber = worker->departing_;
  if (fiber == nullptr) {
    worker->loop_context_.sp = arrival.fctx;
    return;
  }
  fiber->context.sp = arrival.fctx;
  if (worker->departure_ != Departure::park) {
    if (worker->departure_ == Departure::yield && !worker->migrates_) [[likely]] {
      worker->push(fiber);
    } else {
      worker->finish_other_departure(fiber);
    }
    return;
  }
  worker->counters.parks.add();
  FiberState expected = FiberState::running;
  // Release pairs with the acquire in unpark(): whoever wakes the fiber sees its saved registers.
  if (fiber->state.compare_exchange_strong(expected, FiberState::parked, std::memory_order_acq_rel)) [[likely]] return;
  // It was woken on its way out.
  fiber->state.store(FiberState::running, std::memory_order_relaxed);
  worker->runtime_.schedule(fiber);
}

inline Worker& Worker::switch_out(Fiber* next, Departure departure) noexcept {
  Fiber* self = current_.load(std::memory_order_relaxed);
  departing_ = self;
  departure_ = departure;
  budget_ = 0;
  // A fiber that parks inside a catch block, or while unwinding, takes its exceptions along. Nearly all have none.
  if (exceptions_->any()) [[unlikely]] self->exceptions = std::exchange(*exceptions_, ExceptionState{});
  const int saved_errno = *errno_;
  current_.store(next, std::memory_order_relaxed);
  const arch::Arrival arrival = arch::switch_to(self->context, next != nullptr ? next->context : loop_context_, this,
                                                departure == Departure::exit);
  // From here on this may be another worker's thread: `this` is stale.
  arch::arrived(self->context);
  finish_departure(arrival);
  auto* here = static_cast<Worker*>(arrival.data);
  if (self->exceptions.any()) [[unlikely]] *here->exceptions_ = std::exchange(self->exceptions, ExceptionState{});
  *here->errno_ = saved_errno;
  return *here;
}

inline Worker& Worker::depart(Departure departure) noexcept { return switch_out(pick(), departure); }

inline void Worker::yield() noexcept {
  Fiber* next = nullptr;
  if (!time_to_look()) [[likely]] {
    next = queue.pop();
    if (next == nullptr) return;  // there is nobody else
    counters.switches.add();
  }
  switch_out(next, Departure::yield);
}

// --- parking -------------------------------------------------------------------------------------------------------

// Of the parks that are timed, in parking.cc: the fiber is about to park, and it runs again.
void begin_sample(Fiber& self) noexcept;
void end_sample(Fiber& self) noexcept;

// True: the wake-up had come already.
inline bool take_notification(Fiber& self) noexcept {
  if (self.state.load(std::memory_order_acquire) != FiberState::notified) return false;
  self.state.store(FiberState::running, std::memory_order_relaxed);
  return true;
}

// park() without the question whether the wake-up had come already: a departure finds that out, too. `self` runs on
// `worker`, which is stale afterwards.
inline void park_fiber(Worker& worker, Fiber& self, WaitReason reason, const void* object) noexcept {
  self.wait_reason.store(reason, std::memory_order_relaxed);
  self.wait_object.store(object, std::memory_order_relaxed);
  self.wait_since_ns.store(worker.now_ns(), std::memory_order_relaxed);
  if (worker.counters.parks.get() % Worker::park_sample_every == 0) [[unlikely]] begin_sample(self);
  ROOST_ASSERT(!worker.runtime().arena.has_canaries() || StackArena::canary_intact(self), "a fiber overflowed its stack");
  worker.counters.waits_begun[static_cast<std::size_t>(reason)].add();
  Worker& here = worker.depart(Worker::Departure::park);
  here.counters.waits_ended[static_cast<std::size_t>(reason)].add();
  if (self.sample != Fiber::Sample::none) [[unlikely]] end_sample(self);
  self.wait_reason.store(WaitReason::none, std::memory_order_relaxed);
}

}  // namespace roost::runtime
