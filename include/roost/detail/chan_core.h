// What channels are made of. Not for users; here because the fast paths are inline.
//
// Invariants, under lock_:
//   C1  receivers_ wait only while nothing is buffered; senders_ wait only while the buffer is full (always, if it has
//       no room at all). So one of the two lists is free of waiters that are still undecided.
//   C2  slots [head_, head_ + size_) of the ring, modulo capacity_, hold values; no others do.
//   C3  after close nobody waits.
// A value goes from hand to hand: whoever finds a counterpart waiting moves the value to or from the counterpart's own
// stack and wakes it. Values are moved under the lock, so moving one may neither throw nor park.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <roost/detail/ref_counted.h>
#include <roost/detail/wait.h>

namespace roost::detail {

enum class ChanStep : std::uint8_t { would_wait, done, closed };
enum class ChanSide : std::uint8_t { receive, send };

class ChanCore {
 public:
  ChanCore(RefCounted& owner, std::uint32_t capacity, void* ring) noexcept
      : capacity_(capacity), ring_(ring), owner_(owner) {}
  ChanCore(const ChanCore&) = delete;
  ChanCore& operator=(const ChanCore&) = delete;

  void retain() noexcept { owner_.retain(); }
  void release() noexcept { owner_.release(); }

  // Unannotated: a select holds the locks of several channels at once.
  void lock() noexcept ROOST_NO_THREAD_SAFETY_ANALYSIS { lock_.lock(); }
  // ... and wakes whom the step that was taken under the lock has answered.
  void unlock_and_wake(WaiterId waiter) noexcept ROOST_NO_THREAD_SAFETY_ANALYSIS {
    const std::uint32_t turns = ++turns_;
    lock_.unlock();
    wake(waiter);
    // A pair that never has to wait would keep its worker from everybody else.
    if (turns % turns_between_yields == 0) [[unlikely]] spend_turn();
  }
  void unlock() noexcept ROOST_NO_THREAD_SAFETY_ANALYSIS { lock_.unlock(); }

  // Guesses without the lock. False means that there was a moment since the call began when it would have had to wait;
  // for one channel alone that is an answer, for several it is not.
  [[nodiscard]] bool maybe_receivable() const noexcept {
    return size_.load(std::memory_order_acquire) != 0 || senders_.any() || closed_.load(std::memory_order_acquire);
  }
  [[nodiscard]] bool maybe_sendable() const noexcept {
    return receivers_.any() || size_.load(std::memory_order_acquire) < capacity_ || closed_.load(std::memory_order_acquire);
  }

  // Called with the lock, which it gives back. Parks until a counterpart has dealt with the node (done), the channel was
  // closed, or something came between (`end` then says what, and the result is would_wait).
  ChanStep wait(ChanSide side, WaitNode& node, Deadline deadline, WaitEnd& end) noexcept;
  // False: it was closed before. Wakes everybody.
  bool close() noexcept;
  // For close() under a lock that its caller holds already: takes everybody out, to be answered `closed` after the unlock.
  void close_locked(WaitChain& waiting) noexcept;

  // What a channel that is null does: parks until something comes between.
  static WaitEnd wait_forever(ChanSide side, Deadline deadline) noexcept;

  // Guarded by the lock.
  WaitList& waiters(ChanSide side) noexcept { return side == ChanSide::receive ? receivers_ : senders_; }
  [[nodiscard]] bool closed_locked() const noexcept { return closed_.load(std::memory_order_relaxed); }

  [[nodiscard]] std::size_t len() const noexcept { return is_timer_ ? 0 : size_.load(std::memory_order_acquire); }
  [[nodiscard]] std::size_t cap() const noexcept { return is_timer_ ? 0 : capacity_; }

 protected:
  static constexpr std::uint32_t turns_between_yields = 64;

  base::SpinLock lock_;               // leaf, but for TimerQueue's in src/sync/timer.cc
  std::atomic<bool> closed_{false};   // stored under the lock
  bool is_timer_ = false;             // constant; its one slot is nobody's business: len() and cap() are 0
  const std::uint32_t capacity_;
  std::atomic<std::uint32_t> size_{0};  // stored under the lock
  std::uint32_t head_ = 0;
  std::uint32_t turns_ = 0;
  WaitList receivers_;
  WaitList senders_;
  void* const ring_;
  RefCounted& owner_;                 // what keeps this alive
};

template <class T>
class ChanImpl : public ChanCore {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "a channel moves its values under a lock: T's move constructor and destructor must be noexcept");
  using ChanCore::ChanCore;

  // The steps below are called with the lock. `waiter` is to be woken after the unlock.

  // Moves a value into the raw storage `out`.
  ChanStep receive_locked(void* out, WaiterId& waiter) noexcept {
    if (const std::uint32_t size = size_.load(std::memory_order_relaxed); size != 0) {
      T* slot = slots() + head_;
      ::new (out) T(std::move(*slot));
      slot->~T();
      if (++head_ == capacity_) head_ = 0;
      if (WaitNode* sender = senders_.pop_claimed()) {  // the slot just freed is the one behind the last value
        ::new (static_cast<void*>(slot)) T(std::move(*static_cast<T*>(sender->value)));
        waiter = answer(*sender, Answer::granted);
      } else {
        size_.store(size - 1, std::memory_order_release);
      }
      return ChanStep::done;
    }
    if (WaitNode* sender = senders_.pop_claimed()) {
      ::new (out) T(std::move(*static_cast<T*>(sender->value)));
      waiter = answer(*sender, Answer::granted);
      return ChanStep::done;
    }
    return closed_locked() ? ChanStep::closed : ChanStep::would_wait;
  }

  // Moves from `value` if, and only if, the step is done.
  ChanStep send_locked(T& value, WaiterId& waiter) noexcept {
    if (closed_locked()) [[unlikely]] return ChanStep::closed;
    if (WaitNode* receiver = receivers_.pop_claimed()) {
      ::new (receiver->value) T(std::move(value));
      waiter = answer(*receiver, Answer::granted);
      return ChanStep::done;
    }
    const std::uint32_t size = size_.load(std::memory_order_relaxed);
    if (size == capacity_) return ChanStep::would_wait;
    std::uint32_t tail = head_ + size;
    if (tail >= capacity_) tail -= capacity_;
    ::new (static_cast<void*>(slots() + tail)) T(std::move(value));
    size_.store(size + 1, std::memory_order_release);
    return ChanStep::done;
  }

  // Destroys what is buffered.
  void clear_locked() noexcept {
    for (std::uint32_t left = size_.load(std::memory_order_relaxed); left > 0; --left) {
      (slots() + head_)->~T();
      if (++head_ == capacity_) head_ = 0;
    }
    size_.store(0, std::memory_order_relaxed);
  }

 protected:
  T* slots() noexcept { return static_cast<T*>(ring_); }
};

// A channel of its own: one allocation, the ring behind it.
template <class T>
struct HeapChan final : RefCounted {
  static constexpr std::size_t alignment = alignof(T) > 64 ? alignof(T) : 64;

  static ChanImpl<T>* make(std::size_t capacity) {
    if (capacity > max_capacity()) misuse("a channel was made with a capacity that is negative or beyond all memory");
    const std::size_t bytes = ring_offset() + capacity * sizeof(T);
    void* memory = ::operator new(bytes, std::align_val_t(alignment));
    auto* heap = ::new (memory) HeapChan(static_cast<std::uint32_t>(capacity), static_cast<std::byte*>(memory) + ring_offset());
    return &heap->chan;
  }

  HeapChan(std::uint32_t capacity, void* ring) noexcept : RefCounted(&HeapChan::destroy), chan(*this, capacity, ring) {}

  static void destroy(RefCounted* self) noexcept {
    auto* heap = static_cast<HeapChan*>(self);
    heap->chan.clear_locked();
    heap->~HeapChan();
    ::operator delete(static_cast<void*>(heap), std::align_val_t(alignment));
  }

  static constexpr std::size_t max_capacity() noexcept {
    constexpr std::size_t by_memory = (~std::size_t{0} >> 1) / sizeof(T);
    constexpr std::size_t by_counter = 0x7FFF'FFFF;
    return by_memory < by_counter ? by_memory : by_counter;
  }
  static constexpr std::size_t ring_offset() noexcept {
    return (sizeof(HeapChan) + alignof(T) - 1) / alignof(T) * alignof(T);
  }

  ChanImpl<T> chan;
};

// Raw room for one value.
template <class T>
struct Room {
  alignas(T) std::byte bytes[sizeof(T)];
  T* get() noexcept { return std::launder(reinterpret_cast<T*>(bytes)); }
  // Moves the value out and leaves the room raw again.
  T take() noexcept {
    T value = std::move(*get());
    get()->~T();
    return value;
  }
};

}  // namespace roost::detail
