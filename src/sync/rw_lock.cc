// The scheme of Go's sync.RWMutex: the writer announces itself by taking readers_max from the count, so that readers who
// come later see a negative number and wait, and then waits for those that were inside.
#include <roost/sync/rw_lock.h>

#include "sync/waiting.h"

namespace roost {

namespace detail {

void Sema::acquire(runtime::WaitReason reason) noexcept {
  WaitNode node;
  {
    base::SpinGuard guard(lock_);
    if (count_ > 0) {
      --count_;
      return;
    }
    node.waiter = current_waiter();
    waiting_.push_back(node);
  }
  await_answer(node, reason, this);
}

void Sema::release(std::uint32_t count) noexcept {
  WaitChain served;
  {
    base::SpinGuard guard(lock_);
    for (; count > 0 && !waiting_.empty(); --count) served.push(waiting_.pop_front());
    count_ += count;
  }
  served.answer_all(Answer::granted);
}

}  // namespace detail

void RwLock::lock() noexcept ROOST_NO_THREAD_SAFETY_ANALYSIS {
  writers_.lock();
  const std::int32_t inside = readers_.fetch_sub(readers_max, std::memory_order_acq_rel);
  // The readers inside may leave before they are counted here: then the sum is zero and nobody wakes the writer.
  if (inside != 0 && leaving_.fetch_add(inside, std::memory_order_acq_rel) + inside != 0) {
    writer_turn_.acquire(runtime::WaitReason::rw_lock);
  }
}

bool RwLock::try_lock() noexcept ROOST_NO_THREAD_SAFETY_ANALYSIS {
  if (!writers_.try_lock()) return false;
  std::int32_t none = 0;
  if (readers_.compare_exchange_strong(none, -readers_max, std::memory_order_acquire, std::memory_order_relaxed)) return true;
  writers_.unlock();
  return false;
}

void RwLock::unlock() noexcept ROOST_NO_THREAD_SAFETY_ANALYSIS {
  const std::int32_t before = readers_.fetch_add(readers_max, std::memory_order_release);
  if (before >= 0) detail::misuse("unlock of a read-write lock that is not locked for writing");
  // Those who came while it was held go before the next writer.
  if (const std::int32_t waiting = before + readers_max; waiting > 0) {
    readers_turn_.release(static_cast<std::uint32_t>(waiting));
  }
  writers_.unlock();
}

void RwLock::wait_to_read() noexcept { readers_turn_.acquire(runtime::WaitReason::rw_lock); }

void RwLock::leave_reading(std::int32_t readers_before) noexcept {
  if (readers_before == 0 || readers_before == -readers_max) {
    detail::misuse("unlock_shared of a read-write lock that is not locked for reading");
  }
  // A writer waits; the last one out lets it in.
  if (leaving_.fetch_sub(1, std::memory_order_acq_rel) == 1) writer_turn_.release();
}

}  // namespace roost
