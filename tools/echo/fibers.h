// What the fibers of all processes of `roost echo` are doing: asked of each child when somebody wants to know, and added up.
//
// The parent's thread alone talks to the children, so whoever asks from elsewhere leaves a wish and wakes it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>
#include <vector>

#include <roost/fiber_dump.h>
#include <roost/time/deadline.h>

namespace roost::echo {

// How many fibers of a group a process tells of one by one.
inline constexpr std::size_t fiber_examples_max = 10;

class SharedFibers {
 public:
  // `wake` makes the parent's thread look at take_wish() soon; called on any thread.
  SharedFibers(unsigned processes, std::function<void()> wake);

  // --- on a fiber of the metrics' runtime

  // Parks until all processes have answered, or for a few seconds: what did not answer is not in it.
  FiberDump ask();

  // --- on the parent's thread

  // Nobody will answer any more: ask() returns.
  void stop();
  // Somebody asked on standard error (SIGQUIT).
  void wish_to_print();
  // True: the children are to be asked now.
  [[nodiscard]] bool take_wish(const std::vector<bool>& running);
  void set_answer(unsigned process, std::string_view json);
  void set_gone(unsigned process);
  // Looks whether those that did not answer are to be waited for any longer.
  void look_at_clock();
  // While answers are awaited, when to look next.
  [[nodiscard]] Deadline next_look() const;

 private:
  void finish_if_complete(std::unique_lock<std::mutex>& lock);

  const std::function<void()> wake_;
  mutable std::mutex mutex_;
  std::condition_variable answered_;
  // Guarded by mutex_.
  bool wished_ = false;        // a round is to begin
  bool print_ = false;         // ... and its outcome to be printed
  bool under_way_ = false;
  bool stopped_ = false;
  std::vector<bool> missing_;  // of the round under way
  Deadline patience_;
  std::uint64_t rounds_ = 0;   // completed
  FiberDump sum_;              // of the round under way, then of the last one
};

}  // namespace roost::echo
