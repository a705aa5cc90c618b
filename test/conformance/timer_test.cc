// Timers and sleeping: TM-01 TM-02 TM-04 TM-05 TM-07 TM-10 TM-12 TM-13 TM-14 TM-15 and their neighbours.
#include <array>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/fibers.h"

namespace roost::test {
namespace {

using runtime::WaitReason;
using Clock = Deadline::Clock;

class TimerTest : public OnWorkers {};
INSTANTIATE_TEST_SUITE_P(Workers, TimerTest, all_setups, setup_name);
using TimerDeathTest = TimerTest;
INSTANTIATE_TEST_SUITE_P(Workers, TimerDeathTest, testing::Values(Setup{1, false}), setup_name);

// TM-01
TEST_P(TimerTest, TM01_ASleepIsNotShorterThanAskedFor) {
  on_workers([] {
    for (const auto span : {100us, 1000us, 100'000us}) {
      const auto start = Clock::now();
      EXPECT_TRUE(sleep_for(span));
      EXPECT_GE(Clock::now() - start, span);
    }
  });
}

// TM-02
TEST_P(TimerTest, TM02_TenTimersInARowTakeTenTimesOne) {
  on_workers([] {
    with_growing_span([](std::chrono::nanoseconds span) {
      const auto start = Clock::now();
      for (int i = 0; i < 10; ++i) EXPECT_TRUE(after(span / 10).receive().has_value());
      const auto took = Clock::now() - start;
      EXPECT_GE(took, span);
      return took <= 3 * span;
    });
  });
}

TEST_P(TimerTest, TimersFireInTheOrderOfTheirTimes) {
  on_workers([] {
    with_growing_span([](std::chrono::nanoseconds span) {
      constexpr std::array order{5, 3, 6, 6, 6, 1, 1, 2, 7, 9, 4, 8, 0};
      Chan<int> fired(static_cast<int>(order.size()));
      for (const int slot : order) {
        go([=] {
          EXPECT_TRUE(after(span * slot / 10).receive().has_value());
          EXPECT_TRUE(fired.send(slot));
        }).detach();
      }
      int last = 0;
      bool in_order = true;
      for (std::size_t i = 0; i < order.size(); ++i) {
        const int slot = fired.receive().value();
        in_order = in_order && slot >= last;
        last = slot;
      }
      return in_order;
    });
  });
}

// TM-04
TEST_P(TimerTest, TM04_AStoppedTimerDoesNotFireAndASecondStopIsFalse) {
  on_workers([] {
    with_growing_span([](std::chrono::nanoseconds span) {
      const auto start = Clock::now();
      auto ran = std::make_shared<std::atomic<bool>>(false);
      Timer function = after_func(span, [ran] { *ran = true; });
      const bool function_stopped = function.stop();
      Timer timer(span);
      const bool timer_stopped = timer.stop();
      if (Clock::now() - start >= span) return false;  // they may have fired before
      EXPECT_TRUE(function_stopped);
      EXPECT_FALSE(function.stop());
      EXPECT_TRUE(timer_stopped);
      EXPECT_FALSE(timer.stop());
      EXPECT_TRUE(sleep_for(span + span / 2));
      EXPECT_FALSE(*ran) << "it was stopped";
      EXPECT_EQ(timer.channel().try_receive().error(), std::errc::operation_would_block);
      EXPECT_FALSE(function.channel()) << "a timer with a function sends nothing";
      function = Timer();
      EXPECT_EQ(ran.use_count(), 1);
      return true;
    });
    Timer never;
    EXPECT_FALSE(never.stop()) << "a timer that was never made";
    EXPECT_FALSE(never.channel());
  });
}

TEST_P(TimerTest, AFunctionRunsInAFiberOfItsOwnAndMayPark) {
  on_workers([] {
    Chan<std::uint64_t> ran;
    after_func(1ms, [=] {
      EXPECT_TRUE(sleep_for(1ms));
      EXPECT_TRUE(ran.send(this_fiber::id()));
    });
    EXPECT_NE(ran.receive().value(), this_fiber::id());
    // A chain of timers that start each other.
    std::atomic<int> left{10};
    Chan<int> done;
    std::function<void()> step = [&] {
      if (--left > 0) {
        after_func(100us, step);
      } else {
        EXPECT_TRUE(done.send(1));
      }
    };
    after_func(0ns, step);
    EXPECT_TRUE(done.receive().has_value());
  });
}

// TM-05
TEST_P(TimerTest, TM05_ResetMovesATimerAndTellsWhetherItWasPending) {
  on_workers([] {
    with_growing_span([](std::chrono::nanoseconds span) {
      const auto start = Clock::now();
      Timer timer(2 * span);
      EXPECT_TRUE(sleep_for(span));
      const bool was_pending = timer.reset(3 * span);
      if (Clock::now() - start >= 2 * span) return false;  // too late to tell anything
      EXPECT_TRUE(was_pending);
      EXPECT_TRUE(sleep_for(2 * span));
      const bool has_fired = timer.channel().try_receive().has_value();
      if (Clock::now() - start >= 4 * span) return false;
      EXPECT_FALSE(has_fired) << "early";
      EXPECT_TRUE(timer.wait().has_value());
      EXPECT_GE(Clock::now() - start, 4 * span);
      EXPECT_FALSE(timer.reset(1ms)) << "it has fired";
      EXPECT_TRUE(timer.wait().has_value()) << "and fires again";
      return true;
    });
  });
}

// TM-07
TEST_P(TimerTest, TM07_ATimerMovedToThePastFiresAtOnce) {
  on_workers([] {
    for (int i = 0; i < rounds(1'000); ++i) {
      Timer timer(1h);
      for (int k = 0; k < 10; ++k) {
        timer.stop();
        timer.reset(-1s);
      }
      const auto fired = timer.channel().receive(Deadline::after(10s));
      ASSERT_TRUE(fired.has_value()) << "round " << i;
    }
  });
}

// TM-10
TEST_P(TimerTest, TM10_NothingStaleIsReceivedAfterStopOrReset) {
  on_workers([] {
    Timer timer(1us);
    const auto channel = timer.channel();
    EXPECT_TRUE(eventually([&] { return channel.impl()->maybe_receivable(); })) << "it has fired";
    EXPECT_EQ(channel.len(), 0u);
    EXPECT_EQ(channel.cap(), 0u);
    EXPECT_TRUE(timer.stop()) << "taken back: nobody had received it";
    EXPECT_FALSE(channel.try_receive());
    EXPECT_FALSE(timer.stop());

    timer.reset(1us);
    EXPECT_TRUE(eventually([&] { return channel.impl()->maybe_receivable(); }));
    EXPECT_TRUE(timer.reset(1h));
    EXPECT_FALSE(channel.try_receive());
    EXPECT_EQ(channel.len(), 0u);
    const auto before = Clock::now();
    timer.reset(1ms);
    EXPECT_GE(channel.receive().value(), before + 1ms) << "the time of the firing that was asked for last";

    Ticker ticker(1us);
    EXPECT_TRUE(eventually([&] { return ticker.channel().impl()->maybe_receivable(); }));
    EXPECT_EQ(ticker.channel().len(), 0u);
    ticker.stop();
    EXPECT_FALSE(ticker.channel().try_receive());
  });
}

TEST_P(TimerTest, StressStopsRaceWithFirings) {
  on_workers([] {
    for (int i = 0; i < rounds(1'000); ++i) {
      std::atomic<int> calls{0};
      Timer function = after_func(std::chrono::microseconds(i % 20), [&] { ++calls; });
      if (i % 3 == 0) yield();
      const bool stopped = function.stop();
      EXPECT_TRUE(eventually([&] { return calls == (stopped ? 0 : 1); })) << "stopped " << stopped;
      Timer timer(std::chrono::microseconds(i % 20));
      if (i % 3 == 0) yield();
      timer.stop();
      EXPECT_FALSE(timer.channel().try_receive());
    }
  });
}

TEST_P(TimerTest, StressManyFibersResetOneTimer) {
  const std::uint64_t seed = test_seed();
  ROOST_TRACE_SEED(seed);
  on_workers([seed] {
    // Owned by the calls: stop() does not wait for one that has begun, which may then run beyond the end of this function.
    auto calls = std::make_shared<std::atomic<int>>(0);
    Timer function = after_func(1h, [calls] { ++*calls; });
    Timer timer(1h);
    Ticker ticker(50us);
    WaitGroup group;
    for (std::uint64_t i = 0; i < 4; ++i) {
      group.go([&, i] {
        std::mt19937_64 random(seed + i);
        for (int k = 0; k < rounds(1'000); ++k) {
          const auto span = std::chrono::microseconds(random() % 30);
          switch (random() % 6) {
            case 0: function.reset(span); break;
            case 1: function.stop(); break;
            case 2: timer.reset(span); break;
            case 3: static_cast<void>(timer.channel().receive(Deadline::after(span))); break;
            case 4: ticker.reset(span + 1us); break;
            default: static_cast<void>(ticker.wait(Deadline::after(span)));
          }
        }
      });
    }
    group.wait();
    function.stop();
    ticker.stop();
    timer.stop();
    EXPECT_FALSE(timer.channel().try_receive());
    EXPECT_FALSE(ticker.channel().try_receive());
    // None stays armed. A worker that is just waking may still hold one of a wait that is over.
    while (runtime_stats().timers != 0) yield();
  });
}

// TM-12
TEST_P(TimerTest, TM12_ATickerFollowsAResetAndIsSilentAfterItsStop) {
  on_workers([] {
    with_growing_span([](std::chrono::nanoseconds span) {
      const auto period = span / 10;
      const auto start = Clock::now();
      Ticker ticker(period);
      for (int i = 0; i < 5; ++i) EXPECT_TRUE(ticker.wait().has_value());
      ticker.reset(2 * period);
      for (int i = 0; i < 5; ++i) EXPECT_TRUE(ticker.wait().has_value());
      ticker.stop();
      const auto took = Clock::now() - start;
      const auto expected = 15 * period;
      if (took < expected * 7 / 10 || took > expected * 13 / 10) return false;
      EXPECT_TRUE(sleep_for(2 * period));
      EXPECT_FALSE(ticker.channel().try_receive()) << "a tick after the stop";
      return true;
    });
  });
}

TEST_P(TimerTest, ATickerDropsWhatNobodyTakesAndDoesNotDrift) {
  on_workers([] {
    with_growing_span([](std::chrono::nanoseconds span) {
      const auto period = span / 10;
      const auto start = Clock::now();
      Ticker ticker(period);
      EXPECT_TRUE(sleep_for(5 * period + period / 2));
      if (Clock::now() - start > 6 * period - period / 5) return false;
      EXPECT_TRUE(ticker.channel().try_receive().has_value()) << "one is kept";
      EXPECT_FALSE(ticker.channel().try_receive()) << "the others were dropped";
      const TimePoint next = ticker.wait().value();
      return next >= start + 6 * period && next < start + 7 * period;
    });
  });
}

// TM-13
TEST_P(TimerDeathTest, TM13_ATickerWithoutAPositivePeriodIsRefused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_workers([] { Ticker ticker(0s); }), "period that is not positive");
  EXPECT_DEATH(on_workers([] { Ticker ticker(-1s); }), "period that is not positive");
  EXPECT_DEATH(on_workers([] {
                 Ticker ticker(1s);
                 ticker.reset(0s);
               }),
               "period that is not positive");
  EXPECT_DEATH(on_workers([] { Timer().reset(1s); }), "never made");
  EXPECT_DEATH(Timer(1s), "needs a running runtime");
  on_workers([] {
    EXPECT_FALSE(tick(-1s));
    EXPECT_FALSE(tick(0s));
    EXPECT_TRUE(tick(1h));
  });
}

// TM-14
TEST_P(TimerTest, TM14_AShortTimerFiresAlthoughFibersPlayPingPong) {
  on_workers([] {
    for (int i = 0; i < 20; ++i) {
      Chan<int> ball;
      std::atomic<bool> stop{false};
      WaitGroup players;
      for (int k = 0; k < 2; ++k) {
        players.go([&] {
          while (!stop) static_cast<void>(select(on_receive(ball), on_send(ball, 1), on_timeout(1ms)));
        });
      }
      after_func(1us, [&] { stop = true; });
      players.wait();
    }
  });
}

TEST_P(TimerTest, TM14_AShortTimerFiresAlthoughAFiberOnlyTries) {
  on_workers([] {
    Chan<int> empty(1);
    Chan<int> full(0);
    std::atomic<bool> stop{false};
    after_func(1us, [&] { stop = true; });
    while (!stop) {
      EXPECT_FALSE(empty.try_receive());
      EXPECT_FALSE(full.try_send(1));
      EXPECT_TRUE(select(on_receive(empty), on_send(full, 1), otherwise()));
    }
    Chan<int> busy(1);
    stop = false;
    after_func(1us, [&] { stop = true; });
    while (!stop) {
      EXPECT_TRUE(busy.send(1));
      EXPECT_TRUE(busy.receive().has_value());
    }
  });
}

// TM-15
TEST_P(TimerTest, TM15_ASleepOfNothingNeverHangs) {
  on_workers([] {
    std::atomic<bool> stop{false};
    // Go stops its world meanwhile; here other fibers start and end as fast as they can.
    auto busy = go([&] {
      while (!stop) go([] {}).join();
    });
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(sleep_for(0s));
      Timer timer(1ms);
      EXPECT_TRUE(sleep_for(-1s));
      EXPECT_TRUE(timer.wait().has_value());
    }
    stop = true;
    busy.join();
  });
}

TEST_P(TimerTest, ADroppedTimerIsStoppedUnlessItsChannelLivesOn) {
  on_workers([] {
    for (int i = 0; i < 100; ++i) Timer timer(1h);
    for (int i = 0; i < 100; ++i) static_cast<void>(tick(1h));
    EXPECT_EQ(runtime_stats().timers, 0u);
    const auto channel = Timer(1ms).channel();
    EXPECT_TRUE(channel.receive().has_value());
    const auto ticks = tick(1ms);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(ticks.receive().has_value());
  });
}

TEST_P(TimerTest, TimersLeftBehindAreFreedWithTheRuntime) {
  auto held = std::make_shared<int>(1);
  on_workers([&] { after_func(1h, [held] { ADD_FAILURE(); }); });
  EXPECT_EQ(held.use_count(), 1);
  // A handle may outlive its runtime.
  Timer timer;
  on_workers([&] { timer = Timer(1h); });
  EXPECT_FALSE(timer.channel().try_receive());
}

TEST_P(TimerTest, PlainThreadsMakeAndStopTimers) {
  on_workers([] {
    std::thread thread([] {
      EXPECT_TRUE(Timer(2ms).wait().has_value());
      Timer timer(1h);
      EXPECT_TRUE(timer.reset(1ms));
      EXPECT_TRUE(timer.wait().has_value());
      EXPECT_FALSE(timer.stop());
      Chan<int> ran(1);
      after_func(1ms, [=] { EXPECT_TRUE(ran.send(1)); });
      EXPECT_TRUE(ran.receive().has_value());
    });
    Chan<int> joined;
    // The fiber waits as fibers do, so that the worker is free for the thread's timers.
    blocking([&] { thread.join(); });
  });
}

TEST_P(TimerTest, ATimerFarAwayNeverFires) {
  on_workers([] {
    Timer timer(std::chrono::nanoseconds::max());
    EXPECT_EQ(runtime_stats().timers, 0u);
    EXPECT_TRUE(timer.stop());
    Ticker ticker(std::chrono::nanoseconds::max());
    EXPECT_EQ(ticker.wait(Deadline::after(1ms)).error(), std::errc::timed_out);
  });
}

}  // namespace
}  // namespace roost::test
