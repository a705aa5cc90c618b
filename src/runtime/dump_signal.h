// SIGQUIT: print all fibers and go on. On a thread of its own, so that it works when every worker is stuck.
//
// A signal's handler may do next to nothing, so it posts a semaphore, on which the thread waits.
#pragma once

#include <atomic>
#include <thread>

namespace roost::runtime {

class Runtime;

class DumpSignal {
 public:
  // Until it is destroyed SIGQUIT does nothing else. At most one at a time.
  explicit DumpSignal(Runtime& runtime);
  ~DumpSignal();
  DumpSignal(const DumpSignal&) = delete;
  DumpSignal& operator=(const DumpSignal&) = delete;

 private:
  void thread_main() noexcept;

  Runtime& runtime_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace roost::runtime
