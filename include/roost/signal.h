// Process signals as something a fiber waits for.
#pragma once

#include <initializer_list>

#include <roost/error.h>
#include <roost/time/deadline.h>

namespace roost {

// While it lives, the named signals do not end the process but are delivered here. One at a time per process.
class SignalSet {
 public:
  explicit SignalSet(std::initializer_list<int> signals);
  ~SignalSet();
  SignalSet(const SignalSet&) = delete;
  SignalSet& operator=(const SignalSet&) = delete;

  // Parks until one of the signals has come and returns its number. Errors: timed_out, operation_canceled.
  Result<int> wait(Deadline deadline = Deadline::none());

 private:
  struct State;
  State* state_;
};

}  // namespace roost
