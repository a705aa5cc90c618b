#include "tools/load/plan.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include <fmt/format.h>

#include "tools/common/format.h"

namespace roost::load {
namespace {

using tools::format_count;

// With default sources a quarter of each address's ports is used: loopback has 16 million addresses, and the kernel finds a
// free port at once where most are free.
constexpr std::uint32_t default_occupancy_divisor = 4;

// 127.0.0.1 itself is left to everybody else on the machine.
const net::IpAddress first_default_source = net::IpAddress::v4(127, 0, 1, 1);
constexpr std::uint32_t default_sources_max = 100'000;

std::string port_remedy(const tools::PortRange& ports) {
  return fmt::format("(net.ipv4.ip_local_port_range is {} {})", ports.first, ports.last);
}

}  // namespace

MachineLimits MachineLimits::read() {
  return {.descriptors_per_process = tools::descriptor_limit(),
          .descriptors_on_machine = tools::descriptors_free_on_machine(),
          .memory_available_bytes = tools::read_available_bytes(),
          .ports = tools::local_port_range()};
}

std::uint64_t LoadOptions::connections_max() const noexcept { return std::ranges::max(stages, {}, &Stage::connections).connections; }

std::uint64_t LoadOptions::attackers_max() const noexcept { return std::ranges::max(stages, {}, &Stage::attackers).attackers(); }

std::uint64_t LoadOptions::message_bytes_max() const noexcept {
  std::uint64_t most = 0;
  for (const Stage& stage : stages) most = std::max(most, stage.sizes.highest());
  return most;
}

std::string LoadOptions::target_names() const {
  std::string names;
  for (const net::Endpoint& target : targets) names += (names.empty() ? "" : ",") + target.to_string();
  return names;
}

bool LoadOptions::targets_loopback() const noexcept {
  return std::ranges::all_of(targets, [](const net::Endpoint& target) { return target.address.is_loopback(); });
}

bool LoadOptions::has_open_loop() const noexcept {
  return std::ranges::any_of(stages, [](const Stage& stage) { return !stage.is_closed_loop(); });
}

std::expected<void, std::string> check_stage(const Stage& stage, Protocol protocol) {
  const auto refuse = [](std::string text) { return std::unexpected(std::move(text)); };
  if (stage.connections == 0) return refuse("--connections 0: there is nothing to do; ask for at least 1");
  if (stage.connections > connections_limit) {
    return refuse(fmt::format("--connections {}: at most {} are possible", format_count(stage.connections), format_count(connections_limit)));
  }
  if (!(stage.ramp.rate > 0)) return refuse("--rate 0: no connection would ever open; ask for more than 0 a second");
  if (stage.ramp.shape == Ramp::Shape::step && stage.ramp.mean_rate() > stage.ramp.rate) {
    return refuse(fmt::format("--rate {}: a step would not be over when the next one begins; --ramp asks for {} a second",
                              format_count(stage.ramp.rate), format_count(std::ceil(stage.ramp.mean_rate()))));
  }
  if (stage.messages == MessageSchedule::interval && stage.interval < 1ms) {
    return refuse("--interval: below 1ms a closed loop measures better; use --closed-loop");
  }
  if (stage.messages == MessageSchedule::rate && !(stage.message_rate > 0)) {
    return refuse("--message-rate 0: nothing would be sent; ask for more than 0 a second, or for --duration 0");
  }
  if (const std::uint64_t least = protocol == Protocol::length ? length_prefix_bytes + 1 : 1; stage.sizes.lowest() < least) {
    return refuse(protocol == Protocol::length
                      ? fmt::format("--size {}: with --protocol length the prefix alone takes {} bytes; ask for at least {}",
                                    stage.sizes.lowest(), length_prefix_bytes, least)
                      : fmt::format("--size {}: a message has 1 byte to 16MiB", stage.sizes.lowest()));
  }
  if (stage.sizes.highest() > message_bytes_limit) {
    return refuse(fmt::format("--size {}: a message has 1 byte to 16MiB", stage.sizes.highest()));
  }
  if (stage.active > stage.connections) {
    return refuse(fmt::format("--active {}: there are only {} connections; ask for no more of them", format_count(stage.active),
                              format_count(stage.connections)));
  }
  if (stage.active != 0 && !stage.is_closed_loop()) {
    return refuse("--active: only a closed loop has active connections; add --closed-loop");
  }
  if (!stage.think.is_none() && !stage.is_closed_loop()) {
    return refuse("--think-time: only a closed loop thinks; add --closed-loop, or say it by --interval");
  }
  if (const double churn = stage.churn.per_second(stage.connections); churn > static_cast<double>(stage.connections)) {
    return refuse(fmt::format("--churn: {} a second are more than the {} connections there are; ask for at most 100%/s", format_count(churn),
                              format_count(stage.connections)));
  }
  if (!stage.faults.empty() && stage.duration.count() == 0) {
    return refuse("--fault: attackers come in the run, and --duration is 0; give it a time");
  }
  for (const Fault& fault : stage.faults) {
    if (fault.attackers > attackers_limit) {
      return refuse(fmt::format("--fault {}: at most {} attackers of a kind are possible", fault.to_string(), format_count(attackers_limit)));
    }
    if (fault.every > stage.duration) {
      return refuse(fmt::format("--fault {}: that is longer than the run, --duration {}; give one of the two another time", fault.to_string(),
                                tools::format_option(stage.duration)));
    }
  }
  return {};
}

std::expected<void, std::string> check_options(const LoadOptions& options) {
  const auto refuse = [](std::string text) { return std::unexpected(std::move(text)); };
  if (options.targets.empty()) return refuse("--target is missing: name the server, as in --target 127.0.0.1:8080");
  for (const Stage& stage : options.stages) {
    if (auto fine = check_stage(stage, options.protocol); !fine) return fine;
  }
  if (options.dial_timeout <= 0s) return refuse("--dial-timeout 0: no connection would be waited for; ask for more than 0");
  if (options.io_timeout <= 0s) return refuse("--io-timeout 0: no answer would be waited for; ask for more than 0");
  for (const net::Endpoint& target : options.targets) {
    if (target.address.is_v6() != options.targets.front().address.is_v6()) {
      return refuse(fmt::format("--target {}: it and {} are of different IP versions; load one version at a time", target.to_string(),
                                options.targets.front().to_string()));
    }
    if (options.sources && options.sources->first.is_v6() != target.address.is_v6()) {
      return refuse(fmt::format("--sources {}: the target {} is of the other IP version; name addresses of its own",
                                options.sources->first.to_string(), target.to_string()));
    }
  }
  return {};
}

namespace {

// A limit that a load would break, and how many connections it allows.
struct Shortfall {
  std::uint64_t allows;
  std::string text;
};

constexpr std::uint64_t processes_limit = 1024;

std::uint64_t descriptors_of_process(const MachineLimits& limits) {
  return limits.descriptors_per_process > descriptors_reserved ? limits.descriptors_per_process - descriptors_reserved : 1;
}

std::uint64_t processes_for(std::uint64_t descriptors, const MachineLimits& limits) {
  const std::uint64_t per_process = descriptors_of_process(limits);
  return (descriptors + per_process - 1) / per_process;
}

// Sets plan.processes.
std::optional<Shortfall> plan_processes(const LoadOptions& options, const MachineLimits& limits, Plan& plan) {
  const std::uint64_t n = options.connections_max();
  const std::uint64_t per_process = descriptors_of_process(limits);
  const std::uint64_t needed = processes_for(n, limits);
  plan.processes = static_cast<unsigned>(std::min<std::uint64_t>(options.processes == 0 ? needed : options.processes, std::min(n, processes_limit)));
  if (options.processes == 0) {
    if (needed <= processes_limit) return std::nullopt;
    return Shortfall{processes_limit * per_process,
                     fmt::format("--connections {}: a process may open {} descriptors, so it would take {} processes; "
                                 "raise the limit (ulimit -Hn)", format_count(n), limits.descriptors_per_process, needed)};
  }
  if (options.processes >= needed) return std::nullopt;
  return Shortfall{options.processes * per_process,
                   fmt::format("--processes {}: {} connections need {} processes of {} descriptors each; use --processes auto, or raise the limit (ulimit -Hn)",
                               options.processes, format_count(n), needed, limits.descriptors_per_process)};
}

// Sets plan.attack_processes.
std::optional<Shortfall> plan_attack_processes(const LoadOptions& options, const MachineLimits& limits, Plan& plan) {
  const std::uint64_t n = options.attackers_max();
  const std::uint64_t needed = processes_for(n, limits);
  plan.attack_processes = static_cast<unsigned>(std::min(needed, processes_limit));
  if (needed <= processes_limit) return std::nullopt;
  // Fewer connections would not help.
  return Shortfall{0, fmt::format("--fault: a process may open {} descriptors, so {} attackers would take {} processes; raise the limit (ulimit -Hn)",
                                  limits.descriptors_per_process, format_count(n), needed)};
}

// Connections that churn has closed keep their ports for a while (TIME_WAIT): 60 s, and on loopback, where the kernel takes
// them anew by default (net.ipv4.tcp_tw_reuse = 2), 1 s.
std::uint64_t ports_in_time_wait(const LoadOptions& options) {
  const double wait_s = options.targets_loopback() ? 1 : 60;
  double most = 0;
  for (const Stage& stage : options.stages) {
    most = std::max(most, stage.churn.per_second(stage.connections) * std::min(wait_s, std::chrono::duration<double>(stage.duration).count()));
  }
  return static_cast<std::uint64_t>(std::ceil(most));
}

// Sets plan.sources. One source address has as many connections to one target as the port range has ports.
std::optional<Shortfall> plan_sources(const LoadOptions& options, const MachineLimits& limits, Plan& plan) {
  const std::uint64_t targets = options.targets.size();
  const std::uint64_t per_address = limits.ports.count() * targets;
  const std::uint64_t waiting = ports_in_time_wait(options);
  const std::uint64_t n = options.clients_max() + waiting;
  const auto allows = [waiting](std::uint64_t capacity) { return capacity > waiting ? capacity - waiting : 0; };
  const std::string reach = targets == 1 ? "one target" : fmt::format("{} targets", targets);
  const std::string needed = waiting == 0 ? format_count(n) : fmt::format("{}, {} of them of closed connections", format_count(n), format_count(waiting));
  if (options.sources) {
    plan.sources = options.sources;
    const std::uint64_t capacity = per_address * options.sources->count;
    if (n <= capacity) return std::nullopt;
    return Shortfall{allows(capacity),
                     fmt::format("--sources: {} address{} of {} ports each {} reach {} {} times, not {}; name {} addresses",
                                 options.sources->count, options.sources->count == 1 ? "" : "es", format_count(std::uint64_t{limits.ports.count()}),
                                 port_remedy(limits.ports), reach, format_count(capacity), needed, (n + per_address - 1) / per_address)};
  }
  if (options.targets.front().address.is_v4() && options.targets_loopback()) {
    const std::uint64_t comfortable = std::max<std::uint64_t>(1, per_address / default_occupancy_divisor);
    const std::uint64_t addresses = (n + comfortable - 1) / comfortable;
    if (addresses > default_sources_max) {
      return Shortfall{allows(default_sources_max * comfortable),
                       fmt::format("--connections {}: an address has only {} ports {}; widen the range: "
                                   "sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
                                   needed, limits.ports.count(), port_remedy(limits.ports))};
    }
    if (addresses > 1) plan.sources = tools::AddressRange{first_default_source, static_cast<std::uint32_t>(addresses)};
    return std::nullopt;
  }
  if (n <= per_address) return std::nullopt;
  return Shortfall{allows(per_address),
                   fmt::format("--connections {}: one source address reaches {} only {} times {}; name more of this "
                               "machine's addresses with --sources FIRST-LAST, or widen the range: "
                               "sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
                               needed, options.target_names(), format_count(per_address), port_remedy(limits.ports))};
}

// What a connection and a process of the client take, and what the kernel takes for one end: measured with 1,000,000 of them
// (docs/load.md), and rounded up.
constexpr std::uint64_t bytes_per_connection = 500;
constexpr std::uint64_t kernel_bytes_per_end = 4500;
constexpr std::uint64_t bytes_per_process = 3'000'000;
constexpr std::uint64_t bytes_per_attacker = 12'000;  // a stack of two pages, and its share of page tables

std::optional<Shortfall> check_memory(const LoadOptions& options, const MachineLimits& limits, const Plan& plan) {
  const std::uint64_t n = options.connections_max();
  const std::uint64_t kernel_bytes = kernel_bytes_per_end * (options.targets_loopback() ? 2 : 1);
  const std::uint64_t each = bytes_per_connection + kernel_bytes;
  const std::uint64_t fixed = (plan.processes + plan.attack_processes) * bytes_per_process + options.attackers_max() * (bytes_per_attacker + kernel_bytes);
  if (limits.memory_available_bytes == 0 || n * each + fixed <= limits.memory_available_bytes) return std::nullopt;
  const std::uint64_t allows = limits.memory_available_bytes > fixed ? (limits.memory_available_bytes - fixed) / each : 0;
  return Shortfall{allows, fmt::format("--connections {}: this end of them needs {} of memory, the server's not counted, and {} are free; ask for at most {}",
                                       format_count(n), tools::format_bytes(static_cast<double>(n * each + fixed)),
                                       tools::format_bytes(static_cast<double>(limits.memory_available_bytes)), format_count(allows))};
}

}  // namespace

std::expected<Plan, std::string> make_plan(const LoadOptions& options, const MachineLimits& limits) {
  Plan plan;
  const std::uint64_t n = options.clients_max();
  std::vector<Shortfall> shortfalls;
  const auto note = [&shortfalls](std::optional<Shortfall> shortfall) {
    if (shortfall) shortfalls.push_back(std::move(*shortfall));
  };
  note(plan_processes(options, limits, plan));
  note(plan_attack_processes(options, limits, plan));
  if (n > limits.descriptors_on_machine) {
    note(Shortfall{limits.descriptors_on_machine,
                   fmt::format("--connections {}: the machine has {} descriptors left; raise fs.file-max: sysctl -w fs.file-max={}",
                               format_count(n), format_count(limits.descriptors_on_machine), n * 3)});
  }
  note(plan_sources(options, limits, plan));
  note(check_memory(options, limits, plan));
  if (shortfalls.empty()) return plan;
  // The lowest limit: with another one mended it would not get any further.
  return std::unexpected(std::ranges::min(shortfalls, {}, &Shortfall::allows).text);
}

std::expected<void, std::string> check_faults(const LoadOptions& options) {
  for (const Stage& stage : options.stages) {
    for (const Fault& fault : stage.faults) {
      if (fault.kind != FaultKind::half_open) continue;
      const int on = 1;
      const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const bool may = fd >= 0 && ::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) == 0;
      const int error = errno;
      if (fd >= 0) ::close(fd);
      if (!may) {
        return std::unexpected(fmt::format("--fault {}: vanishing takes TCP_REPAIR ({}); run as root, or with CAP_NET_ADMIN", fault.to_string(),
                                           std::generic_category().message(error)));
      }
    }
  }
  return {};
}

std::expected<void, std::string> check_sources(const tools::AddressRange& sources) {
  for (const std::uint32_t index : {0u, sources.count - 1}) {
    const net::Endpoint source{sources.at(index), 0};
    sockaddr_storage storage{};
    const socklen_t length = source.to_sockaddr(storage);
    const int fd = ::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool bound = fd >= 0 && ::bind(fd, reinterpret_cast<const sockaddr*>(&storage), length) == 0;
    const int error = errno;
    if (fd >= 0) ::close(fd);
    if (!bound) {
      return std::unexpected(fmt::format("--sources: this machine cannot dial from {} ({}); add the address to an interface: "
                                         "ip addr add {} dev INTERFACE",
                                         source.address.to_string(), std::generic_category().message(error),
                                         source.address.to_string()));
    }
  }
  return {};
}

}  // namespace roost::load
