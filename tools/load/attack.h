// One process's share of the attackers of a load (fault.h). Each is a fiber of blocking calls: they are thousands, where honest
// connections are a million, and what they do is easier read that way.
//
// Like everything of a load process they run on one worker, so figures are plain numbers.
#pragma once

#include <cstdint>

#include "tools/load/figures.h"
#include "tools/load/plan.h"
#include "tools/load/schedule.h"

namespace roost::load {

class Attack {
 public:
  // All outlive this; `figures` has as many faults as the options' stages have.
  Attack(const LoadOptions& options, const Plan& plan, Share place, Figures& figures)
      : options_(options), plan_(plan), place_(place), figures_(figures) {}

  // Lets a stage's attackers loose until `end_ns`, when those that are left reset and go.
  void start(std::uint64_t stage_number, std::int64_t start_ns, std::int64_t end_ns);
  [[nodiscard]] bool is_over() const noexcept { return fibers_ == 0; }

 private:
  friend class Attacker;

  const LoadOptions& options_;
  const Plan& plan_;
  const Share place_;
  Figures& figures_;
  std::uint64_t fibers_ = 0;
};

}  // namespace roost::load
