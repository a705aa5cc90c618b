// Process signals as something a fiber waits for, and as the end of a context.
//
//   auto [context, cancel] = roost::with_signals({}, {SIGINT, SIGTERM});
//   serve(context);                                       // until somebody asks it to end
//   cancel();                                             // from here on a second Ctrl-C ends the process
//
// All of it needs a running runtime.
#pragma once

#include <initializer_list>
#include <memory>

#include <roost/error.h>
#include <roost/sync/context.h>
#include <roost/time/deadline.h>

namespace roost {

// While it lives, the named signals do not do to the process what they usually do, but are delivered here. Several sets may
// name the same signal: each gets it. When the last one that names it is gone, what the signal did before is restored.
// At most 64 sets at a time. A signal that cannot be caught (SIGKILL, SIGSTOP) is misuse and ends the process with a message.
class SignalSet {
 public:
  explicit SignalSet(std::initializer_list<int> signals);
  ~SignalSet();
  SignalSet(const SignalSet&) = delete;
  SignalSet& operator=(const SignalSet&) = delete;

  // Parks until one of the signals has come and returns its number; each arrival once, in order (thousands that nobody
  // waits for are kept). Errors: timed_out, operation_canceled.
  [[nodiscard]] Result<int> wait(Deadline deadline = Deadline::none());

  // Nothing that arrives after this has returned is delivered here; it does what it would do without this set. Never parks.
  void stop() noexcept;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

// The process ignores these signals from now on, and no SignalSet gets them.
void ignore_signals(std::initializer_list<int> signals) noexcept;
// They do what they do by default from now on, and no SignalSet gets them.
void reset_signals(std::initializer_list<int> signals) noexcept;

// A context that ends with `parent`, by its Canceler, or when one of the signals arrives; then its cause() is
// std::errc::interrupted. Once it is done the signals do again what they did before.
[[nodiscard]] CancelableContext with_signals(const Context& parent, std::initializer_list<int> signals);

}  // namespace roost
