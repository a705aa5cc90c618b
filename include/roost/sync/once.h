// Once: something that is done at most once, however many ask for it.
//
//   roost::Once once;
//   once.call([] { load_tables(); });
//
// The first caller runs the function; others park until it has ended and then return. Afterwards a call is one load. A function
// that throws counts as done; the exception goes to the caller that ran it. A function that calls the same Once waits
// for itself for ever, which the deadlock detector reports. Plain threads may call, too; those that wait block. Waits go on when
// the caller is canceled, as the function ends.
#pragma once

#include <atomic>
#include <functional>

#include <roost/sync/mutex.h>

namespace roost {

class Once {
 public:
  constexpr Once() noexcept = default;
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;

  template <class F>
  void call(F&& function) {
    // Acquire pairs with the release in Finish: what the function did is seen.
    if (done_.load(std::memory_order_acquire)) [[likely]] return;
    LockGuard guard(mutex_);
    if (done_.load(std::memory_order_relaxed)) return;
    const Finish finish{done_};
    std::invoke(std::forward<F>(function));
  }
  // True: the function has ended, and what it did is seen.
  [[nodiscard]] bool done() const noexcept { return done_.load(std::memory_order_acquire); }

 private:
  struct Finish {
    std::atomic<bool>& done;
    ~Finish() { done.store(true, std::memory_order_release); }
  };

  std::atomic<bool> done_{false};
  Mutex mutex_;
};

}  // namespace roost
