// What `roost load` was asked to do, and how it is going to do it: decided before anything is opened, so that what
// cannot work is refused with a remedy and not found out half-way.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include <roost/net/endpoint.h>

#include "tools/common/parse.h"
#include "tools/common/proc.h"
#include "tools/load/payload.h"
#include "tools/load/stage.h"
#include "tools/load/threshold.h"

namespace roost::load {

struct LoadOptions {
  std::vector<net::Endpoint> targets;                     // connection n goes to target n modulo their number
  std::vector<Stage> stages{1};                           // at least one, in order
  Protocol protocol = Protocol::line;
  std::chrono::nanoseconds dial_timeout = 10s;
  std::chrono::nanoseconds io_timeout = 5s;               // for a message to be sent, and for its answer
  std::optional<tools::AddressRange> sources;
  unsigned processes = 0;                                 // 0: as many as connections need descriptors for
  unsigned attack_nice = 19;                              // of the attackers' processes
  std::string json_path;                                  // these: empty for none, - for standard output
  std::string csv_path;
  std::string html_path;
  std::string histograms_path;
  std::string junit_path;
  std::string summary_path;
  std::string record_path;                                // a folder (bundle.h)
  std::string scenario_path;                              // where the stages come from, if from a file
  std::optional<net::Endpoint> metrics;
  std::vector<Condition> fail_if;
  bool quiet = false;
  std::int64_t server_pid = 0;                            // 0: not known

  // At once, in the stage that has most; and of attackers.
  [[nodiscard]] std::uint64_t connections_max() const noexcept;
  [[nodiscard]] std::uint64_t attackers_max() const noexcept;
  [[nodiscard]] std::uint64_t clients_max() const noexcept { return connections_max() + attackers_max(); }  // both
  [[nodiscard]] std::uint64_t message_bytes_max() const noexcept;
  // "127.0.0.1:8080", or several with commas between.
  [[nodiscard]] std::string target_names() const;
  [[nodiscard]] bool targets_loopback() const noexcept;   // all of them
  // A schedule that a generator can be late for.
  [[nodiscard]] bool has_open_loop() const noexcept;
};

inline constexpr std::uint64_t message_bytes_limit = 16 * 1024 * 1024;
// A process keeps two histograms for each stage.
inline constexpr std::uint64_t stages_limit = 100;
// Each is a fiber of its own.
inline constexpr std::uint64_t attackers_limit = 100'000;
inline constexpr std::uint64_t connections_limit = 100'000'000;

// Limits of the machine, as a value so that tests can invent one.
struct MachineLimits {
  std::uint64_t descriptors_per_process = 0;
  std::uint64_t descriptors_on_machine = 0;  // still free
  std::uint64_t memory_available_bytes = 0;  // 0: not known
  tools::PortRange ports;

  [[nodiscard]] static MachineLimits read();
};

struct Plan {
  unsigned processes = 1;         // of honest connections
  unsigned attack_processes = 0;  // of attackers, behind those
  // Addresses to dial from, in turn. Empty: the kernel's choice.
  std::optional<tools::AddressRange> sources;

  // The connections of one process: its global numbers are process, process + processes, ...
  [[nodiscard]] std::uint64_t connections_of(unsigned process, std::uint64_t connections) const noexcept {
    return connections / processes + (process < connections % processes ? 1 : 0);
  }
};

// Descriptors of a process that are not connections.
inline constexpr std::uint64_t descriptors_reserved = 64;

// The reason, with option, value and remedy, when it cannot work; of several the one that allows the fewest connections.
std::expected<Plan, std::string> make_plan(const LoadOptions& options, const MachineLimits& limits);

// Errors in the options themselves, whatever the machine.
std::expected<void, std::string> check_options(const LoadOptions& options);
// Those of one stage. Begins with the option as it is called on the command line: "--active 7: there are only 5 ...".
std::expected<void, std::string> check_stage(const Stage& stage, Protocol protocol);

// Tries whether this process may do what the faults need. The reason when not.
std::expected<void, std::string> check_faults(const LoadOptions& options);
// Tries whether this machine has the addresses (first and last of the range). The reason when not.
std::expected<void, std::string> check_sources(const tools::AddressRange& sources);

}  // namespace roost::load
