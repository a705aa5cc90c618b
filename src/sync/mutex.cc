// The states of a Mutex and who changes them:
//   M1  `waiters` is set and cleared under queue_lock_ and says whether waiting_ holds anybody.
//   M2  while `starving` is set and somebody waits, only unlock_slow() gives the mutex away, to the first in line, and
//       `locked` stays set on the way. The one that takes it clears `starving` when it is the last, or did not wait long.
//   M3  whoever unlocks touches the mutex no more once `locked` is clear: the next holder may destroy it.
#include <roost/sync/mutex.h>

#include <roost/go.h>

#include "runtime/runtime_state.h"
#include "sync/waiting.h"

namespace roost {

using detail::Answer;

namespace {

constexpr std::int64_t starving_after_ns = 1'000'000;

// A holder that runs on another processor mostly unlocks within a fraction of what parking and waking cost, so a newcomer first
// waits for that: four times some 30 pauses, as Go does. In vain where one worker runs all fibers: the holder is not running.
constexpr int spins_max = 4;
constexpr int pauses_a_spin = 30;

bool can_spin() noexcept {
  const runtime::Visit visit;
  const runtime::Runtime* runtime = visit.runtime();
  return runtime != nullptr && runtime->primary_count > 1;
}

}  // namespace

bool Mutex::lock_slow(Deadline deadline, bool can_give_up) noexcept {
  detail::WaitNode node;
  std::int64_t waiting_since = 0;
  bool competes = false;  // this one is what `woken` stands for
  bool starves = false;
  int spins_left = can_spin() ? spins_max : 0;
  for (;;) {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    if ((state & (locked | starving)) == 0) {
      const std::uint32_t next = (competes ? state & ~woken : state) | locked;
      if (state_.compare_exchange_weak(state, next, std::memory_order_acquire, std::memory_order_relaxed)) return true;
      continue;
    }
    if ((state & starving) == 0 && spins_left > 0) {
      --spins_left;
      for (int i = 0; i < pauses_a_spin && (state_.load(std::memory_order_relaxed) & locked) != 0; ++i) base::cpu_relax();
      continue;
    }

    if (waiting_since == 0) {
      waiting_since = base::now_ns();
    } else {
      starves = base::now_ns() - waiting_since > starving_after_ns;
    }
    node.answer.store(Answer::none, std::memory_order_relaxed);
    node.waiter = detail::current_waiter();
    {
      base::SpinGuard guard(queue_lock_);
      state = state_.load(std::memory_order_relaxed);
      bool queued = false;
      while ((state & (locked | starving)) != 0) {
        std::uint32_t next = state | waiters;
        if (competes) next &= ~woken;
        if (starves && (state & locked) != 0) next |= starving;
        if (state_.compare_exchange_weak(state, next, std::memory_order_relaxed)) {
          queued = true;
          break;
        }
      }
      if (!queued) continue;  // it came free
      // Who was first before stays first.
      competes ? waiting_.push_front(node) : waiting_.push_back(node);
    }
    competes = false;

    if (can_give_up && detail::await_answer_until(node, deadline.ns(), runtime::WaitReason::mutex, this) !=
                           detail::WaitEnd::answered) {
      base::SpinGuard guard(queue_lock_);
      if (node.linked) {
        waiting_.remove(node);
        // The last one takes the bits along that speak of those who wait.
        if (waiting_.empty()) state_.fetch_and(~(waiters | starving), std::memory_order_relaxed);
        return false;
      }
    }
    if (detail::await_answer(node, runtime::WaitReason::mutex, this) == Answer::granted) {
      if (base::now_ns() - waiting_since <= starving_after_ns) state_.fetch_and(~starving, std::memory_order_relaxed);
      return true;
    }
    competes = true;
    spins_left = can_spin() ? spins_max : 0;
  }
}

void Mutex::unlock_slow() noexcept {
  std::uint32_t state = state_.load(std::memory_order_relaxed);
  for (;;) {
    if ((state & locked) == 0) detail::misuse("unlock of an unlocked mutex");
    // Nobody to wake, or somebody awake already.
    const bool passed_over = (state & woken) != 0 && (state & starving) == 0;
    if ((state & waiters) == 0 || passed_over) {
      if (!state_.compare_exchange_weak(state, state & ~locked, std::memory_order_release, std::memory_order_relaxed)) {
        continue;
      }
      // The one that was woken has not had its turn yet; with one worker it gets none while we go on.
      if (passed_over) yield();
      return;
    }

    queue_lock_.lock();
    detail::WaitNode* node = waiting_.pop_front();
    const std::uint32_t drop = waiting_.empty() ? waiters | starving : 0;
    if (node == nullptr) {  // it gave up just now
      state = state_.fetch_and(~drop, std::memory_order_relaxed) & ~drop;
      queue_lock_.unlock();
      continue;
    }
    if ((state_.load(std::memory_order_relaxed) & starving) != 0) {
      // Release: the new holder sees, through the answer, what this one wrote; and whoever reads state_ next, too.
      state_.fetch_and(~drop, std::memory_order_release);
      queue_lock_.unlock();
      detail::wake(detail::answer(*node, Answer::granted));
      return;
    }
    state_.fetch_or(woken, std::memory_order_relaxed);
    if (drop != 0) state_.fetch_and(~drop, std::memory_order_relaxed);
    queue_lock_.unlock();
    state_.fetch_and(~locked, std::memory_order_release);  // M3
    detail::wake(detail::answer(*node, Answer::compete));
    return;
  }
}

}  // namespace roost
