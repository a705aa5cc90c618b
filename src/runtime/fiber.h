// Fiber: the control block of one fiber. It lies at the top of the fiber's own stack, in the page that is touched anyway.
//
// A control block is recycled with its stack and never unmapped while the process lives, so waking a fiber is always safe:
// at worst it wakes the slot's next tenant, and every wait in roost checks its own condition again after waking.
//
// States (FiberState), and who may change them:
//   from \ to   running                      notified            parked
//   running     -                            unpark()            the worker, after switching away
//   notified    park(), or the worker        -                   -
//   parked      unpark(), who then queues it -                   -                   (examined: begin_examination())
//   examined    -                            unpark()            end_examination()
// "running" covers waiting in a run queue. A wake-up that comes before the park is kept as "notified", so none is lost; so is
// one that comes while somebody looks at the stack of a parked fiber ("examined"), who then queues it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <roost/detail/spawn.h>

#include "arch/context.h"
#include "time/timer_queue.h"

namespace roost::runtime {

enum class FiberState : std::uint32_t { running = 0, notified = 1, parked = 2, examined = 3 };

// Why a fiber is parked: for dumps, metrics and the deadlock detector.
enum class WaitReason : std::uint8_t {
  none,
  io_read,
  io_write,
  io_turn,  // another fiber is inside a call of the same direction
  sleep,
  join,
  blocking,
  channel_send,
  channel_receive,
  select,
  mutex,
  rw_lock,
  condition,
  wait_group,
  semaphore,
  once,
  task_group,
  context,
  pool,
  close,
  resolver,
  shutdown,
};
inline constexpr std::size_t wait_reason_count = static_cast<std::size_t>(WaitReason::shutdown) + 1;
[[nodiscard]] const char* wait_reason_name(WaitReason reason) noexcept;
// A descriptor or a timer may end it: no deadlock however long it lasts.
[[nodiscard]] constexpr bool is_external(WaitReason reason) noexcept {
  return reason == WaitReason::io_read || reason == WaitReason::io_write || reason == WaitReason::sleep ||
         reason == WaitReason::blocking || reason == WaitReason::shutdown;
}

// What the C++ runtime keeps per thread and a fiber must take along: the exceptions being handled, and how many are in
// flight (the layout is fixed by the Itanium C++ ABI: __cxa_eh_globals).
struct ExceptionState {
  void* caught = nullptr;
  unsigned int uncaught = 0;
  [[nodiscard]] bool any() const noexcept { return caught != nullptr || uncaught != 0; }
};

class Worker;

}  // namespace roost::runtime

namespace roost::detail {

// What every switch touches, and dumps read: one cache line, the first of the control block.
struct FiberHot {
  arch::Context context;
  std::atomic<runtime::FiberState> state{runtime::FiberState::running};
  std::atomic<std::uint32_t> flags{0};
  runtime::Worker* home = nullptr;     // the worker it is bound to, or null
  runtime::ExceptionState exceptions;  // while not running

  // Written at park.
  std::atomic<std::int64_t> wait_since_ns{0};
  std::atomic<const void*> wait_object{nullptr};
  std::atomic<runtime::WaitReason> wait_reason{runtime::WaitReason::none};
  // This park is timed: wait_since_ns is exact. `woken`: and since then it is the time of the wake-up.
  enum class Sample : std::uint8_t { none, parked, woken };
  Sample sample = Sample::none;       // owned by whoever holds the fiber
  std::atomic<bool> live{false};      // started and not yet released
  std::atomic<bool> ended{false};     // the closure has returned
  std::atomic<std::uint32_t> references{0};  // the fiber itself, and its handle
};
#if !defined(ROOST_ASAN) && !defined(ROOST_TSAN)
static_assert(sizeof(FiberHot) == 64, "what a switch touches is to fit into one cache line");
#endif

class alignas(64) Fiber : public FiberHot, public time::Timer {
 public:
  // Bits of `flags`. Any of them makes calls that park fail; the first one stands for good, the others come and go with the
  // Context that the fiber runs under (src/sync/context.cc).
  static constexpr std::uint32_t flag_canceled = 1;          // by its handle, or because the runtime stops
  static constexpr std::uint32_t flag_context_canceled = 2;
  static constexpr std::uint32_t flag_context_expired = 4;   // the context's deadline has passed

  Fiber() noexcept : Timer(&Fiber::on_timer) {}

  Fiber* next = nullptr;              // link in a FiberList; owned by whoever holds the fiber
  std::uint8_t size_class = 0;        // of the stack, see stack_arena.h; constant
  bool task_on_heap = false;          // too large for the stack
  const FiberProgram* program = nullptr;
  void* task = nullptr;
  std::atomic<const char*> name{nullptr};
  std::atomic<std::uint64_t> id{0};   // never used twice; a dump reads it while the fiber may end and another begin
  std::atomic<std::uintptr_t> joiner{0};  // a runtime::Waiter's bits
  void* locals = nullptr;             // fiber-local values; owned, freed when the fiber ends
  void (*locals_free)(void*) noexcept = nullptr;
  void* context_state = nullptr;      // the Context of this fiber (src/sync), or null

  // What lies under the control block: the stack proper grows down from stack_top.
  std::byte* stack_low = nullptr;     // first usable byte, above the guard page
  std::byte* stack_top = nullptr;

  [[nodiscard]] bool is_canceled() const noexcept { return flags.load(std::memory_order_relaxed) != 0; }
  // Canceled by nothing but its context's deadline.
  [[nodiscard]] bool is_expired() const noexcept { return flags.load(std::memory_order_relaxed) == flag_context_expired; }

 private:
  static void on_timer(time::Timer& timer) noexcept;
};

}  // namespace roost::detail

namespace roost::runtime {
using detail::Fiber;
}
