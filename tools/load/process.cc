#include "tools/load/process.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <roost/roost.h>

#include "tools/load/clock.h"

namespace roost::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr milliseconds tick_min{20};
constexpr milliseconds tick_max{100};

// How often the main fiber looks around: less often where many processes share the machine, since each look costs a
// wake-up. 51 processes at 100 ms are 510 wake-ups a second, about 0.5 % of one processor.
milliseconds tick_for(unsigned processes) { return std::clamp(processes * milliseconds(2), tick_min, tick_max); }
constexpr int ticks_per_progress = 5;
constexpr std::int64_t second_ns = 1'000'000'000;

}  // namespace

Process::Process(const LoadOptions& options, const Plan& plan, const tools::ShardLink& link) : options_(options), plan_(plan), link_(link) {
  figures_.stages.resize(options.stages.size());
  figures_.targets.resize(options.targets.size());
  std::size_t faults = 0;
  for (const Stage& stage : options.stages) faults += stage.faults.size();
  figures_.faults.resize(faults);
}

int Process::run_all() {
  RuntimeOptions runtime;
  runtime.workers = 1;
  runtime.spare_workers_max = 0;
  // Several processes share a processor: a worker that waits for its turn would look stuck, and looking for one that is
  // costs a wake-up each time.
  runtime.stuck_after = std::chrono::seconds(2);
  runtime.stuck_report_after = milliseconds(0);
  // Closing a million connections takes the kernel longer than the default grants.
  runtime.shutdown_grace = std::chrono::seconds(60);
  return roost::run(runtime, [this] { return work(); });
}

int Process::work() {
  const milliseconds tick = tick_for(plan_.processes + plan_.attack_processes);
  auto parent = link_.adopt();
  if (!parent) return 2;
  parent_ = std::move(*parent);
  go({.name = "parent"}, [this] { listen_to_parent(); });
  link_.send(ready, {});

  // The load is over when the last stage's end has passed and every message that was due has its answer or its time-out. A
  // fiber whose timer fires late has not sent its message yet, hence the two quiet looks in a row.
  std::int64_t due_ns = now_ns();
  std::uint64_t told_settled = 0;
  int quiet = 0;
  while (!leaving_ && quiet < 2) {
    sleep_for(tick);
    if (!has_begun_) continue;
    const std::int64_t now = now_ns();
    look_around(now);
    const bool has_settled = figures_.counters.stages_settled > told_settled;
    if (now >= due_ns || has_settled) {
      told_settled = figures_.counters.stages_settled;
      tell(progress);
      due_ns = next_progress_ns();
    }
    const bool is_last = stage_number_ + 1 == options_.stages.size();
    const bool over = is_last && now - nanoseconds(2 * tick).count() > window_.end_ns;  // which may be the end of time
    quiet = over && is_done() ? quiet + 1 : 0;
  }
  tell(result);
  while (!leaving_) sleep_for(tick);
  close_all();
  (void)parent_.release();  // the link itself stays open until the process ends
  return 0;                 // cancels the fibers that still wait
}

void Process::listen_to_parent() {
  while (auto frame = tools::ShardLink::receive(parent_)) {
    if (frame->kind == begin) {
      if (const auto begun = tools::value_of<StageBegin>(frame->payload)) {
        if (!has_begun_) load_begin_ns_ = begun->begin_ns;
        has_begun_ = true;
        stage_number_ = std::min<std::uint64_t>(begun->stage, options_.stages.size() - 1);
        window_ = {};
        begin_stage(*begun);
      }
    }
    if (frame->kind == run) {
      if (const auto window = tools::value_of<RunWindow>(frame->payload)) {
        window_ = *window;
        begin_run();
      }
    }
    if (frame->kind == leave) break;
  }
  leaving_ = true;
}

// Also at the first look in each second of the load, so that the parent can tell the seconds apart.
std::int64_t Process::next_progress_ns() const {
  const std::int64_t now = now_ns();
  const std::int64_t into_second = std::max<std::int64_t>(now - load_begin_ns_, 0) % second_ns;
  const milliseconds tick = tick_for(plan_.processes + plan_.attack_processes);
  return std::min(now + nanoseconds(ticks_per_progress * tick).count(), now - into_second + second_ns);
}

void Process::tell(std::uint8_t kind) {
  figures_.counters.told_ns = now_ns();
  figures_.counters.in_flight = in_flight();
  link_.send(kind, figures_.encode(kind == result));
  for (std::size_t recent = Figures::recent_run; recent < Figures::kinds; ++recent) figures_.histograms[recent].clear();
}

}  // namespace roost::load
