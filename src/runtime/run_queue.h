// RunQueue: one worker's bounded ring of runnable fibers. The owner pushes at the tail and pops at the head; thieves take
// half of what is there from the head.
//
// Invariants
//   R1  head_ and tail_ only grow (modulo 2^32); their distance never exceeds capacity; they are masked on use.
//   R2  every slot in [head_, tail_) holds a runnable fiber that is in no other queue.
//   R3  only the owning worker stores tail_; owner and thieves race for head_ by compare-exchange.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "runtime/fiber.h"

namespace roost::runtime {

class RunQueue {
 public:
#if defined(ROOST_MODEL_CHECK)
  static constexpr std::uint32_t capacity = 4;  // small: more wrap-arounds
#else
  static constexpr std::uint32_t capacity = 256;
#endif
  static_assert(std::has_single_bit(capacity), "indices are masked, so capacity is a power of two");

  // Owner only. False when full: the caller moves half to the shared queue.
  [[nodiscard]] bool push(Fiber* fiber) noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    // Acquire pairs with the release of a thief's compare-exchange: its reads of the slots come before our overwrite.
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    if (tail - head == capacity) return false;
    slots_[tail & mask].store(fiber, std::memory_order_relaxed);
    // Release pairs with the acquire in steal(): a thief that sees this tail also sees the slot.
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // Owner only. Null when empty.
  [[nodiscard]] Fiber* pop() noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    std::uint32_t head = head_.load(std::memory_order_acquire);
    while (head != tail) {
      Fiber* fiber = slots_[head & mask].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel, std::memory_order_acquire)) return fiber;
    }
    return nullptr;
  }

  // Owner only. The fiber that pop() would return; null when empty. A thief may take it at any moment: a hint.
  [[nodiscard]] Fiber* peek() const noexcept {
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_relaxed)) return nullptr;
    return slots_[head & mask].load(std::memory_order_relaxed);
  }

  // Any thread: takes half of the fibers, rounded up, at most out.size(). Returns how many.
  std::uint32_t steal(std::array<Fiber*, capacity / 2>& out) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      // Acquire pairs with the release in push().
      const std::uint32_t tail = tail_.load(std::memory_order_acquire);
      const std::uint32_t available = tail - head;
      if (available == 0) return 0;
      if (available > capacity) {  // head and tail were read at different times
        head = head_.load(std::memory_order_acquire);
        continue;
      }
      const std::uint32_t count = available - available / 2;
      for (std::uint32_t i = 0; i < count; ++i) out[i] = slots_[(head + i) & mask].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, head + count, std::memory_order_acq_rel, std::memory_order_acquire)) {
        return count;
      }
    }
  }

  // Exact for the owner, a guess for everybody else.
  [[nodiscard]] std::uint32_t size() const noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_acquire);
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t count = tail - head;
    return count > capacity ? 0 : count;
  }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

 private:
  static constexpr std::uint32_t mask = capacity - 1;

  alignas(64) std::atomic<std::uint32_t> head_{0};  // R3
  alignas(64) std::atomic<std::uint32_t> tail_{0};  // R3
  std::array<std::atomic<Fiber*>, capacity> slots_{};
};

}  // namespace roost::runtime
