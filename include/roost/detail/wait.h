// What every primitive of roost/sync waits with. Not for users; here because fast paths are inline.
//
// Whoever waits puts a WaitNode that lies on its own stack into the primitive's WaitList, under the primitive's SpinLock,
// and parks until somebody has taken the node out and answered it. A node is answered exactly once; after that its owner
// may return and the node is gone, so whoever answers reads `waiter` first and wakes it last:
//
//   const WaiterId waiter = answer(node, Answer::granted);   // under the lock
//   lock.unlock();
//   wake(waiter);                                            // safe however late: fibers and threads are never unmapped
//
// A select waits with one node per case; all of them share one Selection.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include <roost/detail/spin_lock.h>
#include <roost/time/deadline.h>

namespace roost::runtime {
enum class WaitReason : std::uint8_t;
}

namespace roost::detail {

// A fiber or a plain thread (runtime::Waiter's bits); 0 is nobody.
using WaiterId = std::uintptr_t;

[[nodiscard]] WaiterId current_waiter() noexcept;
void wake_waiter(WaiterId waiter) noexcept;
inline void wake(WaiterId waiter) noexcept {
  if (waiter != 0) wake_waiter(waiter);
}

// Tells what a wrong program did, with the fiber's name and stack, and ends the process.
[[noreturn, gnu::cold]] void misuse(const char* what) noexcept;

// What a waiter is told. For channels `granted` means that the value has been handed over.
enum class Answer : std::uint32_t { none, granted, closed, compete };

// One select under way: which of its cases has been chosen. Changed once, by compare-exchange from `undecided`, by whoever
// holds the lock of the chosen case's channel, or by the selecting fiber itself when it gives up.
struct Selection {
  static constexpr std::uint32_t undecided = ~std::uint32_t{0};
  static constexpr std::uint32_t given_up = undecided - 1;
  std::atomic<std::uint32_t> chosen{undecided};

  bool choose(std::uint32_t index) noexcept {
    std::uint32_t expected = undecided;
    return chosen.compare_exchange_strong(expected, index, std::memory_order_acq_rel, std::memory_order_acquire);
  }
};

struct WaitNode {
  WaitNode() noexcept = default;
  explicit WaitNode(void* where) noexcept : value(where) {}
  WaitNode(const WaitNode&) = delete;
  WaitNode& operator=(const WaitNode&) = delete;

  // Guarded by the primitive's lock.
  WaitNode* next = nullptr;
  WaitNode* previous = nullptr;
  bool linked = false;

  // Written by the owner before the node is linked.
  WaiterId waiter = 0;
  void* value = nullptr;            // a sender's value, or room for a receiver's
  Selection* selection = nullptr;   // the select this node is a case of, or null
  std::uint32_t number = 0;         // the case's index; a semaphore's weight

  std::atomic<Answer> answer{Answer::none};
};

// First in, first out; guarded by its owner's lock, except any().
class WaitList {
 public:
  void push_back(WaitNode& node) noexcept {
    node.next = nullptr;
    node.previous = tail_;
    node.linked = true;
    if (tail_ == nullptr) {
      head_.store(&node, std::memory_order_relaxed);
    } else {
      tail_->next = &node;
    }
    tail_ = &node;
  }
  void push_front(WaitNode& node) noexcept {
    WaitNode* first = front();
    node.next = first;
    node.previous = nullptr;
    node.linked = true;
    (first == nullptr ? tail_ : first->previous) = &node;
    head_.store(&node, std::memory_order_relaxed);
  }
  [[nodiscard]] WaitNode* front() const noexcept { return head_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool empty() const noexcept { return front() == nullptr; }
  WaitNode* pop_front() noexcept {
    WaitNode* node = front();
    if (node != nullptr) remove(*node);
    return node;
  }
  // The first node that may be answered: cases of a select that was decided elsewhere are dropped on the way.
  WaitNode* pop_claimed() noexcept {
    while (WaitNode* node = pop_front()) {
      if (node->selection == nullptr || node->selection->choose(node->number)) return node;
    }
    return nullptr;
  }
  void remove(WaitNode& node) noexcept {
    if (node.previous == nullptr) {
      head_.store(node.next, std::memory_order_relaxed);
    } else {
      node.previous->next = node.next;
    }
    (node.next == nullptr ? tail_ : node.next->previous) = node.previous;
    node.linked = false;
  }
  // A guess without the lock.
  [[nodiscard]] bool any() const noexcept { return head_.load(std::memory_order_acquire) != nullptr; }

 private:
  std::atomic<WaitNode*> head_{nullptr};
  WaitNode* tail_ = nullptr;
};

inline WaiterId answer(WaitNode& node, Answer what) noexcept {
  const WaiterId waiter = node.waiter;
  // Release pairs with the acquire in the waiter's loop: the value handed over, and all that came before it, is seen.
  node.answer.store(what, std::memory_order_release);
  return waiter;
}

// Nodes that were taken out under a lock, to be answered after it.
class WaitChain {
 public:
  void push(WaitNode* node) noexcept {
    node->next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = node;
    last_ = node;
  }
  WaitNode* pop() noexcept {
    WaitNode* node = first_;
    if (node != nullptr) first_ = node->next;
    return node;
  }
  // Leaves the chain empty. In the order in which they were taken out.
  void answer_all(Answer what) noexcept {
    while (WaitNode* node = pop()) wake(answer(*node, what));
  }

 private:
  WaitNode* first_ = nullptr;
  WaitNode* last_ = nullptr;
};

// Why a wait that can be interrupted ended.
enum class WaitEnd : std::uint8_t { answered, canceled, timed_out };

// The error a call reports. Not for `answered`.
[[nodiscard]] std::error_code wait_error(WaitEnd end) noexcept;

// Gives way once in a while, so that calls that always succeed at once starve nobody.
void spend_turn() noexcept;
// The same for a call that only tried and found nothing, which takes next to no time: it counts for a sixteenth.
void spend_miss() noexcept;

}  // namespace roost::detail
