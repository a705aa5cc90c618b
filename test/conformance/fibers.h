// What the tests of channels, locks, contexts and timers share: running a body on one and on several workers, waiting for a
// state instead of sleeping, and counting allocations.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>

#include <roost/roost.h>

#include "runtime/parking.h"
#include "sanitized.h"

namespace roost::test {

using namespace std::chrono_literals;

struct Setup {
  unsigned workers;
  bool migrates;  // every suspension moves the fiber to another worker
};

inline std::string setup_name(const testing::TestParamInfo<Setup>& info) {
  return std::to_string(info.param.workers) + (info.param.workers == 1 ? "_worker" : "_workers") +
         (info.param.migrates ? "_migrating" : "");
}
inline const auto all_setups = testing::Values(Setup{1, false}, Setup{2, false}, Setup{4, false}, Setup{3, true});

template <class F>
void run_on(Setup setup, F&& body) {
  RuntimeOptions options;
  options.workers = setup.workers;
  options.migrate_always = setup.migrates;
  options.stuck_report_after = 0ms;  // a loaded machine is no news here
  run(options, [&] { body(); });
}

class OnWorkers : public testing::TestWithParam<Setup> {
 protected:
  template <class F>
  void on_workers(F&& body) {
    run_on(GetParam(), body);
  }
};

// Parks until `holds()`; false if it does not within ten seconds.
template <class F>
[[nodiscard]] bool eventually(F holds) {
  const Deadline limit = Deadline::after(10s);
  while (!holds()) {
    if (limit.has_passed()) return false;
    if (this_fiber::exists()) {
      static_cast<void>(sleep_for(20us));
      // A canceled fiber does not sleep; it must still let others run.
      yield();
    } else {
      std::this_thread::sleep_for(20us);
    }
  }
  return true;
}

// Tries with spans that double, so that a loaded machine makes nothing fail that would hold on an idle one.
template <class F>
void with_growing_span(F holds) {
  for (std::chrono::nanoseconds span = 20ms; span <= 4s; span *= 2) {
    if (holds(span)) return;
  }
  ADD_FAILURE() << "it held for no span up to 4 s";
}

// Which fiber somebody runs in, so that a test can wait until it has parked.
class Whereabouts {
 public:
  void here() { fiber_.store(runtime::current_fiber()); }
  [[nodiscard]] bool is_parked(runtime::WaitReason reason) const {
    const detail::Fiber* fiber = fiber_.load();
    return fiber != nullptr && fiber->state.load() == runtime::FiberState::parked && fiber->wait_reason.load() == reason;
  }
  [[nodiscard]] bool parks(runtime::WaitReason reason) const {
    return eventually([&] { return is_parked(reason); });
  }

 private:
  std::atomic<detail::Fiber*> fiber_{nullptr};
};

// A seed that a failing test prints; ROOST_TEST_SEED repeats it.
inline std::uint64_t test_seed() {
  const char* given = std::getenv("ROOST_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}
#define ROOST_TRACE_SEED(seed) SCOPED_TRACE("ROOST_TEST_SEED=" + std::to_string(seed))

}  // namespace roost::test
