#include <roost/net/dial.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include <roost/go.h>
#include <roost/sync/context.h>
#include <roost/net/resolver.h>
#include <roost/time/sleep.h>

#include "net/dial_race.h"
#include "net/io_loop.h"
#include "net/socket.h"
#include "runtime/netpoll.h"
#include "runtime/worker.h"

namespace roost::net {

namespace {

constexpr std::chrono::milliseconds busy_pause_min{1};
constexpr std::chrono::milliseconds busy_pause_max{20};
// Of several addresses each gets its share of the time left, but no less than this (as in Go).
constexpr std::chrono::seconds share_min{2};

// Linux lets a connect to a local port that nobody listens on meet itself when the kernel happens to choose that very port
// as the source (simultaneous open). Nobody wants that connection. `bound`: what it was bound to before, if to anything.
bool met_itself(int fd, const Address& remote, const Address& bound) noexcept {
  if (!remote.is_ip() || !remote.endpoint().address.is_loopback()) return false;
  // From another address it cannot, and need not be asked.
  if (bound.is_ip() && !bound.endpoint().address.is_unspecified() && bound.endpoint().address != remote.endpoint().address) return false;
  const auto local = local_address_of(fd);
  return local && *local == remote;
}

// The address to bind to before `remote` is dialled; none: the kernel's choice.
Result<Address> local_for(const Dialer& dialer, const Network& network, const Address& remote) {
  if (!dialer.local || dialer.local->is_none()) return Address();
  if (network.is_unix() != dialer.local->is_unix()) return fail(Errc::bad_address);
  if (network.is_unix()) return *dialer.local;
  Endpoint local = dialer.local->endpoint();
  const bool wants_v6 = remote.endpoint().address.is_v6();
  if (local.address.is_unspecified()) {
    if (network.family == Family::v4 && local.address.is_v6()) return fail(Errc::no_suitable_address);
    local.address = wants_v6 ? IpAddress::any_v6() : IpAddress::any_v4();
    if (local.port == 0) return Address();
  }
  local.address = wants_v6 ? local.address : local.address.unmapped();
  if (local.address.is_v6() != wants_v6) return fail(Errc::no_suitable_address);
  return Address(local);
}

Result<void> prepare_socket(int fd, const Dialer& dialer, const Network& network, const Address& remote,
                            const Address& local) {
  if (network.is_tcp()) {
    if (dialer.no_delay) {
      if (auto set = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); !set) return set;
    }
    if (dialer.keep_alive.enable) {
      if (auto set = apply_keep_alive(fd, dialer.keep_alive); !set) return set;
    }
  }
  if (dialer.control) {
    if (auto set = dialer.control(fd, network_name(network, remote), remote.to_string()); !set) return set;
  }
  if (local.is_none()) return {};
  // Choose the port at connect time, when the whole four-tuple is known; else one source has 28 k connections in all.
  if (local.is_ip() && local.endpoint().port == 0) {
    if (auto set = set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1); !set) return set;
  }
  sockaddr_storage storage{};
  const socklen_t length = local.to_sockaddr(storage);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&storage), length) != 0) return fail(last_error());
  return {};
}

bool has_peer(int fd) noexcept {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  return ::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) == 0;
}

// Waits for the end of a handshake that is under way.
Result<void> finish_connect(PollDesc& desc, Deadline deadline) {
  const PollDesc::Call call(desc, Direction::write);
  if (!call) return fail(Errc::closed);
  desc.set_deadline(Direction::write, deadline);
  for (;;) {
    const std::uint64_t edge = desc.edge(Direction::write);
    // Only a connection that stands has a peer. The other question needs asking only when there is none: no error may also mean
    // that nothing has happened yet, since a wake-up can be spurious.
    if (has_peer(desc.fd())) break;
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(desc.fd(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return fail(last_error());
    if (error != 0) return fail(std::error_code(error, std::generic_category()));
    desc.would_block(Direction::write, edge);
    if (const std::error_code blocked = desc.blocked(Direction::write)) return fail(blocked);
    if (const std::error_code waited = desc.wait(Direction::write)) return fail(waited);
  }
  desc.set_deadline(Direction::write, Deadline::none());
  return {};
}

Result<Conn> connect_once(const Dialer& dialer, const Network& network, const Address& remote, Deadline deadline) {
  if (deadline.has_passed()) return fail(Errc::deadline_exceeded);
  if (const std::error_code interrupted = runtime::current_interruption()) return fail(interrupted);
  const auto local = local_for(dialer, network, remote);
  if (!local) return fail(local.error());
  auto fd = open_socket(network, remote);
  if (!fd) return fail(fd.error());
  if (auto prepared = prepare_socket(fd->get(), dialer, network, remote, *local); !prepared) return fail(prepared.error());

  sockaddr_storage storage{};
  const socklen_t length = remote.to_sockaddr(storage);
  int error = 0;
  for (auto pause = busy_pause_min;; pause = std::min(pause * 2, busy_pause_max)) {
    error = ::connect(fd->get(), reinterpret_cast<const sockaddr*>(&storage), length) == 0 ? 0 : last_errno();
    // A Unix listener whose backlog is full: no poller tells when there is room.
    if (error != EAGAIN || !network.is_unix()) break;
    if (auto slept = sleep_until(std::min(deadline, Deadline::after(pause))); !slept) return fail(slept.error());
    if (deadline.has_passed()) return fail(Errc::deadline_exceeded);
  }
  if (error != 0 && error != EINPROGRESS && error != EINTR) return fail(std::error_code(error, std::generic_category()));

  // Only now: an unconnected socket reports a hang-up, which would stick.
  auto desc = PollDesc::open(fd->get(), PollDesc::First::wait);
  if (!desc) return fail(desc.error());
  const int raw = fd->release();
  Conn conn(*desc);
  (*desc)->set_content(network.is_tcp() ? PollDesc::Content::tcp : content_of(raw, network.type));
  if (error != 0) {
    if (auto connected = finish_connect(**desc, deadline); !connected) return fail(connected.error());
  }
  if (network.is_tcp() && met_itself(raw, remote, *local)) return fail(std::errc::connection_refused);
  return conn;
}

Result<Conn> connect(const Dialer& dialer, const Network& network, const Address& remote, Deadline deadline) {
  // The kernel may choose a source port that the target cannot use: itself, or one that is in TIME_WAIT. Another try gets
  // another port (net.internetSocket in Go does the same).
  constexpr int tries_max = 3;
  const bool kernel_chooses = !dialer.local || dialer.local->endpoint().port == 0;
  Result<Conn> conn = connect_once(dialer, network, remote, deadline);
  for (int tries = 1; tries < tries_max && network.is_tcp() && kernel_chooses && !conn &&
                      conn.error() == std::errc::address_not_available;
       ++tries) {
    conn = connect_once(dialer, network, remote, deadline);
  }
  if (!network.is_packet()) {
    if (conn) {
      runtime::count(&runtime::WorkerCounters::dialed);
    } else {
      runtime::count_dial_failure(conn.error());
    }
  }
  return conn;
}

Deadline share_of(Deadline deadline, std::size_t addresses_left) noexcept {
  if (deadline.is_none() || addresses_left <= 1) return deadline;
  const auto left = deadline.remaining();
  const auto share = std::max<std::chrono::nanoseconds>(left / static_cast<std::int64_t>(addresses_left), share_min);
  return std::min(deadline, Deadline::after(share));
}

Result<Conn> dial_serial(const Dialer& dialer, const Network& network, std::span<const Endpoint> remotes, Deadline deadline) {
  std::error_code first_error = Errc::no_suitable_address;
  for (std::size_t i = 0; i < remotes.size(); ++i) {
    auto conn = connect(dialer, network, remotes[i], share_of(deadline, remotes.size() - i));
    if (conn) return conn;
    if (runtime::current_is_canceled() || deadline.has_passed()) return conn;
    if (i == 0) first_error = conn.error();  // the most telling one: addresses come best first
  }
  return fail(first_error);
}

Result<Conn> dial_race(const Dialer& dialer, const Network& network, std::span<const Endpoint> primaries,
                       std::span<const Endpoint> fallbacks, Deadline deadline) {
  if (fallbacks.empty() || dialer.fallback_delay.count() < 0) {
    Result<Conn> conn = dial_serial(dialer, network, primaries, deadline);
    if (conn || fallbacks.empty() || runtime::current_is_canceled() || deadline.has_passed()) return conn;
    auto second = dial_serial(dialer, network, fallbacks, deadline);
    if (!second && !primaries.empty()) return conn;
    return second;
  }
  if (primaries.empty()) return dial_serial(dialer, network, fallbacks, deadline);

  // A runner publishes its end and wakes this fiber, which joins both before it returns: they use its stack.
  struct Runner {
    std::span<const Endpoint> remotes;
    std::atomic<bool> done{false};
    Result<Conn> result = fail(Errc::no_suitable_address);
    Handle<void> handle{};
    [[nodiscard]] bool started() const noexcept { return handle.joinable(); }
    [[nodiscard]] bool is_done() const noexcept { return done.load(std::memory_order_acquire); }
  };
  Runner primary{.remotes = primaries};
  Runner fallback{.remotes = fallbacks};
  const runtime::Waiter self = runtime::current_waiter();
  const Context context = this_fiber::context();  // the control hook shall see its caller's values
  const auto start = [&](Runner& runner) {
    auto begun = try_go({.name = "dial"}, [&dialer, &network, &runner, &context, deadline, self] {
      const ContextScope scope(context);
      runner.result = dial_serial(dialer, network, runner.remotes, deadline);
      runner.done.store(true, std::memory_order_release);
      runtime::unpark(self);
    });
    if (begun) {
      runner.handle = std::move(*begun);
    } else {
      runner.result = fail(begun.error());
      runner.done.store(true, std::memory_order_release);
    }
  };
  start(primary);
  const Deadline fallback_at = Deadline::after(dialer.fallback_delay);
  bool fallback_begun = false;
  Result<Conn>* won = nullptr;
  for (;;) {
    if (primary.is_done() && primary.result) won = &primary.result;
    if (won == nullptr && fallback_begun && fallback.is_done() && fallback.result) won = &fallback.result;
    if (won != nullptr || runtime::current_is_canceled()) break;
    if (primary.is_done() && fallback_begun && fallback.is_done()) break;
    if (!fallback_begun && (primary.is_done() || fallback_at.has_passed())) {
      fallback_begun = true;
      start(fallback);
      continue;
    }
    runtime::park_until(runtime::WaitReason::io_write, fallback_begun ? Deadline::none().ns() : fallback_at.ns());
  }
  for (Runner* runner : {&primary, &fallback}) {
    if (!runner->started()) continue;
    runner->handle.cancel();
    runner->handle.join();
  }
  if (won != nullptr) return std::move(*won);
  if (const std::error_code interrupted = runtime::current_interruption()) return fail(interrupted);
  return std::move(primary.result);
}

// Every address that "host:port" stands for.
Result<std::vector<Endpoint>> addresses_of(const Dialer& dialer, std::string_view name, const Network& network,
                                           std::string_view address, Deadline deadline) {
  const auto parts = split_host_port(address);
  if (!parts) return fail(parts.error());
  if (auto literal = literal_endpoint(network.family, address, false)) {
    std::vector addresses{*literal};
    // A server may listen on one of this machine's two loopback addresses only. For datagrams nobody would tell which.
    if (parts->host == "localhost" && network.is_tcp() && network.family == Family::any) {
      addresses.push_back({IpAddress::loopback_v6(), literal->port});
    }
    return addresses;
  }
  // A literal of the other family is no name to look up, and neither is a port out of range; "http" is one.
  const bool is_number = !parts->port.empty() && std::ranges::all_of(parts->port, [](char c) { return c >= '0' && c <= '9'; });
  const bool no_name = parts->host.empty() || parts->host == "localhost" || IpAddress::parse(parts->host).has_value();
  if (parts->port.empty() || parts->port.starts_with('-') || parts->port.starts_with('+') || (no_name && is_number) ||
      (is_number && !parse_port(parts->port))) {
    return fail(literal_endpoint(network.family, address, false).error());
  }
  Resolver& resolver = dialer.resolver != nullptr ? *dialer.resolver : Resolver::system();
  return resolver.resolve_endpoints(name, address, {.deadline = deadline});
}

Deadline effective_deadline(const Dialer& dialer) noexcept {
  return std::min(dialer.deadline, Deadline::after(dialer.timeout));
}

Result<Conn> dial_on(const Dialer& dialer, std::string_view name, const Network& network, std::string_view address) {
  const Deadline until = effective_deadline(dialer);
  if (network.is_unix()) {
    const auto path = UnixName::parse(address);
    if (!path) return fail(path.error());
    if (path->empty()) return fail(Errc::bad_address);
    return connect(dialer, network, *path, until);
  }
  const auto remotes = addresses_of(dialer, name, network, address, until);
  if (!remotes) return fail(remotes.error());
  const ByFamily split = split_by_family(*remotes);
  return dial_race(dialer, network, split.primaries, split.fallbacks, until);
}

}  // namespace

ByFamily split_by_family(std::span<const Endpoint> remotes) {
  ByFamily split;
  for (const Endpoint& remote : remotes) {
    (remote.address.is_v6() == remotes.front().address.is_v6() ? split.primaries : split.fallbacks).push_back(remote);
  }
  return split;
}

Result<Conn> dial_parallel(const Dialer& dialer, std::span<const Endpoint> primaries, std::span<const Endpoint> fallbacks,
                           Deadline deadline) {
  return dial_race(dialer, Network{Family::any, SOCK_STREAM}, primaries, fallbacks, deadline);
}

Result<Conn> Dialer::dial(const Endpoint& remote) const {
  return connect(*this, Network{Family::any, SOCK_STREAM}, remote, effective_deadline(*this));
}

Result<Conn> Dialer::dial_any(std::span<const Endpoint> remotes) const {
  const ByFamily split = split_by_family(remotes);
  return dial_parallel(*this, split.primaries, split.fallbacks, effective_deadline(*this));
}

Result<Conn> Dialer::dial(std::string_view name, std::string_view address) const {
  const auto network = parse_network(name);
  if (!network) return fail(network.error());
  return dial_on(*this, name, *network, address);
}

Result<PacketConn> Dialer::dial_packet(std::string_view name, std::string_view address) const {
  const auto network = parse_network(name);
  if (!network) return fail(network.error());
  if (!network->is_packet()) return fail(Errc::unknown_network);
  auto conn = dial_on(*this, name, *network, address);
  if (!conn) return fail(conn.error());
  return PacketConn(std::move(*conn));
}

}  // namespace roost::net
