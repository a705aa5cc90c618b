// Lists of fibers linked through Fiber::next: runnable ones that belong to no worker's own queue.
#pragma once

#include <atomic>
#include <cstddef>

#include "base/spin_lock.h"
#include "runtime/fiber.h"

namespace roost::runtime {

// A plain list, owned by one thread at a time.
struct FiberList {
  Fiber* head = nullptr;
  Fiber* tail = nullptr;
  std::size_t size = 0;

  [[nodiscard]] bool empty() const noexcept { return head == nullptr; }
  void push_back(Fiber* fiber) noexcept {
    fiber->next = nullptr;
    (tail == nullptr ? head : tail->next) = fiber;
    tail = fiber;
    ++size;
  }
  Fiber* pop_front() noexcept {
    Fiber* fiber = head;
    if (fiber == nullptr) return nullptr;
    head = fiber->next;
    if (head == nullptr) tail = nullptr;
    --size;
    return fiber;
  }
};

// A first-in-first-out queue that any thread may use: the runtime's shared queue, and each worker's inbox.
class SharedFiberQueue {
 public:
  void push(Fiber* fiber) noexcept {
    base::SpinGuard guard(lock_);
    list_.push_back(fiber);
    // seq_cst: a worker that goes idle stores "idle" and then reads this; see Runtime::prepare_sleep.
    size_.store(list_.size, std::memory_order_seq_cst);
  }
  void push_all(FiberList& fibers) noexcept {
    base::SpinGuard guard(lock_);
    while (Fiber* fiber = fibers.pop_front()) list_.push_back(fiber);
    size_.store(list_.size, std::memory_order_seq_cst);
  }
  // Moves up to `count` fibers into `out`.
  std::size_t pop(FiberList& out, std::size_t count) noexcept {
    if (empty()) return 0;
    base::SpinGuard guard(lock_);
    std::size_t moved = 0;
    while (moved < count && !list_.empty()) {
      out.push_back(list_.pop_front());
      ++moved;
    }
    size_.store(list_.size, std::memory_order_seq_cst);
    return moved;
  }
  [[nodiscard]] bool empty() const noexcept { return size_.load(std::memory_order_seq_cst) == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

 private:
  base::SpinLock lock_;  // leaf
  FiberList list_ ROOST_GUARDED_BY(lock_);
  std::atomic<std::size_t> size_{0};  // of list_; stored under the lock
};

}  // namespace roost::runtime
