#include "tools/load/plan.h"

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
          .ports = tools::local_port_range()};
}

std::uint64_t LoadOptions::connections_max() const noexcept { return std::ranges::max(stages, {}, &Stage::connections).connections; }

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
  return {};
}

std::expected<void, std::string> check_options(const LoadOptions& options) {
  const auto refuse = [](std::string text) { return std::unexpected(std::move(text)); };
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

std::expected<Plan, std::string> make_plan(const LoadOptions& options, const MachineLimits& limits) {
  Plan plan;
  const std::uint64_t n = options.connections_max();

  // Descriptors.
  const std::uint64_t per_process =
      limits.descriptors_per_process > descriptors_reserved ? limits.descriptors_per_process - descriptors_reserved : 1;
  const std::uint64_t needed = (n + per_process - 1) / per_process;
  if (options.processes == 0) {
    if (needed > 1024) {
      return std::unexpected(fmt::format("--connections {}: a process may open {} descriptors, so it would take {} processes; "
                                         "raise the limit (ulimit -Hn)", format_count(n), limits.descriptors_per_process, needed));
    }
    plan.processes = static_cast<unsigned>(needed);
  } else {
    plan.processes = options.processes;
    if (plan.processes < needed) {
      return std::unexpected(fmt::format(
          "--processes {}: {} connections need {} processes of {} descriptors each; use --processes auto, or raise the limit (ulimit -Hn)",
          plan.processes, format_count(n), needed, limits.descriptors_per_process));
    }
    plan.processes = static_cast<unsigned>(std::min<std::uint64_t>(plan.processes, n));
  }
  if (n > limits.descriptors_on_machine) {
    return std::unexpected(fmt::format("--connections {}: the machine has {} descriptors left; raise fs.file-max: sysctl -w fs.file-max={}",
                                       format_count(n), format_count(limits.descriptors_on_machine), n * 3));
  }

  // Ports: one source address has as many connections to one target as the port range has ports.
  const std::uint64_t ports = limits.ports.count();
  if (options.sources) {
    plan.sources = options.sources;
    if (const std::uint64_t capacity = ports * options.sources->count; n > capacity) {
      return std::unexpected(fmt::format(
          "--sources: {} address{} of {} ports each {} reach one target {} times, not {}; name {} addresses",
          options.sources->count, options.sources->count == 1 ? "" : "es", format_count(ports), port_remedy(limits.ports),
          format_count(capacity), format_count(n), (n + ports - 1) / ports));
    }
    return plan;
  }
  const bool loopback_v4 = options.targets.front().address.is_v4() && options.targets_loopback();
  if (loopback_v4) {
    const std::uint64_t comfortable = std::max<std::uint64_t>(1, ports / default_occupancy_divisor);
    const std::uint64_t addresses = (n + comfortable - 1) / comfortable;
    if (addresses > default_sources_max) {
      return std::unexpected(fmt::format("--connections {}: an address has only {} ports {}; widen the range: "
                                         "sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
                                         format_count(n), ports, port_remedy(limits.ports)));
    }
    if (addresses > 1) plan.sources = tools::AddressRange{first_default_source, static_cast<std::uint32_t>(addresses)};
    return plan;
  }
  if (n > ports) {
    return std::unexpected(fmt::format("--connections {}: one source address reaches {} only {} times {}; name more of this "
                                       "machine's addresses with --sources FIRST-LAST, or widen the range: "
                                       "sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
                                       format_count(n), options.target_names(), format_count(ports), port_remedy(limits.ports)));
  }
  return plan;
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

std::int64_t phase_ns(std::uint64_t number, std::uint64_t connections, std::chrono::nanoseconds interval) noexcept {
  // In floating point: number * interval passes 64 bits for a hundred million connections and an hour.
  const double fraction = static_cast<double>(number) / static_cast<double>(connections);
  return std::llround(fraction * static_cast<double>(interval.count()));
}

std::int64_t first_due_ns(std::int64_t start_ns, std::int64_t phase, std::chrono::nanoseconds interval, std::int64_t after_ns) noexcept {
  const std::int64_t first = start_ns + phase;
  if (first > after_ns) return first;
  return first + ((after_ns - first) / interval.count() + 1) * interval.count();
}

bool is_active(std::uint64_t number, std::uint64_t connections, std::uint64_t active) noexcept {
  if (active == 0) return true;
  // Bresenham's line: exactly `active` of them, as evenly as possible.
  return (number + 1) * active / connections != number * active / connections;
}

}  // namespace roost::load
