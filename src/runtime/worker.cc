#include "runtime/worker.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cxxabi.h>
#include <string>

#include "base/assert.h"
#include "base/clock.h"
#include "runtime/fault_handler.h"
#include "runtime/netpoll.h"
#include "runtime/runtime_state.h"

namespace roost::runtime {
namespace {

// Read only through current_worker(): a compiler that inlined the access could keep the thread's address across a switch.
constinit thread_local Worker* this_threads_worker = nullptr;

constexpr std::uint64_t ids_per_block = 1024;
constexpr std::size_t events_per_poll = 256;
constexpr std::int64_t helper_poll_ns = 1'000'000;  // how often an idle worker looks after a stuck one

}  // namespace

[[gnu::noinline]] Worker* current_worker() noexcept {
  asm volatile("" ::: "memory");  // no two calls are merged into one
  return this_threads_worker;
}

Worker::Worker(Runtime& runtime, unsigned index, bool spare, std::unique_ptr<poll::Backend> poller)
    : runtime_(runtime), index_(index), spare_(spare), poller_(std::move(poller)), migrates_(runtime.options.migrate_always), random_(index * 2654435761u + 1) {}

Worker::~Worker() {
  join_thread();
  if (stack_cache_size_ > 0) runtime_.arena.give(runtime_.stack_class, stack_cache_, stack_cache_size_);
}

void Worker::start_thread() { thread_ = std::thread([this] { thread_main(); }); }
void Worker::join_thread() {
  if (thread_.joinable()) thread_.join();
}

void Worker::thread_main() {
  this_threads_worker = this;
  pthread_ = ::pthread_self();
  ::pthread_setname_np(pthread_, ("roost-" + std::to_string(index_)).c_str());
  // The default slack of 50 us would be added to every sleep.
  ::prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
  FaultStack fault_stack;
  exceptions_ = reinterpret_cast<ExceptionState*>(abi::__cxa_get_globals());
  errno_ = &errno;

  pthread_attr_t attributes;
  void* stack_low = nullptr;
  std::size_t stack_bytes = 0;
  if (::pthread_getattr_np(pthread_, &attributes) == 0) {
    ::pthread_attr_getstack(&attributes, &stack_low, &stack_bytes);
    ::pthread_attr_destroy(&attributes);
  }
  arch::adopt_thread(loop_context_, stack_low, stack_bytes);
  last_look_ns_.store(base::now_ns(), std::memory_order_relaxed);
  loop();
  this_threads_worker = nullptr;
}

void Worker::loop() {
  while (Fiber* fiber = find_work()) resume(fiber);
}

// --- picking -------------------------------------------------------------------------------------------------------

inline bool Worker::time_to_look() noexcept {
  ++picks_;
  if (picks_ % picks_between_clocks != 0 && picks_ < picks_between_looks) [[likely]] return false;
  return look_at_clock();
}

bool Worker::look_at_clock() noexcept {
  const unsigned long long since = arch::cycle_counter() - last_look_cycles_;
  if (picks_ >= picks_between_looks) {
    picks_ = 0;
    if (since >= runtime_.cycles_per_poll_min()) {
      look_ = Look::all;
    } else if (!runtime_.shared.empty()) {
      look_ = Look::shared;
    }
  } else if (since >= runtime_.cycles_per_poll()) {
    look_ = Look::all;
  }
  return look_ != Look::none;
}

inline Fiber* Worker::pick() noexcept {
  if (look_ != Look::none || time_to_look()) [[unlikely]] return nullptr;
  Fiber* fiber = queue.pop();
  if (fiber != nullptr) counters.switches.add();
  return fiber;
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
  switch (worker->departure_) {
    case Departure::park: {
      worker->counters.parks.add();
      FiberState expected = FiberState::running;
      // Release pairs with the acquire in unpark(): whoever wakes the fiber sees its saved registers.
      if (fiber->state.compare_exchange_strong(expected, FiberState::parked, std::memory_order_acq_rel)) return;
      // It was woken on its way out.
      fiber->state.store(FiberState::running, std::memory_order_relaxed);
      worker->runtime_.schedule(fiber);
      return;
    }
    case Departure::yield:
      if (worker->migrates_) [[unlikely]] {
        worker->runtime_.schedule(fiber);
      } else {
        worker->push(fiber);
      }
      return;
    case Departure::exit: {
      arch::dispose(fiber->context);
      worker->counters.fibers_ended.add();
      // Release pairs with the acquire in fiber_ended(): the result is seen. Exchange orders it against a joiner that
      // stores itself and then looks at `ended` (seq_cst on both sides).
      fiber->ended.store(true, std::memory_order_seq_cst);
      const Waiter joiner = Waiter::from_bits(fiber->joiner.load(std::memory_order_seq_cst));
      if (joiner) unpark(joiner);
      detail::release_fiber(fiber);
      return;
    }
    case Departure::none:
      break;
  }
  ROOST_ASSERT(false, "a fiber departed without a cause");
}

void Worker::depart(Departure departure) noexcept { switch_out(pick(), departure); }

void Worker::yield_to(Fiber* next) noexcept {
  counters.switches.add();
  switch_out(next, Departure::yield);
}

void Worker::switch_out(Fiber* next, Departure departure) noexcept {
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
}

void Worker::resume(Fiber* fiber) noexcept {
  departing_ = nullptr;
  counters.switches.add();
  current_.store(fiber, std::memory_order_relaxed);
  const arch::Arrival arrival = arch::switch_to(loop_context_, fiber->context, this, false);
  arch::arrived(loop_context_);
  finish_departure(arrival);
}

void Worker::fiber_entry(arch::Arrival arrival) {
  auto* worker = static_cast<Worker*>(arrival.data);
  Fiber* self = worker->current_.load(std::memory_order_relaxed);
  arch::arrived(self->context);
  finish_departure(arrival);
  self->program->run(self->task);  // noexcept: an exception that escapes ends the process here, with its stack
  if (self->locals_free != nullptr) self->locals_free(self->locals);
  current_worker()->depart(Departure::exit);
  ROOST_ASSERT(false, "an ended fiber ran again");
}

void prepare_entry(Fiber& fiber) noexcept {
  arch::prepare(fiber.context, fiber.stack_low, fiber.stack_top, &Worker::fiber_entry);
}

// --- looking for work ----------------------------------------------------------------------------------------------

bool Worker::should_yield() noexcept { return !queue.empty() || look_ != Look::none || time_to_look(); }

void Worker::spend_budget() noexcept {
  ++budget_;
  // A system call takes a microsecond or more, so here the counter's 10 ns do not matter.
  if (budget_ % calls_between_clocks == 0 && look_ == Look::none &&
      arch::cycle_counter() - last_look_cycles_ >= runtime_.cycles_per_poll()) {
    look_ = Look::all;
  }
  if (budget_ < budget_max) [[likely]] return;
  budget_ = 0;
  if (should_yield()) depart(Departure::yield);
}

Fiber* Worker::find_work() {
  for (;;) {
    if (runtime_.stopped_.load(std::memory_order_acquire)) return nullptr;
    const Look look = std::exchange(look_, Look::none);
    if (look != Look::none) take_shared();
    if (look == Look::all) poll(*this, 0);
    if (Fiber* fiber = queue.pop()) {
      if (searching_) {
        searching_ = false;
        if (runtime_.end_search() && (!queue.empty() || !runtime_.shared.empty())) runtime_.wake_one();
      }
      return fiber;
    }
    if (take_shared() || steal_some()) continue;
    sleep();
  }
}

bool Worker::is_retired() const noexcept {
  return spare_ && runtime_.stuck_count_.load(std::memory_order_relaxed) == 0;
}

bool Worker::take_shared() noexcept {
  FiberList taken;
  inbox.pop(taken, RunQueue::capacity / 2);
  if (!is_retired()) {
    // A fair share, so that one worker does not take everything.
    const std::size_t share = runtime_.shared.size() / runtime_.primary_count + 1;
    runtime_.shared.pop(taken, std::min<std::size_t>(share, RunQueue::capacity / 2));
  }
  const bool any = !taken.empty();
  while (Fiber* fiber = taken.pop_front()) push(fiber);
  return any;
}

std::size_t Worker::poll(Worker& owner, std::int64_t until_ns) noexcept {
  std::array<poll::Event, events_per_poll> events;
  const std::size_t count = owner.poller_->wait(events, until_ns);
  const std::int64_t now = base::now_ns();
  if (&owner == this) {
    last_look_cycles_ = arch::cycle_counter();
    last_look_ns_.store(now, std::memory_order_relaxed);
    picks_ = 0;
  }
  counters.polls.add();
  counters.poll_events.add(count);
  const bool late = count > 0 && owner.poller_->reports_late();
  for (std::size_t i = 0; i < count; ++i) dispatch_event(events[i], late);
  return count + owner.timers.expire(now);
}

bool Worker::steal_some() noexcept {
  if (runtime_.options.pin_workers || is_retired()) return false;
  const unsigned count = runtime_.worker_count();
  if (count < 2) return false;
  random_ = random_ * 1664525u + 1013904223u;
  const unsigned start = (random_ >> 16) % count;
  std::array<Fiber*, RunQueue::capacity / 2> taken;
  for (unsigned i = 0; i < count; ++i) {
    Worker& victim = runtime_.worker((start + i) % count);
    if (&victim == this) continue;
    const std::uint32_t stolen = victim.queue.steal(taken);
    if (stolen == 0) continue;
    counters.steals.add(stolen);
    for (std::uint32_t k = 0; k < stolen; ++k) push(taken[k]);
    return true;
  }
  return false;
}

void Worker::sleep() noexcept {
  if (searching_) {
    searching_ = false;
    runtime_.end_search();
  }
  std::int64_t until = timers.earliest_ns();
  if (runtime_.prepare_sleep(*this)) {
    counters.sleeps.add();
    if (runtime_.stuck_count_.load(std::memory_order_relaxed) > 0) {
      for (unsigned i = 0; i < runtime_.worker_count(); ++i) {
        Worker& other = runtime_.worker(i);
        if (&other != this && other.stuck.load(std::memory_order_relaxed)) {
          other.serve_for(*this);
          if (!base::ManualClock::installed()) until = std::min(until, base::now_ns() + helper_poll_ns);
        }
      }
      if (!queue.empty()) until = 0;
    }
    poll(*this, until);
    if (runtime_.end_sleep(*this)) searching_ = true;
  } else {
    poll(*this, 0);
  }
}

void Worker::serve_for(Worker& helper) noexcept {
  helper.poll(*this, 0);
  // Queues are stolen from; the inbox is not, so what is in it and not bound to this worker is taken along here.
  FiberList waiting;
  inbox.pop(waiting, inbox.size());
  FiberList bound;
  while (Fiber* fiber = waiting.pop_front()) {
    if (fiber->home == nullptr) {
      helper.push(fiber);
    } else {
      bound.push_back(fiber);
    }
  }
  if (!bound.empty()) inbox.push_all(bound);
}

// --- queues and stacks ---------------------------------------------------------------------------------------------

void Worker::push(Fiber* fiber) noexcept {
  if (!queue.push(fiber)) [[unlikely]] {
    overflow(fiber);
    return;
  }
  // One fiber will be run here as soon as the current one parks; waking another worker for it costs more than it gains. The
  // watchdog catches the case where the current one does not park.
  if (runtime_.idle_count_.load(std::memory_order_relaxed) > 0 && queue.size() > 1) [[unlikely]] runtime_.wake_one();
}

void Worker::overflow(Fiber* fiber) noexcept {
  counters.overflows.add();
  std::array<Fiber*, RunQueue::capacity / 2> half;
  const std::uint32_t count = queue.steal(half);
  FiberList moved;
  for (std::uint32_t i = 0; i < count; ++i) moved.push_back(half[i]);
  moved.push_back(fiber);
  runtime_.shared.push_all(moved);
  runtime_.wake_one();
}

void Worker::push_inbox(Fiber* fiber) noexcept {
  inbox.push(fiber);
  if (asleep.load(std::memory_order_seq_cst)) poller_->wake();
}

Fiber* Worker::take_stack() noexcept {
  if (stack_cache_size_ == 0) {
    stack_cache_size_ =
        static_cast<std::uint32_t>(runtime_.arena.take(runtime_.stack_class, stack_cache_, stack_cache_max / 4));
    if (stack_cache_size_ == 0) return nullptr;
  }
  return stack_cache_[--stack_cache_size_];
}

void Worker::give_stack(Fiber* fiber) noexcept {
  if (stack_cache_size_ == stack_cache_max) {
    // The older half goes to the depot, where others find it and where it can be trimmed.
    constexpr std::uint32_t half = stack_cache_max / 2;
    runtime_.arena.give(runtime_.stack_class, stack_cache_, half);
    std::copy(stack_cache_ + half, stack_cache_ + stack_cache_max, stack_cache_);
    stack_cache_size_ = half;
  }
  stack_cache_[stack_cache_size_++] = fiber;
}

std::uint64_t Worker::next_fiber_id() noexcept {
  if (next_id_ == ids_end_) {
    next_id_ = runtime_.next_id_block_.fetch_add(ids_per_block, std::memory_order_relaxed) + 1;
    ids_end_ = next_id_ + ids_per_block;
  }
  return next_id_++;
}

}  // namespace roost::runtime
