// The result of a load as JSON and as text.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tools/common/proc.h"
#include "tools/load/figures.h"
#include "tools/load/plan.h"
#include "tools/load/threshold.h"
#include "tools/load/timeline.h"

namespace roost::load {

// Open descriptors of the server in a run with attackers.
struct ServerDescriptors {
  std::uint64_t before = 0;
  std::uint64_t most = 0;                // as seen once a second
  std::uint64_t after = 0;               // when the run ended, and those attackers that were left had not gone yet
};

// When a stage was what; counts and latencies are in Figures::stages.
struct StageRecord {
  std::int64_t begin_ns = 0;
  std::int64_t run_start_ns = 0;         // both 0 if its run never began
  std::int64_t run_end_ns = 0;
  double ramp_s = 0;                     // to the last connection established; 0 if there was none to establish
  std::optional<ServerDescriptors> server_descriptors = {};  // where there are attackers, and the server is known

  [[nodiscard]] double run_s() const noexcept { return static_cast<double>(run_end_ns - run_start_ns) / 1e9; }
};

// Something that must hold for a load to count as fine.
struct Check {
  std::string name;                      // "no message timed out", "not latency.p99 > 50ms"
  std::string failure = {};              // what was seen instead; empty if it holds

  [[nodiscard]] bool holds() const noexcept { return failure.empty(); }
};

// All that is known when a load has ended.
struct Record {
  LoadOptions options;
  Plan plan;
  Figures figures;                       // of all processes
  Timeline timeline;

  std::vector<StageRecord> stages;       // those that began
  double ramp_s = 0;                     // of the first stage: from the first dial due to the last connection established
  double ramp_99_s = 0;                  // to 99 % of them: one lost SYN holds the last one up for seconds
  double duration_s = 0;                 // all in all
  double ramp_busy = 0;                  // share of the machine's processors that was busy, 0 to 1
  double run_busy = 0;

  tools::ProcessUsage client;            // memory while the connections stood; CPU of the whole load
  tools::ProcessUsage attackers;         // CPU alone, of plan.attack_processes
  std::optional<tools::ProcessUsage> server;  // as of the client, its CPU since the load began
  double server_run_cpu_s = 0;           // of that, during the run
  double client_run_cpu_s = 0;           // likewise of the client's
  std::int64_t slab_growth_bytes = 0;    // while the connections stood, against before
  std::int64_t page_table_growth_bytes = 0;
  std::int64_t tcp_buffer_growth_bytes = 0;
  // Of the whole load, and of all programs in the network namespace. The server's where it is known.
  tools::TcpCounters client_tcp;
  std::optional<tools::TcpCounters> server_tcp;
  bool is_one_namespace = false;         // both ends are in it
  std::uint64_t backlog_drops = 0;       // packets that found a processor's queue full: of the whole machine
  std::uint64_t standing = 0;            // connections at the moment memory was measured

  bool interrupted = false;
  std::vector<std::string> lost_processes;  // how each process ended that did not end by itself; attackers' too
  std::string given_up;                  // why the load was ended early; empty if it was not
  std::string command;                   // as it was called
  std::chrono::system_clock::time_point started;
  tools::MachineFacts machine;
  std::vector<Outcome> outcomes;         // of options.fail_if, once all else is known

  // Connections that the first stage's ramp established.
  [[nodiscard]] std::uint64_t opened_first() const noexcept;
  // Of the runs of all stages; 0 if none began.
  [[nodiscard]] double run_s() const noexcept;
  // Neither interrupted nor given up, and no process was lost.
  [[nodiscard]] bool has_ended_well() const noexcept { return !interrupted && lost_processes.empty() && given_up.empty(); }
  // Every connection stood and every message came back, to the end.
  [[nodiscard]] bool is_flawless() const noexcept;
  // What makes exit status 0: flawless, but for what a condition names (`failed > 10`), which is judged by that condition alone; and
  // no condition was crossed.
  [[nodiscard]] std::vector<Check> checks() const;
  // All of them hold.
  [[nodiscard]] bool is_ok() const;
  // Whether latencies include a delay that is the generator's own and not the server's.
  [[nodiscard]] bool generator_was_late() const noexcept;
  // What kept the ramp from being faster.
  [[nodiscard]] std::string limited_by() const;
};

// Schema 1, described in docs/load.md.
nlohmann::ordered_json to_json(const Record& record);

// Several lines for a person.
std::string to_text(const Record& record);

// In one sentence how it went.
std::string verdict(const Record& record);

// The name and count of the most frequent failure; empty and 0 when there is none.
std::pair<std::string, std::uint64_t> main_failure(const Figures& figures);
// What to do about it: "nothing listens on 127.0.0.1:9; is the server running?".
std::string remedy(const std::string& failure, const LoadOptions& options);

}  // namespace roost::load
