// Fibers as users see them: starting, joining, yielding, sleeping, cancelling, and what goes wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <roost/fiber_dump.h>
#include <roost/go.h>
#include <roost/runtime.h>
#include <roost/time/sleep.h>

#include "base/clock.h"
#include "runtime/fiber.h"
#include "runtime/parking.h"
#include "sanitized.h"

namespace roost {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct Setup {
  const char* name;
  unsigned workers;
  bool migrate_always;
  bool pin_workers;
};

class Fibers : public testing::TestWithParam<Setup> {
 protected:
  static RuntimeOptions options() {
    RuntimeOptions options;
    options.workers = GetParam().workers;
    options.migrate_always = GetParam().migrate_always;
    options.pin_workers = GetParam().pin_workers;
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(Setups, Fibers,
                         testing::Values(Setup{"one_worker", 1, false, false}, Setup{"four_workers", 4, false, false},
                                         Setup{"migrating", 3, true, false}, Setup{"pinned", 2, false, true}),
                         [](const auto& setup) { return setup.param.name; });

TEST_P(Fibers, RunReturnsWhatMainReturns) {
  EXPECT_EQ(run(options(), [] { return 7; }), 7);
  EXPECT_EQ(run(options(), [] {}), 0);
}

TEST_P(Fibers, JoinHandsOverTheResultOfEveryType) {
  run(options(), [] {
    EXPECT_EQ(go([] { return 42; }).join(), 42);
    EXPECT_EQ(go([] { return std::string(1000, 'x'); }).join(), std::string(1000, 'x'));
    EXPECT_EQ(*go([] { return std::make_unique<int>(3); }).join(), 3);
    bool ran = false;
    go([&] { ran = true; }).join();
    EXPECT_TRUE(ran);
  });
}

TEST_P(Fibers, AFiberMayTakeALargeClosure) {
  run(options(), [] {
    std::array<int, 3'000> large;
    std::iota(large.begin(), large.end(), 0);
    EXPECT_EQ(go([large] { return std::accumulate(large.begin(), large.end(), 0L); }).join(), 4'498'500L);
  });
}

TEST_P(Fibers, DroppedHandlesLetTheFiberRunAndDestroyTheResult) {
  auto alive = std::make_shared<int>(1);
  run(options(), [&] {
    for (int i = 0; i < 100; ++i) go([alive] { return alive; });
    auto unjoined = go([alive] { return alive; });
    while (!unjoined.done()) yield();
  });
  EXPECT_EQ(alive.use_count(), 1);
}

TEST_P(Fibers, ManyFibersAllRunExactlyOnce) {
  run(options(), [] {
    constexpr int count = test::rounds(20'000);
    std::atomic<int> sum{0};
    std::vector<Handle<void>> fibers;
    for (int i = 0; i < count; ++i) {
      fibers.push_back(go([&sum] {
        yield();
        sum.fetch_add(1);
      }));
    }
    for (auto& fiber : fibers) fiber.join();
    EXPECT_EQ(sum.load(), count);
  });
}

// NP-10: the number of fibers is exact.
TEST_P(Fibers, TheCountOfFibersIsExact) {
  run(options(), [] {
    EXPECT_EQ(runtime_stats().fibers, 1u);
    std::atomic<bool> leave{false};
    std::vector<Handle<void>> fibers;
    for (int i = 0; i < 10; ++i) {
      fibers.push_back(go([&] {
        while (!leave.load()) yield();
      }));
    }
    EXPECT_EQ(runtime_stats().fibers, 11u);
    leave = true;
    for (auto& fiber : fibers) fiber.join();
    EXPECT_EQ(runtime_stats().fibers, 1u);
  });
}

TEST_P(Fibers, YieldLetsTheOthersOfTheWorkerRunFirst) {
  run(options(), [] {
    std::atomic<int> turns{0};
    auto other = go([&] {
      for (int i = 0; i < 100; ++i) {
        turns.fetch_add(1);
        yield();
      }
    });
    while (turns.load() < 100) yield();
    other.join();
  });
}

// TM-01: sleep never ends early.
TEST_P(Fibers, SleepNeverEndsEarly) {
  run(options(), [] {
    for (const auto span : {1us, 100us, 5'000us, 100'000us}) {
      const auto start = Clock::now();
      EXPECT_TRUE(sleep_for(span));
      EXPECT_GE(Clock::now() - start, span);
    }
    EXPECT_TRUE(sleep_for(0s));
    EXPECT_TRUE(sleep_for(-1s));
  });
}

// TM-15 (Sleep(0) under pressure) and NP-07.
TEST_P(Fibers, SleepersOfManyLengthsAllWake) {
  run(options(), [] {
    std::vector<Handle<void>> fibers;
    for (int i = 0; i < 2'000; ++i) {
      fibers.push_back(go([i] { EXPECT_TRUE(sleep_for(std::chrono::microseconds(i % 300))); }));
    }
    for (auto& fiber : fibers) fiber.join();
  });
}

TEST_P(Fibers, AWakeUpThatComesBeforeTheParkIsKept) {
  run(options(), [] {
    for (int i = 0; i < 2'000; ++i) {
      std::atomic<bool> ready{false};
      std::atomic<detail::Fiber*> waiter{nullptr};
      auto waiting = go([&] {
        waiter.store(runtime::current_fiber());
        while (!ready.load()) runtime::park(runtime::WaitReason::condition);
      });
      while (waiter.load() == nullptr) yield();
      ready.store(true);
      runtime::unpark(waiter.load());
      waiting.join();
    }
  });
}

TEST_P(Fibers, PlainThreadsMayWakeAndStartFibers) {
  run(options(), [] {
    std::atomic<int> ran{0};
    auto* self = runtime::current_fiber();
    std::thread outside([&] {
      auto handle = go([&] { return ran.fetch_add(1) + 10; });
      EXPECT_EQ(handle.join(), 10);
      ran.fetch_add(1);
      runtime::unpark(self);
    });
    while (ran.load() < 2) runtime::park(runtime::WaitReason::condition);
    outside.join();
  });
}

TEST_P(Fibers, MainsReturnCancelsTheOthersAndTheirDestructorsRun) {
  std::atomic<int> left{0};
  run(options(), [&] {
    struct Leaving {
      std::atomic<int>& count;
      ~Leaving() { count.fetch_add(1); }
    };
    std::atomic<int> waiting{0};
    for (int i = 0; i < 50; ++i) {
      go([&left, &waiting] {
        const Leaving leaving{left};
        waiting.fetch_add(1);
        const auto slept = sleep_for(1h);
        EXPECT_EQ(slept.error(), std::errc::operation_canceled);
        EXPECT_TRUE(this_fiber::is_canceled());
      });
    }
    while (waiting.load() < 50) yield();
  });
  EXPECT_EQ(left.load(), 50);
}

TEST_P(Fibers, CancelEndsAPendingSleepOfThatFiberOnly) {
  run(options(), [] {
    auto first = go([] { return sleep_for(1h).error(); });
    auto second = go([] { return sleep_for(20ms).has_value(); });
    first.cancel();
    EXPECT_EQ(first.join(), std::errc::operation_canceled);
    EXPECT_TRUE(second.join());
  });
}

// Not inlined: glibc declares errno's address a constant of the function, so a function that parks between two uses of errno
// may look at another thread's. What the library keeps for the fiber is the value (docs/architecture.md).
[[gnu::noinline]] void set_errno(int value) { errno = value; }
[[gnu::noinline]] int get_errno() { return errno; }

TEST_P(Fibers, ErrnoBelongsToTheFiber) {
  run(options(), [] {
    std::vector<Handle<void>> fibers;
    for (int i = 1; i <= 20; ++i) {
      fibers.push_back(go([i] {
        for (int round = 0; round < 200; ++round) {
          set_errno(i);
          yield();
          ASSERT_EQ(get_errno(), i);
        }
      }));
    }
    for (auto& fiber : fibers) fiber.join();
  });
}

[[gnu::noinline]] void throw_number(int number) { throw std::runtime_error(std::to_string(number)); }

TEST_P(Fibers, ExceptionsInFlightBelongToTheFiber) {
  run(options(), [] {
    std::vector<Handle<void>> fibers;
    for (int i = 0; i < 50; ++i) {
      fibers.push_back(go([i] {
        for (int round = 0; round < 20; ++round) {
          try {
            throw_number(i);
          } catch (const std::exception& caught) {
            yield();  // inside the handler, perhaps on another thread afterwards
            EXPECT_EQ(caught.what(), std::to_string(i));
            try {
              throw;
            } catch (const std::exception& again) {
              sleep_for(10us);
              EXPECT_EQ(again.what(), std::to_string(i));
            }
          }
          EXPECT_EQ(std::uncaught_exceptions(), 0);
          EXPECT_EQ(std::current_exception(), nullptr);
        }
      }));
    }
    for (auto& fiber : fibers) fiber.join();
  });
}

TEST_P(Fibers, BlockingRunsElsewhereAndParksOnlyTheCaller) {
  run(options(), [] {
    const auto self = std::this_thread::get_id();
    std::atomic<bool> release{false};
    auto blocked = go([&] {
      return blocking([&] {
        while (!release.load()) std::this_thread::yield();
        return std::this_thread::get_id();
      });
    });
    std::atomic<int> turns{0};
    go([&] { turns.fetch_add(1); }).join();  // others go on meanwhile
    release.store(true);
    EXPECT_NE(blocked.join(), self);
    EXPECT_EQ(turns.load(), 1);
    EXPECT_EQ(*blocking([] { return std::make_unique<int>(5); }), 5);
  });
}

TEST_P(Fibers, ManyBlockingCallsAtOnceAllReturn) {
  auto wanted = options();
  wanted.blocking_threads_max = 8;
  run(wanted, [] {
    std::vector<Handle<int>> fibers;
    for (int i = 0; i < 500; ++i) fibers.push_back(go([i] { return blocking([i] { return i; }); }));
    int sum = 0;
    for (auto& fiber : fibers) sum += fiber.join();
    EXPECT_EQ(sum, 499 * 500 / 2);
  });
}

TEST_P(Fibers, AFiberOfAnotherStackSizeGoesDeep) {
  run(options(), [] {
    struct Deep {
      static std::size_t descend(int depth) {
        volatile char frame[1024];
        frame[0] = static_cast<char>(depth);
        return depth == 0 ? 0 : 1 + descend(depth - 1) + static_cast<std::size_t>(frame[0] - frame[0]);
      }
    };
    auto deep = go(SpawnOptions{.name = "deep", .stack_bytes = 4 << 20}, [] {
      EXPECT_GT(this_fiber::stack_bytes_left(), std::size_t{3} << 20);
      return Deep::descend(2'000);
    });
    EXPECT_EQ(deep.join(), 2'000u);
  });
}

TEST(Runtime, ManyMoreWorkersThanProcessorsStart) {  // NP-08
  RuntimeOptions options;
  options.workers = 256;
  options.spare_workers_max = 0;
  run(options, [] {
    std::vector<Handle<int>> fibers;
    for (int i = 0; i < 1'000; ++i) fibers.push_back(go([i] { return i; }));
    for (auto& fiber : fibers) fiber.join();
  });
}

TEST(Runtime, FibersThatSpinForEachOtherMakeProgressOnSeveralWorkers) {  // NP-09
  RuntimeOptions options;
  options.workers = 2;
  options.stuck_report_after = 0ms;
  run(options, [] {
    std::atomic<int> turn{0};
    const auto play = [&turn](int me) {
      for (int round = 0; round < 50; ++round) {
        while (turn.load() % 2 != me) std::this_thread::yield();  // never gives the worker back
        turn.fetch_add(1);
      }
    };
    auto first = go([&] { play(0); });
    auto second = go([&] { play(1); });
    first.join();
    second.join();
    EXPECT_EQ(turn.load(), 100);
  });
}

// NP-05: fibers that compute on all workers do not starve a timer.
TEST(Runtime, AStuckWorkersQueueAndTimersAreServedByOthersAndTheCulpritIsReported) {
  RuntimeOptions options;
  options.workers = 1;
  options.stuck_report_after = 30ms;
  std::atomic<int> reports{0};
  StuckReport seen;
  options.on_stuck = [&](const StuckReport& report) {
    if (reports.fetch_add(1) == 0) seen = report;
  };
  run(options, [&] {
    std::atomic<bool> slept{false};
    std::atomic<bool> ran{false};
    auto sleeper = go([&] {
      sleep_for(1ms);
      slept = true;
    });
    auto hog = go(SpawnOptions{.name = "hog"}, [&] {
      auto queued = go([&] { ran = true; });
      while (!slept.load() || !ran.load() || reports.load() == 0) std::this_thread::yield();
    });
    hog.join();
    sleeper.join();
    EXPECT_GE(runtime_stats().stuck, 1u);
  });
  EXPECT_GE(reports.load(), 1);
  EXPECT_EQ(seen.fiber_name, "hog");
  EXPECT_GE(seen.stuck_for, 30ms);
  EXPECT_FALSE(seen.stack.empty());
}

// The runtime ends as soon as the last fiber has been woken; the thread that woke it may be on its way out still.
TEST(Runtime, WaitsForAThreadThatWakesItsLastFiber) {
  RuntimeOptions options;
  options.workers = 1;
  for (int i = 0; i < test::rounds(300); ++i) {
    std::atomic<bool> woken{false};
    std::thread waker;
    run(options, [&] {
      waker = std::thread([&woken, self = runtime::current_waiter()] {
        while (self.fiber()->state.load() != runtime::FiberState::parked) std::this_thread::yield();
        woken = true;
        runtime::unpark(self);
      });
      while (!woken) runtime::park(runtime::WaitReason::condition);
    });
    waker.join();
  }
}

// Whatever it asks for, a thread that roost did not start finds the runtime whole or not at all.
TEST(Runtime, EndsUnderThreadsThatLookAtIt) {
  std::atomic<bool> over{false};
  std::thread counting([&] {
    while (!over) static_cast<void>(runtime_stats());
  });
  std::thread dumping([&] {
    while (!over) static_cast<void>(collect_fibers({.examples_max = 0, .frames_max = 1}));
  });
  RuntimeOptions options;
  options.workers = 2;
  for (int i = 0; i < test::rounds(100); ++i) {
    run(options, [] { yield(); });
  }
  over = true;
  counting.join();
  dumping.join();
}

TEST(Runtime, ASteppedClockWakesSleepersWithoutTimePassing) {
  base::ManualClock clock;
  RuntimeOptions options;
  options.workers = 1;
  run(options, [&] {
    bool woke = false;
    auto sleeper = go([&] {
      sleep_for(1h);
      woke = true;
    });
    while (runtime_stats().timers == 0) yield();
    clock.advance_ns(std::chrono::nanoseconds(59min).count());
    for (int i = 0; i < 100; ++i) yield();
    EXPECT_FALSE(woke);
    clock.advance_ns(std::chrono::nanoseconds(1min).count());
    sleeper.join();
    EXPECT_TRUE(woke);
  });
}

TEST(Runtime, AnUnknownPollerOfTheEnvironmentIsNamed) {
  const char* before = std::getenv("ROOST_POLLER");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("ROOST_POLLER", "epol", 1);
  std::string said;
  try {
    run([] {});
  } catch (const std::system_error& error) {
    said = error.what();
  }
  if (before == nullptr) {
    ::unsetenv("ROOST_POLLER");
  } else {
    ::setenv("ROOST_POLLER", kept.c_str(), 1);
  }
  EXPECT_THAT(said, testing::HasSubstr("ROOST_POLLER=epol"));
  EXPECT_EQ(run([] { return 7; }), 7) << "the next one starts";
}

TEST(Runtime, CanBeStartedAgainAfterItEnded) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(run([i] { return go([i] { return i; }).join(); }), i);
  }
}

TEST(RuntimeDeathTest, AnEscapingExceptionEndsTheProcessWithTheFibersName) {
  EXPECT_EXIT(run([] { go(SpawnOptions{.name = "thrower"}, [] { throw std::runtime_error("boom"); }).join(); }),
              testing::KilledBySignal(SIGABRT), "thrower");
}

TEST(RuntimeDeathTest, AnOverflowNamesTheFiberAndItsStackSize) {
  if (test::sanitized) GTEST_SKIP() << "the sanitizer reports stack overflows itself";
  struct Endless {
    static int descend(int depth) {
      volatile char frame[512];
      frame[0] = 1;
      return depth < 0 ? 0 : depth + descend(depth + 1) + frame[0];
    }
  };
  EXPECT_DEATH(run([] { go(SpawnOptions{.name = "endless"}, [] { return Endless::descend(0); }).join(); }),
               "\\(endless\\) overflowed its 64 KiB stack");
}

TEST(RuntimeDeathTest, JoiningOneselfIsNamed) {
  EXPECT_DEATH(run([] {
                 Handle<void> self;
                 self = go([&] {
                   yield();
                   self.join();
                 });
                 self.join();
               }),
               "joined itself");
}

TEST(RuntimeDeathTest, GoOutsideARuntimeIsNamed) { EXPECT_DEATH(go([] {}), "needs a running runtime"); }

// NP-04: all fibers wait for each other.
TEST(RuntimeDeathTest, ADeadlockIsReportedInsteadOfHanging) {
  // In a program of its own: a process forked under a sanitizer has threads of that one's, which could be about to wake a fiber.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run([] {
                go(SpawnOptions{.name = "waiter"}, [] {
                  for (;;) runtime::park(runtime::WaitReason::condition);
                }).join();
              }),
              testing::ExitedWithCode(2), "deadlock: every fiber waits(.|\n)*waiter");
}

TEST(RuntimeDeathTest, FibersThatDoNotLeaveAreNamed) {
  RuntimeOptions options;
  options.shutdown_grace = 50ms;
  EXPECT_EXIT(
      {
        run(options, [] {
          go(SpawnOptions{.name = "stubborn"}, [] {
            for (;;) runtime::park_until(runtime::WaitReason::sleep, base::now_ns() + 1'000'000);
          });
          yield();
        });
        std::_Exit(0);
      },
      testing::ExitedWithCode(0), "stubborn");
}

}  // namespace
}  // namespace roost
