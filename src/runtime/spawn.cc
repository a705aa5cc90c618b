// Starting and ending fibers: what go() and Handle stand on.
#include <roost/detail/spawn.h>

#include <cstdlib>
#include <new>

#include "base/assert.h"
#include "runtime/parking.h"
#include "runtime/runtime_state.h"

namespace roost::runtime {
void prepare_entry(Fiber& fiber) noexcept;

namespace {

// Closures up to this size lie on the fiber's own stack, in the page of its control block.
constexpr std::size_t task_bytes_on_stack_max = 1024;
constexpr std::size_t stack_alignment = 16;

std::uintptr_t align_down(std::uintptr_t address, std::size_t alignment) noexcept { return address & ~(alignment - 1); }

}  // namespace
}  // namespace roost::runtime

namespace roost::detail {

using runtime::Runtime;
using runtime::StackArena;
using runtime::Worker;

NewFiber new_fiber(std::size_t task_bytes, std::size_t stack_bytes, const char* name) noexcept {
  Runtime* runtime = Runtime::current();
  ROOST_ASSERT(runtime != nullptr, "roost::go needs a running runtime; call it inside roost::run");
  Worker* worker = runtime::current_worker();
  const int size_class =
      stack_bytes == 0 ? runtime->stack_class : StackArena::class_for(stack_bytes * arch::stack_scale);
  if (size_class < 0) return {};
  Fiber* fiber = nullptr;
  if (worker != nullptr && size_class == runtime->stack_class) {
    fiber = worker->take_stack();
  } else {
    runtime->arena.take(size_class, &fiber, 1);
  }
  if (fiber == nullptr) {
    runtime::count(&runtime::WorkerCounters::fiber_start_failures);
    return {};
  }

  std::uintptr_t top = reinterpret_cast<std::uintptr_t>(fiber);
  void* task;
  fiber->task_on_heap = task_bytes > runtime::task_bytes_on_stack_max;
  if (fiber->task_on_heap) {
    task = ::operator new(task_bytes, std::align_val_t(64), std::nothrow);
    if (task == nullptr) {
      runtime->arena.give(size_class, &fiber, 1);
      runtime::count(&runtime::WorkerCounters::fiber_start_failures);
      return {};
    }
  } else {
    top = runtime::align_down(top - task_bytes, runtime::stack_alignment);
    task = reinterpret_cast<void*>(top);
  }
  fiber->stack_top = reinterpret_cast<std::byte*>(top);
  fiber->task = task;
  fiber->name.store(name, std::memory_order_relaxed);
  fiber->joiner.store(0, std::memory_order_relaxed);
  fiber->ended.store(false, std::memory_order_relaxed);
  fiber->locals = nullptr;
  fiber->locals_free = nullptr;
  fiber->context_state = nullptr;
  fiber->exceptions = {};
  fiber->wait_reason.store(runtime::WaitReason::none, std::memory_order_relaxed);
  // A wake-up meant for the last tenant may still be stored here; it must not be kept for this one.
  fiber->state.store(runtime::FiberState::running, std::memory_order_relaxed);
  return {fiber, task};
}

NewFiber new_fiber_or_die(std::size_t task_bytes, std::size_t stack_bytes, const char* name) noexcept {
  const NewFiber made = new_fiber(task_bytes, stack_bytes, name);
  ROOST_ASSERT(made.fiber != nullptr,
               "roost::go: no memory or address space for another stack (or stack_bytes above 1 GiB); roost::try_go reports it");
  return made;
}

void start_fiber(Fiber* fiber, const FiberProgram* program, bool joinable) noexcept {
  Runtime* runtime = Runtime::current();
  fiber->program = program;
  fiber->references.store(joinable ? 2 : 1, std::memory_order_relaxed);
  runtime::prepare_entry(*fiber);
  runtime->admit(*fiber);
}

void wait_fiber(Fiber* fiber) noexcept {
  ROOST_ASSERT(fiber != nullptr, "join() of a handle without a fiber");
  ROOST_ASSERT(fiber != runtime::current_fiber(), "a fiber joined itself");
  while (!fiber->ended.load(std::memory_order_acquire)) {
    // seq_cst on both sides: either the ending fiber sees us, or we see that it has ended.
    fiber->joiner.store(runtime::current_waiter().bits(), std::memory_order_seq_cst);
    if (fiber->ended.load(std::memory_order_seq_cst)) return;
    runtime::park(runtime::WaitReason::join, fiber);
  }
}

bool fiber_ended(const Fiber* fiber) noexcept {
  return fiber == nullptr || fiber->ended.load(std::memory_order_acquire);
}

void* fiber_task(Fiber* fiber) noexcept { return fiber->task; }
std::uint64_t fiber_id(const Fiber* fiber) noexcept { return fiber == nullptr ? 0 : fiber->id.load(std::memory_order_relaxed); }

void release_fiber(Fiber* fiber) noexcept {
  // Acquire-release: the last one sees what the other did with the result. Alone already: no need to tell anybody.
  if (fiber->references.load(std::memory_order_acquire) != 1 &&
      fiber->references.fetch_sub(1, std::memory_order_acq_rel) != 1) {
    return;
  }
  if (fiber->program->destroy != nullptr) fiber->program->destroy(fiber->task);
  if (fiber->task_on_heap) ::operator delete(fiber->task, std::align_val_t(64));
  fiber->live.store(false, std::memory_order_release);
  Worker* worker = runtime::current_worker();
  if (worker != nullptr && fiber->size_class == worker->runtime().stack_class) {
    worker->give_stack(fiber);
  } else {
    StackArena::instance().give(fiber->size_class, &fiber, 1);
  }
}

void cancel_fiber(Fiber* fiber) noexcept {
  if (fiber == nullptr) return;
  // seq_cst: see PollDesc::wait, which looks at the flag after it has published the fiber.
  fiber->flags.fetch_or(Fiber::flag_canceled, std::memory_order_seq_cst);
  runtime::unpark(fiber);
}

}  // namespace roost::detail
