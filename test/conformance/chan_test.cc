// Channels: CH-01 CH-02 CH-03 CH-05 CH-07 and their neighbours.
#include <algorithm>
#include <array>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/fibers.h"
#include "counted_allocations.h"

namespace roost::test {
namespace {

using runtime::WaitReason;

class ChanTest : public OnWorkers {};
INSTANTIATE_TEST_SUITE_P(Workers, ChanTest, all_setups, setup_name);

constexpr std::array capacities{0, 1, 2, 10, 100};

// CH-01
TEST_P(ChanTest, CH01_ReceiveOnEmptyAndSendOnFullPark) {
  on_workers([] {
    for (const int capacity : capacities) {
      Chan<int> chan(capacity);
      EXPECT_EQ(chan.try_receive().error(), std::errc::operation_would_block);

      Whereabouts receiver;
      std::atomic<bool> received{false};
      auto receiving = go([&] {
        receiver.here();
        EXPECT_EQ(chan.receive().value(), 7);
        received = true;
      });
      EXPECT_TRUE(receiver.parks(WaitReason::channel_receive));
      EXPECT_FALSE(received);
      EXPECT_TRUE(chan.send(7));
      receiving.join();

      for (int i = 0; i < capacity; ++i) EXPECT_TRUE(chan.try_send(i));
      EXPECT_FALSE(chan.try_send(capacity)) << "full, or nobody receives";
      Whereabouts sender;
      std::atomic<bool> sent{false};
      auto sending = go([&] {
        sender.here();
        EXPECT_TRUE(chan.send(capacity));
        sent = true;
      });
      EXPECT_TRUE(sender.parks(WaitReason::channel_send));
      EXPECT_FALSE(sent);
      for (int i = 0; i <= capacity; ++i) EXPECT_EQ(chan.receive().value(), i) << "in the order of sending";
      sending.join();
    }
  });
}

// CH-02
TEST_P(ChanTest, CH02_AClosedChannelIsDrainedInOrderAndThenReportsClosedForEver) {
  on_workers([] {
    for (const int capacity : capacities) {
      Chan<int> chan(capacity);
      for (int i = 0; i < capacity; ++i) EXPECT_TRUE(chan.send(i));
      chan.close();
      for (int i = 0; i < capacity; ++i) EXPECT_EQ(chan.receive().value(), i);
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(chan.receive().error(), Errc::closed);
        EXPECT_EQ(chan.try_receive().error(), Errc::closed);
      }
    }
  });
}

// CH-03
TEST_P(ChanTest, CH03_CloseWakesEveryReceiver) {
  on_workers([] {
    for (const int capacity : capacities) {
      Chan<int> chan(capacity);
      std::array<Whereabouts, 3> receivers;
      WaitGroup group;
      for (auto& receiver : receivers) {
        group.go([&] {
          receiver.here();
          EXPECT_EQ(chan.receive().error(), Errc::closed);
        });
      }
      for (auto& receiver : receivers) EXPECT_TRUE(receiver.parks(WaitReason::channel_receive));
      chan.close();
      group.wait();
    }
  });
}

// CH-05
TEST_P(ChanTest, CH05_LenAndCapTellTheBuffer) {
  on_workers([] {
    for (const int capacity : capacities) {
      Chan<int> chan(capacity);
      EXPECT_EQ(chan.len(), 0u);
      EXPECT_EQ(chan.cap(), static_cast<std::size_t>(capacity));
      for (int i = 0; i < capacity; ++i) EXPECT_TRUE(chan.send(i));
      EXPECT_EQ(chan.len(), static_cast<std::size_t>(capacity));
      if (capacity > 0) {
        EXPECT_TRUE(chan.receive().has_value());
      }
      EXPECT_EQ(chan.len(), static_cast<std::size_t>(capacity > 0 ? capacity - 1 : 0));
    }
  });
}

// CH-07
TEST_P(ChanTest, CH07_ManyConsumersAndProducersThroughTwoStagesLoseNothing) {
  on_workers([] {
    const int count = rounds(10'000);
    Chan<int> first(23 * 4);
    Chan<int> second(23 * 4);
    WaitGroup workers;
    for (int i = 0; i < 23; ++i) {
      workers.go([&] {
        for (const int number : first) {
          if (number % 3 == 0) yield();
          EXPECT_TRUE(second.send(number));
        }
      });
    }
    WaitGroup producers;
    for (int own = 0; own < 4; ++own) {
      producers.go([&, own] {
        for (int i = own; i < count; i += 4) EXPECT_TRUE(first.send(i));
      });
    }
    auto closing = go([&] {
      producers.wait();
      first.close();
      workers.wait();
      second.close();
    });
    std::vector<int> times(static_cast<std::size_t>(count));
    for (const int number : second) ++times.at(static_cast<std::size_t>(number));
    closing.join();
    EXPECT_EQ(std::ranges::count(times, 1), count) << "each value once";
  });
}

TEST_P(ChanTest, FibersThatWaitAreServedInTheOrderInWhichTheyCame) {
  on_workers([] {
    Chan<int> chan;
    std::array<Whereabouts, 5> where;
    std::array<std::atomic<int>, 5> got{};
    WaitGroup group;
    for (std::size_t i = 0; i < where.size(); ++i) {
      group.go([&, i] {
        where[i].here();
        got[i] = chan.receive().value();
      });
      ASSERT_TRUE(where[i].parks(WaitReason::channel_receive));
    }
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(chan.send(i));
    group.wait();
    for (std::size_t i = 0; i < where.size(); ++i) EXPECT_EQ(got[i], static_cast<int>(i));
  });
}

TEST_P(ChanTest, AWaitingSenderMovesUpWhenThereIsRoom) {
  on_workers([] {
    Chan<int> chan(1);
    EXPECT_TRUE(chan.send(1));
    Whereabouts sender;
    auto sending = go([&] {
      sender.here();
      EXPECT_TRUE(chan.send(2));
    });
    EXPECT_TRUE(sender.parks(WaitReason::channel_send));
    EXPECT_EQ(chan.receive().value(), 1);
    EXPECT_EQ(chan.len(), 1u) << "the waiting value took the free place at once";
    sending.join();
    EXPECT_EQ(chan.receive().value(), 2);
  });
}

TEST_P(ChanTest, ADeadlineEndsAWaitAndLeavesTheValueWithItsOwner) {
  on_workers([] {
    Chan<std::unique_ptr<int>> chan;
    const auto start = Deadline::Clock::now();
    EXPECT_EQ(chan.receive(Deadline::after(20ms)).error(), std::errc::timed_out);
    EXPECT_GE(Deadline::Clock::now() - start, 20ms);
    auto value = std::make_unique<int>(5);
    EXPECT_EQ(chan.send(std::move(value), Deadline::after(1ms)).error(), std::errc::timed_out);
    ASSERT_NE(value, nullptr) << "not sent, so not moved from";
    EXPECT_EQ(chan.send(std::move(value), Deadline::past()).error(), std::errc::timed_out);
    EXPECT_FALSE(chan.try_send(std::move(value)));
    ASSERT_NE(value, nullptr);

    Chan<int> buffered(1);
    EXPECT_TRUE(buffered.send(1, Deadline::past())) << "what need not wait does not look at the clock";
    EXPECT_EQ(buffered.receive(Deadline::past()).value(), 1);
  });
}

TEST_P(ChanTest, ACanceledFiberStopsWaitingButMayFinishWhatNeedsNoWait) {
  on_workers([] {
    Chan<int> chan;
    Chan<int> results(1);
    Whereabouts where;
    auto waiting = go([&] {
      where.here();
      EXPECT_EQ(chan.receive().error(), std::errc::operation_canceled);
      EXPECT_EQ(chan.send(1).error(), std::errc::operation_canceled);
      EXPECT_TRUE(results.send(3)) << "room in the buffer: no wait";
      EXPECT_EQ(results.send(4).error(), std::errc::operation_canceled);
    });
    EXPECT_TRUE(where.parks(WaitReason::channel_receive));
    waiting.cancel();
    waiting.join();
    EXPECT_EQ(results.receive().value(), 3);
    EXPECT_FALSE(chan.try_send(1)) << "nobody is left in the queue";
  });
}

TEST_P(ChanTest, TheNullChannelIsNeverReady) {
  on_workers([] {
    Chan<int> chan = nullptr;
    EXPECT_FALSE(chan);
    EXPECT_EQ(chan.len(), 0u);
    EXPECT_EQ(chan.cap(), 0u);
    EXPECT_FALSE(chan.try_send(1));
    EXPECT_EQ(chan.try_receive().error(), std::errc::operation_would_block);
    EXPECT_EQ(chan.receive(Deadline::after(1ms)).error(), std::errc::timed_out);
    EXPECT_EQ(chan.send(1, Deadline::after(1ms)).error(), std::errc::timed_out);
    Chan<int> moved(1);
    chan = std::move(moved);
    EXPECT_TRUE(chan);
    EXPECT_FALSE(moved);
  });
}

template <class C>
concept can_receive = requires(C chan) { chan.receive(); };
template <class C>
concept can_send = requires(C chan) { chan.send(1); };

TEST_P(ChanTest, HandlesShareOneChannelAndSidesHideTheOther) {
  on_workers([] {
    Chan<int> chan(1);
    const SendChan<int> in = chan;
    const ReceiveChan<int> out = chan;
    static_assert(!can_receive<SendChan<int>> && can_receive<ReceiveChan<int>>);
    static_assert(can_send<SendChan<int>> && !can_send<ReceiveChan<int>>);
    EXPECT_TRUE(in.send(1));
    EXPECT_EQ(out.len(), 1u);
    chan = nullptr;
    EXPECT_EQ(out.receive().value(), 1) << "each handle keeps the channel";
    in.close();
    EXPECT_EQ(out.receive().error(), Errc::closed);
  });
}

// Counts how many of it there are.
struct Counted {
  explicit Counted(std::atomic<int>& live, int n) : live_(&live), number(n) { ++*live_; }
  Counted(Counted&& other) noexcept : live_(other.live_), number(std::exchange(other.number, -1)) { ++*live_; }
  Counted& operator=(Counted&&) = delete;
  ~Counted() { --*live_; }
  std::atomic<int>* live_;
  int number;
};

TEST_P(ChanTest, ValuesOnlyNeedToMoveAndAreDestroyedWithTheChannel) {
  std::atomic<int> live{0};
  on_workers([&] {
    {
      Chan<Counted> chan(3);
      for (int i = 0; i < 3; ++i) EXPECT_TRUE(chan.send(Counted(live, i)));
      EXPECT_EQ(chan.receive()->number, 0);
      EXPECT_TRUE(chan.send(Counted(live, 3))) << "the ring wraps";
      EXPECT_EQ(live, 3);
    }
    EXPECT_EQ(live, 0);
    Chan<Counted> chan;
    auto receiving = go([&] { EXPECT_EQ(chan.receive()->number, 9); });
    EXPECT_TRUE(chan.send(Counted(live, 9)));
    receiving.join();
    EXPECT_EQ(live, 0);
    // A loop that is left early keeps nothing.
    Chan<Counted> loop(2);
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(loop.send(Counted(live, i)));
    for (const Counted& value : loop) {
      EXPECT_EQ(value.number, 0);
      break;
    }
    EXPECT_EQ(live, 1);
  });
  EXPECT_EQ(live, 0);
}

TEST_P(ChanTest, WideAlignmentIsKept) {
  struct alignas(128) Wide {
    int number;
  };
  on_workers([] {
    Chan<Wide> chan(2);
    EXPECT_TRUE(chan.send(Wide{1}));
    EXPECT_TRUE(chan.send(Wide{2}));
    for (int i = 1; i <= 2; ++i) {
      const auto value = chan.receive();
      EXPECT_EQ(value->number, i);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&*value) % 128, 0u);
    }
  });
}

TEST_P(ChanTest, PlainThreadsSendAndReceive) {
  on_workers([] {
    const int count = rounds(20'000);
    Chan<int> to_thread(3);
    Chan<int> to_fiber;
    std::thread thread([&] {
      for (const int number : to_thread) EXPECT_TRUE(to_fiber.send(number));
      to_fiber.close();
    });
    auto feeding = go([&] {
      for (int i = 0; i < count; ++i) EXPECT_TRUE(to_thread.send(i));
      to_thread.close();
    });
    int expected = 0;
    for (const int number : to_fiber) EXPECT_EQ(number, expected++);
    EXPECT_EQ(expected, count);
    feeding.join();
    thread.join();
  });
}

TEST(Chan, PlainThreadsNeedNoRuntime) {
  Chan<int> chan;
  std::thread thread([&] {
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(chan.send(i));
    chan.close();
  });
  int expected = 0;
  for (const int number : chan) EXPECT_EQ(number, expected++);
  EXPECT_EQ(expected, 100);
  EXPECT_EQ(Chan<int>().receive(Deadline::after(1ms)).error(), std::errc::timed_out);
  thread.join();
}

TEST_P(ChanTest, AFiberMayWaitForAPlainThreadThatIsSlow) {
  // Nothing but a thread that roost does not know can wake the fiber: that is no deadlock.
  on_workers([] {
    Chan<int> chan;
    std::thread thread([&] {
      std::this_thread::sleep_for(300ms);
      EXPECT_TRUE(chan.send(1));
    });
    EXPECT_EQ(chan.receive().value(), 1);
    thread.join();
  });
}

TEST_P(ChanTest, SendingAndReceivingAllocateNothing) {
  on_workers([] {
    Chan<int> there;
    Chan<int> back;
    Chan<int> buffered(4);
    auto echo = go([&] {
      for (const int number : there) EXPECT_TRUE(back.send(number));
    });
    const auto once = [&] {
      EXPECT_TRUE(there.send(1));
      EXPECT_EQ(back.receive().value(), 1);
      EXPECT_TRUE(buffered.send(2));
      EXPECT_EQ(buffered.receive().value(), 2);
      EXPECT_FALSE(buffered.try_receive());
      EXPECT_TRUE(select(on_receive(buffered), on_receive(back), on_send(buffered, 1)));
      EXPECT_TRUE(select(on_receive(buffered), otherwise()));
    };
    for (int i = 0; i < 100; ++i) once();
    // The runtime's own threads may allocate meanwhile; in one of a few rounds they do not.
    std::uint64_t least = ~std::uint64_t{0};
    for (int round = 0; round < 5; ++round) {
      const std::uint64_t before = allocations.load();
      for (int i = 0; i < 1000; ++i) once();
      least = std::min(least, allocations.load() - before);
    }
    EXPECT_EQ(least, 0u);
    there.close();
    echo.join();
  });
}

TEST_P(ChanTest, StressNothingIsLostWhateverComesBetween) {
  const std::uint64_t seed = test_seed();
  ROOST_TRACE_SEED(seed);
  on_workers([seed] {
    const int count = rounds(3'000);
    for (const int capacity : {0, 1, 3}) {
      Chan<std::int64_t> chan(capacity);
      std::atomic<std::int64_t> sent{0};
      std::atomic<std::int64_t> received{0};
      WaitGroup senders;
      WaitGroup receivers;
      for (std::uint64_t i = 0; i < 4; ++i) {
        senders.go([&, i] {
          std::mt19937_64 random(seed + i);
          for (int k = 0; k < count; ++k) {
            const auto value = static_cast<std::int64_t>(random() % 1000);
            switch (random() % 4) {
              case 0:
                if (chan.try_send(value)) sent += value;
                break;
              case 1:
                if (chan.send(value, Deadline::after(std::chrono::microseconds(random() % 50)))) sent += value;
                break;
              default:
                if (chan.send(value)) sent += value;
            }
          }
        });
        receivers.go([&, i] {
          std::mt19937_64 random(seed + 100 + i);
          for (;;) {
            auto got = random() % 3 == 0 ? chan.receive(Deadline::after(std::chrono::microseconds(random() % 50)))
                                         : random() % 2 == 0 ? chan.try_receive()
                                                             : chan.receive();
            if (got) received += *got;
            if (!got && got.error() == Errc::closed) return;
          }
        });
      }
      senders.wait();
      chan.close();
      receivers.wait();
      EXPECT_EQ(sent, received) << "capacity " << capacity;
    }
  });
}

TEST_P(ChanTest, StressFibersThatAreCanceledWhileTheyWaitLoseNothing) {
  on_workers([] {
    for (int i = 0; i < rounds(2'000); ++i) {
      Chan<int> chan;
      std::atomic<int> sent{0};
      std::atomic<int> received{0};
      auto sender = go([&] {
        if (chan.send(1)) ++sent;
      });
      auto receiver = go([&] {
        if (chan.receive()) ++received;
      });
      if (i % 3 == 0) yield();
      (i % 2 == 0 ? sender : receiver).cancel();
      if (i % 5 == 0) yield();
      (i % 2 == 0 ? receiver : sender).cancel();
      sender.join();
      receiver.join();
      EXPECT_EQ(sent, received);
    }
  });
}

using ChanDeathTest = ChanTest;
INSTANTIATE_TEST_SUITE_P(Workers, ChanDeathTest, testing::Values(Setup{1, false}), setup_name);

TEST_P(ChanDeathTest, MisuseIsTold) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_workers([] {
                 this_fiber::set_name("the culprit");
                 Chan<int> chan(1);
                 chan.close();
                 static_cast<void>(chan.send(1));
               }),
               "send on a closed channel(.|\n)*the culprit");
  EXPECT_DEATH(on_workers([] {
                 Chan<int> chan(1);
                 chan.close();
                 static_cast<void>(chan.try_send(1));
               }),
               "send on a closed channel");
  EXPECT_DEATH(on_workers([] {
                 Chan<int> chan;
                 chan.close();
                 chan.close();
               }),
               "close of a closed channel");
  EXPECT_DEATH(on_workers([] { Chan<int>(nullptr).close(); }), "close of a null channel");
  EXPECT_DEATH(on_workers([] { Chan<int> chan(-1); }), "capacity that is negative");
  EXPECT_DEATH(on_workers([] {
                 Chan<int> chan;
                 Whereabouts where;
                 auto sending = go([&] {
                   where.here();
                   static_cast<void>(chan.send(1));
                 });
                 static_cast<void>(where.parks(WaitReason::channel_send));
                 chan.close();
                 sending.join();
               }),
               "send on a closed channel");
}

}  // namespace
}  // namespace roost::test
