// What do channels, select, locks, contexts and timers cost? Printed as time per operation on one worker; docs/benchmarks.md sets
// them beside Go's, measured in the same minutes by bench/micro/go_peers.
//
// Each function does what its namesake in bench/micro/go_peers does. What would make the numbers wrong: see
// runtime_bench.cc. `--benchmark_filter=two_workers` shows what the same costs across two workers.
#include <chrono>
#include <cstdint>
#include <mutex>
#include <vector>

#include <roost/roost.h>

#include "micro.h"

namespace {

using namespace std::chrono_literals;
using roost::Chan;
using roost::Result;

using roost::bench::check;
using roost::bench::on_workers;

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
ROOST_BENCHMARK(chan_round_trip);
void chan_round_trip_two_workers(benchmark::State& state) { chan_round_trip_on(2, state); }
ROOST_BENCHMARK_ELAPSED(chan_round_trip_two_workers);

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
ROOST_BENCHMARK(chan_buffered_element);

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
ROOST_BENCHMARK(chan_pipeline);
void chan_pipeline_two_workers(benchmark::State& state) { chan_pipeline_on(2, state); }
ROOST_BENCHMARK_ELAPSED(chan_pipeline_two_workers);

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
ROOST_BENCHMARK(send_and_select_of_2);
void send_and_select_of_8(benchmark::State& state) { send_and_select<8>(state); }
ROOST_BENCHMARK(send_and_select_of_8);

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
ROOST_BENCHMARK(select_of_2_that_waits);

// A receive that finds nothing.
void try_receive_empty(benchmark::State& state) {
  on_workers(1, [&] {
    Chan<std::int64_t> chan(1);
    for (auto _ : state) check(!chan.try_receive(), "nothing was sent");
  });
}
ROOST_BENCHMARK(try_receive_empty);

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
ROOST_BENCHMARK(lock_unlock<roost::Mutex>);
ROOST_BENCHMARK(lock_unlock<std::mutex>);
ROOST_BENCHMARK(lock_unlock<roost::RwLock>);
void rw_lock_shared(benchmark::State& state) {
  on_workers(1, [&] {
    roost::RwLock lock;
    for (auto _ : state) {
      lock.lock_shared();
      lock.unlock_shared();
    }
  });
}
ROOST_BENCHMARK(rw_lock_shared);

// Four fibers each lock a mutex, add one, unlock it, again and again; with two workers they do so at once: time per turn, the
// start and the end of the four included.
void mutex_contended_on(unsigned workers, benchmark::State& state) {
  on_workers(workers, [&] {
    constexpr std::int64_t fibers = 4;
    constexpr std::int64_t turns_each = 2500;
    roost::Mutex mutex;
    std::int64_t count = 0;
    std::int64_t turns = 0;
    while (state.KeepRunningBatch(fibers * turns_each)) {
      roost::WaitGroup group;
      for (std::int64_t i = 0; i < fibers; ++i) {
        group.go([&] {
          for (std::int64_t turn = 0; turn < turns_each; ++turn) {
            std::lock_guard guard(mutex);
            ++count;
          }
        });
      }
      group.wait();
      turns += fibers * turns_each;
    }
    check(count == turns, "every turn was counted");
  });
}
void mutex_contended(benchmark::State& state) { mutex_contended_on(1, state); }
ROOST_BENCHMARK(mutex_contended);
void mutex_contended_two_workers(benchmark::State& state) { mutex_contended_on(2, state); }
ROOST_BENCHMARK_ELAPSED(mutex_contended_two_workers);

// A mutex is held across a switch, so that the next fiber always has to wait: time per hand-over.
void mutex_waited_for(benchmark::State& state) {
  on_workers(1, [&] {
    roost::Mutex mutex;
    bool stop = false;
    std::int64_t count = 0;
    std::int64_t others = 0;
    auto other = roost::go([&] {
      for (; !stop; ++others) {
        std::lock_guard guard(mutex);
        ++count;
        roost::yield();
      }
    });
    std::int64_t own = 0;
    for (auto _ : state) {
      std::lock_guard guard(mutex);
      ++count;
      ++own;
      roost::yield();
    }
    stop = true;
    other.join();
    check(count == own + others, "every turn was counted");
  });
}
ROOST_BENCHMARK(mutex_waited_for);

void semaphore_acquire_release(benchmark::State& state) {
  on_workers(1, [&] {
    roost::Semaphore semaphore(4);
    for (auto _ : state) {
      check(semaphore.acquire().has_value(), "acquired");
      semaphore.release();
    }
  });
}
ROOST_BENCHMARK(semaphore_acquire_release);

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
ROOST_BENCHMARK(wait_group_add_done);

void once_done(benchmark::State& state) {
  on_workers(1, [&] {
    roost::Once once;
    int calls = 0;
    for (auto _ : state) once.call([&] { ++calls; });
    check(calls == 1, "once");
  });
}
ROOST_BENCHMARK(once_done);

void context_with_cancel(benchmark::State& state) {
  on_workers(1, [&] {
    for (auto _ : state) {
      auto [context, cancel] = roost::with_cancel({});
      cancel();
      check(context.is_done(), "canceled");
    }
  });
}
ROOST_BENCHMARK(context_with_cancel);

// A context with a time-out is made and canceled.
void context_with_timeout(benchmark::State& state) {
  on_workers(1, [&] {
    for (auto _ : state) {
      auto [context, cancel] = roost::with_timeout({}, 1h);
      cancel();
      check(context.is_done(), "canceled");
    }
  });
}
ROOST_BENCHMARK(context_with_timeout);

// ... below another one, as in a server's handler.
void context_with_timeout_below(benchmark::State& state) {
  on_workers(1, [&] {
    const auto [parent, cancel_parent] = roost::with_cancel({});
    for (auto _ : state) {
      auto [context, cancel] = roost::with_timeout(parent, 1h);
      cancel();
      check(context.is_done(), "canceled");
    }
  });
}
ROOST_BENCHMARK(context_with_timeout_below);

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
ROOST_BENCHMARK(context_scope);

// A timer with a function is made, started and stopped.
void timer_start_and_stop(benchmark::State& state) {
  on_workers(1, [&] {
    for (auto _ : state) {
      auto timer = roost::after_func(1h, [] {});
      check(timer.stop(), "stopped in time");
    }
  });
}
ROOST_BENCHMARK(timer_start_and_stop);

void timer_reset(benchmark::State& state) {
  on_workers(1, [&] {
    roost::Timer timer(1h);
    for (auto _ : state) check(timer.reset(1h), "still running");
  });
}
ROOST_BENCHMARK(timer_reset);

void fiber_local_get(benchmark::State& state) {
  on_workers(1, [&] {
    roost::FiberLocal<std::int64_t> local(0);
    for (auto _ : state) benchmark::DoNotOptimize(++*local);
  });
}
ROOST_BENCHMARK(fiber_local_get);

}  // namespace

BENCHMARK_MAIN();
