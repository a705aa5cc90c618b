// What happens when a fiber runs into its guard page: a clear line with its name and stack instead of a bare SIGSEGV.
//
// The handler runs on an alternate stack, because the fiber's own is used up. Faults that are none of roost's business go to
// whatever handler was there before.
#pragma once

#include <cstddef>

namespace roost::runtime {

// Installs the handler, and one for std::terminate that names the fiber an exception has left, once per process.
void install_fault_handler() noexcept;

// The alternate signal stack of the thread that constructs it.
class FaultStack {
 public:
  FaultStack() noexcept;
  ~FaultStack();
  FaultStack(const FaultStack&) = delete;
  FaultStack& operator=(const FaultStack&) = delete;

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace roost::runtime
