// What every process of a load does, whatever its part: it starts the runtime, takes from the parent when each stage begins and
// runs, tells the parent what it counts, and stays until it is let go. The parts: client.h, the honest connections; attack.h, those
// that misbehave.
//
// Frames from the parent set the clock; all times are nanoseconds on the steady clock, which all processes of a machine
// share. The order: child `ready`; for each stage parent `begin`, child `progress` again and again (counters.stages_settled
// beyond the stage ends its ramp), parent `run`, unless the stage has no duration; child `result` after the last stage's run,
// parent `leave`. Connections stand until `leave`, so that the parent can measure memory meanwhile. `leave` at any time, or
// the parent's end, stops at once.
//
// One worker thread and no spare ones: fibers of this process never run at the same time, so counters are plain numbers.
#pragma once

#include <cstdint>
#include <limits>

#include <roost/net/descriptor.h>

#include "tools/common/shards.h"
#include "tools/load/figures.h"
#include "tools/load/plan.h"

namespace roost::load {

enum FrameKind : std::uint8_t {
  ready,     // child
  begin,     // parent: StageBegin
  progress,  // child: Figures::encode(false)
  run,       // parent: RunWindow, of the stage begun last
  result,    // child: Figures::encode(true)
  leave,     // parent
};

struct StageBegin {
  std::uint64_t stage = 0;
  std::int64_t begin_ns = 0;  // when its first connection is due
};

struct RunWindow {
  std::int64_t start_ns = std::numeric_limits<std::int64_t>::max();
  std::int64_t end_ns = std::numeric_limits<std::int64_t>::max();

  [[nodiscard]] bool contains(std::int64_t due_ns) const noexcept { return due_ns >= start_ns && due_ns < end_ns; }
};

class Process {
 public:
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  virtual ~Process() = default;

  // Starts the runtime, does all of it, and returns the process's exit status.
  int run_all();

 protected:
  // All outlive this.
  Process(const LoadOptions& options, const Plan& plan, const tools::ShardLink& link);

  // The stage: stage_number_ and window_ are its own from here on.
  virtual void begin_stage(const StageBegin& begun) = 0;
  // Its run: window_.
  virtual void begin_run() = 0;
  // Now and then.
  virtual void look_around(std::int64_t /*now*/) {}
  // Whether nothing is under way any more. Asked once the last run is over.
  [[nodiscard]] virtual bool is_done() const = 0;
  // Messages that wait for their answer.
  [[nodiscard]] virtual std::uint64_t in_flight() const { return 0; }
  virtual void close_all() {}

  [[nodiscard]] const Stage& stage() const noexcept { return options_.stages[stage_number_]; }

  const LoadOptions& options_;
  const Plan& plan_;
  Figures figures_;                 // what it counts; as many stages, targets and faults as the options have
  // The rest is written here alone.
  bool leaving_ = false;
  std::uint64_t stage_number_ = 0;  // of the stage that was begun last
  RunWindow window_;                // of its run; the end of time before it has begun

 private:
  int work();
  void listen_to_parent();
  [[nodiscard]] std::int64_t next_progress_ns() const;
  void tell(std::uint8_t kind);

  const tools::ShardLink& link_;
  net::Descriptor parent_;
  bool has_begun_ = false;
  std::int64_t load_begin_ns_ = 0;  // when the first stage began
};

}  // namespace roost::load
