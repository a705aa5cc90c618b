#include <roost/sync/task_group.h>

#include "sync/waiting.h"

namespace roost {

namespace {

CancelableContext group_context(const TaskGroupOptions& options) {
  return with_cancel(options.context ? *options.context : this_fiber::context());
}

}  // namespace

TaskGroup::TaskGroup(TaskGroupOptions options)
    : limit_(options.limit), name_(options.name), exceptions_at_start_(std::uncaught_exceptions()) {
  auto made = group_context(options);
  context_ = std::move(made.context);
  cancel_ = std::move(made.cancel);
}

TaskGroup::~TaskGroup() {
  // The scope is left by an exception: nobody will look at the results.
  if (std::uncaught_exceptions() > exceptions_at_start_) cancel_();
  tasks_.wait();
}

void TaskGroup::take_slot() noexcept {
  detail::WaitNode node;
  bool waits = false;
  if (limit_ != 0) {
    base::SpinGuard guard(slots_lock_);
    waits = slots_taken_ == limit_;
    if (waits) {
      node.waiter = detail::current_waiter();
      waiting_for_slot_.push_back(node);
    } else {
      ++slots_taken_;
    }
  }
  if (waits) detail::await_answer(node, runtime::WaitReason::task_group, this);
  tasks_.add(1);
}

bool TaskGroup::try_take_slot() noexcept {
  if (limit_ != 0) {
    base::SpinGuard guard(slots_lock_);
    if (slots_taken_ == limit_) return false;
    ++slots_taken_;
  }
  tasks_.add(1);
  return true;
}

void TaskGroup::end_task() noexcept {
  if (limit_ != 0) {
    detail::WaitNode* next = nullptr;
    {
      base::SpinGuard guard(slots_lock_);
      next = waiting_for_slot_.pop_front();  // it gets this slot
      if (next == nullptr) --slots_taken_;
    }
    if (next != nullptr) detail::wake(detail::answer(*next, detail::Answer::granted));
  }
  tasks_.done();  // the last touch: the group may be gone now
}

void TaskGroup::fail_with(std::error_code error) noexcept {
  {
    LockGuard guard(mutex_);
    if (failed_) return;
    failed_ = true;
    first_error_ = error;
  }
  cancel_(error);
}

void TaskGroup::fail_with(std::exception_ptr exception) noexcept {
  {
    LockGuard guard(mutex_);
    exceptions_.push_back(exception);
    if (failed_) return;
    failed_ = true;
    first_exception_ = std::move(exception);
  }
  cancel_();
}

Result<void> TaskGroup::wait() {
  tasks_.wait();
  std::error_code error;
  std::exception_ptr exception;
  {
    LockGuard guard(mutex_);
    error = first_error_;
    exception = first_exception_;
  }
  if (exception) std::rethrow_exception(exception);
  if (error) return fail(error);
  return {};
}

std::vector<std::exception_ptr> TaskGroup::exceptions() const {
  LockGuard guard(mutex_);
  return exceptions_;
}

}  // namespace roost
