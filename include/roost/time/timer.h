// Timer: something that happens once, later. Ticker (roost/time/ticker.h): again and again.
//
//   roost::Timer timer(2s);
//   roost::select(roost::on_receive(replies, ...), roost::on_receive(timer.channel(), ...));
//
//   roost::Timer save = roost::after_func(1s, [] { ... });      // runs in a fiber of its own
//   save.reset(1s);                                             // not yet
//   save.stop();
//
// To wait for a time take sleep_until(); to give up on a call take its deadline; to give up on a select take on_timeout(): all of
// these are cheaper, as they need no timer of their own.
//
// On the steady clock, never early. A Timer is a handle, shared by copying; making one is one allocation (after_func: two). All
// calls may be made from any fiber or thread while a runtime runs. After stop() or reset() has returned, nothing of the time
// before can be received any more (as in Go since 1.23); for the same reason len() and cap() of the channel are 0.
#pragma once

#include <chrono>
#include <concepts>
#include <type_traits>
#include <utility>

#include <roost/detail/ref_counted.h>
#include <roost/error.h>
#include <roost/go.h>
#include <roost/sync/chan.h>
#include <roost/time/deadline.h>

namespace roost {

using TimePoint = Deadline::Clock::time_point;

namespace detail {

struct TimerNode;  // src/sync/timer.cc

// What a timer starts when it fires.
struct TimerFunction : RefCounted {
  using Start = void (*)(TimerFunction*) noexcept;
  TimerFunction(Last last_goes, Start starts) noexcept : RefCounted(last_goes), start(starts) {}
  const Start start;
};

template <class F>
struct TimerFunctionOf final : TimerFunction {
  explicit TimerFunctionOf(F f) : TimerFunction(&TimerFunctionOf::destroy_this, &TimerFunctionOf::run), function(std::move(f)) {}
  static void destroy_this(RefCounted* self) noexcept { delete static_cast<TimerFunctionOf*>(self); }
  static void run(TimerFunction* self) noexcept {
    go(SpawnOptions{.name = "after_func"},
       [held = Ref<TimerFunctionOf>::share(static_cast<TimerFunctionOf*>(self))] { static_cast<void>(held->function()); });
  }
  F function;
};

// A timer as its handles see it.
class TimerHandle {
 public:
  TimerHandle() noexcept = default;
  // Not started yet. `function`: a reference that is taken over; null: it sends on its channel.
  static TimerHandle make(TimerFunction* function);

  // Fires at `when_ns`, and then every `period_ns` if that is not 0. Returns as stop().
  bool start(std::int64_t when_ns, std::int64_t period_ns) const noexcept;
  // True: a firing was prevented, or the value of one that had not been received was taken back.
  bool stop() const noexcept;
  [[nodiscard]] ReceiveChan<TimePoint> channel() const noexcept;
  explicit operator bool() const noexcept { return static_cast<bool>(owner_); }

 private:
  Ref<RefCounted> owner_;
  TimerNode* node_ = nullptr;
};

[[nodiscard]] inline std::int64_t when_after(std::chrono::nanoseconds span) noexcept { return Deadline::after(span).ns(); }

}  // namespace detail

class Timer {
 public:
  // No timer: stop() is false, the channel null, reset() misuse.
  Timer() noexcept = default;
  // Fires `span` from now; at once if that is zero or less. When the last handle and the last copy of the channel are
  // dropped, it is stopped. Misuse outside a running runtime, as on a thread that outlives roost::run(): ends the process.
  explicit Timer(std::chrono::nanoseconds span) : handle_(detail::TimerHandle::make(nullptr)) {
    handle_.start(detail::when_after(span), 0);
  }

  // True: it will not fire. False: it has fired, or was stopped before; a function it started may still run.
  bool stop() noexcept { return handle_ && handle_.stop(); }
  // Fires `span` from now instead, whether it has fired or not. Returns what stop() would have. Needs a runtime, as above.
  bool reset(std::chrono::nanoseconds span) noexcept {
    if (!handle_) detail::misuse("reset of a Timer that was never made");
    return handle_.start(detail::when_after(span), 0);
  }

  // Where the time of firing is sent. Null for a timer of after_func().
  [[nodiscard]] ReceiveChan<TimePoint> channel() const noexcept { return handle_ ? handle_.channel() : nullptr; }
  // Parks until it fires. Errors: timed_out (`deadline` came first), operation_canceled.
  [[nodiscard]] Result<TimePoint> wait(Deadline deadline = Deadline::none()) const { return channel().receive(deadline); }

 private:
  template <class F>
    requires std::invocable<std::decay_t<F>&>
  friend Timer after_func(std::chrono::nanoseconds span, F&& function);

  detail::TimerHandle handle_;
};

// Calls `function()` in a fiber of its own, `span` from now. Dropping the Timer does not stop it. With reset() it may be called
// several times, also at the same time.
template <class F>
  requires std::invocable<std::decay_t<F>&>
Timer after_func(std::chrono::nanoseconds span, F&& function) {
  Timer timer;
  timer.handle_ = detail::TimerHandle::make(new detail::TimerFunctionOf<std::decay_t<F>>(std::forward<F>(function)));
  timer.handle_.start(detail::when_after(span), 0);
  return timer;
}

// A channel that gets the time, once, `span` from now.
[[nodiscard]] inline ReceiveChan<TimePoint> after(std::chrono::nanoseconds span) { return Timer(span).channel(); }

}  // namespace roost
