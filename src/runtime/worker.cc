#include "runtime/worker.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cxxabi.h>
#include <span>
#include <string>

#include "base/assert.h"
#include "base/clock.h"
#include "runtime/fault_handler.h"
#include "runtime/netpoll.h"
#include "runtime/runtime_state.h"
#include "runtime/switching.h"

namespace roost::runtime {
namespace {

// Read only through current_worker(): a compiler that inlined the access could keep the thread's address across a switch.
constinit thread_local Worker* this_threads_worker = nullptr;

constexpr std::uint64_t ids_per_block = 1024;
// A fiber that an event makes runnable is touched then and again when it runs, and there should be few others in between: with
// thousands of connections its page drops out of the TLB, and finding it again costs a third of a microsecond under
// virtualisation. So about as many are taken at once as are run before the next look; the others wait as well in the kernel.
constexpr std::size_t events_per_poll = Worker::picks_between_looks;
constexpr std::uint32_t queue_long = 16;  // see Worker::poll_intervals_when_long
constexpr std::size_t room_min = 8;  // how many are taken in even where the run queue is full
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
  pthread_.store(::pthread_self(), std::memory_order_relaxed);
  if (clockid_t clock = 0; ::pthread_getcpuclockid(::pthread_self(), &clock) == 0) cpu_clock_.store(clock, std::memory_order_relaxed);
  ::pthread_setname_np(::pthread_self(), ("roost-" + std::to_string(index_)).c_str());
  // The default slack of 50 us would be added to every sleep.
  ::prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
  FaultStack fault_stack;
  exceptions_ = reinterpret_cast<ExceptionState*>(abi::__cxa_get_globals());
  errno_ = &errno;

  pthread_attr_t attributes;
  void* stack_low = nullptr;
  std::size_t stack_bytes = 0;
  if (::pthread_getattr_np(::pthread_self(), &attributes) == 0) {
    ::pthread_attr_getstack(&attributes, &stack_low, &stack_bytes);
    ::pthread_attr_destroy(&attributes);
  }
  arch::adopt_thread(loop_context_, stack_low, stack_bytes);
  last_look_ns_.store(base::now_ns(), std::memory_order_relaxed);
  loop();
  this_threads_worker = nullptr;
}

std::int64_t Worker::cpu_ns() const noexcept {
  const clockid_t clock = cpu_clock_.load(std::memory_order_relaxed);
  timespec used{};
  if (clock == CLOCK_REALTIME || ::clock_gettime(clock, &used) != 0) return 0;
  return static_cast<std::int64_t>(used.tv_sec) * 1'000'000'000 + used.tv_nsec;
}

void Worker::loop() {
  while (Fiber* fiber = find_work()) resume(fiber);
}

// --- looking around ------------------------------------------------------------------------------------------------

// Every picks_between_clocks picks.
bool Worker::look_at_clock() noexcept {
  if (look_ == Look::none) {
    const std::uint32_t picks = picks_between_clocks;
    picks_until_look_ -= std::min(picks, picks_until_look_);
    const unsigned long long since = arch::cycle_counter() - last_look_cycles_;
    if (picks_until_look_ == 0) {
      picks_until_look_ = picks_between_looks;
      if (since >= runtime_.cycles_per_poll_min()) {
        look_ = Look::all;
      } else if (!runtime_.shared.empty()) {
        look_ = Look::shared;
      }
    } else if (is_poll_due(since)) {
      look_ = Look::all;
    }
  }
  // While a look is due every pick comes here.
  picks_until_clock_ = look_ != Look::none ? 1 : std::min(picks_between_clocks, picks_until_look_);
  return look_ != Look::none;
}

// What a poll would find goes to the queue's tail. While the queue is long that can wait until it is shorter, unless what is in
// it runs slowly and so keeps timers waiting; and each poll then finds more.
bool Worker::is_poll_due(unsigned long long cycles_since_last) const noexcept {
  const unsigned long long interval = runtime_.cycles_per_poll();
  if (cycles_since_last < interval) return false;
  return queue.size() < queue_long || cycles_since_last >= interval * poll_intervals_when_long;
}

void Worker::look_soon() noexcept {
  look_ = Look::all;
  picks_until_clock_ = 1;
}

// --- switching -----------------------------------------------------------------------------------------------------

void Worker::yield_to(Fiber* next) noexcept {
  counters.switches.add();
  switch_out(next, Departure::yield);
}

// Apart from what switches mostly do: the fiber that was left has ended, or shall run elsewhere.
[[gnu::noinline]] void Worker::finish_other_departure(Fiber* fiber) noexcept {
  switch (departure_) {
    case Departure::yield:
      runtime_.schedule(fiber);
      return;
    case Departure::exit: {
      arch::dispose(fiber->context);
      counters.fibers_ended.add();
      // Release pairs with the acquire in fiber_ended(): the result is seen. Exchange orders it against a joiner that
      // stores itself and then looks at `ended` (seq_cst on both sides).
      fiber->ended.store(true, std::memory_order_seq_cst);
      const Waiter joiner = Waiter::from_bits(fiber->joiner.load(std::memory_order_seq_cst));
      if (joiner) unpark(joiner);
      detail::release_fiber(fiber);
      return;
    }
    case Departure::park:
    case Departure::none:
      break;
  }
  ROOST_ASSERT(false, "a fiber departed without a cause");
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

// Every calls_between_clocks calls.
[[gnu::noinline]] void Worker::spend_budget_slow() noexcept {
  // A system call takes a microsecond or more, so here the counter's 10 ns do not matter.
  if (look_ == Look::none && is_poll_due(arch::cycle_counter() - last_look_cycles_)) look_soon();
  if (budget_ < budget_max) [[likely]] return;
  budget_ = 0;
  yield();
}

Fiber* Worker::find_work() {
  for (;;) {
    if (runtime_.stopped_.load(std::memory_order_acquire)) return nullptr;
    const Look look = std::exchange(look_, Look::none);
    if (look != Look::none) {
      picks_until_clock_ = std::min(picks_between_clocks, picks_until_look_);
      take_shared();
    }
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
    // A fair share, so that one worker does not take everything; and no more than the queue has room for, or what it
    // cannot hold would come back here at once.
    const std::size_t share = runtime_.shared.size() / runtime_.primary_count + 1;
    const std::size_t room = std::max<std::size_t>(RunQueue::capacity - queue.size(), room_min);
    runtime_.shared.pop(taken, std::min({share, room, std::size_t{RunQueue::capacity / 2}}));
  }
  const bool any = !taken.empty();
  while (Fiber* fiber = taken.pop_front()) push(fiber);
  return any;
}

std::size_t Worker::poll(Worker& owner, std::int64_t until_ns) noexcept {
  std::array<poll::Event, events_per_poll> events;
  // Nor more than the run queue has room for: what overflows is moved about, and touched once more.
  const std::size_t room = std::max<std::size_t>(RunQueue::capacity - queue.size(), room_min);
  const detail::ReportAge age{.wait = owner.waits_begun.fetch_add(1, std::memory_order_seq_cst) + 1,
                              .is_unknown = owner.poller_->reports_late()};
  const std::size_t count = owner.poller_->wait(std::span(events).first(std::min(room, events_per_poll)), until_ns);
  const std::int64_t now = base::now_ns();
  if (&owner == this) {
    last_look_cycles_ = arch::cycle_counter();
    last_look_ns_.store(now, std::memory_order_relaxed);
    picks_until_look_ = picks_between_looks;
    picks_until_clock_ = picks_between_clocks;
  }
  counters.polls.add();
  counters.poll_events.add(count);
  dispatch_events(std::span(events).first(count), age);
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

[[gnu::noinline]] void Worker::overflow(Fiber* fiber) noexcept {
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
