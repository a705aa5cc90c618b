#include "runtime/blocking_pool.h"

#include <pthread.h>

#include <chrono>
#include <system_error>

#include <roost/go.h>

#include "base/assert.h"
#include "runtime/runtime_state.h"

namespace roost::runtime {
namespace {
constexpr std::chrono::seconds idle_before_exit{10};
}

void BlockingPool::stop() noexcept {
  std::list<std::thread> all;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    all.splice(all.end(), threads_);
    all.splice(all.end(), ended_);
  }
  work_.notify_all();
  for (std::thread& thread : all) thread.join();
}

void BlockingPool::run(FunctionRef<void()> function) {
  Job job{function, current_waiter(), false};
  outstanding_.fetch_add(1, std::memory_order_relaxed);
  {
    std::lock_guard lock(mutex_);
    for (std::thread& thread : ended_) thread.join();
    ended_.clear();
    jobs_.push_back(&job);
    if (idle_ < jobs_.size() && threads_.size() < threads_max_) {
      try {
        threads_.emplace_back();
        auto self = std::prev(threads_.end());
        *self = std::thread([this, self] { thread_main(self); });
        thread_count_.fetch_add(1, std::memory_order_relaxed);
      } catch (const std::system_error&) {
        threads_.pop_back();
        ROOST_ASSERT(!threads_.empty(), "blocking(): the system allows no thread");
      }
    }
  }
  work_.notify_one();
  while (!job.done.load(std::memory_order_acquire)) park(WaitReason::blocking);
}

void BlockingPool::thread_main(std::list<std::thread>::iterator self) {
  ::pthread_setname_np(::pthread_self(), "roost-blocking");
  std::unique_lock lock(mutex_);
  for (;;) {
    if (jobs_.empty()) {
      if (stop_) return;
      ++idle_;
      const bool work = work_.wait_for(lock, idle_before_exit, [this] { return stop_ || !jobs_.empty(); });
      --idle_;
      if (work) continue;
      ended_.splice(ended_.end(), threads_, self);
      thread_count_.fetch_sub(1, std::memory_order_relaxed);
      return;
    }
    Job* job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    job->function();
    // The job lives on the fiber's stack: after `done` it may be gone, so take what is needed first.
    const Waiter waiter = job->waiter;
    job->done.store(true, std::memory_order_release);
    unpark(waiter);
    // Last, so that the deadlock detector never sees a parked caller and nothing outstanding.
    outstanding_.fetch_sub(1, std::memory_order_relaxed);
    lock.lock();
  }
}

}  // namespace roost::runtime

namespace roost::detail {

void run_blocking(FunctionRef<void()> function) {
  runtime::Runtime* runtime = runtime::Runtime::current();
  if (runtime == nullptr || runtime::current_fiber() == nullptr) {
    function();
    return;
  }
  runtime->blocking.run(function);
}

}  // namespace roost::detail
