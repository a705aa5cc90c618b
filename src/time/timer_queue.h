// TimerQueue: one worker's timers, a 4-ary heap ordered by time.
//
// Timers are intrusive nodes that live in what they wake (a fiber, a descriptor's state), so arming allocates nothing but
// the heap's own growth: 16 bytes an entry. A queue belongs to a worker but any thread may arm, cancel and expire: when a
// worker is stuck, another one runs its timers. Deadlines that move are not moved here: their owner re-arms when the timer
// fires early (runtime/netpoll.h), which is why a heap is quick enough.
//
// Invariants
//   T1  a timer is in at most one queue; Timer::queue_ names it, null when armed nowhere. Changed under that queue's lock.
//   T2  heap_[i].timer->index_ == i, and heap_[i].when <= heap_[4i+1 .. 4i+4].when.
//   T3  earliest_ is heap_[0].when, or never_ns when empty; stored under the lock, read without.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/spin_lock.h"

namespace roost::time {

class TimerQueue;

// A timer's memory must stay valid as long as a firing that has begun may still be under way. Fibers and PollDescs are
// never unmapped and take a late firing for a spurious wake-up, so they need no more than that.
class Timer {
 public:
  using Fire = void (*)(Timer&) noexcept;  // called on the expiring worker, outside the lock; must not park

  // What a queue that is destroyed does with it. `fire` is for timers whose memory is given back when they fire.
  enum class AtEnd : std::uint8_t { forget, fire };

  explicit Timer(Fire fire, AtEnd at_end = AtEnd::forget) noexcept : at_end_(at_end), fire_(fire) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  [[nodiscard]] bool is_armed() const noexcept { return queue_.load(std::memory_order_acquire) != nullptr; }

 private:
  friend class TimerQueue;
  std::atomic<TimerQueue*> queue_{nullptr};  // T1
  std::uint32_t index_ = 0;                  // T2; guarded by the queue's lock
  const AtEnd at_end_;
  Fire fire_;
};

class TimerQueue {
 public:
  TimerQueue() = default;
  // Timers still armed are disarmed; they will not fire, unless they asked for it (AtEnd::fire).
  ~TimerQueue();
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  // `timer` must be armed nowhere.
  void arm(Timer& timer, std::int64_t when_ns) ROOST_EXCLUDES(lock_);

  // Disarms `timer` wherever it is armed. True: it will not fire. False: it was not armed, fired, or is firing now.
  static bool cancel(Timer& timer) noexcept;

  // Fires what is due at `now_ns`, in order of time; returns how many. Safe on several threads at once.
  std::size_t expire(std::int64_t now_ns) ROOST_EXCLUDES(lock_);

  // When the first timer is due; never_ns if there is none.
  [[nodiscard]] std::int64_t earliest_ns() const noexcept { return earliest_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

  void check_invariants() ROOST_EXCLUDES(lock_);

 private:
  struct Entry {
    std::int64_t when;
    Timer* timer;
  };

  void sift_up(std::size_t index, Entry entry) noexcept ROOST_REQUIRES(lock_);
  void sift_down(std::size_t index, Entry entry) noexcept ROOST_REQUIRES(lock_);
  void remove_at(std::size_t index) noexcept ROOST_REQUIRES(lock_);
  void publish() noexcept ROOST_REQUIRES(lock_);

  base::SpinLock lock_;  // leaf: nothing is locked and nothing is called under it
  std::vector<Entry> heap_ ROOST_GUARDED_BY(lock_);
  std::atomic<std::int64_t> earliest_{base::never_ns};  // T3
  std::atomic<std::size_t> size_{0};                    // a statistic
};

}  // namespace roost::time
