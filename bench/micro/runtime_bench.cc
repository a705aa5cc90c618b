// What do the primitives of the scheduler cost? Printed as time per operation on one worker, where Go's published
// figures for one thread stand beside them in docs/benchmarks.md.
//
// What would make the numbers wrong: a second worker that runs the other fiber (so there is one, and no spare), another
// process on the same processor, and frequency changes: compare medians of repetitions within one run
// (--benchmark_repetitions=9 --benchmark_report_aggregates_only=true).
#include <benchmark/benchmark.h>

#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include <roost/roost.h>

#include "base/clock.h"
#include "runtime/parking.h"
#include "runtime/worker.h"

namespace {

using namespace std::chrono_literals;

void check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "runtime_bench: wrong result: %s\n", what);
  std::abort();
}

template <class F>
void on_one_worker(F&& body) {
  roost::RuntimeOptions options;
  options.workers = 1;
  options.spare_workers_max = 0;  // a benchmark loop that never parks is "stuck" and would be helped
  options.stuck_report_after = 0ms;
  roost::run(options, body);
}

// Two fibers give way to each other: time per switch.
void yield_switch(benchmark::State& state) {
  on_one_worker([&] {
    bool stop = false;
    std::int64_t other_turns = 0;
    auto other = roost::go([&] {
      while (!stop) {
        ++other_turns;
        roost::yield();
      }
    });
    std::int64_t turns = 0;
    for (auto _ : state) {
      roost::yield();
      ++turns;
    }
    stop = true;
    other.join();
    check(other_turns >= turns, "every yield lets the other fiber run");
    state.SetItemsProcessed(2 * turns);
  });
  state.counters["per_switch"] = benchmark::Counter(2 * static_cast<double>(state.iterations()),
                                                    benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(yield_switch)->MeasureProcessCPUTime();  // as its Go namesake is measured

// A fiber is started, runs, and its result is taken: time for all of it.
void spawn_join(benchmark::State& state) {
  on_one_worker([&] {
    std::int64_t sum = 0;
    std::int64_t expected = 0;
    for (auto _ : state) {
      const std::int64_t number = ++expected;
      sum += roost::go([number] { return number; }).join() - number + 1;
    }
    check(sum == expected, "every fiber returned its number");
  });
}
BENCHMARK(spawn_join)->MeasureProcessCPUTime();  // as its Go namesake is measured

// One fiber wakes another and parks until it is woken in turn: time for the round trip.
void park_unpark_round_trip(benchmark::State& state) {
  on_one_worker([&] {
    using roost::runtime::WaitReason;
    std::int64_t ball = 0;  // even: the main fiber's turn
    bool stop = false;
    auto* self = roost::runtime::current_fiber();
    roost::detail::Fiber* partner = nullptr;
    auto other = roost::go([&] {
      partner = roost::runtime::current_fiber();
      for (;;) {
        while (ball % 2 == 0 && !stop) roost::runtime::park(WaitReason::condition);
        if (stop) return;
        ++ball;
        roost::runtime::unpark(self);
      }
    });
    roost::yield();
    std::int64_t rounds = 0;
    for (auto _ : state) {
      ++ball;
      roost::runtime::unpark(partner);
      while (ball % 2 != 0) roost::runtime::park(WaitReason::condition);
      ++rounds;
    }
    check(ball == 2 * rounds, "the ball went to and fro");
    stop = true;
    roost::runtime::unpark(partner);
    other.join();
  });
}
BENCHMARK(park_unpark_round_trip);

// A deadline on a connection is moved: absolute (one store and a look for a waiting fiber), and relative (a clock, too).
template <class Set>
void set_deadline(benchmark::State& state, Set set) {
  on_one_worker([&] {
    int ends[2];
    check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    auto first = roost::net::Conn::adopt(ends[0]).value();
    auto second = roost::net::Conn::adopt(ends[1]).value();
    for (auto _ : state) benchmark::DoNotOptimize(set(first).has_value());
    check(first.set_read_deadline(roost::Deadline::past()).has_value(), "set");
    std::byte byte;
    check(first.read({&byte, 1}).error() == std::errc::timed_out, "the deadline counts");
  });
}
void set_read_deadline(benchmark::State& state) {
  const roost::Deadline deadline = roost::Deadline::after(1h);
  set_deadline(state, [deadline](roost::net::Conn& conn) { return conn.set_read_deadline(deadline); });
}
BENCHMARK(set_read_deadline);
void set_read_deadline_after(benchmark::State& state) {
  set_deadline(state, [](roost::net::Conn& conn) { return conn.set_read_deadline_after(5min); });
}
BENCHMARK(set_read_deadline_after)->MeasureProcessCPUTime();  // as its Go namesake is measured

// A timer is armed and disarmed among `range` others.
void timer_start_stop(benchmark::State& state) {
  struct Quiet : roost::time::Timer {
    Quiet() : Timer([](roost::time::Timer&) noexcept {}) {}
  };
  roost::time::TimerQueue queue;
  std::vector<std::unique_ptr<Quiet>> others;
  const std::int64_t now = roost::base::now_ns();
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    others.push_back(std::make_unique<Quiet>());
    queue.arm(*others.back(), now + 3'600'000'000'000 + i * 1000);
  }
  Quiet timer;
  std::int64_t canceled = 0;
  std::int64_t rounds = 0;
  for (auto _ : state) {
    queue.arm(timer, now + 300'000'000'000 + rounds);
    canceled += roost::time::TimerQueue::cancel(timer) ? 1 : 0;
    ++rounds;
  }
  check(canceled == rounds, "every timer was still armed");
  for (auto& other : others) roost::time::TimerQueue::cancel(*other);
}
BENCHMARK(timer_start_stop)->Arg(0)->Arg(1'000)->Arg(100'000);

// How late does a sleep of `range` microseconds end on an idle machine? Reported as lateness, not as time per operation.
void sleep_lateness(benchmark::State& state) {
  on_one_worker([&] {
    std::vector<double> late;
    const auto span = std::chrono::microseconds(state.range(0));
    for (auto _ : state) {
      const auto start = std::chrono::steady_clock::now();
      check(roost::sleep_for(span).has_value(), "slept");
      const auto took = std::chrono::steady_clock::now() - start;
      check(took >= span, "never early");
      late.push_back(std::chrono::duration<double, std::micro>(took - span).count());
    }
    std::sort(late.begin(), late.end());
    state.counters["late_p50_us"] = late[late.size() / 2];
    state.counters["late_p99_us"] = late[late.size() * 99 / 100];
  });
}
BENCHMARK(sleep_lateness)->Arg(50)->Arg(1'000)->Iterations(500)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
