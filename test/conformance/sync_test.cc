// Locks and groups: SY-01 SY-03 SY-04 SY-05 SY-07 SY-08 SY-10 SY-12 SY-13 and their neighbours.
#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "conformance/fibers.h"

#if defined(__clang__)
// These tests lock here and unlock there, on purpose.
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif

namespace roost::test {
namespace {

using runtime::WaitReason;

class SyncTest : public OnWorkers {};
INSTANTIATE_TEST_SUITE_P(Workers, SyncTest, all_setups, setup_name);
using SyncDeathTest = SyncTest;
INSTANTIATE_TEST_SUITE_P(Workers, SyncDeathTest, testing::Values(Setup{1, false}), setup_name);

void spin_for(std::chrono::nanoseconds span) {
  const Deadline until = Deadline::after(span);
  while (!until.has_passed()) {
  }
}

// --- Mutex ---------------------------------------------------------------------------------------------------------

// SY-01: the holder takes the mutex again at once, every time. Never parking, it would keep it for ever.
TEST_P(SyncTest, SY01_AMutexIsNotKeptFromAFiberByOneThatAlwaysTakesItAgain) {
  if (GetParam().migrates) GTEST_SKIP() << "a fiber bound for a worker that is kept busy cannot be stolen in this mode";
  on_workers([] {
    Mutex mutex;
    std::atomic<bool> stop{false};
    auto greedy = go([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        std::lock_guard lock(mutex);
        spin_for(100us);
      }
    });
    const auto start = Deadline::Clock::now();
    for (int i = 0; i < 10; ++i) {
      static_cast<void>(sleep_for(100us));
      std::lock_guard lock(mutex);
    }
    stop = true;
    greedy.join();
    EXPECT_LT(Deadline::Clock::now() - start, 10s);
  });
}

TEST_P(SyncTest, SY01_OneThatWaitsLongIsHandedTheMutex) {
  on_workers([] {
    Mutex mutex;
    std::atomic<int> turns{0};
    std::atomic<bool> stop{false};
    WaitGroup group;
    for (int i = 0; i < 4; ++i) {
      group.go([&] {
        while (!stop) {
          std::lock_guard lock(mutex);
          ++turns;
          yield();  // while holding it, so that somebody always waits
        }
      });
    }
    EXPECT_TRUE(eventually([&] { return turns > 0; }));
    for (int i = 0; i < 50; ++i) {
      std::lock_guard lock(mutex);
      yield();
    }
    stop = true;
    group.wait();
    EXPECT_FALSE(mutex.is_locked());
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST_P(SyncTest, AMutexKeepsFibersAndThreadsApart) {
  const std::uint64_t seed = test_seed();
  ROOST_TRACE_SEED(seed);
  on_workers([seed] {
    Mutex mutex;
    std::int64_t count = 0;  // not atomic: the mutex guards it
    std::int64_t expected = 0;
    const int turns = rounds(3'000);
    const auto play = [&](std::uint64_t number) {
      std::mt19937_64 random(seed + number);
      std::int64_t own = 0;
      for (int i = 0; i < turns; ++i) {
        switch (random() % 8) {
          case 0:
            if (!mutex.try_lock()) continue;
            break;
          case 1:
            if (!mutex.try_lock_for(std::chrono::microseconds(random() % 30))) continue;
            break;
          default: mutex.lock();
        }
        const std::int64_t seen = count;
        if (random() % 4 == 0) yield();
        count = seen + 1;
        ++own;
        mutex.unlock();
      }
      std::lock_guard lock(mutex);
      expected += own;
    };
    WaitGroup group;
    for (std::uint64_t i = 0; i < 6; ++i) group.go([&, i] { play(i); });
    std::thread thread([&] { play(100); });
    std::thread another([&] { play(101); });
    group.wait();
    thread.join();
    another.join();
    EXPECT_EQ(count, expected);
    EXPECT_FALSE(mutex.is_locked());
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST_P(SyncTest, AMutexMayBeHeldAcrossAParkAndUnlockedByAnother) {
  on_workers([] {
    Mutex mutex;
    mutex.lock();
    EXPECT_FALSE(mutex.try_lock());
    EXPECT_FALSE(mutex.try_lock_for(1ms));
    Whereabouts where;
    auto waiting = go([&] {
      where.here();
      mutex.lock();
    });
    EXPECT_TRUE(where.parks(WaitReason::mutex));
    EXPECT_TRUE(sleep_for(1ms));
    mutex.unlock();
    waiting.join();
    EXPECT_TRUE(mutex.is_locked());
    mutex.unlock();
  });
}

TEST_P(SyncTest, ALockWaitsEvenInACanceledFiberButATimedOneGivesUp) {
  on_workers([] {
    Mutex mutex;
    mutex.lock();
    Whereabouts where;
    std::atomic<bool> gave_up{false};
    auto waiting = go([&] {
      where.here();
      EXPECT_FALSE(mutex.try_lock_for(1h));
      gave_up = true;
      std::lock_guard lock(mutex);
    });
    EXPECT_TRUE(where.parks(WaitReason::mutex));
    waiting.cancel();
    EXPECT_TRUE(eventually([&] { return gave_up.load(); }));
    EXPECT_TRUE(where.parks(WaitReason::mutex));
    mutex.unlock();
    waiting.join();
  });
}

TEST_P(SyncTest, AMutexMayBeDestroyedByWhoeverUnlocksItLast) {
  struct Shared {
    Mutex mutex;
    int users = 2;
  };
  on_workers([] {
    for (int i = 0; i < rounds(2'000); ++i) {
      auto* shared = new Shared;
      const auto leave = [shared] {
        shared->mutex.lock();
        const bool last = --shared->users == 0;
        shared->mutex.unlock();
        if (last) delete shared;
      };
      auto other = go(leave);
      leave();
      other.join();
    }
  });
}

TEST_P(SyncDeathTest, UnlockOfAnUnlockedMutexIsTold) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_workers([] {
                 this_fiber::set_name("the culprit");
                 Mutex mutex;
                 mutex.unlock();
               }),
               "unlock of an unlocked mutex(.|\n)*the culprit");
  EXPECT_DEATH(on_workers([] { RwLock().unlock(); }), "not locked for writing");
  EXPECT_DEATH(on_workers([] {
                 RwLock lock;
                 lock.lock_shared();
                 lock.unlock();
               }),
               "not locked for writing");
  EXPECT_DEATH(on_workers([] { RwLock().unlock_shared(); }), "not locked for reading");
  EXPECT_DEATH(on_workers([] {
                 RwLock lock;
                 lock.lock();
                 lock.unlock_shared();
               }),
               "not locked for reading");
}

// --- RwLock --------------------------------------------------------------------------------------------------------

// SY-03
TEST_P(SyncTest, SY03_ReadersAreInsideTogether) {
  on_workers([] {
    for (const int count : {1, 3, 4, 10}) {
      RwLock lock;
      Chan<int> inside;
      Chan<int> leave;
      WaitGroup group;
      for (int i = 0; i < count; ++i) {
        group.go([&] {
          std::shared_lock reading(lock);
          EXPECT_TRUE(inside.send(1));
          EXPECT_TRUE(leave.receive().has_value());
        });
      }
      for (int i = 0; i < count; ++i) EXPECT_TRUE(inside.receive().has_value());
      for (int i = 0; i < count; ++i) EXPECT_TRUE(leave.send(1));
      group.wait();
    }
  });
}

// SY-03: more than 10,000 in the count means a writer.
TEST_P(SyncTest, SY03_AWriterIsAloneAndReadersSeeNoWriter) {
  on_workers([] {
    const int turns = rounds(500);
    for (const int readers : {1, 3, 10}) {
      RwLock lock;
      std::atomic<int> activity{0};
      WaitGroup group;
      const auto write = [&] {
        for (int i = 0; i < turns; ++i) {
          std::lock_guard writing(lock);
          EXPECT_EQ(activity.fetch_add(10'000), 0);
          if (i % 10 == 0) yield();
          activity.fetch_sub(10'000);
        }
      };
      const auto read = [&] {
        for (int i = 0; i < turns; ++i) {
          std::shared_lock reading(lock);
          const int seen = activity.fetch_add(1);
          EXPECT_GE(seen, 0);
          EXPECT_LT(seen, 10'000);
          if (i % 10 == 0) yield();
          activity.fetch_sub(1);
        }
      };
      group.go(write);
      for (int i = 0; i < readers / 2; ++i) group.go(read);
      group.go(write);
      for (int i = readers / 2; i < readers; ++i) group.go(read);
      std::thread thread(read);
      group.wait();
      thread.join();
      EXPECT_EQ(activity, 0);
    }
  });
}

TEST_P(SyncTest, SY03_TryVariantsTellWhetherTheLockWasFree) {
  on_workers([] {
    RwLock lock;
    EXPECT_TRUE(lock.try_lock());
    EXPECT_FALSE(lock.try_lock());
    EXPECT_FALSE(lock.try_lock_shared());
    lock.unlock();
    EXPECT_TRUE(lock.try_lock_shared());
    EXPECT_TRUE(lock.try_lock_shared());
    EXPECT_FALSE(lock.try_lock());
    lock.unlock_shared();
    lock.unlock_shared();
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  });
}

TEST_P(SyncTest, AWriterThatWaitsHoldsUpNewReadersAndTheyGoBeforeTheNextWriter) {
  on_workers([] {
    RwLock lock;
    lock.lock_shared();
    Whereabouts writer;
    Whereabouts reader;
    std::vector<int> order;
    Mutex order_mutex;
    const auto note = [&](int who) {
      std::lock_guard guard(order_mutex);
      order.push_back(who);
    };
    auto writing = go([&] {
      writer.here();
      lock.lock();
      note(1);
      lock.unlock();
    });
    EXPECT_TRUE(writer.parks(WaitReason::rw_lock));
    EXPECT_FALSE(lock.try_lock_shared()) << "a writer waits";
    auto reading = go([&] {
      reader.here();
      lock.lock_shared();
      note(2);
      lock.unlock_shared();
    });
    EXPECT_TRUE(reader.parks(WaitReason::rw_lock));
    lock.unlock_shared();
    writing.join();
    reading.join();
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
  });
}

// --- WaitGroup -----------------------------------------------------------------------------------------------------

// SY-04
TEST_P(SyncTest, SY04_AWaitGroupReleasesAllAtZeroAndNoneBefore) {
  on_workers([] {
    constexpr int count = 16;
    WaitGroup first;
    WaitGroup second;
    for (int round = 0; round < 8; ++round) {
      first.add(count);
      second.add(count);
      std::array<Whereabouts, count> waiters;
      Chan<bool> left(count);
      for (auto& waiter : waiters) {
        go([&, left] {  // a handle of its own: the test drops its own as soon as the last value has come
          waiter.here();
          first.done();
          second.wait();
          EXPECT_TRUE(left.send(true));
        }).detach();
      }
      first.wait();
      for (const auto& waiter : waiters) ASSERT_TRUE(waiter.parks(WaitReason::wait_group));
      for (int i = 1; i < count; ++i) {
        second.done();
        for (const auto& waiter : waiters) EXPECT_TRUE(waiter.is_parked(WaitReason::wait_group)) << "woken before its time";
        EXPECT_FALSE(left.try_receive()) << "the second group is not done yet";
      }
      second.done();
      for (int i = 0; i < count; ++i) EXPECT_TRUE(left.receive().has_value());
    }
  });
}

TEST_P(SyncTest, AWaitGroupMayBeDestroyedAsSoonAsTheWaitIsOver) {
  on_workers([] {
    for (int i = 0; i < rounds(3'000); ++i) {
      auto group = std::make_unique<WaitGroup>();
      std::atomic<int> count{0};
      for (int k = 0; k < 2; ++k) {
        group->go([&] { ++count; });
      }
      group->wait();
      group.reset();
      EXPECT_EQ(count, 2);
    }
    for (int i = 0; i < 50; ++i) {
      auto group = std::make_unique<WaitGroup>();
      group->add();
      std::thread thread([&group = *group] { group.done(); });
      group->wait();
      group.reset();
      thread.join();
    }
  });
}

TEST_P(SyncTest, AWaitWithADeadlineGivesUpAndACanceledOneDoesNot) {
  on_workers([] {
    WaitGroup group;
    EXPECT_TRUE(group.wait_until(Deadline::past())) << "nothing to wait for";
    group.add(2);
    EXPECT_EQ(group.wait_until(Deadline::after(1ms)).error(), std::errc::timed_out);
    Whereabouts where;
    std::atomic<bool> over{false};
    auto waiting = go([&] {
      where.here();
      EXPECT_EQ(group.wait_until(Deadline::none()).error(), std::errc::operation_canceled);
      group.wait();
      over = true;
    });
    EXPECT_TRUE(where.parks(WaitReason::wait_group));
    waiting.cancel();
    EXPECT_TRUE(where.parks(WaitReason::wait_group));
    EXPECT_FALSE(over);
    group.add(-2);
    waiting.join();
  });
}

TEST_P(SyncTest, WhatATaskHoldsIsGoneBeforeItCountsAsDone) {
  on_workers([] {
    for (int i = 0; i < 200; ++i) {
      auto token = std::make_shared<int>(1);
      WaitGroup group;
      group.go([token] {});
      group.wait();
      EXPECT_EQ(token.use_count(), 1);
      TaskGroup tasks;
      tasks.go([token] {});
      EXPECT_TRUE(tasks.wait());
      EXPECT_EQ(token.use_count(), 1);
    }
  });
}

// SY-05
TEST_P(SyncDeathTest, SY05_ANegativeWaitGroupIsTold) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_workers([] {
                 WaitGroup group;
                 group.add();
                 group.done();
                 group.done();
               }),
               "negative WaitGroup counter");
}

// --- Cond ----------------------------------------------------------------------------------------------------------

// SY-07
TEST_P(SyncTest, SY07_ASignalWakesExactlyOne) {
  on_workers([] {
    Mutex mutex;
    Cond cond;
    constexpr int count = 2;
    std::array<Whereabouts, count> waiters;
    Chan<bool> awake(count);
    WaitGroup group;  // the last one still unlocks when it has been heard of
    for (auto& waiter : waiters) {
      group.go([&] {
        std::unique_lock lock(mutex);
        waiter.here();
        EXPECT_TRUE(cond.wait(lock));
        EXPECT_TRUE(awake.send(true));
      });
    }
    for (const auto& waiter : waiters) ASSERT_TRUE(waiter.parks(WaitReason::condition));
    for (int i = 0; i < count; ++i) {
      EXPECT_FALSE(awake.try_receive());
      {
        std::lock_guard lock(mutex);
        cond.notify_one();
      }
      // Who was woken waits for the mutex, runs or has ended: for the condition it waits no more.
      EXPECT_EQ(std::ranges::count_if(waiters, [](const auto& waiter) { return waiter.is_parked(WaitReason::condition); }),
                count - 1 - i)
          << "one signal, one fiber";
      EXPECT_TRUE(awake.receive().has_value());
    }
    group.wait();
    cond.signal();  // nobody waits: lost, as it should be
  });
}

// SY-07
TEST_P(SyncTest, SY07_FibersAreWokenInTheOrderInWhichTheyCame) {
  on_workers([] {
    Mutex mutex;
    Cond cond;
    constexpr int count = 100;
    Chan<bool> running(count);
    Chan<int> awake(count);
    WaitGroup group;
    for (int i = 0; i < count; ++i) {
      group.go([&, i] {
        std::unique_lock lock(mutex);
        EXPECT_TRUE(running.send(true));
        EXPECT_TRUE(cond.wait(lock));
        EXPECT_TRUE(awake.send(i));
      });
      if (i > 0) {
        EXPECT_EQ(awake.receive().value(), i - 1);
      }
      EXPECT_TRUE(running.receive().has_value());
      std::lock_guard lock(mutex);  // it waits as soon as the mutex can be had
      cond.notify_one();
    }
    EXPECT_EQ(awake.receive().value(), count - 1);
    group.wait();
  });
}

// SY-07
TEST_P(SyncTest, SY07_OfSeveralThatWaitTheFirstIsWokenFirst) {
  on_workers([] {
    Mutex mutex;
    Cond cond;
    constexpr int count = 10;
    std::array<Whereabouts, count> waiters;
    Chan<int> awake;
    WaitGroup group;
    for (int i = 0; i < count; ++i) {
      auto& waiter = waiters[static_cast<std::size_t>(i)];
      group.go([&, i] {
        std::unique_lock lock(mutex);
        waiter.here();
        EXPECT_TRUE(cond.wait(lock));
        EXPECT_TRUE(awake.send(i));
      });
      ASSERT_TRUE(waiter.parks(WaitReason::condition));
    }
    for (int i = 0; i < count; ++i) {
      cond.notify_one();
      EXPECT_EQ(awake.receive().value(), i);
    }
    group.wait();
  });
}

// SY-08
TEST_P(SyncTest, SY08_ABroadcastWakesEachOncePerRound) {
  on_workers([] {
    Mutex mutex;
    Cond cond;
    constexpr int count = 200;
    Chan<int> running(count);
    Chan<int> awake(count);
    bool over = false;
    WaitGroup group;
    for (int i = 0; i < count; ++i) {
      group.go([&, i] {
        std::unique_lock lock(mutex);
        while (!over) {
          EXPECT_TRUE(running.send(i));
          EXPECT_TRUE(cond.wait(lock));
          EXPECT_TRUE(awake.send(i));
        }
      });
    }
    for (int round = 0; round < 5; ++round) {
      for (int i = 0; i < count; ++i) EXPECT_TRUE(running.receive().has_value());
      {
        std::lock_guard lock(mutex);
        over = round == 4;
        cond.notify_all();
      }
      std::vector<int> seen(count);
      for (int i = 0; i < count; ++i) ++seen[static_cast<std::size_t>(awake.receive().value())];
      for (const int times : seen) EXPECT_EQ(times, 1);
    }
    group.wait();
  });
}

TEST_P(SyncTest, ACondWaitEndsByDeadlineAndCancellationWithTheLockHeld) {
  on_workers([] {
    Mutex mutex;
    Cond cond;
    std::unique_lock lock(mutex);
    EXPECT_EQ(cond.wait(lock, Deadline::after(1ms)).error(), std::errc::timed_out);
    EXPECT_TRUE(mutex.is_locked());
    EXPECT_EQ(cond.wait(lock, [] { return false; }, Deadline::after(1ms)).error(), std::errc::timed_out);
    EXPECT_TRUE(cond.wait(lock, [] { return true; }, Deadline::past()));
    lock.unlock();
    Whereabouts where;
    auto waiting = go([&] {
      where.here();
      std::unique_lock own(mutex);
      EXPECT_EQ(cond.wait(own, [] { return false; }).error(), std::errc::operation_canceled);
      EXPECT_TRUE(own.owns_lock());
    });
    EXPECT_TRUE(where.parks(WaitReason::condition));
    waiting.cancel();
    waiting.join();
    EXPECT_FALSE(mutex.is_locked());
  });
}

TEST_P(SyncTest, StressAQueueUnderACondLosesNothing) {
  on_workers([] {
    const int count = rounds(5'000);
    Mutex mutex;
    Cond not_empty;
    std::vector<int> queue;
    std::atomic<std::int64_t> sum{0};
    bool over = false;
    WaitGroup consumers;
    for (int i = 0; i < 4; ++i) {
      consumers.go([&] {
        for (;;) {
          std::unique_lock lock(mutex);
          EXPECT_TRUE(not_empty.wait(lock, [&] { return over || !queue.empty(); }));
          if (queue.empty()) return;
          sum += queue.back();
          queue.pop_back();
        }
      });
    }
    for (int i = 1; i <= count; ++i) {
      std::lock_guard lock(mutex);
      queue.push_back(i);
      not_empty.notify_one();
    }
    {
      std::lock_guard lock(mutex);
      over = true;
    }
    not_empty.notify_all();
    consumers.wait();
    EXPECT_EQ(sum, static_cast<std::int64_t>(count) * (count + 1) / 2);
  });
}

// --- Once ----------------------------------------------------------------------------------------------------------

// SY-10
TEST_P(SyncTest, SY10_OnceRunsOnceAndOthersWaitForItsEnd) {
  on_workers([] {
    Once once;
    std::atomic<int> calls{0};
    std::atomic<bool> finished{false};
    WaitGroup group;
    for (int i = 0; i < 10; ++i) {
      group.go([&] {
        once.call([&] {
          ++calls;
          static_cast<void>(sleep_for(1ms));
          finished = true;
        });
        EXPECT_TRUE(finished);
      });
    }
    group.wait();
    EXPECT_EQ(calls, 1);
    EXPECT_TRUE(once.done());
  });
}

// SY-10
TEST_P(SyncTest, SY10_AFunctionThatThrowsCountsAsDone) {
  on_workers([] {
    Once once;
    EXPECT_THROW(once.call([] { throw std::runtime_error("failed"); }), std::runtime_error);
    once.call([] { ADD_FAILURE() << "called twice"; });
    EXPECT_TRUE(once.done());
  });
}

// --- Semaphore -----------------------------------------------------------------------------------------------------

// SY-12
TEST_P(SyncTest, SY12_AHandedOffSemaphoreRunsTheWaiterNext) {
  if (GetParam().workers != 1) GTEST_SKIP() << "what runs next is seen on one worker";
  on_workers([] {
    Semaphore semaphore(1);
    EXPECT_TRUE(semaphore.acquire());
    std::vector<std::string> order;
    Whereabouts where;
    auto waiting = go([&] {
      where.here();
      EXPECT_TRUE(semaphore.acquire());
      order.emplace_back("waiter");
      semaphore.release();
    });
    EXPECT_TRUE(where.parks(WaitReason::semaphore));
    auto other = go([&] { order.emplace_back("other"); });  // runnable before the waiter is
    semaphore.hand_off();
    order.emplace_back("holder");
    waiting.join();
    other.join();
    EXPECT_EQ(order, (std::vector<std::string>{"waiter", "other", "holder"}));
  });
}

TEST_P(SyncTest, ASemaphoreServesInOrderWhateverTheWeight) {
  on_workers([] {
    Semaphore semaphore(4);
    EXPECT_TRUE(semaphore.acquire(3));
    Whereabouts heavy;
    Whereabouts light;
    auto wants_four = go([&] {
      heavy.here();
      EXPECT_TRUE(semaphore.acquire(4));
      semaphore.release(4);
    });
    EXPECT_TRUE(heavy.parks(WaitReason::semaphore));
    EXPECT_FALSE(semaphore.try_acquire()) << "others came earlier";
    auto wants_one = go([&] {
      light.here();
      EXPECT_TRUE(semaphore.acquire());
      semaphore.release();
    });
    EXPECT_TRUE(light.parks(WaitReason::semaphore));
    EXPECT_EQ(semaphore.waiting(), 2u);
    EXPECT_EQ(semaphore.available(), 1) << "enough for the second, but the first comes first";
    semaphore.release(3);
    wants_four.join();
    wants_one.join();
    EXPECT_EQ(semaphore.available(), 4);
  });
}

TEST_P(SyncTest, OneThatGivesUpLetsThoseBehindItPass) {
  on_workers([] {
    Semaphore semaphore(2);
    EXPECT_TRUE(semaphore.acquire());
    Whereabouts heavy;
    Whereabouts light;
    auto wants_two = go([&] {
      heavy.here();
      EXPECT_EQ(semaphore.acquire(2).error(), std::errc::operation_canceled);
    });
    EXPECT_TRUE(heavy.parks(WaitReason::semaphore));
    auto wants_one = go([&] {
      light.here();
      EXPECT_TRUE(semaphore.acquire());
    });
    EXPECT_TRUE(light.parks(WaitReason::semaphore));
    wants_two.cancel();
    wants_two.join();
    wants_one.join();
    EXPECT_EQ(semaphore.acquire(1, Deadline::after(1ms)).error(), std::errc::timed_out);
    semaphore.release(2);
  });
}

TEST_P(SyncTest, StressASemaphoreNeverLendsMoreThanItHas) {
  const std::uint64_t seed = test_seed();
  ROOST_TRACE_SEED(seed);
  on_workers([seed] {
    Semaphore semaphore(5);
    std::atomic<int> lent{0};
    WaitGroup group;
    for (std::uint64_t i = 0; i < 8; ++i) {
      group.go([&, i] {
        std::mt19937_64 random(seed + i);
        for (int k = 0; k < rounds(2'000); ++k) {
          const int count = static_cast<int>(random() % 5) + 1;
          if (random() % 4 == 0) {
            if (!semaphore.acquire(count, Deadline::after(std::chrono::microseconds(random() % 40)))) continue;
          } else {
            EXPECT_TRUE(semaphore.acquire(count));
          }
          EXPECT_LE(lent += count, 5);
          if (random() % 2 == 0) yield();
          lent -= count;
          random() % 2 == 0 ? semaphore.release(count) : semaphore.hand_off(count);
        }
      });
    }
    group.wait();
    EXPECT_EQ(semaphore.available(), 5);
  });
}

TEST_P(SyncDeathTest, SemaphoreMisuseIsTold) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_workers([] { Semaphore(1).release(); }), "released more often than it was acquired");
  EXPECT_DEATH(on_workers([] { static_cast<void>(Semaphore(1).acquire(2)); }), "more permits than it has");
  EXPECT_DEATH(on_workers([] { Semaphore semaphore(-1); }), "negative number of permits");
}

// --- ObjectPool ----------------------------------------------------------------------------------------------------

// SY-13
TEST_P(SyncTest, SY13_APoolGivesWhatWasPutBackLastFirst) {
  if (GetParam().workers != 1) GTEST_SKIP() << "the order is kept per worker";
  on_workers([] {
    int made = 0;
    ObjectPool<std::string> pool([&] { return "new " + std::to_string(++made); }, 3);
    EXPECT_EQ(pool.get(), "new 1");
    for (const char* name : {"a", "b", "c", "dropped"}) pool.put(name);
    EXPECT_EQ(pool.get(), "c");
    EXPECT_EQ(pool.get(), "b");
    EXPECT_EQ(pool.get(), "a");
    EXPECT_EQ(pool.get(), "new 2");
  });
}

// SY-13
TEST_P(SyncTest, SY13_StressAnObjectIsNeverInTwoHands) {
  on_workers([] {
    std::atomic<int> made{0};
    ObjectPool<std::unique_ptr<std::atomic<int>>> pool([&] {
      ++made;
      return std::make_unique<std::atomic<int>>(0);
    });
    const auto play = [&] {
      for (int i = 0; i < rounds(5'000); ++i) {
        auto object = pool.get();
        EXPECT_EQ(object->fetch_add(1), 0);
        if (i % 7 == 0) yield();
        object->fetch_sub(1);
        pool.put(std::move(object));
      }
    };
    WaitGroup group;
    for (int i = 0; i < 8; ++i) group.go(play);
    std::thread thread(play);
    group.wait();
    thread.join();
    EXPECT_LE(made, 64) << "they are used again";
  });
}

// --- TaskGroup -----------------------------------------------------------------------------------------------------

TEST_P(SyncTest, ATaskGroupJoinsInItsDestructor) {
  on_workers([] {
    std::atomic<int> ended{0};
    {
      TaskGroup group;
      for (int i = 0; i < 10; ++i) {
        group.go([&] {
          EXPECT_TRUE(sleep_for(1ms)) << "joined, not canceled";
          ++ended;
        });
      }
    }
    EXPECT_EQ(ended, 10);
  });
}

TEST_P(SyncTest, TheFirstErrorCancelsTheOthersAndIsReported) {
  on_workers([] {
    TaskGroup group;
    std::atomic<int> canceled{0};
    Chan<int> never;
    for (int i = 0; i < 5; ++i) {
      group.go([&]() -> Result<void> {
        auto got = never.receive();
        if (got.error() == std::errc::operation_canceled) ++canceled;
        return fail(got.error());
      });
    }
    group.go([]() -> std::error_code { return std::make_error_code(std::errc::connection_refused); });
    const auto result = group.wait();
    EXPECT_EQ(result.error(), std::errc::connection_refused);
    EXPECT_EQ(canceled, 5);
    EXPECT_TRUE(group.context().is_done());
    EXPECT_EQ(group.context().cause(), std::errc::connection_refused);
    EXPECT_EQ(group.running(), 0u);
  });
}

TEST_P(SyncTest, ATaskGroupCollectsExceptions) {
  on_workers([] {
    TaskGroup group;
    group.go([] { throw std::runtime_error("the first"); });
    group.go([] {
      while (!this_fiber::is_canceled()) yield();
      throw std::logic_error("the second");
    });
    group.go([]() -> Result<int> { return 7; });
    try {
      static_cast<void>(group.wait());
      ADD_FAILURE() << "no exception came out";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "the first");
    }
    EXPECT_EQ(group.exceptions().size(), 2u);
  });
}

TEST_P(SyncTest, AnExceptionThroughTheScopeCancelsTheTasks) {
  on_workers([] {
    std::atomic<bool> canceled{false};
    Chan<int> never;
    EXPECT_THROW(
        {
          TaskGroup group;
          group.go([&] { canceled = never.receive().error() == std::errc::operation_canceled; });
          throw std::runtime_error("out of here");
        },
        std::runtime_error);
    EXPECT_TRUE(canceled);
  });
}

TEST_P(SyncTest, ATaskGroupKeepsItsLimit) {
  on_workers([] {
    TaskGroup group({.limit = 3});
    std::atomic<int> running{0};
    std::atomic<int> most{0};
    for (int i = 0; i < 50; ++i) {
      group.go([&] {
        const int now = ++running;
        int seen = most;
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        yield();
        --running;
      });
    }
    EXPECT_TRUE(group.wait());
    EXPECT_LE(most, 3);
    Chan<int> gate;
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(group.try_go([&] { EXPECT_TRUE(gate.receive().has_value()); }));
    EXPECT_FALSE(group.try_go([] {}));
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(gate.send(1));
    EXPECT_TRUE(group.wait());
  });
}

TEST_P(SyncTest, TasksEndWithTheContextAroundTheGroup) {
  on_workers([] {
    auto [context, cancel] = with_cancel({});
    Chan<int> never;
    std::atomic<int> canceled{0};
    auto outer = go(context, [&] {
      TaskGroup group;  // takes the fiber's context
      for (int i = 0; i < 3; ++i) {
        group.go([&] { canceled += never.receive().error() == std::errc::operation_canceled ? 1 : 0; });
      }
      EXPECT_TRUE(group.wait()) << "tasks that return nothing do not fail";
    });
    EXPECT_TRUE(eventually([&] { return runtime_stats().fibers >= 5; }));
    cancel();
    outer.join();
    EXPECT_EQ(canceled, 3);
  });
}

// --- FiberLocal ----------------------------------------------------------------------------------------------------

FiberLocal<int> depth(5);
FiberLocal<std::string> label;

TEST_P(SyncTest, EachFiberHasItsOwnFiberLocal) {
  on_workers([] {
    *depth = 1;
    label.set("main");
    WaitGroup group;
    for (int i = 0; i < 20; ++i) {
      group.go([i] {
        EXPECT_EQ(*depth, 5) << "the initial value, not that of whoever started it";
        EXPECT_FALSE(label.has_value());
        for (int k = 0; k < 10; ++k) {
          *depth += i;
          label->push_back('x');
          yield();
        }
        EXPECT_EQ(*depth, 5 + 10 * i);
        EXPECT_EQ(label->size(), 10u);
      });
    }
    std::thread thread([] {
      EXPECT_EQ(*depth, 5);
      *depth = 77;
      EXPECT_EQ(*depth, 77);
    });
    thread.join();
    group.wait();
    EXPECT_EQ(*depth, 1);
    EXPECT_EQ(*label, "main");
    depth.reset();
    EXPECT_EQ(*depth, 5);
  });
}

TEST_P(SyncTest, FiberLocalsAreDestroyedBeforeTheFiberHasEndedAndMayPark) {
  struct Parting {
    std::atomic<int>* ended = nullptr;
    ~Parting() {
      if (ended == nullptr) return;
      yield();
      *depth = 3;  // another one, made anew while the table goes
      ++*ended;
    }
  };
  static FiberLocal<Parting> parting;
  on_workers([] {
    std::atomic<int> ended{0};
    for (int i = 0; i < 10; ++i) {
      go([&] { parting->ended = &ended; }).join();
      EXPECT_EQ(ended, i + 1);
    }
  });
}

TEST_P(SyncTest, AFiberLocalThatIsGoneLeavesNothingToItsSuccessor) {
  on_workers([] {
    for (int i = 0; i < 100; ++i) {
      FiberLocal<std::string> local("initial");
      EXPECT_EQ(*local, "initial");
      *local = "changed " + std::to_string(i);
      FiberLocal<int> another(i);
      EXPECT_EQ(*another, i);
    }
  });
}

}  // namespace
}  // namespace roost::test
