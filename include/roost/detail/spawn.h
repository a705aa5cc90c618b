// What go() expands to. Not for users; here because templates need it.
//
// A fiber's closure and its result live at the top of the fiber's own stack, in the page that is touched anyway,
// so that starting a fiber allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

namespace roost::detail {

class Fiber;

struct FiberProgram {
  void (*run)(void* task) noexcept;      // runs the closure, destroys it, keeps the result
  void (*destroy)(void* task) noexcept;  // destroys the result; null when there is nothing to destroy
  void (*abandon)(void* task) noexcept;  // destroys a closure that never ran
};

struct NewFiber {
  Fiber* fiber = nullptr;  // null: no stack was to be had
  void* task = nullptr;    // uninitialised room for the closure and the result
};

// `stack_bytes` 0 means the runtime's default. May be called from fibers and, while a runtime runs, from any thread.
NewFiber new_fiber(std::size_t task_bytes, std::size_t stack_bytes, const char* name) noexcept;
// As new_fiber, but prints why and ends the process when there is no stack.
NewFiber new_fiber_or_die(std::size_t task_bytes, std::size_t stack_bytes, const char* name) noexcept;
// Makes the fiber runnable. `joinable`: a handle holds a reference until release_fiber().
void start_fiber(Fiber* fiber, const FiberProgram* program, bool joinable) noexcept;
void wait_fiber(Fiber* fiber) noexcept;  // parks until the fiber has ended
bool fiber_ended(const Fiber* fiber) noexcept;
void* fiber_task(Fiber* fiber) noexcept;
void release_fiber(Fiber* fiber) noexcept;
void cancel_fiber(Fiber* fiber) noexcept;
std::uint64_t fiber_id(const Fiber* fiber) noexcept;

template <class R>
struct ResultSlot {
  alignas(R) unsigned char bytes[sizeof(R)];
  R* get() noexcept { return std::launder(reinterpret_cast<R*>(bytes)); }
};
template <>
struct ResultSlot<void> {};

template <class R>
R* fiber_result(Fiber* fiber) noexcept {
  return static_cast<ResultSlot<R>*>(fiber_task(fiber))->get();
}

template <class F>
struct Task {
  using R = std::invoke_result_t<F&>;
  static_assert(!std::is_reference_v<R>, "a fiber returns a value; return a pointer or std::reference_wrapper");

  explicit Task(F&& f) : function(std::move(f)) {}
  explicit Task(const F& f) : function(f) {}
  ~Task() {}  // the members of the union are destroyed by run(), destroy() or abandon()

  [[no_unique_address]] ResultSlot<R> result;  // first, so that fiber_result() finds it without knowing F
  union {
    F function;
  };

  static void run(void* self) noexcept {
    auto* task = static_cast<Task*>(self);
    if constexpr (std::is_void_v<R>) {
      task->function();
    } else {
      ::new (static_cast<void*>(task->result.bytes)) R(task->function());
    }
    task->function.~F();
  }
  static void destroy(void* self) noexcept {
    if constexpr (!std::is_void_v<R>) static_cast<Task*>(self)->result.get()->~R();
  }
  static void abandon(void* self) noexcept { static_cast<Task*>(self)->function.~F(); }

  static constexpr bool destroys = !std::is_void_v<R> && !std::is_trivially_destructible_v<R>;
  static constexpr FiberProgram program{&run, destroys ? &destroy : nullptr, &abandon};
};

}  // namespace roost::detail
