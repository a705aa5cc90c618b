// One process's share of the attackers of a load (fault.h). They have processes of their own, so that whatever they do the honest
// connections' generator is on time. Each is a fiber of blocking calls: they are thousands, where honest connections are a
// million, and what they do is easier read that way.
#pragma once

#include <cstdint>

#include "tools/common/shards.h"
#include "tools/load/plan.h"
#include "tools/load/process.h"
#include "tools/load/schedule.h"

namespace roost::load {

class Attack final : public Process {
 public:
  // Its place is behind the plan's processes of honest connections. All outlive this.
  Attack(const LoadOptions& options, const Plan& plan, const tools::ShardLink& link)
      : Process(options, plan, link), place_{link.index() - plan.processes, plan.attack_processes} {}

  // Makes this process as nice as that, so that those that are less nice get the processors first. More than 0 takes it out of its session:
  // Linux may share the processors out among sessions first (sched_autogroup), and within them by niceness.
  static void be_nice(unsigned niceness);

 private:
  friend class Attacker;

  void begin_stage(const StageBegin& begun) override;
  // Lets the stage's attackers loose until the run's end, when those that are left reset and go.
  void begin_run() override;
  [[nodiscard]] bool is_done() const override { return fibers_ == 0; }

  const Share place_;
  std::uint64_t fibers_ = 0;
};

}  // namespace roost::load
