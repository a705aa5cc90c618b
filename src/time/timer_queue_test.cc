#include "time/timer_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

namespace roost::time {
namespace {

struct Probe {
  Timer timer{&Probe::fire};
  std::vector<int>* log = nullptr;
  int id = 0;
  static void fire(Timer& t) noexcept {
    auto* probe = reinterpret_cast<Probe*>(&t);
    probe->log->push_back(probe->id);
  }
};

TEST(TimerQueue, FiresWhatIsDueInOrderOfTimeAndNothingElse) {
  std::vector<int> log;
  std::vector<std::unique_ptr<Probe>> probes;
  TimerQueue queue;  // ends before the timers that are armed still
  for (int when : {50, 10, 40, 20, 30}) {
    probes.push_back(std::make_unique<Probe>());
    probes.back()->log = &log;
    probes.back()->id = when;
    queue.arm(probes.back()->timer, when);
  }
  EXPECT_EQ(queue.earliest_ns(), 10);
  EXPECT_EQ(queue.expire(35), 3u);
  EXPECT_EQ(log, (std::vector<int>{10, 20, 30}));
  EXPECT_EQ(queue.earliest_ns(), 40);
  EXPECT_EQ(queue.expire(39), 0u);
}

TEST(TimerQueue, CancelTellsWhetherTheTimerWasStillArmed) {
  TimerQueue queue;
  std::vector<int> log;
  Probe probe;
  probe.log = &log;
  EXPECT_FALSE(TimerQueue::cancel(probe.timer));
  queue.arm(probe.timer, 5);
  EXPECT_TRUE(probe.timer.is_armed());
  EXPECT_TRUE(TimerQueue::cancel(probe.timer));
  EXPECT_FALSE(TimerQueue::cancel(probe.timer));
  EXPECT_EQ(queue.expire(100), 0u);
  EXPECT_EQ(queue.earliest_ns(), base::never_ns);
}

TEST(TimerQueue, RandomArmsAndCancelsKeepTheHeapInOrder) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  TimerQueue queue;
  std::vector<int> log;
  std::vector<std::unique_ptr<Probe>> probes(500);
  std::vector<int> due(probes.size(), -1);
  for (std::size_t i = 0; i < probes.size(); ++i) {
    probes[i] = std::make_unique<Probe>();
    probes[i]->log = &log;
    probes[i]->id = static_cast<int>(i);
  }
  for (int step = 0; step < 20'000; ++step) {
    const std::size_t i = random() % probes.size();
    if (due[i] < 0) {
      due[i] = static_cast<int>(random() % 1000);
      queue.arm(probes[i]->timer, due[i]);
    } else {
      EXPECT_TRUE(TimerQueue::cancel(probes[i]->timer));
      due[i] = -1;
    }
    if (step % 1000 == 0) queue.check_invariants();
  }
  queue.expire(1000);
  int last = -1;
  for (int id : log) {
    EXPECT_GE(due[static_cast<std::size_t>(id)], last);
    last = due[static_cast<std::size_t>(id)];
    due[static_cast<std::size_t>(id)] = -1;
  }
  for (int left : due) EXPECT_EQ(left, -1);
}

}  // namespace
}  // namespace roost::time
