// Watchdog: the thread that notices what workers cannot notice themselves.
//
// Every half of RuntimeOptions::stuck_after it looks at each worker. One whose fiber has not parked since the last looks is
// stuck: an idle worker is woken, or a spare one started, to run its queue, its timers and its poller; after
// stuck_report_after the culprit is reported with its stack. It also wakes an idle worker when work lies in a queue that
// its owner does not get to, gives back long unused stack pages, and detects deadlock. When all workers sleep it sleeps, too.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/runtime_state.h"

namespace roost::runtime {

class Watchdog {
 public:
  explicit Watchdog(Runtime& runtime);
  ~Watchdog() { stop(); }
  // Ends the thread. What is called afterwards does nothing.
  void stop() noexcept;

  // A worker leaves its sleep: the watchdog must look again. Cheap unless it sleeps deeply.
  void note_activity() noexcept {
    if (deep_sleep_.load(std::memory_order_seq_cst)) [[unlikely]] wake();
  }

 private:
  struct Seen {
    std::uint64_t switches = 0;
    const Fiber* fiber = nullptr;
    std::int64_t since_ns = 0;
    std::uint32_t waiting = 0;  // looks in a row that found its queue not empty and untouched
    bool reported = false;
  };

  void thread_main();
  void wake() noexcept;
  bool look();  // false: nothing goes on
  void look_at(Worker& worker, Seen& seen, std::int64_t now);
  void report(Worker& worker, const Seen& seen, std::int64_t now);
  void check_deadlock();
  [[nodiscard]] bool has_foreign_threads() const noexcept;

  Runtime& runtime_;
  std::vector<Seen> seen_;
  std::int64_t last_trim_ns_ = 0;
  std::mutex mutex_;
  std::condition_variable condition_;
  bool stop_ = false;  // guarded by mutex_
  std::atomic<bool> deep_sleep_{false};
  std::thread thread_;
};

// The stack of the fiber that runs on `worker` at this moment, as return addresses, innermost first; what could be had. For any
// thread but a worker's own: it interrupts the worker with a signal.
[[nodiscard]] std::vector<void*> capture_running_stack(Worker& worker);
// "fiber 17 (accept)".
[[nodiscard]] std::string describe_fiber(const Fiber& fiber);

}  // namespace roost::runtime
