// What do channels, select, locks, contexts and timers cost? Printed as time per operation on one worker; docs/benchmarks.md sets
// them beside Go's, measured in the same minutes by bench/micro/go_sync.
//
// Each function does what its namesake in bench/micro/go_sync does. What would make the numbers wrong: see
// runtime_bench.cc. `--benchmark_filter=two_workers` shows what the same costs across two workers.
#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include <roost/roost.h>

namespace {

using namespace std::chrono_literals;
using roost::Chan;
using roost::Result;

void check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "sync_bench: wrong result: %s\n", what);
  std::abort();
}

template <class F>
void on_workers(unsigned workers, F&& body) {
  roost::RuntimeOptions options;
  options.workers = workers;
  options.spare_workers_max = 0;  // a benchmark loop that never parks is "stuck" and would be helped
  options.stuck_report_after = 0ms;
  roost::run(options, body);
}

// A number goes to an echo fiber and comes back, by two unbuffered channels: time for the round trip.
void chan_round_trip_on(unsigned workers, benchmark::State& state) {
  on_workers(workers, [&] {
    Chan<std::int64_t> there;
    Chan<std::int64_t> back;
    auto echo = roost::go([=] {
      for (const std::int64_t number : there) static_cast<void>(back.send(number));
    });
    std::int64_t sum = 0;
    std::int64_t rounds = 0;
    for (auto _ : state) {
      static_cast<void>(there.send(1));
      sum += back.receive().value();
      ++rounds;
    }
    check(sum == rounds, "every number came back");
    there.close();
    echo.join();
  });
}
void chan_round_trip(benchmark::State& state) { chan_round_trip_on(1, state); }
BENCHMARK(chan_round_trip);
void chan_round_trip_two_workers(benchmark::State& state) { chan_round_trip_on(2, state); }
BENCHMARK(chan_round_trip_two_workers)->UseRealTime();

// One fiber puts a number into a buffered channel and takes it out again: time for both.
void chan_buffered_element(benchmark::State& state) {
  on_workers(1, [&] {
    Chan<std::int64_t> chan(128);
    std::int64_t sum = 0;
    std::int64_t rounds = 0;
    for (auto _ : state) {
      static_cast<void>(chan.send(1));
      sum += chan.receive().value();
      ++rounds;
    }
    check(sum == rounds, "every number came out");
  });
}
BENCHMARK(chan_buffered_element);

// A producer and a consumer with 128 places between them: time per element.
void chan_pipeline_on(unsigned workers, benchmark::State& state) {
  on_workers(workers, [&] {
    Chan<std::int64_t> chan(128);
    auto producer = roost::go([=] {
      while (chan.send(1)) {
      }
    });
    std::int64_t sum = 0;
    std::int64_t rounds = 0;
    for (auto _ : state) {
      sum += chan.receive().value();
      ++rounds;
    }
    check(sum == rounds, "every number arrived");
    producer.cancel();
    while (chan.try_receive()) {
    }
    producer.join();
  });
}
void chan_pipeline(benchmark::State& state) { chan_pipeline_on(1, state); }
BENCHMARK(chan_pipeline);
void chan_pipeline_two_workers(benchmark::State& state) { chan_pipeline_on(2, state); }
BENCHMARK(chan_pipeline_two_workers)->UseRealTime();

// A send on one of `n` buffered channels and a select over all of them that takes it out: time for both.
template <std::size_t n>
void send_and_select(benchmark::State& state) {
  on_workers(1, [&] {
    std::vector<Chan<std::int64_t>> chans;
    for (std::size_t i = 0; i < n; ++i) chans.emplace_back(1);
    std::int64_t sum = 0;
    std::int64_t rounds = 0;
    const auto take = [&](Result<std::int64_t> number) { sum += *number; };
    for (auto _ : state) {
      static_cast<void>(chans[static_cast<std::size_t>(rounds) % n].send(1));
      [&]<std::size_t... i>(std::index_sequence<i...>) {
        static_cast<void>(roost::select(roost::on_receive(chans[i], take)...));
      }(std::make_index_sequence<n>{});
      ++rounds;
    }
    check(sum == rounds, "every number was taken");
  });
}
void send_and_select_of_2(benchmark::State& state) { send_and_select<2>(state); }
BENCHMARK(send_and_select_of_2);
void send_and_select_of_8(benchmark::State& state) { send_and_select<8>(state); }
BENCHMARK(send_and_select_of_8);

// A select over two channels that has to wait; the other fiber sends and waits for the answer: time for the round trip.
void select_of_2_that_waits(benchmark::State& state) {
  on_workers(1, [&] {
    Chan<std::int64_t> there;
    Chan<std::int64_t> back;
    Chan<std::int64_t> other;
    auto echo = roost::go([=] {
      for (const std::int64_t number : there) static_cast<void>(back.send(number));
    });
    std::int64_t sum = 0;
    std::int64_t rounds = 0;
    const auto take = [&](Result<std::int64_t> number) { sum += *number; };
    for (auto _ : state) {
      static_cast<void>(there.send(1));
      static_cast<void>(roost::select(roost::on_receive(back, take), roost::on_receive(other, take)));
      ++rounds;
    }
    check(sum == rounds, "every number came back");
    there.close();
    echo.join();
  });
}
BENCHMARK(select_of_2_that_waits);

// A receive that finds nothing.
void try_receive_empty(benchmark::State& state) {
  on_workers(1, [&] {
    Chan<std::int64_t> chan(1);
    for (auto _ : state) benchmark::DoNotOptimize(chan.try_receive().has_value());
  });
}
BENCHMARK(try_receive_empty);

// A free mutex is locked and unlocked.
template <class M>
void lock_unlock(benchmark::State& state) {
  on_workers(1, [&] {
    M mutex;
    for (auto _ : state) {
      mutex.lock();
      mutex.unlock();
    }
  });
}
BENCHMARK(lock_unlock<roost::Mutex>);
BENCHMARK(lock_unlock<std::mutex>);
BENCHMARK(lock_unlock<roost::RwLock>);
void rw_lock_shared(benchmark::State& state) {
  on_workers(1, [&] {
    roost::RwLock lock;
    for (auto _ : state) {
      lock.lock_shared();
      lock.unlock_shared();
    }
  });
}
BENCHMARK(rw_lock_shared);

// Four fibers lock a mutex, add one, unlock it: time per turn. With two workers they do so at once.
void mutex_contended_on(unsigned workers, benchmark::State& state) {
  on_workers(workers, [&] {
    roost::Mutex mutex;
    std::int64_t count = 0;
    std::int64_t others = 0;
    std::atomic<bool> stop{false};
    roost::WaitGroup group;
    for (int i = 0; i < 3; ++i) {
      group.go([&] {
        std::int64_t own = 0;
        while (!stop.load(std::memory_order_relaxed)) {
          {
            std::lock_guard guard(mutex);
            ++count;
          }
          if (++own % 64 == 0) roost::yield();
        }
        std::lock_guard guard(mutex);
        others += own;
      });
    }
    std::int64_t own = 0;
    for (auto _ : state) {
      {
        std::lock_guard guard(mutex);
        ++count;
      }
      if (++own % 64 == 0) roost::yield();
    }
    stop = true;
    group.wait();
    check(count == own + others, "every turn was counted");
    state.counters["per_turn"] = benchmark::Counter(static_cast<double>(count), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  });
}
void mutex_contended(benchmark::State& state) { mutex_contended_on(1, state); }
BENCHMARK(mutex_contended)->UseRealTime();
void mutex_contended_two_workers(benchmark::State& state) { mutex_contended_on(2, state); }
BENCHMARK(mutex_contended_two_workers)->UseRealTime();

// A mutex is held across a switch, so that the next fiber always has to wait: time per hand-over.
void mutex_waited_for(benchmark::State& state) {
  on_workers(1, [&] {
    roost::Mutex mutex;
    bool stop = false;
    auto other = roost::go([&] {
      while (!stop) {
        std::lock_guard guard(mutex);
        roost::yield();
      }
    });
    for (auto _ : state) {
      std::lock_guard guard(mutex);
      roost::yield();
    }
    stop = true;
    other.join();
  });
}
BENCHMARK(mutex_waited_for);

void semaphore_acquire_release(benchmark::State& state) {
  on_workers(1, [&] {
    roost::Semaphore semaphore(4);
    for (auto _ : state) {
      check(semaphore.acquire().has_value(), "acquired");
      semaphore.release();
    }
  });
}
BENCHMARK(semaphore_acquire_release);

void wait_group_add_done(benchmark::State& state) {
  on_workers(1, [&] {
    roost::WaitGroup group;
    for (auto _ : state) {
      group.add();
      group.done();
    }
    group.wait();
  });
}
BENCHMARK(wait_group_add_done);

void once_done(benchmark::State& state) {
  on_workers(1, [&] {
    roost::Once once;
    int calls = 0;
    for (auto _ : state) once.call([&] { ++calls; });
    check(calls == 1, "once");
  });
}
BENCHMARK(once_done);

void context_with_cancel(benchmark::State& state) {
  on_workers(1, [&] {
    for (auto _ : state) {
      auto [context, cancel] = roost::with_cancel({});
      cancel();
      benchmark::DoNotOptimize(context.is_done());
    }
  });
}
BENCHMARK(context_with_cancel);

// A context with a time-out is made and canceled.
void context_with_timeout(benchmark::State& state) {
  on_workers(1, [&] {
    for (auto _ : state) {
      auto [context, cancel] = roost::with_timeout({}, 1h);
      cancel();
      benchmark::DoNotOptimize(context.is_done());
    }
  });
}
BENCHMARK(context_with_timeout);

// ... below another one, as in a server's handler.
void context_with_timeout_below(benchmark::State& state) {
  on_workers(1, [&] {
    const auto [parent, cancel_parent] = roost::with_cancel({});
    for (auto _ : state) {
      auto [context, cancel] = roost::with_timeout(parent, 1h);
      cancel();
      benchmark::DoNotOptimize(context.is_done());
    }
  });
}
BENCHMARK(context_with_timeout_below);

// The fiber enters and leaves a context.
void context_scope(benchmark::State& state) {
  on_workers(1, [&] {
    const auto [context, cancel] = roost::with_cancel({});
    for (auto _ : state) {
      roost::ContextScope scope(context);
      benchmark::DoNotOptimize(&scope);
    }
  });
}
BENCHMARK(context_scope);

// A timer with a function is made, started and stopped.
void timer_start_and_stop(benchmark::State& state) {
  on_workers(1, [&] {
    for (auto _ : state) {
      auto timer = roost::after_func(1h, [] {});
      check(timer.stop(), "stopped in time");
    }
  });
}
BENCHMARK(timer_start_and_stop);

void timer_reset(benchmark::State& state) {
  on_workers(1, [&] {
    roost::Timer timer(1h);
    for (auto _ : state) check(timer.reset(1h), "still running");
  });
}
BENCHMARK(timer_reset);

void fiber_local_get(benchmark::State& state) {
  on_workers(1, [&] {
    roost::FiberLocal<std::int64_t> local(0);
    for (auto _ : state) benchmark::DoNotOptimize(++*local);
  });
}
BENCHMARK(fiber_local_get);

}  // namespace

BENCHMARK_MAIN();
