// TaskGroup: fibers that belong together and end together.
//
//   roost::TaskGroup group({.limit = 8});
//   for (const auto& url : urls) {
//     group.go([&]() -> roost::Result<void> { return fetch(url); });
//   }
//   if (auto all = group.wait(); !all) return all.error();          // the first error
//
// No task outlives the group: its destructor waits for all of them, so tasks may use the locals around it. The first
// task that fails cancels the others: all run under the group's context, which is made from the one given (or from that of the
// fiber that makes the group), so their calls that park fail with operation_canceled from then on. A task fails by returning
// an error (Result or std::error_code) or by throwing; exceptions are collected and do not end the process.
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <roost/error.h>
#include <roost/go.h>
#include <roost/sync/context.h>
#include <roost/sync/mutex.h>
#include <roost/sync/wait_group.h>

namespace roost {

struct TaskGroupOptions {
  // Tasks that run at once; go() parks while there are that many. 0: as many as are started.
  std::size_t limit = 0;
  // What the group's context is made from. Empty: the context that the calling fiber runs under.
  std::optional<Context> context = std::nullopt;
  // Shown in dumps as the tasks' name. Not copied: it must outlive the tasks, as a literal does.
  const char* name = "task";
};

class TaskGroup {
 public:
  explicit TaskGroup(TaskGroupOptions options = {});
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  // Waits for all tasks, however often the caller is canceled. When an exception is on its way through, the tasks are
  // canceled first. Errors and exceptions nobody has asked wait() for are dropped.
  ~TaskGroup();

  // Starts a task: a function that returns nothing, a Result, or a std::error_code. Parks while the group is at its limit. A task
  // started after a failure runs, too, under a context that is done. What the function holds is destroyed before the task counts
  // as ended.
  template <class F>
  void go(F&& function) {
    take_slot();
    start(std::forward<F>(function));
  }
  // As go(), or false if the group is at its limit. Never parks.
  template <class F>
  [[nodiscard]] bool try_go(F&& function) {
    if (!try_take_slot()) return false;
    start(std::forward<F>(function));
    return true;
  }

  // Parks until all tasks have ended, and returns the error of the first that failed. If that one failed by an exception, throws
  // it. Waits even when the caller is canceled (the tasks then are, too, if the group's context is the caller's).
  // The group can be used again afterwards, under the same context.
  Result<void> wait();

  // Makes calls of the tasks that park fail. What wait() reports is up to what they return then.
  void cancel(std::error_code cause = {}) noexcept { cancel_(cause); }

  [[nodiscard]] const Context& context() const noexcept { return context_; }
  // Tasks that have not ended.
  [[nodiscard]] std::size_t running() const noexcept { return static_cast<std::size_t>(tasks_.count()); }
  // What tasks have thrown so far, in the order in which it happened. wait() throws the first failure only.
  [[nodiscard]] std::vector<std::exception_ptr> exceptions() const;

 private:
  template <class F>
  void start(F&& function) {
    roost::go(SpawnOptions{.name = name_}, [this, held = std::optional<std::decay_t<F>>(std::forward<F>(function))]() mutable {
      {
        const ContextScope scope(context_);
        try {
          run(*held);
        } catch (...) {
          fail_with(std::current_exception());
        }
        held.reset();
      }
      end_task();
    });
  }

  template <class F>
  void run(F& function) {
    using R = std::invoke_result_t<F&>;
    if constexpr (std::is_void_v<R>) {
      function();
    } else if constexpr (std::is_same_v<R, std::error_code>) {
      if (const std::error_code error = function()) fail_with(error);
    } else if constexpr (requires(R result) { { result.error() } -> std::convertible_to<std::error_code>; result.has_value(); }) {
      if (const R result = function(); !result.has_value()) fail_with(result.error());
    } else {
      static_cast<void>(function());
    }
  }

  void take_slot() noexcept;
  bool try_take_slot() noexcept;
  void end_task() noexcept;
  void fail_with(std::error_code error) noexcept;
  void fail_with(std::exception_ptr exception) noexcept;

  const std::size_t limit_;                // 0: none
  const char* const name_;
  const int exceptions_at_start_;          // in flight when the group was made
  Context context_;                        // constant
  Canceler cancel_;                        // constant
  WaitGroup tasks_;
  mutable Mutex mutex_;                    // leaf
  detail::WaitList waiting_for_slot_ ROOST_GUARDED_BY(slots_lock_);
  base::SpinLock slots_lock_;              // leaf
  std::size_t slots_taken_ ROOST_GUARDED_BY(slots_lock_) = 0;
  bool failed_ ROOST_GUARDED_BY(mutex_) = false;
  std::error_code first_error_ ROOST_GUARDED_BY(mutex_);                 // set if the first failure was an error
  std::exception_ptr first_exception_ ROOST_GUARDED_BY(mutex_);          // set if it was an exception
  std::vector<std::exception_ptr> exceptions_ ROOST_GUARDED_BY(mutex_);
};

}  // namespace roost
