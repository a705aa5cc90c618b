// Sema: the counting semaphore that other primitives are built of. Not for users; they have roost::Semaphore.
#pragma once

#include <cstdint>

#include <roost/detail/wait.h>

namespace roost::detail {

class Sema {
 public:
  constexpr Sema() noexcept = default;

  // Takes one; parks while there is none. Whoever came first is served first.
  void acquire(runtime::WaitReason reason) noexcept;
  // Puts one back, or hands it to the first in line. What it touches last is the waiter.
  void release(std::uint32_t count = 1) noexcept;

 private:
  base::SpinLock lock_;  // leaf
  std::uint32_t count_ ROOST_GUARDED_BY(lock_) = 0;
  WaitList waiting_ ROOST_GUARDED_BY(lock_);
};

}  // namespace roost::detail
