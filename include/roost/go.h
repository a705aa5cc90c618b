// Starting fibers, waiting for them, giving way.
//
//   roost::go([conn = std::move(conn)]() mutable { serve(conn); });       // runs by itself
//   auto sum = roost::go([&] { return add(a, b); });
//   use(sum.join());                                                      // parks until the result is there
//
// A fiber is a function with a stack of its own. Calls of roost that must wait park the fiber and leave its thread to
// others. A fiber may wake on another thread: do not keep the address of a thread_local, nor hold a std::mutex, across
// a call that may park.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

#include <roost/detail/function_ref.h>
#include <roost/detail/spawn.h>
#include <roost/error.h>

namespace roost {

struct SpawnOptions {
  // Shown in dumps and reports. Not copied: it must outlive the fiber, as a literal does.
  const char* name = nullptr;
  // Address space of this fiber's stack in bytes, rounded up to a power of two. 0: RuntimeOptions::stack_bytes.
  std::size_t stack_bytes = 0;
};

// A started fiber. Dropping it lets the fiber go on alone; join() waits for its end and takes the result.
// While it exists it keeps the fiber's stack, so do not collect handles that nobody joins.
template <class T>
class Handle {
 public:
  Handle() noexcept = default;
  Handle(Handle&& other) noexcept : fiber_(std::exchange(other.fiber_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      detach();
      fiber_ = std::exchange(other.fiber_, nullptr);
    }
    return *this;
  }
  ~Handle() { detach(); }

  // Parks the caller (blocks it, if it is a plain thread) until the fiber has ended, and returns what it returned.
  // Waits even when the caller is canceled: the fiber is canceled then, too, or is wanted to the end.
  // At most once per handle; a fiber that joins itself is a bug and ends the process.
  T join() {
    detail::wait_fiber(fiber_);
    detail::Fiber* fiber = std::exchange(fiber_, nullptr);
    if constexpr (std::is_void_v<T>) {
      detail::release_fiber(fiber);
    } else {
      T value = std::move(*detail::fiber_result<T>(fiber));
      detail::release_fiber(fiber);
      return value;
    }
  }

  [[nodiscard]] bool joinable() const noexcept { return fiber_ != nullptr; }
  // True once the fiber has ended: join() returns without parking.
  [[nodiscard]] bool done() const noexcept { return detail::fiber_ended(fiber_); }
  [[nodiscard]] std::uint64_t id() const noexcept { return detail::fiber_id(fiber_); }

  // Calls of that fiber that park, now and later, fail with operation_canceled. It is for the fiber to end then.
  void cancel() noexcept { detail::cancel_fiber(fiber_); }

  void detach() noexcept {
    if (fiber_ != nullptr) detail::release_fiber(std::exchange(fiber_, nullptr));
  }

 private:
  template <class F>
  friend auto try_go(const SpawnOptions& options, F&& function)
      -> Result<Handle<std::invoke_result_t<std::decay_t<F>&>>>;
  template <class F>
  friend auto go(const SpawnOptions& options, F&& function) -> Handle<std::invoke_result_t<std::decay_t<F>&>>;

  explicit Handle(detail::Fiber* fiber) noexcept : fiber_(fiber) {}

  detail::Fiber* fiber_ = nullptr;
};

// Starts a fiber that runs `function()`. Never parks. From a fiber the new one joins the worker's own queue; from a plain
// thread of a process with a running runtime it joins the queue that all workers share.
//
// An exception that leaves `function` ends the process with the fiber's name and stack; a TaskGroup collects it instead.
// When there is no memory or address space for a stack the process ends with a message; try_go() reports it.
template <class F>
auto go(const SpawnOptions& options, F&& function) -> Handle<std::invoke_result_t<std::decay_t<F>&>> {
  using T = detail::Task<std::decay_t<F>>;
  const detail::NewFiber made = detail::new_fiber_or_die(sizeof(T), options.stack_bytes, options.name);
  ::new (made.task) T(std::forward<F>(function));
  detail::start_fiber(made.fiber, &T::program, true);
  return Handle<typename T::R>(made.fiber);
}
template <class F>
  requires std::invocable<std::decay_t<F>&>
auto go(F&& function) {
  return go(SpawnOptions{}, std::forward<F>(function));
}

// As go(), but a lack of memory or address space is an error: not_enough_memory.
template <class F>
auto try_go(const SpawnOptions& options, F&& function) -> Result<Handle<std::invoke_result_t<std::decay_t<F>&>>> {
  using T = detail::Task<std::decay_t<F>>;
  const detail::NewFiber made = detail::new_fiber(sizeof(T), options.stack_bytes, options.name);
  if (made.fiber == nullptr) return fail(std::errc::not_enough_memory);
  ::new (made.task) T(std::forward<F>(function));
  detail::start_fiber(made.fiber, &T::program, true);
  return Handle<typename T::R>(made.fiber);
}

// Lets every other runnable fiber of this worker run first. Returns at once if there is none, and on a plain thread.
// Not for waiting: a loop around it keeps a processor busy.
void yield();

namespace this_fiber {
[[nodiscard]] bool exists() noexcept;           // false on a plain thread
[[nodiscard]] std::uint64_t id() noexcept;      // 1, 2, ...; 0 on a plain thread
void set_name(const char* name) noexcept;       // not copied: must outlive the fiber
[[nodiscard]] const char* name() noexcept;      // never null
[[nodiscard]] bool is_canceled() noexcept;      // calls that park fail with operation_canceled
[[nodiscard]] std::size_t stack_bytes_left() noexcept;  // below the caller's frame, guard page excluded
}  // namespace this_fiber

namespace detail {
void run_blocking(FunctionRef<void()> function);
}

// Runs `function` on a thread of its own kind, from an elastic pool, and parks the fiber until it has ended: the
// way to call what blocks a thread (files, getaddrinfo, a database client) or computes for long.
// Called on a plain thread it simply calls `function`. `function` may not use calls that park.
template <class F>
auto blocking(F&& function) -> std::invoke_result_t<F&> {
  using R = std::invoke_result_t<F&>;
  if constexpr (std::is_void_v<R>) {
    detail::run_blocking([&] { std::invoke(function); });
  } else {
    std::optional<R> value;
    detail::run_blocking([&] { value.emplace(std::invoke(function)); });
    return std::move(*value);
  }
}

}  // namespace roost
