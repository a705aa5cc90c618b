#include "time/timer_queue.h"

#include <array>

#include "base/assert.h"

namespace roost::time {

TimerQueue::~TimerQueue() {
  std::vector<Entry> left;
  {
    base::SpinGuard guard(lock_);
    left.swap(heap_);
    for (const Entry& entry : left) entry.timer->queue_.store(nullptr, std::memory_order_release);
  }
  for (const Entry& entry : left) {
    // All are still valid: those that fire keep their memory until they do, the others for good.
    if (entry.timer->at_end_ == Timer::AtEnd::fire) entry.timer->fire_(*entry.timer);
  }
}

void TimerQueue::arm(Timer& timer, std::int64_t when_ns) {
  base::SpinGuard guard(lock_);
  ROOST_ASSERT(timer.queue_.load(std::memory_order_relaxed) == nullptr, "a timer was armed twice");
  heap_.emplace_back();
  sift_up(heap_.size() - 1, Entry{when_ns, &timer});
  // Release pairs with the acquire in cancel() and is_armed().
  timer.queue_.store(this, std::memory_order_release);
  publish();
}

bool TimerQueue::cancel(Timer& timer) noexcept {
  TimerQueue* queue = timer.queue_.load(std::memory_order_acquire);
  if (queue == nullptr) return false;
  base::SpinGuard guard(queue->lock_);
  // It may have fired before the lock was ours; a timer never moves to another queue without its owner's doing.
  if (timer.queue_.load(std::memory_order_relaxed) != queue) return false;
  timer.queue_.store(nullptr, std::memory_order_release);
  queue->remove_at(timer.index_);
  queue->publish();
  return true;
}

std::size_t TimerQueue::expire(std::int64_t now_ns) {
  constexpr std::size_t batch = 64;  // bounds both the stack used here and the time the lock is held
  std::array<Timer*, batch> due;
  std::size_t fired = 0;
  for (;;) {
    std::size_t count = 0;
    if (earliest_ns() > now_ns) return fired;
    {
      base::SpinGuard guard(lock_);
      while (count < batch && !heap_.empty() && heap_.front().when <= now_ns) {
        Timer* timer = heap_.front().timer;
        remove_at(0);
        timer->queue_.store(nullptr, std::memory_order_release);
        due[count++] = timer;
      }
      publish();
    }
    for (std::size_t i = 0; i < count; ++i) due[i]->fire_(*due[i]);
    fired += count;
    if (count < batch) return fired;
  }
}

void TimerQueue::sift_up(std::size_t index, Entry entry) noexcept {
  while (index > 0) {
    const std::size_t parent = (index - 1) / 4;
    if (heap_[parent].when <= entry.when) break;
    heap_[index] = heap_[parent];
    heap_[index].timer->index_ = static_cast<std::uint32_t>(index);
    index = parent;
  }
  heap_[index] = entry;
  entry.timer->index_ = static_cast<std::uint32_t>(index);
}

void TimerQueue::sift_down(std::size_t index, Entry entry) noexcept {
  const std::size_t size = heap_.size();
  for (;;) {
    const std::size_t first = 4 * index + 1;
    if (first >= size) break;
    std::size_t least = first;
    for (std::size_t child = first + 1; child < first + 4 && child < size; ++child) {
      if (heap_[child].when < heap_[least].when) least = child;
    }
    if (heap_[least].when >= entry.when) break;
    heap_[index] = heap_[least];
    heap_[index].timer->index_ = static_cast<std::uint32_t>(index);
    index = least;
  }
  heap_[index] = entry;
  entry.timer->index_ = static_cast<std::uint32_t>(index);
}

void TimerQueue::remove_at(std::size_t index) noexcept {
  const Entry last = heap_.back();
  heap_.pop_back();
  if (index == heap_.size()) return;
  if (index > 0 && heap_[(index - 1) / 4].when > last.when) {
    sift_up(index, last);
  } else {
    sift_down(index, last);
  }
}

void TimerQueue::publish() noexcept {
  earliest_.store(heap_.empty() ? base::never_ns : heap_.front().when, std::memory_order_relaxed);
  size_.store(heap_.size(), std::memory_order_relaxed);
  // A burst of timers should not hold its memory for good.
  if (heap_.capacity() > 1024 && heap_.size() < heap_.capacity() / 8) heap_.shrink_to_fit();
}

void TimerQueue::check_invariants() {
  base::SpinGuard guard(lock_);
  for (std::size_t i = 0; i < heap_.size(); ++i) {
    ROOST_ASSERT(heap_[i].timer->index_ == i, "T2: index");
    ROOST_ASSERT(heap_[i].timer->queue_.load(std::memory_order_relaxed) == this, "T1");
    ROOST_ASSERT(i == 0 || heap_[(i - 1) / 4].when <= heap_[i].when, "T2: order");
  }
}

}  // namespace roost::time
