// Signals: SG-01 and its neighbours.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>

#include "conformance/fibers.h"

namespace roost::test {
namespace {

class SignalTest : public OnWorkers {};
INSTANTIATE_TEST_SUITE_P(Workers, SignalTest, all_setups, setup_name);

void expect_disposition(int number, void (*handler)(int)) {
  struct sigaction action {};
  EXPECT_EQ(::sigaction(number, nullptr, &action), 0);
  EXPECT_EQ(action.sa_handler, handler);
}

// SG-01
TEST_P(SignalTest, SG01_EverySetThatNamesASignalGetsIt) {
  on_workers([] {
    SignalSet first{SIGUSR1, SIGUSR2};
    SignalSet second{SIGUSR1};
    EXPECT_EQ(::kill(::getpid(), SIGUSR1), 0);
    EXPECT_EQ(first.wait(Deadline::after(10s)).value(), SIGUSR1);
    EXPECT_EQ(second.wait(Deadline::after(10s)).value(), SIGUSR1);
    EXPECT_EQ(::kill(::getpid(), SIGUSR2), 0);
    EXPECT_EQ(first.wait(Deadline::after(10s)).value(), SIGUSR2);
    EXPECT_EQ(second.wait(Deadline::after(2ms)).error(), std::errc::timed_out);
  });
  expect_disposition(SIGUSR1, SIG_DFL);
  expect_disposition(SIGUSR2, SIG_DFL);
}

// SG-01
TEST_P(SignalTest, SG01_AStoppedSetGetsNothingMoreAndOthersGoOn) {
  on_workers([] {
    SignalSet other{SIGUSR1};
    for (int i = 0; i < rounds(100); ++i) {
      SignalSet set{SIGUSR1};
      auto sending = go([] { EXPECT_EQ(::kill(::getpid(), SIGUSR1), 0); });
      if (i % 2 == 0) yield();
      set.stop();
      sending.join();
      // Before the stop or after it, the other set gets it, and this one at most once.
      EXPECT_EQ(other.wait(Deadline::after(10s)).value(), SIGUSR1);
      static_cast<void>(set.wait(Deadline::after(1us)));
      EXPECT_EQ(set.wait(Deadline::past()).error(), std::errc::timed_out);
      set.stop();
      // What is sent after the stop it certainly does not get.
      EXPECT_EQ(::kill(::getpid(), SIGUSR1), 0);
      EXPECT_EQ(other.wait(Deadline::after(10s)).value(), SIGUSR1);
      EXPECT_EQ(set.wait(Deadline::past()).error(), std::errc::timed_out);
    }
  });
  expect_disposition(SIGUSR1, SIG_DFL);
}

// SG-01
TEST_P(SignalTest, SG01_IgnoreAndResetTakeASignalFromAllSets) {
  on_workers([] {
    SignalSet set{SIGUSR1, SIGCHLD};
    ignore_signals({SIGUSR1});
    expect_disposition(SIGUSR1, SIG_IGN);
    EXPECT_EQ(::kill(::getpid(), SIGUSR1), 0);
    EXPECT_EQ(set.wait(Deadline::after(2ms)).error(), std::errc::timed_out);
    {
      SignalSet again{SIGUSR1};
      EXPECT_EQ(::kill(::getpid(), SIGUSR1), 0);
      EXPECT_EQ(again.wait(Deadline::after(10s)).value(), SIGUSR1) << "a new set gets it again";
    }
    expect_disposition(SIGUSR1, SIG_IGN);
    reset_signals({SIGUSR1, SIGCHLD});
    expect_disposition(SIGUSR1, SIG_DFL);
    expect_disposition(SIGCHLD, SIG_DFL);
  });
}

// SG-01
TEST_P(SignalTest, SG01_ASignalEndsAContext) {
  on_workers([] {
    auto [context, cancel] = with_signals({}, {SIGUSR1});
    EXPECT_FALSE(context.is_done());
    auto fiber = go(context, [] { EXPECT_EQ(sleep_for(1h).error(), std::errc::operation_canceled); });
    EXPECT_EQ(::kill(::getpid(), SIGUSR1), 0);
    EXPECT_TRUE(context.wait(Deadline::after(10s)));
    EXPECT_EQ(context.error(), Errc::canceled);
    EXPECT_EQ(context.cause(), std::errc::interrupted);
    fiber.join();
    EXPECT_TRUE(eventually([] {
      struct sigaction action {};
      return ::sigaction(SIGUSR1, nullptr, &action) == 0 && action.sa_handler == SIG_DFL;
    }));
  });
}

// SG-01
TEST_P(SignalTest, SG01_ACanceledSignalContextGivesTheSignalBackBeforeTheCallReturns) {
  on_workers([] {
    auto [context, cancel] = with_signals({}, {SIGUSR1, SIGTERM});
    auto [parent, cancel_parent] = with_cancel({});
    auto [below, cancel_below] = with_signals(parent, {SIGTERM});
    cancel();
    expect_disposition(SIGUSR1, SIG_DFL);
    EXPECT_FALSE(below.is_done());
    EXPECT_EQ(context.cause(), Errc::canceled);
    cancel_parent();
    EXPECT_TRUE(below.is_done());
    expect_disposition(SIGTERM, SIG_DFL);
    static_cast<void>(with_signals({}, {SIGUSR2}));  // left to the end of the runtime
  });
  expect_disposition(SIGUSR2, SIG_DFL);
}

TEST_P(SignalTest, AStormIsDelivered) {
  on_workers([] {
    SignalSet set{SIGUSR1};
    constexpr int count = 200;
    auto sending = go([] {
      for (int i = 0; i < count; ++i) {
        EXPECT_EQ(::kill(::getpid(), SIGUSR1), 0);
        yield();
      }
    });
    int received = 0;
    while (set.wait(Deadline::after(received == 0 ? 10s : 20ms))) ++received;
    sending.join();
    EXPECT_GE(received, 1) << "the kernel merges signals that are pending";
    EXPECT_LE(received, count);
  });
}

using SignalDeathTest = SignalTest;
INSTANTIATE_TEST_SUITE_P(Workers, SignalDeathTest, testing::Values(Setup{1, false}), setup_name);

TEST_P(SignalDeathTest, ASignalThatCannotBeCaughtIsTold) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_workers([] { SignalSet set{SIGKILL}; }), "cannot be caught");
  EXPECT_DEATH(on_workers([] { SignalSet set{0}; }), "no signal");
  EXPECT_DEATH(SignalSet({SIGUSR1}), "needs a running runtime");
  // Without a set the signal ends the process again.
  EXPECT_EXIT(on_workers([] {
                { SignalSet set{SIGUSR1}; }
                ::kill(::getpid(), SIGUSR1);
                static_cast<void>(sleep_for(10s));
              }),
              testing::KilledBySignal(SIGUSR1), "");
}

}  // namespace
}  // namespace roost::test
