// Contexts: CX-01 CX-02 CX-03 CX-04 CX-06 CX-09 CX-10 CX-11 CX-12 CX-13 and their neighbours.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "conformance/fibers.h"
#include "counted_allocations.h"

namespace roost::test {
namespace {

using runtime::WaitReason;

class ContextTest : public OnWorkers {};
INSTANTIATE_TEST_SUITE_P(Workers, ContextTest, all_setups, setup_name);

// What a value is found by is its type.
struct UserName {
  std::string text;
};
struct UserNumber {
  int number;
};

void expect_live(const Context& context) {
  EXPECT_FALSE(context.is_done());
  EXPECT_FALSE(context.error());
  EXPECT_FALSE(context.cause());
  EXPECT_EQ(context.done().try_receive().error(), std::errc::operation_would_block);
}
void expect_done(const Context& context, std::error_code error) {
  EXPECT_TRUE(context.is_done());
  EXPECT_EQ(context.error(), error);
  EXPECT_EQ(context.done().try_receive().error(), Errc::closed);
  EXPECT_TRUE(context.wait(Deadline::past()));
}

TEST(Context, TheBackgroundIsNeverDoneAndHoldsNothing) {
  const Context context;
  EXPECT_FALSE(context.is_done());
  EXPECT_FALSE(context.error());
  EXPECT_FALSE(context.cause());
  EXPECT_TRUE(context.deadline().is_none());
  EXPECT_FALSE(context.done());
  EXPECT_EQ(context.value<int>(), nullptr);
  EXPECT_EQ(context.wait(Deadline::after(1ms)).error(), std::errc::timed_out);
  EXPECT_FALSE(context.stop_token().stop_possible());
  EXPECT_EQ(context, Context::background());
  EXPECT_EQ(without_cancel(context), context);
}

// CX-01
TEST_P(ContextTest, CX01_CancelingAParentEndsAllBelowBeforeItReturns) {
  on_workers([] {
    auto [parent, cancel] = with_cancel({});
    auto [child, cancel_child] = with_cancel(parent);
    const Context value = with_value(parent, UserNumber{1});
    auto [below_value, cancel_below_value] = with_cancel(value);
    auto [timed, cancel_timed] = with_timeout(below_value, 1h);
    auto [grandchild, cancel_grandchild] = with_cancel(timed);
    for (const Context& context : {parent, child, value, below_value, timed, grandchild}) expect_live(context);
    cancel();
    for (const Context& context : {parent, child, value, below_value, timed, grandchild}) expect_done(context, Errc::canceled);
    auto [late, cancel_late] = with_cancel(grandchild);
    expect_done(late, Errc::canceled);
    auto [late_timed, cancel_late_timed] = with_timeout(parent, 1h);
    expect_done(late_timed, Errc::canceled);
    cancel();  // once more does nothing
  });
}

// CX-01
TEST_P(ContextTest, CX01_AChainLongerThanAStackIsDeepEndsAndIsFreed) {
  on_workers([] {
    auto [root, cancel] = with_cancel({});
    {
      Context context = root;
      std::vector<Canceler> cancelers;
      for (int i = 0; i < 20'000; ++i) {
        context = with_value(with_cancel(context).context, UserNumber{i});
      }
      expect_live(context);
      cancel();
      expect_done(context, Errc::canceled);
    }
  });
}

// CX-02
TEST_P(ContextTest, CX02_CancelingAChildLeavesTheParentAloneAndNothingBehind) {
  on_workers([] {
    auto [parent, cancel] = with_cancel({});
    auto [child, cancel_child] = with_cancel(parent);
    cancel_child();
    expect_done(child, Errc::canceled);
    expect_live(parent);
    // Made, dropped or canceled, and gone: else each round would leave something behind and be visited by the last cancel.
    std::vector<std::weak_ptr<int>> watched;
    for (int i = 0; i < 1'000; ++i) {
      auto token = std::make_shared<int>(i);
      watched.push_back(token);
      auto [one, cancel_one] = with_timeout(with_value(parent, std::move(token)), 1h);
      if (i % 2 == 0) cancel_one();
    }
    EXPECT_TRUE(std::ranges::all_of(watched, [](const auto& one) { return one.expired(); }))
        << "a dropped context is freed although its parent lives";
    EXPECT_EQ(runtime_stats().timers, 0u) << "and its timer is stopped";
    cancel(std::make_error_code(std::errc::io_error));
    EXPECT_EQ(child.cause(), Errc::canceled) << "what has ended does not end again with its parent";
  });
}

// CX-03
TEST_P(ContextTest, CX03_ADeadlineEndsAContextWhenItComes) {
  on_workers([] {
    const auto start = Deadline::Clock::now();
    const Deadline deadline = Deadline::after(30ms);
    auto [context, cancel] = with_deadline({}, deadline);
    EXPECT_EQ(context.deadline(), deadline);
    EXPECT_TRUE(!context.is_done() || deadline.has_passed()) << "early";
    EXPECT_TRUE(context.wait());
    EXPECT_GE(Deadline::Clock::now() - start, 30ms);
    expect_done(context, Errc::deadline_exceeded);

    // Shorter below longer, longer below shorter, values between.
    auto [outer, cancel_outer] = with_timeout({}, 1h);
    auto [inner, cancel_inner] = with_timeout(with_value(outer, UserNumber{1}), 10ms);
    EXPECT_TRUE(inner.wait());
    expect_done(inner, Errc::deadline_exceeded);
    expect_live(outer);
    auto [brief, cancel_brief] = with_timeout({}, 10ms);
    auto [lengthy, cancel_lengthy] = with_timeout(brief, 1h);
    EXPECT_EQ(lengthy.deadline(), brief.deadline());
    EXPECT_TRUE(lengthy.wait());
    expect_done(lengthy, Errc::deadline_exceeded);

    for (const auto span : {-1s, 0s}) {
      auto [past, cancel_past] = with_timeout(outer, span);
      expect_done(past, Errc::deadline_exceeded);
    }
    auto [never, cancel_never] = with_timeout({}, std::chrono::nanoseconds::max());
    EXPECT_TRUE(never.deadline().is_none());
    expect_live(never);
  });
}

// CX-03
TEST_P(ContextTest, CX03_APlainThreadMayMakeADeadline) {
  on_workers([] {
    Chan<int> never;
    std::thread thread([] {
      auto [context, cancel] = with_timeout({}, 10ms);
      EXPECT_TRUE(context.wait(Deadline::after(10s)));
      expect_done(context, Errc::deadline_exceeded);
    });
    thread.join();  // the workers sleep meanwhile, or do nothing at all
  });
}

// CX-04
TEST_P(ContextTest, CX04_ACancelBeforeTheDeadlineIsACancel) {
  on_workers([] {
    with_growing_span([](std::chrono::nanoseconds span) {
      auto [context, cancel] = with_timeout({}, span);
      auto [child, cancel_child] = with_timeout(context, 1h);
      cancel();
      if (context.deadline().has_passed()) return false;  // perhaps before the cancel
      expect_done(context, Errc::canceled);
      expect_done(child, Errc::canceled);
      EXPECT_TRUE(sleep_for(span + span / 4));
      expect_done(context, Errc::canceled);
      cancel(std::make_error_code(std::errc::io_error));
      EXPECT_EQ(context.cause(), Errc::canceled) << "only the first one counts";
      return true;
    });
  });
}

TEST_P(ContextTest, ACauseIsSeenBelowAndTheErrorStays) {
  on_workers([] {
    auto [parent, cancel] = with_cancel({});
    auto [child, cancel_child] = with_timeout(with_value(parent, UserNumber{1}), 1h);
    cancel(std::make_error_code(std::errc::io_error));
    for (const Context& context : {parent, child}) {
      EXPECT_EQ(context.error(), Errc::canceled);
      EXPECT_EQ(context.cause(), std::errc::io_error);
    }
    auto [timed, cancel_timed] = with_timeout({}, -1s, std::make_error_code(std::errc::host_unreachable));
    EXPECT_EQ(timed.error(), Errc::deadline_exceeded);
    EXPECT_EQ(timed.cause(), std::errc::host_unreachable);
  });
}

// CX-06
TEST_P(ContextTest, CX06_AChildCanceledBecauseItsParentIsDoneDoesNotDeadlock) {
  on_workers([] {
    for (int i = 0; i < rounds(500); ++i) {
      auto [parent, cancel] = with_cancel({});
      auto [child, cancel_child] = with_cancel(parent);
      Whereabouts watcher;
      auto watching = go([&, parent, cancel_child] {
        watcher.here();
        EXPECT_TRUE(parent.wait());
        cancel_child();
      });
      // Half of the time it waits already, and is woken in the middle of the parent's end.
      if (i % 2 == 0) {
        ASSERT_TRUE(watcher.parks(WaitReason::channel_receive));
      }
      cancel();
      EXPECT_TRUE(child.wait(Deadline::after(10s)));
      watching.join();
    }
  });
}

// CX-09
TEST_P(ContextTest, CX09_WithoutCancelKeepsTheValuesAndNothingElse) {
  on_workers([] {
    auto [parent, cancel] = with_timeout(with_value({}, UserName{"ann"}), 1h);
    const Context free = without_cancel(parent);
    cancel();
    EXPECT_FALSE(free.is_done());
    EXPECT_FALSE(free.error());
    EXPECT_FALSE(free.cause());
    EXPECT_FALSE(free.done());
    EXPECT_TRUE(free.deadline().is_none());
    ASSERT_NE(free.value<UserName>(), nullptr);
    EXPECT_EQ(free.value<UserName>()->text, "ann");
    auto [below, cancel_below] = with_cancel(free);
    expect_live(below);
    cancel_below();
    expect_done(below, Errc::canceled);
  });
}

// CX-10
TEST_P(ContextTest, CX10_AFunctionRunsInItsOwnFiberOnceTheContextIsDone) {
  on_workers([] {
    auto [context, cancel] = with_cancel({});
    Chan<std::uint64_t> ran(4);
    auto first = after_func(context, [=] { EXPECT_TRUE(ran.send(this_fiber::id())); });
    after_func(context, [=] { EXPECT_TRUE(ran.send(this_fiber::id())); });
    EXPECT_FALSE(ran.receive(Deadline::after(2ms)));
    cancel();
    for (int i = 0; i < 2; ++i) EXPECT_NE(ran.receive().value(), this_fiber::id());
    EXPECT_FALSE(first.stop()) << "it has run";
    after_func(context, [=] { EXPECT_TRUE(ran.send(1)); });
    EXPECT_EQ(ran.receive().value(), 1u) << "done already: at once";

    auto [timed, cancel_timed] = with_timeout({}, 5ms);
    after_func(timed, [=] { EXPECT_TRUE(ran.send(2)); });
    EXPECT_EQ(ran.receive().value(), 2u);
  });
}

// CX-10
TEST_P(ContextTest, CX10_AStoppedFunctionDoesNotRun) {
  on_workers([] {
    auto [context, cancel] = with_cancel({});
    auto held = std::make_shared<int>(1);
    auto stopped = after_func(context, [held] { ADD_FAILURE() << "it was stopped"; });
    EXPECT_TRUE(stopped.stop());
    EXPECT_FALSE(stopped.stop());
    stopped = {};
    EXPECT_EQ(held.use_count(), 1) << "what it held is gone";
    cancel();
    // Of the background, which is never done, a stop prevents the call as well, and once, whichever copy it is asked of.
    auto never = after_func(Context(), [] { ADD_FAILURE() << "the background is never done"; });
    auto copy = never;
    EXPECT_TRUE(never.stop());
    EXPECT_FALSE(never.stop());
    EXPECT_FALSE(copy.stop());
  });
}

// CX-10
TEST_P(ContextTest, CX10_WhoeverCancelsDoesNotWaitForTheFunction) {
  on_workers([] {
    auto [context, cancel] = with_cancel({});
    Chan<int> gate;
    after_func(context, [=] { EXPECT_TRUE(gate.receive().has_value()); });
    cancel();
    expect_done(context, Errc::canceled);
    EXPECT_TRUE(gate.send(1));
  });
}

// CX-10
TEST_P(ContextTest, CX10_AFunctionOutlivesTheHandlesOfItsContext) {
  on_workers([] {
    Chan<int> ran(2);
    after_func(with_timeout({}, 5ms).context, [=] { EXPECT_TRUE(ran.send(1)); });
    EXPECT_EQ(ran.receive().value(), 1);
    auto [parent, cancel] = with_cancel({});
    after_func(with_cancel(with_value(parent, UserNumber{1})).context, [=] { EXPECT_TRUE(ran.send(2)); });
    cancel();
    EXPECT_EQ(ran.receive().value(), 2);
    // Nobody can ever end these: they are freed with the function.
    after_func(with_cancel({}).context, [] { ADD_FAILURE(); });
    after_func(with_cancel(with_cancel({}).context).context, [] { ADD_FAILURE(); });
    after_func(with_timeout({}, 1h).context, [] { ADD_FAILURE(); });
  });
}

// CX-11
TEST_P(ContextTest, CX11_TheNearestValueOfATypeWins) {
  on_workers([] {
    const Context none;
    EXPECT_EQ(none.value<UserName>(), nullptr);
    const Context first = with_value(none, UserName{"first"});
    const Context number = with_value(first, UserNumber{7});
    const Context second = with_value(number, UserName{"second"});
    EXPECT_EQ(first.value<UserName>()->text, "first");
    EXPECT_EQ(number.value<UserName>()->text, "first");
    EXPECT_EQ(second.value<UserName>()->text, "second");
    EXPECT_EQ(second.value<UserNumber>()->number, 7);
    EXPECT_EQ(first.value<UserNumber>(), nullptr);
    EXPECT_EQ(second.value<std::string>(), nullptr) << "a type of the same shape is another type";
    const Context null = with_value(second, static_cast<UserName*>(nullptr));
    ASSERT_NE(null.value<UserName*>(), nullptr) << "a null value is a value";
    EXPECT_EQ(*null.value<UserName*>(), nullptr);
    auto [below, cancel] = with_cancel(null);
    EXPECT_EQ(below.value<UserName>()->text, "second");
  });
}

// CX-12: Go allows 5 and 8.
TEST_P(ContextTest, CX12_MakingAContextIsOneAllocation) {
  on_workers([] {
    const auto least_of = [](auto make) {
      make();  // the timer queue grows once
      std::uint64_t least = ~std::uint64_t{0};
      for (int i = 0; i < 20; ++i) {
        const std::uint64_t before = allocations.load();
        make();
        least = std::min(least, allocations.load() - before);
      }
      return least;
    };
    auto [parent, cancel_parent] = with_cancel({});
    EXPECT_EQ(least_of([&] { with_cancel(parent).cancel(); }), 1u);
    EXPECT_EQ(least_of([&] { with_timeout(parent, 1h).cancel(); }), 1u);
    EXPECT_EQ(least_of([&] { static_cast<void>(with_value(parent, UserNumber{1})); }), 1u);
    EXPECT_EQ(least_of([&] { static_cast<void>(without_cancel(parent)); }), 1u);
    EXPECT_EQ(least_of([&] { EXPECT_TRUE(with_timeout(parent, -1s).context.is_done()); }), 1u);
    EXPECT_EQ(least_of([&] { const ContextScope scope(parent); }), 0u);
    EXPECT_EQ(least_of([&] { static_cast<void>(parent.done()); }), 0u);
  });
}

// CX-13
TEST_P(ContextTest, CX13_APassedDeadlineIsATimeOut) {
  on_workers([] {
    auto [context, cancel] = with_timeout({}, -1s);
    EXPECT_TRUE(is_timeout(context.error()));
    EXPECT_EQ(context.error(), std::errc::timed_out);
    auto [canceled, cancel_it] = with_cancel({});
    cancel_it();
    EXPECT_FALSE(is_timeout(canceled.error()));
    EXPECT_EQ(canceled.error(), std::errc::operation_canceled);
  });
}

TEST(ContextDeathTest, ADeadlineWithoutARuntimeIsTold) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(static_cast<void>(with_timeout({}, 1h)), "needs a running runtime");
  // Nor is the runtime that has been any help.
  EXPECT_DEATH(
      {
        run([] {});
        std::thread([] { static_cast<void>(with_timeout({}, 1h)); }).join();
      },
      "needs a running runtime");
}

// --- running under a context ---------------------------------------------------------------------------------------

TEST_P(ContextTest, CallsThatParkFailOnceTheContextOfTheirFiberIsDone) {
  on_workers([] {
    for (const bool by_deadline : {false, true}) {
      auto [context, cancel] = with_timeout({}, by_deadline ? 20ms : 1h);
      const std::error_code expected = by_deadline ? Errc::deadline_exceeded : Errc::canceled;
      Chan<int> chan;
      Mutex mutex;
      Cond cond;
      Semaphore semaphore(1);
      EXPECT_TRUE(semaphore.acquire());
      WaitGroup never;
      never.add();
      int ends[2];
      ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
      auto conn = net::Conn::adopt(ends[0]).value();
      auto peer = net::Conn::adopt(ends[1]).value();
      std::array<std::byte, 16> buffer;

      WaitGroup group;
      std::atomic<int> waiting{0};
      const auto expect_ends = [&](auto call) {
        group.add();
        go(context, [&, call] {
          ++waiting;
          EXPECT_EQ(call().error(), expected);
          EXPECT_TRUE(this_fiber::is_canceled());
          group.done();
        }).detach();
      };
      expect_ends([&] { return chan.receive(); });
      expect_ends([&] { return Chan<int>().send(1); });
      expect_ends([&] { return select(on_receive(chan), on_timeout(1h)); });
      expect_ends([&] { return semaphore.acquire(); });
      expect_ends([&] { return never.wait_until(Deadline::none()); });
      expect_ends([&] { return sleep_for(1h); });
      expect_ends([&] { return conn.read(buffer); });
      expect_ends([&] { return Context().wait(); });
      expect_ends([&] {
        std::unique_lock lock(mutex);
        return cond.wait(lock);
      });
      EXPECT_TRUE(eventually([&] { return waiting == 9; }));
      static_cast<void>(sleep_for(1ms));
      if (!by_deadline) cancel();
      group.wait();
      EXPECT_FALSE(this_fiber::is_canceled());
      EXPECT_TRUE(peer.write("still open"));
      EXPECT_EQ(conn.read(buffer).value(), 10u) << "the connection itself is unharmed";
    }
  });
}

TEST_P(ContextTest, TheInnermostScopeCountsAndItsEndIsForgottenOutside) {
  on_workers([] {
    auto [outer, cancel_outer] = with_cancel({});
    auto [inner, cancel_inner] = with_cancel({});
    Chan<int> chan;
    EXPECT_EQ(this_fiber::context(), Context());
    with_context(outer, [&] {
      EXPECT_EQ(this_fiber::context(), outer);
      with_context(inner, [&] {
        EXPECT_EQ(this_fiber::context(), inner);
        cancel_inner();
        EXPECT_EQ(chan.receive().error(), std::errc::operation_canceled);
      });
      EXPECT_FALSE(this_fiber::is_canceled());
      EXPECT_TRUE(sleep_for(1us));
      cancel_outer();
      EXPECT_EQ(sleep_for(1h).error(), std::errc::operation_canceled);
      const int answer = with_context(without_cancel(outer), [&] {
        EXPECT_TRUE(sleep_for(1us)) << "what must be finished can be finished";
        return 42;
      });
      EXPECT_EQ(answer, 42);
      EXPECT_EQ(sleep_for(1h).error(), std::errc::operation_canceled) << "and then the outer one counts again";
    });
    EXPECT_FALSE(this_fiber::is_canceled());
    EXPECT_TRUE(sleep_for(1us));
  });
}

TEST_P(ContextTest, AFibersOwnCancellationOutlastsEveryScope) {
  on_workers([] {
    Chan<int> started;
    auto fiber = go([&] {
      with_context(with_cancel({}).context, [&] {
        EXPECT_TRUE(started.send(1));
        EXPECT_EQ(sleep_for(1h).error(), std::errc::operation_canceled);
      });
      EXPECT_EQ(sleep_for(1h).error(), std::errc::operation_canceled);
      EXPECT_EQ(with_context({}, [] { return sleep_for(1h); }).error(), std::errc::operation_canceled);
    });
    EXPECT_TRUE(started.receive().has_value());
    fiber.cancel();
    fiber.join();
  });
}

TEST_P(ContextTest, CancelingEndsManyFibersAtOnce) {
  on_workers([] {
    auto [context, cancel] = with_cancel({});
    constexpr int count = 300;  // several batches
    std::atomic<int> started{0};
    std::atomic<int> ended{0};
    Chan<int> never;
    WaitGroup group;
    group.add(count);
    for (int i = 0; i < count; ++i) {
      go(context, [&] {
        ++started;
        if (never.receive().error() == std::errc::operation_canceled) ++ended;
        group.done();
      }).detach();
    }
    EXPECT_TRUE(eventually([&] { return started == count; }));
    cancel();
    group.wait();
    EXPECT_EQ(ended, count);
  });
}

TEST_P(ContextTest, GoReturnsTheResultAndValuesAreSeenInside) {
  on_workers([] {
    const Context context = with_value({}, UserName{"ann"});
    auto fiber = go(context, [] { return this_fiber::context().value<UserName>()->text; });
    EXPECT_EQ(fiber.join(), "ann");
    EXPECT_EQ(go([] { return this_fiber::context(); }).join(), Context()) << "a plain go() does not hand it down";
  });
}

TEST_P(ContextTest, DoneIsACaseOfSelect) {
  on_workers([] {
    auto [context, cancel] = with_cancel({});
    Chan<int> chan(1);
    EXPECT_EQ(select(on_done(context), on_receive(chan), otherwise()).value(), 2u);
    Whereabouts where;
    auto selecting = go([&, context] {
      where.here();
      bool done = false;
      EXPECT_EQ(select(on_receive(chan), on_done(context, [&] { done = true; })).value(), 1u);
      EXPECT_TRUE(done);
    });
    EXPECT_TRUE(where.parks(WaitReason::select));
    cancel();
    selecting.join();
    EXPECT_EQ(select(on_done(context), on_receive(chan)).value(), 0u);
    EXPECT_EQ(select(on_done({}), otherwise()).value(), 1u);
  });
}

TEST_P(ContextTest, ADoneChannelKeepsItsContextGoing) {
  on_workers([] {
    const auto done = with_timeout({}, 5ms).context.done();
    EXPECT_EQ(done.receive().error(), Errc::closed);
  });
}

// --- std::stop_token -----------------------------------------------------------------------------------------------

TEST_P(ContextTest, AStopTokenEndsAContextAndAContextAStopToken) {
  on_workers([] {
    std::stop_source source;
    auto [context, cancel] = with_stop_token({}, source.get_token());
    const std::stop_token token = context.stop_token();
    EXPECT_EQ(token, context.stop_token());
    EXPECT_TRUE(token.stop_possible());
    EXPECT_FALSE(token.stop_requested());
    bool called = false;
    std::stop_callback callback(token, [&] { called = true; });
    source.request_stop();
    expect_done(context, Errc::canceled);
    EXPECT_TRUE(token.stop_requested());
    EXPECT_TRUE(called);
    EXPECT_TRUE(with_stop_token({}, source.get_token()).context.is_done()) << "stopped before";
    EXPECT_TRUE(context.stop_token().stop_requested());
    // Dropped before the stop.
    std::stop_source another;
    static_cast<void>(with_stop_token({}, another.get_token()));
    another.request_stop();
    // Only the token is left.
    const std::stop_token of_deadline = with_timeout({}, 5ms).context.stop_token();
    EXPECT_TRUE(eventually([&] { return of_deadline.stop_requested(); }));
  });
}

TEST_P(ContextTest, AJthreadStopsAFiber) {
  on_workers([] {
    Chan<int> never;
    std::stop_source source;
    auto [context, cancel] = with_stop_token({}, source.get_token());
    auto fiber = go(context, [&] { EXPECT_EQ(never.receive().error(), std::errc::operation_canceled); });
    std::thread thread([&] { source.request_stop(); });
    fiber.join();
    thread.join();
  });
}

// --- stress --------------------------------------------------------------------------------------------------------

TEST_P(ContextTest, StressTreesThatGrowEndAndGoAtOnce) {
  const std::uint64_t seed = test_seed();
  ROOST_TRACE_SEED(seed);
  on_workers([seed] {
    auto [root, cancel_root] = with_cancel({});
    std::atomic<int> hooks_run{0};
    std::atomic<int> hooks_stopped{0};
    std::atomic<int> hooks_made{0};
    WaitGroup group;
    for (std::uint64_t i = 0; i < 6; ++i) {
      group.go([&, i, root] {
        std::mt19937_64 random(seed + i);
        std::vector<CancelableContext> own{{root, {}}};
        std::vector<ContextFunc> functions;
        for (int k = 0; k < rounds(2'000); ++k) {
          const std::size_t at = random() % own.size();
          switch (random() % 7) {
            case 0: own.push_back(with_cancel(own[at].context)); break;
            case 1: own.push_back(with_timeout(own[at].context, std::chrono::microseconds(random() % 200))); break;
            case 2: own.push_back({with_value(own[at].context, UserNumber{k}), own[at].cancel}); break;
            case 3: own[at].cancel(); break;
            case 4:
              if (own.size() > 1 && at > 0) own.erase(own.begin() + static_cast<std::ptrdiff_t>(at));
              break;
            case 5:
              ++hooks_made;
              functions.push_back(after_func(own[at].context, [&] { ++hooks_run; }));
              break;
            default:
              with_context(own[at].context, [&] { static_cast<void>(sleep_for(std::chrono::microseconds(random() % 3))); });
          }
          if (functions.size() > 20) {
            if (functions.front().stop()) ++hooks_stopped;
            functions.erase(functions.begin());
          }
        }
        for (auto& function : functions) {
          if (function.stop()) ++hooks_stopped;
        }
      });
    }
    static_cast<void>(sleep_for(2ms));
    cancel_root();
    group.wait();
    EXPECT_TRUE(eventually([&] { return hooks_run + hooks_stopped == hooks_made; }))
        << hooks_run << " run, " << hooks_stopped << " stopped, " << hooks_made << " made";
  });
}

TEST_P(ContextTest, StressCancelsFromEverywhereEndItOnce) {
  on_workers([] {
    for (int i = 0; i < rounds(500); ++i) {
      auto [context, cancel] = with_timeout({}, std::chrono::microseconds(i % 50));
      std::atomic<int> calls{0};
      after_func(context, [&] { ++calls; });
      WaitGroup group;
      for (int k = 0; k < 3; ++k) {
        group.go([cancel] { cancel(); });
      }
      std::thread thread;
      if (i % 20 == 0) thread = std::thread([cancel] { cancel(); });
      group.wait();
      if (thread.joinable()) thread.join();
      EXPECT_TRUE(context.is_done());
      EXPECT_TRUE(eventually([&] { return calls == 1; }));
    }
  });
}

}  // namespace
}  // namespace roost::test
