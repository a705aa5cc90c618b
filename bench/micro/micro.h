// What the micro-benchmarks share: a runtime that does not help a busy loop, and checks that end the program.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <utility>

#include <roost/error.h>
#include <roost/runtime.h>

// Processor time of all threads, as it is read of Go's process, too: helpers of the runtime are no free gift.
#define ROOST_BENCHMARK(function) BENCHMARK(function)->MeasureProcessCPUTime()
// Across processors what counts is how long it takes.
#define ROOST_BENCHMARK_ELAPSED(function) BENCHMARK(function)->UseRealTime()

namespace roost::bench {

inline void check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "benchmark: wrong result: %s\n", what);
  std::abort();
}
template <class T>
T must(Result<T> result, const char* what) {
  if (!result) std::fprintf(stderr, "benchmark: %s\n", result.error().message().c_str());
  check(result.has_value(), what);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

template <class F>
void on_workers(unsigned workers, F&& body) {
  RuntimeOptions options;
  options.workers = workers;
  options.spare_workers_max = 0;  // a benchmark loop that never parks is "stuck" and would be helped
  options.stuck_report_after = std::chrono::milliseconds(0);
  run(options, body);
}

}  // namespace roost::bench
