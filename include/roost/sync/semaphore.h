// Semaphore: a number of permits, of which a caller may take several at once.
//
//   roost::Semaphore uploads(8);
//   if (auto got = uploads.acquire(); !got) return got.error();
//   ...
//   uploads.release();
//
// First come, first served, whatever the weight: a caller who wants many permits is not passed over by those who want few.
// Plain threads may take part. Taking more permits than the semaphore has, or releasing more than were taken, is
// misuse and ends the process with a message.
#pragma once

#include <cstdint>

#include <roost/detail/wait.h>
#include <roost/error.h>
#include <roost/time/deadline.h>

namespace roost {

class Semaphore {
 public:
  explicit Semaphore(std::int64_t permits) noexcept;
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  // Parks until `count` permits are free and it is the caller's turn. Who gives up makes way: those behind
  // it that can go on then do.
  // Errors: operation_canceled, timed_out; no permit is held then.
  [[nodiscard]] Result<void> acquire(std::int64_t count = 1, Deadline deadline = Deadline::none()) noexcept;
  // Never parks. False also when others wait who came earlier.
  [[nodiscard]] bool try_acquire(std::int64_t count = 1) noexcept;

  // Gives permits back and wakes those who can go on now.
  void release(std::int64_t count = 1) noexcept { give_back(count, false); }
  // As release(), and if somebody can go on the first of them runs next, on the caller's worker; the caller goes to the end
  // of the run queue. For strict alternation without waiting for the scheduler.
  void hand_off(std::int64_t count = 1) noexcept { give_back(count, true); }

  // All there are; those that are free, and the calls that wait, at this moment.
  [[nodiscard]] std::int64_t permits() const noexcept { return permits_; }
  [[nodiscard]] std::int64_t available() const noexcept;
  [[nodiscard]] std::size_t waiting() const noexcept;

 private:
  struct Node;

  void take_satisfied(detail::WaitChain& satisfied) noexcept ROOST_REQUIRES(lock_);
  void give_back(std::int64_t count, bool yields) noexcept;

  const std::int64_t permits_;
  mutable base::SpinLock lock_;  // leaf
  std::int64_t available_ ROOST_GUARDED_BY(lock_);
  std::size_t waiting_count_ ROOST_GUARDED_BY(lock_) = 0;
  detail::WaitList waiting_ ROOST_GUARDED_BY(lock_);
};

}  // namespace roost
