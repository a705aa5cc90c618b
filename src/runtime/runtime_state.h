// Runtime: the workers and what they share.
//
// Idle workers and lost wake-ups: a worker that goes to sleep first stores `asleep` and joins idle_, then looks at every
// queue once more; whoever makes a fiber runnable first stores it into a queue and then looks at idle_count_. Both sides use
// seq_cst, so at least one sees the other (Dekker). Weaker orders would lose a wake-up.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <roost/runtime.h>

#include "runtime/blocking_pool.h"
#include "runtime/fiber_list.h"
#include "runtime/stack_arena.h"
#include "runtime/worker.h"

namespace roost::runtime {

class Watchdog;

class Runtime {
 public:
  explicit Runtime(const RuntimeOptions& options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // The running one, or null. A plain thread that goes on to touch it holds a Visit.
  [[nodiscard]] static Runtime* current() noexcept;

  int run(FunctionRef<int()> main);

  // Makes `fiber`, which must be runnable and in no queue, run somewhere.
  void schedule(Fiber* fiber) noexcept;
  // A new fiber: gives it its number and makes it run.
  void admit(Fiber& fiber) noexcept;
  // A plain thread made a fiber runnable, so nothing can be concluded from idle workers any more.
  void note_external_wake() noexcept { external_wakes_.fetch_add(1, std::memory_order_relaxed); }
  // Wakes one idle worker, if there is one and none is looking for work already.
  void wake_one() noexcept;
  void wake_all() noexcept;

  // The worker whose poller a new descriptor should join: the current one unless another has clearly fewer.
  [[nodiscard]] Worker& place_descriptor() noexcept;

  void cancel_all() noexcept;
  [[nodiscard]] bool stopping() const noexcept { return stopping_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t live_fibers() const noexcept;
  // Fibers that wait for this, those included that were woken and have not run yet. Adds up the workers' counters.
  [[nodiscard]] std::uint64_t waiting(WaitReason reason) const noexcept;
  // Connections that wait without a fiber.
  [[nodiscard]] std::uint64_t sleepers() const noexcept;
  // One of them is woken, by whatever thread.
  static void note_sleeper_woken() noexcept;
  [[nodiscard]] RuntimeStats stats() const noexcept;
  // After run(): a worker's thread is still held by a fiber, so nothing may be destroyed.
  [[nodiscard]] bool is_abandoned() const noexcept { return abandoned_; }

  const RuntimeOptions options;
  const unsigned primary_count;   // workers that exist from the start
  const int stack_class;
  StackArena& arena;
  SharedFiberQueue shared;        // runnable fibers that belong to no worker
  BlockingPool blocking;

  // Spans of arch::cycle_counter() that stand for Worker::poll_interval_ns and poll_interval_min_ns.
  [[nodiscard]] unsigned long long cycles_per_poll() const noexcept { return cycles_per_poll_; }
  [[nodiscard]] unsigned long long cycles_per_poll_min() const noexcept { return cycles_per_poll_min_; }

  [[nodiscard]] unsigned worker_count() const noexcept { return worker_count_.load(std::memory_order_acquire); }
  [[nodiscard]] Worker& worker(unsigned index) const noexcept { return *workers_[index]; }

 private:
  friend class Worker;
  friend class Watchdog;

  void report_stragglers();
  void start_watchdog();
  void stop_watchdog() noexcept;
  bool start_spare();
  [[nodiscard]] std::uint64_t external_wakes() const noexcept { return external_wakes_.load(std::memory_order_relaxed); }

  bool prepare_sleep(Worker& worker) noexcept;  // false: there is work after all
  bool end_sleep(Worker& worker) noexcept;      // true: it was woken to look for work
  bool end_search() noexcept;                   // true: nobody else is searching

  unsigned long long cycles_per_poll_ = 0;      // constant after construction
  unsigned long long cycles_per_poll_min_ = 0;  // likewise
  std::vector<std::unique_ptr<Worker>> workers_;  // reserved for all spares at start; worker_count_ are built
  std::atomic<unsigned> worker_count_{0};

  base::SpinLock idle_lock_;                      // leaf
  std::vector<Worker*> idle_ ROOST_GUARDED_BY(idle_lock_);
  std::atomic<unsigned> idle_count_{0};           // idle_.size()
  std::atomic<unsigned> searching_{0};            // workers looking for work: at most one is woken at a time
  std::atomic<unsigned> stuck_count_{0};

  std::atomic<bool> stopping_{false};             // main has returned
  std::atomic<bool> stopped_{false};              // workers leave their loops
  std::atomic<std::uint64_t> next_id_block_{0};
  std::atomic<std::uint64_t> external_started_{0};   // fibers started from plain threads
  std::atomic<std::uint64_t> external_wakes_{0};     // unparks by plain threads: no deadlock can be concluded any more
  std::atomic<std::uint64_t> external_sleepers_ended_{0};
  std::atomic<std::uint64_t> worker_wakes_{0};
  std::atomic<std::uint64_t> stuck_total_{0};

  std::unique_ptr<Watchdog> watchdog_;

  std::mutex done_mutex_;
  std::condition_variable done_;
  bool abandoned_ = false;
  bool main_done_ = false;  // guarded by done_mutex_
};

// A plain thread's stay in the runtime: what Runtime::current() returns meanwhile is not destroyed under it, as run() waits for
// the thread to leave. For a worker's own thread it waits anyway, so that one is not counted. Nobody parks on a visit.
class Visit {
 public:
  Visit() noexcept : counts_(current_worker() == nullptr) {
    if (counts_) enter();
  }
  ~Visit() {
    if (counts_) leave();
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

  [[nodiscard]] Runtime* runtime() const noexcept { return Runtime::current(); }

 private:
  static void enter() noexcept;
  static void leave() noexcept;

  const bool counts_;
};

}  // namespace roost::runtime
