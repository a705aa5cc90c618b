#include "runtime/fd_mutex.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

namespace roost::runtime {
namespace {

TEST(FdMutex, TheTwoDirectionsDoNotDisturbEachOther) {
  FdMutex mutex;
  EXPECT_TRUE(mutex.enter(Direction::read));
  EXPECT_TRUE(mutex.enter(Direction::write));
  EXPECT_FALSE(mutex.leave(Direction::read));
  EXPECT_FALSE(mutex.leave(Direction::write));
  EXPECT_TRUE(mutex.is_quiet());
}

// CL-10: after close nobody gets in, in any way.
TEST(FdMutex, RefusesEveryEntryAfterClose) {
  FdMutex mutex;
  EXPECT_TRUE(mutex.close());
  EXPECT_FALSE(mutex.hold());
  EXPECT_FALSE(mutex.enter(Direction::read));
  EXPECT_FALSE(mutex.enter(Direction::write));
  EXPECT_FALSE(mutex.close());
}

TEST(FdMutex, TheLastOneOutAfterACloseIsTold) {
  FdMutex mutex;
  ASSERT_TRUE(mutex.enter(Direction::read));
  ASSERT_TRUE(mutex.hold());
  ASSERT_TRUE(mutex.close());
  EXPECT_FALSE(mutex.release());  // the closer's own
  EXPECT_FALSE(mutex.leave(Direction::read));
  EXPECT_TRUE(mutex.release());
}

// CL-11: unbalanced use is a diagnosed mistake; balanced use after it works.
TEST(FdMutexDeathTest, NamesUnbalancedUse) {
  EXPECT_DEATH(
      {
        FdMutex mutex;
        static_cast<void>(mutex.leave(Direction::read));
      },
      "left that nobody had entered");
  EXPECT_DEATH(
      {
        FdMutex mutex;
        static_cast<void>(mutex.release());
        static_cast<void>(mutex.release());
      },
      "released more often than held");
  FdMutex mutex;
  EXPECT_TRUE(mutex.enter(Direction::read));
  EXPECT_FALSE(mutex.leave(Direction::read));
}

// CL-13: random use by many threads keeps the exclusion, and the final close is the last thing.
TEST(FdMutex, ManyThreadsKeepTheExclusion) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  constexpr int thread_count = 8;
  constexpr int steps = 125'000;  // a million in all
  FdMutex mutex;
  std::uint64_t readers = 0;  // guarded by the read turn
  std::uint64_t writers = 0;  // guarded by the write turn
  std::atomic<std::uint64_t> expected_readers{0};
  std::atomic<std::uint64_t> expected_writers{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < thread_count; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(seed + static_cast<unsigned>(t));
      for (int i = 0; i < steps; ++i) {
        switch (random() % 3) {
          case 0:
            ASSERT_TRUE(mutex.hold());
            ASSERT_FALSE(mutex.release());
            break;
          case 1:
            ASSERT_TRUE(mutex.enter(Direction::read));
            ++readers;
            expected_readers.fetch_add(1);
            ASSERT_FALSE(mutex.leave(Direction::read));
            break;
          default:
            ASSERT_TRUE(mutex.enter(Direction::write));
            ++writers;
            expected_writers.fetch_add(1);
            ASSERT_FALSE(mutex.leave(Direction::write));
            break;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(readers, expected_readers.load());
  EXPECT_EQ(writers, expected_writers.load());
  EXPECT_TRUE(mutex.is_quiet());
  EXPECT_TRUE(mutex.close());
  EXPECT_TRUE(mutex.release());
}

TEST(FdMutex, CloseSendsTheQueuedOnesAway) {
  FdMutex mutex;
  ASSERT_TRUE(mutex.enter(Direction::read));
  bool entered = true;
  std::thread other([&] { entered = mutex.enter(Direction::read); });
  // Whether it has queued by now or comes later, it must not get in.
  ASSERT_TRUE(mutex.close());
  other.join();
  EXPECT_FALSE(entered);
}

}  // namespace
}  // namespace roost::runtime
