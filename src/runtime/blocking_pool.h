// BlockingPool: threads for calls that block. They start on demand and end after ten idle seconds.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include <roost/detail/function_ref.h>

#include "base/thread_annotations.h"
#include "runtime/parking.h"

namespace roost::runtime {

class BlockingPool {
 public:
  explicit BlockingPool(unsigned threads_max) noexcept : threads_max_(threads_max == 0 ? 1 : threads_max) {}
  ~BlockingPool() { stop(); }
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Runs `function` on a thread of the pool and parks the calling fiber until it has ended. When all threads are
  // busy, calls wait in order.
  void run(FunctionRef<void()> function);

  // Ends the threads, once their calls have returned. No calls afterwards.
  void stop() noexcept;

  // Calls under way or waiting.
  [[nodiscard]] std::uint64_t outstanding() const noexcept { return outstanding_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t threads() const noexcept { return thread_count_.load(std::memory_order_relaxed); }

 private:
  struct Job {
    FunctionRef<void()> function;
    Waiter waiter;
    std::atomic<bool> done{false};
  };

  void thread_main(std::list<std::thread>::iterator self);

  const unsigned threads_max_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Job*> jobs_;                 // guarded by mutex_
  std::list<std::thread> threads_;        // guarded by mutex_
  std::list<std::thread> ended_;          // to be joined; guarded by mutex_
  unsigned idle_ = 0;                     // guarded by mutex_
  bool stop_ = false;                     // guarded by mutex_
  std::atomic<std::uint64_t> outstanding_{0};
  std::atomic<std::uint64_t> thread_count_{0};
};

}  // namespace roost::runtime
