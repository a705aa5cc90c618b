// What every socket case runs on: each poller back end, one worker and several, and fibers that change threads at every park.
//
//   ROOST_CASE(Deadline, AnExpiredOneBeatsReadyData) { ... }     // the body runs as the first fiber of a runtime
//
// A back end that this machine does not offer is skipped, with the reason.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <roost/error.h>
#include <roost/go.h>
#include <roost/io/copy.h>
#include <roost/net/buffers.h>
#include <roost/net/conn.h>
#include <roost/net/descriptor.h>
#include <roost/net/dial.h>
#include <roost/net/file.h>
#include <roost/net/listener.h>
#include <roost/net/packet.h>
#include <roost/net/pipe.h>
#include <roost/runtime.h>
#include <roost/time/sleep.h>

#include "poll/backend.h"
#include "runtime/runtime_state.h"

namespace roost::test {

using namespace std::chrono_literals;

struct Setup {
  PollerKind poller = PollerKind::epoll;
  unsigned workers = 1;
  bool migrate_always = false;
};

inline std::vector<Setup> all_setups() {
  return {{PollerKind::epoll, 1, false},    {PollerKind::epoll, 4, false},    {PollerKind::epoll, 3, true},
          {PollerKind::io_uring, 1, false}, {PollerKind::io_uring, 4, false}, {PollerKind::io_uring, 3, true}};
}

inline std::string setup_name(const Setup& setup) {
  return std::string(setup.poller == PollerKind::io_uring ? "io_uring" : "epoll") + "_" + std::to_string(setup.workers) +
         (setup.workers == 1 ? "_worker" : "_workers") + (setup.migrate_always ? "_migrating" : "");
}
inline void PrintTo(const Setup& setup, std::ostream* out) { *out << setup_name(setup); }

inline std::error_code opening_error(PollerKind kind) {
  static const auto io_uring = poll::open_io_uring();
  return kind == PollerKind::io_uring && !io_uring ? io_uring.error() : std::error_code();
}

class OnEverySetup : public testing::TestWithParam<Setup> {
 protected:
  void in_runtime(const std::function<void()>& body) {
    if (const auto error = opening_error(GetParam().poller)) GTEST_SKIP() << "no io_uring here: " << error.message();
    RuntimeOptions options;
    options.workers = GetParam().workers;
    options.poller = GetParam().poller;
    options.migrate_always = GetParam().migrate_always;
    run(options, body);
  }
};

// --- saying what is expected ---------------------------------------------------------------------------------------

template <class T>
testing::AssertionResult is_ok(const Result<T>& result) {
  if (result) return testing::AssertionSuccess();
  return testing::AssertionFailure() << result.error().message() << " (" << error_name(result.error()) << ")";
}
template <class T, class Error>
testing::AssertionResult is_error(const Result<T>& result, Error wanted) {
  if (result) return testing::AssertionFailure() << "succeeded";
  if (result.error() == wanted) return testing::AssertionSuccess();
  return testing::AssertionFailure() << result.error().message() << " (" << error_name(result.error()) << ")";
}
template <class T>
testing::AssertionResult timed_out(const Result<T>& result) {
  return is_error(result, std::errc::timed_out);
}
template <class T>
testing::AssertionResult reports_closed(const Result<T>& result) {
  return is_error(result, Errc::closed);
}

#define EXPECT_OK(result) EXPECT_TRUE(::roost::test::is_ok(result))
#define ASSERT_OK(result) ASSERT_TRUE(::roost::test::is_ok(result))
#define EXPECT_ERROR(result, wanted) EXPECT_TRUE(::roost::test::is_error(result, wanted))

// --- time ----------------------------------------------------------------------------------------------------------

using Nanoseconds = std::chrono::nanoseconds;

inline std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }
inline Nanoseconds since(std::chrono::steady_clock::time_point start) { return now() - start; }

// A loaded machine must not fail a test: `attempt(span)` gets longer and longer spans, up to 4 s, until it returns true.
template <class F>
void with_growing_spans(Nanoseconds first, F&& attempt) {
  for (Nanoseconds span = first; span <= 4s; span *= 2) {
    if (attempt(span)) return;
  }
  ADD_FAILURE() << "not even with the longest span";
}

// Runs `body` as a fiber and fails, with everything canceled, if it has not ended after `limit`.
template <class F>
void within(Nanoseconds limit, F&& body) {
  auto fiber = go([&] { body(); });
  const auto start = now();
  while (!fiber.done()) {
    if (since(start) > limit) {
      ADD_FAILURE() << "still not ended after " << std::chrono::duration_cast<std::chrono::milliseconds>(limit).count()
                    << " ms";
      fiber.cancel();
      break;
    }
    static_cast<void>(sleep_for(1ms));
  }
  fiber.join();
}

// Lets other fibers run until `done()`; false after ten seconds.
template <class F>
[[nodiscard]] bool eventually(F&& done, Nanoseconds limit = 10s) {
  for (const auto start = now(); since(start) < limit; static_cast<void>(sleep_for(1ms))) {
    if (done()) return true;
  }
  return done();
}

// Waits until `count` fibers are parked for `reason`: the way to act on a call that is certainly under way.
[[nodiscard]] inline int parked_now(runtime::WaitReason reason) {
  int found = 0;
  runtime::Runtime::current()->arena.for_each([&](runtime::Fiber& fiber) {
    if (fiber.live.load() && fiber.state.load() == runtime::FiberState::parked && fiber.wait_reason.load() == reason) ++found;
  });
  return found;
}
[[nodiscard]] inline bool parked(runtime::WaitReason reason, int count = 1) {
  return eventually([&] { return parked_now(reason) >= count; });
}
[[nodiscard]] inline bool reading(int count = 1) { return parked(runtime::WaitReason::io_read, count); }
[[nodiscard]] inline bool writing(int count = 1) { return parked(runtime::WaitReason::io_write, count); }

}  // namespace roost::test

// A fixture that runs on every setup.
#define ROOST_SUITE(name)                                                                               \
  class name : public ::roost::test::OnEverySetup {};                                                   \
  INSTANTIATE_TEST_SUITE_P(, name, testing::ValuesIn(::roost::test::all_setups()),                       \
                           [](const auto& about) { return ::roost::test::setup_name(about.param); })

#define ROOST_CASE(suite, name) \
  static void suite##_##name();                        \
  TEST_P(suite, name) { in_runtime(&suite##_##name); } \
  static void suite##_##name()
