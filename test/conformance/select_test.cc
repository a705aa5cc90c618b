// Select: SE-02 SE-03 SE-04 SE-05 SE-07 and their neighbours.
#include <array>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/fibers.h"

namespace roost::test {
namespace {

using runtime::WaitReason;

class SelectTest : public OnWorkers {};
INSTANTIATE_TEST_SUITE_P(Workers, SelectTest, all_setups, setup_name);

// SE-01, SE-02: at every moment one of two channels is ready, so a select with a default may not say that none is.
TEST_P(SelectTest, SE02_ADefaultIsTakenOnlyIfNoCaseWasReadyAtOneMoment) {
  on_workers([] {
    for (const bool by_close : {false, true}) {
      for (int i = 0; i < rounds(20'000); ++i) {
        Chan<int> first(1);
        Chan<int> second(1);
        EXPECT_TRUE(first.send(1));
        auto looking = go([&] {
          bool found = true;
          EXPECT_TRUE(select(on_receive(first), on_receive(second), otherwise([&] { found = false; })));
          return found;
        });
        if (by_close) {
          second.close();
        } else {
          EXPECT_TRUE(second.send(1));
        }
        EXPECT_TRUE(select(on_receive(first), otherwise()));
        ASSERT_TRUE(looking.join()) << "round " << i;
      }
    }
  });
}

// SE-03
TEST_P(SelectTest, SE03_TwoFibersThatSendAndReceiveOnOneChannelNeverMeetThemselves) {
  on_workers([] {
    for (const int capacity : {0, 10}) {
      WaitGroup group;
      Chan<int> chan(capacity);
      std::array<std::atomic<int>, 2> sent{};
      std::array<std::atomic<int>, 2> got{};
      for (int own = 0; own < 2; ++own) {
        group.go([&, own] {
          for (int i = 0; i < rounds(1'000); ++i) {
            bool was_sent = false;
            const auto take = [&](Result<int> value) {
              ++got[static_cast<std::size_t>(own)];
              if (capacity == 0) {
                EXPECT_NE(*value, own) << "it received what it sent itself";
              }
            };
            const auto give = [&] { was_sent = true; };
            if (own == 0 || i % 2 == 0) {
              EXPECT_TRUE(select(on_receive(chan, take), on_send(chan, own, give)));
            } else {
              EXPECT_TRUE(select(on_send(chan, own, give), on_receive(chan, take)));
            }
            if (was_sent) ++sent[static_cast<std::size_t>(own)];
          }
        });
      }
      // The rounds are in step, as each needs the other, unless one has a buffer to itself; that is never full and empty at once.
      group.wait();
      if (capacity == 0) {
        EXPECT_EQ(sent[0], got[1]);
        EXPECT_EQ(sent[1], got[0]);
      }
      EXPECT_EQ(sent[0] + sent[1], got[0] + got[1] + static_cast<int>(chan.len()));
    }
  });
}

// SE-04
TEST_P(SelectTest, SE04_MixedSelectsAndPlainCallsOnFourChannelsAllComplete) {
  on_workers([] {
    const int count = rounds(2'000);
    std::array<Chan<int>, 4> chans{Chan<int>(), Chan<int>(), Chan<int>(2), Chan<int>(3)};
    WaitGroup group;
    for (auto& chan : chans) {
      group.go([&] {
        for (int i = 0; i < count; ++i) EXPECT_TRUE(chan.send(1));
      });
      group.go([&] {
        for (int i = 0; i < count; ++i) EXPECT_TRUE(chan.receive().has_value());
      });
    }
    group.go([&] {
      std::array<int, 4> left{};
      left.fill(count);
      std::array<Chan<int>, 4> own = chans;
      for (int i = 0; i < 4 * count; ++i) {
        const auto sent = [&](std::size_t k) {
          return [&, k] {
            if (--left[k] == 0) own[k] = nullptr;
          };
        };
        EXPECT_TRUE(select(on_send(own[0], 1, sent(0)), on_send(own[1], 1, sent(1)), on_send(own[2], 1, sent(2)),
                           on_send(own[3], 1, sent(3))));
      }
    });
    group.go([&] {
      std::array<int, 4> left{};
      left.fill(count);
      std::array<Chan<int>, 4> own = chans;
      for (int i = 0; i < 4 * count; ++i) {
        const auto got = [&](std::size_t k) {
          return [&, k](Result<int> value) {
            EXPECT_TRUE(value);
            if (--left[k] == 0) own[k] = nullptr;
          };
        };
        EXPECT_TRUE(select(on_receive(own[0], got(0)), on_receive(own[1], got(1)), on_receive(own[2], got(2)),
                           on_receive(own[3], got(3))));
      }
    });
    group.wait();
    for (auto& chan : chans) EXPECT_FALSE(chan.try_receive());
  });
}

// SE-05
TEST_P(SelectTest, SE05_ReadyCasesAreChosenWithTheSameChance) {
  on_workers([] {
    const int trials = rounds(10'000);
    Chan<int> first(trials + 1);
    Chan<int> second(trials + 1);
    for (int i = 0; i <= trials; ++i) {
      EXPECT_TRUE(first.send(1));
      EXPECT_TRUE(second.send(2));
    }
    Chan<int> never;
    Chan<int> done;
    std::array<int, 4> chosen{};
    for (int i = 0; i < trials; ++i) {
      ++chosen[select(on_receive(never), on_receive(first), on_receive(done), on_receive(second)).value()];
    }
    EXPECT_EQ(chosen[0] + chosen[2], 0);
    // Ten standard deviations of a fair coin.
    EXPECT_NEAR(chosen[1], trials / 2.0, 10 * std::sqrt(trials * 0.25));
  });
}

TEST_P(SelectTest, EightReadyCasesAreChosenWithTheSameChance) {
  on_workers([] {
    const int trials = rounds(16'000);
    std::array<Chan<int>, 8> chans;
    for (auto& chan : chans) chan.close();
    SelectList cases;
    std::array<int, 8> chosen{};
    for (int i = 0; i < trials; ++i) {
      for (auto& chan : chans) cases.receive(chan);
      ++chosen[select(cases).value()];
      cases.clear();
    }
    for (const int count : chosen) EXPECT_NEAR(count, trials / 8.0, 10 * std::sqrt(trials * 7.0 / 64));
  });
}

// SE-07
TEST_P(SelectTest, SE07_ASelectOfTwoSendsMakesAPlausibleRandomSequence) {
  on_workers([] {
    const int count = 1'000;
    for (const int capacity : {0, count}) {
      Chan<int> chan(capacity);
      auto sending = go([&] {
        for (int i = 0; i < count; ++i) EXPECT_TRUE(select(on_send(chan, 0), on_send(chan, 1)));
      });
      int ones = 0;
      for (int i = 0; i < count; ++i) ones += chan.receive().value();
      sending.join();
      EXPECT_GT(ones, count / 10);
      EXPECT_LT(ones, count - count / 10);
    }
  });
}

TEST_P(SelectTest, ACaseWakesAParkedSelectAndTheOthersAreWithdrawn) {
  on_workers([] {
    for (int which = 0; which < 3; ++which) {
      Chan<int> numbers;
      Chan<std::string> words;
      Chan<int> out;
      Whereabouts where;
      std::string seen;
      auto selecting = go([&] {
        where.here();
        const auto chosen = select(on_receive(numbers, [&](Result<int> n) { seen = std::to_string(*n); }),
                                   on_receive(words, [&](Result<std::string> word) { seen = *word; }),
                                   on_send(out, 5, [&] { seen = "sent"; }));
        EXPECT_EQ(chosen.value(), static_cast<std::size_t>(which));
      });
      EXPECT_TRUE(where.parks(WaitReason::select));
      switch (which) {
        case 0: EXPECT_TRUE(numbers.send(7)); break;
        case 1: EXPECT_TRUE(words.send("seven")); break;
        default: EXPECT_EQ(out.receive().value(), 5);
      }
      selecting.join();
      EXPECT_EQ(seen, which == 0 ? "7" : which == 1 ? "seven" : "sent");
      EXPECT_FALSE(numbers.try_send(1));
      EXPECT_FALSE(words.try_send(""));
      EXPECT_FALSE(out.try_receive());
    }
  });
}

TEST_P(SelectTest, CloseWakesAParkedSelect) {
  on_workers([] {
    Chan<int> first;
    Chan<int> second;
    Whereabouts where;
    auto selecting = go([&] {
      where.here();
      bool closed = false;
      EXPECT_EQ(select(on_receive(first), on_receive(second, [&](Result<int> n) { closed = n.error() == Errc::closed; })).value(), 1u);
      EXPECT_TRUE(closed);
    });
    EXPECT_TRUE(where.parks(WaitReason::select));
    second.close();
    selecting.join();
  });
}

TEST_P(SelectTest, ATimeOutIsTakenWhenNothingElseComes) {
  on_workers([] {
    Chan<int> chan(1);
    const auto start = Deadline::Clock::now();
    bool late = false;
    EXPECT_EQ(select(on_receive(chan), on_timeout(1h), on_timeout(20ms, [&] { late = true; })).value(), 2u);
    EXPECT_TRUE(late);
    EXPECT_GE(Deadline::Clock::now() - start, 20ms);
    EXPECT_EQ(select(on_receive(chan), on_timeout(-1s)).value(), 1u);
    EXPECT_TRUE(chan.send(1));
    EXPECT_EQ(select(on_receive(chan), on_timeout(-1s)).value(), 0u) << "what is ready comes first";
    EXPECT_EQ(select(on_deadline(Deadline::past())).value(), 0u);
  });
}

TEST_P(SelectTest, NullChannelsAreNeverChosen) {
  on_workers([] {
    Chan<int> null = nullptr;
    Chan<int> chan(1);
    EXPECT_EQ(select(on_receive(null), on_send(null, 1), otherwise()).value(), 2u);
    EXPECT_EQ(select(on_receive(null), on_send(chan, 1)).value(), 1u);
    EXPECT_EQ(select(on_receive(null), on_timeout(1ms)).value(), 1u);
  });
}

TEST_P(SelectTest, CancellationEndsASelectThatWaitsAndOneWithoutCases) {
  on_workers([] {
    Chan<int> chan;
    Whereabouts where;
    auto selecting = go([&] {
      where.here();
      EXPECT_EQ(select(on_receive(chan), on_timeout(1h)).error(), std::errc::operation_canceled);
      EXPECT_EQ(select().error(), std::errc::operation_canceled);
      EXPECT_EQ(select(on_receive(chan), otherwise()).value(), 1u) << "a default needs no wait";
    });
    EXPECT_TRUE(where.parks(WaitReason::select));
    selecting.cancel();
    selecting.join();
    EXPECT_FALSE(chan.try_send(1));
  });
}

TEST_P(SelectTest, ANamedCaseTellsItsOutcome) {
  on_workers([] {
    Chan<std::unique_ptr<int>> chan(1);
    auto sending = on_send(chan, std::make_unique<int>(3));
    EXPECT_TRUE(select(sending));
    EXPECT_TRUE(sending.sent());
    auto again = on_send(chan, std::make_unique<int>(4));
    EXPECT_TRUE(select(again, otherwise()));
    EXPECT_FALSE(again.sent());
    EXPECT_EQ(*again.value(), 4) << "what was not sent is still there";
  });
}

TEST_P(SelectTest, OneChannelMayStandInSeveralCases) {
  on_workers([] {
    Chan<int> chan;
    std::array<std::atomic<int>, 2> got{};
    auto selecting = go([&] {
      for (int i = 0; i < 200; ++i) {
        EXPECT_TRUE(select(on_receive(chan, [&](Result<int>) { ++got[0]; }), on_receive(chan, [&](Result<int>) { ++got[1]; })));
      }
    });
    for (int i = 0; i < 200; ++i) EXPECT_TRUE(chan.send(i));
    selecting.join();
    EXPECT_EQ(got[0] + got[1], 200);
    EXPECT_FALSE(chan.try_send(1)) << "no case is left in the queue";
  });
}

TEST_P(SelectTest, ManyCasesKnownAtRunTime) {
  on_workers([] {
    std::vector<Chan<int>> chans(100);
    auto sending = go([&] {
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(chans[static_cast<std::size_t>(i * 37 % 100)].send(i));
    });
    int sum = 0;
    for (int i = 0; i < 100; ++i) {
      SelectList cases;
      for (const auto& chan : chans) cases.receive(chan, [&](Result<int> n) { sum += *n; });
      cases.timeout(1h);
      EXPECT_TRUE(select(cases));
    }
    EXPECT_EQ(sum, 4950);
    sending.join();
  });
}

TEST_P(SelectTest, PlainThreadsSelect) {
  on_workers([] {
    Chan<int> first;
    Chan<int> second(1);
    std::thread thread([&] {
      int left = 2;
      while (left > 0) {
        EXPECT_TRUE(select(on_receive(first, [&](Result<int>) { --left; }), on_receive(second, [&](Result<int>) { --left; }),
                           on_timeout(10s, [] { ADD_FAILURE() << "nothing came"; })));
      }
      EXPECT_EQ(select(on_receive(first), on_timeout(1ms)).value(), 1u);
    });
    EXPECT_TRUE(first.send(1));
    EXPECT_TRUE(second.send(1));
    thread.join();
  });
}

TEST_P(SelectTest, StressSelectsThatTimeOutAndAreCanceledLoseNothing) {
  const std::uint64_t seed = test_seed();
  ROOST_TRACE_SEED(seed);
  on_workers([seed] {
    const int count = rounds(1'500);
    std::array<Chan<int>, 3> chans{Chan<int>(), Chan<int>(1), Chan<int>(2)};
    std::atomic<std::int64_t> sent{0};
    std::atomic<std::int64_t> received{0};
    const auto player = [&](std::uint64_t number, bool may_send) {
      std::mt19937_64 random(seed + number);
      for (int i = 0; i < count; ++i) {
        const int value = static_cast<int>(random() % 100);
        const auto got = [&](Result<int> n) {
          if (n) received += *n;
        };
        const auto gave = [&] { sent += value; };
        Chan<int>& a = chans[random() % 3];
        Chan<int>& b = chans[random() % 3];
        const auto span = std::chrono::microseconds(random() % 100);
        Chan<int> c = may_send ? chans[random() % 3] : Chan<int>(nullptr);
        static_cast<void>(select(on_receive(a, got), on_receive(b, got), on_send(c, value, gave), on_timeout(span)));
        if (this_fiber::is_canceled()) return;
      }
    };
    std::vector<Handle<void>> fibers;
    for (std::uint64_t i = 0; i < 6; ++i) {
      fibers.push_back(go([&, i] { player(i, true); }));
    }
    static_cast<void>(sleep_for(5ms));
    fibers[0].cancel();
    fibers[1].cancel();
    for (auto& fiber : fibers) fiber.join();
    for (auto& chan : chans) {
      while (auto left = chan.try_receive()) received += *left;
    }
    EXPECT_EQ(sent, received);
  });
}

using SelectDeathTest = SelectTest;
INSTANTIATE_TEST_SUITE_P(Workers, SelectDeathTest, testing::Values(Setup{1, false}), setup_name);

TEST_P(SelectDeathTest, ASendOnAClosedChannelIsTold) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_workers([] {
                 Chan<int> chan(1);
                 chan.close();
                 static_cast<void>(select(on_send(chan, 1)));
               }),
               "send on a closed channel");
  EXPECT_DEATH(on_workers([] {
                 Chan<int> chan;
                 Whereabouts where;
                 auto selecting = go([&] {
                   where.here();
                   static_cast<void>(select(on_send(chan, 1), on_timeout(1h)));
                 });
                 static_cast<void>(where.parks(WaitReason::select));
                 chan.close();
                 selecting.join();
               }),
               "send on a closed channel");
}

}  // namespace
}  // namespace roost::test
