// Worker: one thread that runs fibers, with its own run queue, timers and poller.
//
// The loop: run what is runnable; look at the shared queue and the poller every now and then; with nothing to run, steal, and with
// nothing to steal, block in the poller until I/O, a timer or a wake-up. There is no event-loop thread.
//
// A fiber that parks switches directly to the next runnable one. Only when there is none, or when it is time to poll, does
// it switch to the worker's own stack, where scheduling that needs room (polling, stealing, sleeping) takes place.
// What must happen to the fiber that was left (mark it parked, queue it, recycle its stack) happens after the switch, on the
// other side (finish_departure): until then its registers are not saved and nobody else may run it.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <ctime>
#include <memory>
#include <thread>

#include "arch/context.h"
#include "poll/backend.h"
#include "runtime/fiber.h"
#include "runtime/fiber_list.h"
#include "runtime/run_queue.h"
#include "time/timer_queue.h"

namespace roost::runtime {

class Runtime;

// Counters with one writer; readers may see them a little late.
class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Durations that were sampled, by bucket. One writer.
class DurationCounter {
 public:
  static constexpr std::array<std::int64_t, 17> bounds_ns{
      1'000,       5'000,       10'000,        50'000,        100'000,       500'000,        1'000'000,      5'000'000, 10'000'000,
      50'000'000,  100'000'000, 500'000'000,   1'000'000'000, 5'000'000'000, 10'000'000'000, 60'000'000'000, 300'000'000'000};

  void record(std::int64_t span_ns) noexcept {
    std::size_t bucket = 0;
    while (bucket < bounds_ns.size() && span_ns > bounds_ns[bucket]) ++bucket;
    buckets_[bucket].add();
    sum_ns_.add(static_cast<std::uint64_t>(span_ns > 0 ? span_ns : 0));
  }
  // Of one bucket alone; the last one holds what exceeds all bounds.
  [[nodiscard]] std::uint64_t count(std::size_t bucket) const noexcept { return buckets_[bucket].get(); }
  [[nodiscard]] std::uint64_t sum_ns() const noexcept { return sum_ns_.get(); }

 private:
  std::array<Counter, bounds_ns.size() + 1> buckets_;
  Counter sum_ns_;
};

// What keeps a call on a connection from succeeding, for metrics.
enum class IoFailure : std::uint8_t { timed_out, canceled, closed, reset, broken_pipe, other };
inline constexpr std::size_t io_failure_count = 6;
// And an attempt to connect.
enum class DialFailure : std::uint8_t { refused, timed_out, canceled, unreachable, no_address, no_descriptor, other };
inline constexpr std::size_t dial_failure_count = 7;

struct WorkerCounters {
  Counter switches;
  Counter fibers_started;
  Counter fibers_ended;
  Counter fiber_start_failures;  // no memory for a stack or a closure
  Counter polls;
  Counter poll_events;
  Counter steals;
  Counter sleeps;
  Counter overflows;
  Counter parks;
  Counter bytes_in;
  Counter bytes_out;
  Counter accepted;          // connections handed out by listeners
  Counter accept_exhausted;  // times that accept found no descriptor or no memory
  Counter accept_full;       // times that accept waited for a listener's limit of connections
  Counter turned_away;       // connections reset by a listener
  Counter dialed;
  Counter adopted;
  Counter connections_closed;
  std::array<Counter, dial_failure_count> dial_failures;
  std::array<Counter, io_failure_count> io_failures;
  // By WaitReason. Begun here, ended where the fiber runs again: only the difference of all workers' sums has a meaning.
  std::array<Counter, wait_reason_count> waits_begun;
  std::array<Counter, wait_reason_count> waits_ended;
  // Connections that wait without a fiber; likewise.
  Counter sleepers_begun;
  Counter sleepers_ended;
  // Of one park in park_sample_every.
  DurationCounter park_durations;
  DurationCounter schedule_latencies;  // from a wake-up to running
};

class Worker {
 public:
  // How often a busy worker looks beyond its own queue: every 61st pick (a prime, so that no pattern of the load keeps in
  // step with it) or after 100 us. Polls more than one in 10 us would cost more than they find.
  static constexpr std::uint32_t picks_between_looks = 61;
  // The processor's counter takes 10 ns to read under virtualisation, more than a switch, so not every pick reads it.
  static constexpr std::uint32_t picks_between_clocks = 16;
  static constexpr std::uint32_t calls_between_clocks = 4;
  static constexpr std::int64_t poll_interval_ns = 100'000;
  static constexpr std::int64_t poll_interval_min_ns = 10'000;
  // With a long queue the 100 us become 1 ms: what a poll finds would have to wait behind it anyway.
  static constexpr unsigned long long poll_intervals_when_long = 10;
  static constexpr std::size_t stack_cache_max = 64;
  // One park in so many is timed, exactly: that takes two readings of the clock.
  static constexpr std::uint64_t park_sample_every = 1024;
  // Calls that succeed without parking before the fiber gives way.
  static constexpr std::uint32_t budget_max = 128;

  Worker(Runtime& runtime, unsigned index, bool spare, std::unique_ptr<poll::Backend> poller);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void start_thread();
  void join_thread();

  // --- called by the fiber that runs on this worker ---

  enum class Departure : std::uint8_t { none, park, yield, exit };
  // Switches away from the current fiber. Returns when it runs again, perhaps on another worker: the one it returns. (In switching.h.)
  inline Worker& depart(Departure departure) noexcept;
  // Lets others run, if there are any and be it only the poller, and queues the fiber behind them. (In switching.h.)
  inline void yield() noexcept;
  // As yield(), but `next` runs next. `next` must be runnable and in no queue.
  void yield_to(Fiber* next) noexcept;
  void count_bytes(bool in, std::uint64_t bytes) noexcept { (in ? counters.bytes_in : counters.bytes_out).add(bytes); }
  // A call succeeded without parking; see parking.h.
  void spend_budget() noexcept {
    ++budget_;
    if (budget_ % calls_between_clocks == 0) [[unlikely]] spend_budget_slow();
  }

  // --- called on this worker's thread, by fibers or the loop ---

  // Makes a fiber runnable here. (In switching.h.)
  inline void push(Fiber* fiber) noexcept;
  // A free control block with its stack, of the runtime's default class; null when there is none to be had.
  Fiber* take_stack() noexcept;
  void give_stack(Fiber* fiber) noexcept;
  [[nodiscard]] std::uint64_t next_fiber_id() noexcept;

  // --- any thread ---

  // Makes a fiber runnable here and wakes the worker if it sleeps.
  void push_inbox(Fiber* fiber) noexcept;
  // Polls without blocking and fires timers on behalf of this worker; the woken fibers go to `helper`'s queue.
  void serve_for(Worker& helper) noexcept;

  Runtime& runtime() const noexcept { return runtime_; }
  [[nodiscard]] unsigned index() const noexcept { return index_; }
  [[nodiscard]] bool is_spare() const noexcept { return spare_; }
  [[nodiscard]] bool migrates() const noexcept { return migrates_; }
  [[nodiscard]] Fiber* current() const noexcept { return current_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::int64_t now_ns() const noexcept { return last_look_ns_.load(std::memory_order_relaxed); }

  RunQueue queue;               // R3
  SharedFiberQueue inbox;       // fibers bound to this worker
  time::TimerQueue timers;
  WorkerCounters counters;
  std::atomic<bool> stuck{false};     // set and cleared by the watchdog
  std::atomic<bool> asleep{false};    // in the poller, or about to be
  std::atomic<std::uint32_t> descriptors{0};  // registered with this worker's poller
  std::atomic<std::uint32_t> waits_begun{0};  // of this worker's poller, by whomever
  [[nodiscard]] poll::Backend& poller() noexcept { return *poller_; }
  // 0 before its thread has started. Any thread.
  [[nodiscard]] pthread_t thread_id() const noexcept { return pthread_.load(std::memory_order_relaxed); }
  // Processor time of the worker's thread; 0 before it has started.
  [[nodiscard]] std::int64_t cpu_ns() const noexcept;
  [[nodiscard]] bool has_thread() const noexcept { return thread_.joinable(); }

 private:
  friend class Runtime;

  void thread_main();
  void loop();
  void resume(Fiber* fiber) noexcept;
  static inline void finish_departure(arch::Arrival arrival) noexcept;
  void finish_other_departure(Fiber* fiber) noexcept;
  static void fiber_entry(arch::Arrival arrival);
  friend void prepare_entry(Fiber& fiber) noexcept;

  inline Fiber* pick() noexcept;                    // from the own queue; null also when it is time to look around
  [[nodiscard]] inline bool time_to_look() noexcept;
  [[nodiscard]] bool look_at_clock() noexcept;
  [[nodiscard]] bool is_poll_due(unsigned long long cycles_since_last) const noexcept;
  void look_soon() noexcept;                 // the next pick() finds that it is time
  void spend_budget_slow() noexcept;
  Fiber* find_work();                        // parks the thread; null when the runtime stops
  [[nodiscard]] bool is_retired() const noexcept;  // a spare worker that is not needed now
  std::size_t poll(Worker& owner, std::int64_t until_ns) noexcept;
  bool steal_some() noexcept;
  bool take_shared() noexcept;
  void sleep() noexcept;
  void overflow(Fiber* fiber) noexcept;
  inline Worker& switch_out(Fiber* next, Departure departure) noexcept;

  Runtime& runtime_;
  const unsigned index_;
  const bool spare_;
  std::unique_ptr<poll::Backend> poller_;

  // Owned by the worker's thread.
  std::atomic<Fiber*> current_{nullptr};     // null: the loop itself runs. Stored here, read by the watchdog.
  Fiber* departing_ = nullptr;               // the fiber that was left; null: the loop was
  Departure departure_ = Departure::none;
  arch::Context loop_context_;
  ExceptionState* exceptions_ = nullptr;     // this thread's __cxa_eh_globals
  int* errno_ = nullptr;                     // this thread's errno: a fiber's own value survives a change of thread
  const bool migrates_;                      // RuntimeOptions::migrate_always
  std::uint32_t picks_until_clock_ = picks_between_clocks;
  std::uint32_t picks_until_look_ = picks_between_looks;
  std::uint32_t budget_ = 0;
  unsigned long long last_look_cycles_ = 0;
  std::atomic<std::int64_t> last_look_ns_{0};
  std::uint32_t random_ = 1;
  std::uint64_t next_id_ = 0;
  std::uint64_t ids_end_ = 0;
  Fiber* stack_cache_[stack_cache_max];
  std::uint32_t stack_cache_size_ = 0;
  bool searching_ = false;                   // counted in Runtime::searching_
  enum class Look : std::uint8_t { none, shared, all };
  Look look_ = Look::none;                   // what the next find_work() must look at before the own queue

  std::atomic<bool> woken_to_search_{false}; // set by Runtime::wake_one()

  std::thread thread_;
  std::atomic<pthread_t> pthread_{0};
  std::atomic<clockid_t> cpu_clock_{CLOCK_REALTIME};  // of the thread; that one: it has not started
};

// The worker whose thread this is; null on other threads. Never kept across a park.
[[nodiscard]] Worker* current_worker() noexcept;

// count(&WorkerCounters::dialed): an event for metrics. On other threads it goes uncounted: no counter is theirs.
inline void count(Counter WorkerCounters::*event) noexcept {
  if (Worker* worker = current_worker()) (worker->counters.*event).add();
}

}  // namespace roost::runtime
