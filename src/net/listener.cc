#include <roost/net/listener.h>
#include <roost/net/resolver.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <map>
#include <mutex>

#include "base/assert.h"
#include "base/clock.h"
#include "net/io_loop.h"
#include "net/socket.h"
#include "runtime/worker.h"

namespace roost::net {
namespace {

// How long accept() waits when descriptors or kernel memory are used up, before it looks again: short enough to be back
// 50 ms after some are free, long enough to cost nothing.
constexpr std::chrono::milliseconds exhausted_pause_min{5};
constexpr std::chrono::milliseconds exhausted_pause_max{50};

int open_spare() noexcept { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

// The peer is gone, or its network failed, before it could be accepted: nothing is wrong with the listener (accept(2)).
bool concerns_one_peer(int error) noexcept {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
      return true;
    default:
      return false;
  }
}

bool is_exhausted(int error) noexcept {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

// So that the peer fails at once instead of waiting for its time-out.
void reset_and_close(UniqueFd fd) noexcept {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

// What counts as one peer: an IPv4 address, or the /64 of an IPv6 one.
IpAddress peer_of(const Address& address) noexcept {
  const IpAddress ip = address.endpoint().address.unmapped();
  if (ip.is_v4()) return ip;
  std::array<std::uint8_t, 16> site{};
  std::copy_n(ip.bytes().begin(), 8, site.begin());
  return IpAddress::v6(site);
}

// The file of a Unix socket that has one, as it was when the listener was made. A file that stands at the path later may be
// another's: a successor's, or one that somebody put there. The socket holds its own, so no other gets the same number.
class SocketFile {
 public:
  SocketFile() = default;
  explicit SocketFile(const Address& address) {
    const UnixName name = address.unix_name();
    if (name.empty() || name.is_abstract()) return;
    path_ = name.text();
    if (!is_socket_at(path_, made_)) path_.clear();
  }

  [[nodiscard]] bool exists() const noexcept { return !path_.empty(); }
  void remove() const noexcept {
    struct stat found{};
    if (exists() && is_socket_at(path_, found) && found.st_dev == made_.st_dev && found.st_ino == made_.st_ino) {
      ::unlink(path_.c_str());
    }
  }

 private:
  static bool is_socket_at(const std::string& path, struct stat& found) noexcept {
    return ::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode);
  }

  std::string path_;  // empty: no file
  struct stat made_{};
};

}  // namespace

// What a listener keeps beside its descriptor. Lives as long as the listener and every connection that counts towards a limit.
struct Listener::State {
  // A connection that counts towards its peer's limit, too.
  struct Counted {
    State* state;
    IpAddress peer;
  };

  explicit State(PollDesc& listener_desc, const ListenLimits& wanted) noexcept : desc(listener_desc), limits(wanted) {}

  void add_reference() noexcept { references.fetch_add(1, std::memory_order_relaxed); }
  void drop_reference() noexcept {
    if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  // Releases who waits for room. The listener's PollDesc outlives everything; if it is another descriptor's by now, that one
  // tries once in vain.
  void leave() noexcept {
    open.fetch_sub(1, std::memory_order_seq_cst);
    if (limits.connections > 0) desc.nudge(Direction::read);
    drop_reference();
  }
  static void on_close(void* state) noexcept { static_cast<State*>(state)->leave(); }
  static void on_counted_close(void* argument) noexcept {
    auto* counted = static_cast<Counted*>(argument);
    counted->state->forget(counted->peer);
    counted->state->leave();
    delete counted;
  }

  // False: that peer has as many as it may.
  bool admit(const IpAddress& peer) {
    const std::lock_guard lock(peers_mutex);
    std::uint32_t& count = peers[peer];
    if (count >= limits.connections_per_peer) return false;
    ++count;
    return true;
  }
  void forget(const IpAddress& peer) noexcept {
    const std::lock_guard lock(peers_mutex);
    const auto found = peers.find(peer);
    if (found != peers.end() && --found->second == 0) peers.erase(found);
  }

  [[nodiscard]] bool counts() const noexcept { return limits.connections > 0 || limits.connections_per_peer > 0; }
  [[nodiscard]] bool is_full() const noexcept {
    return limits.connections > 0 && open.load(std::memory_order_seq_cst) >= limits.connections;
  }

  // The accept rate as a bucket that leaks: `next_accept_ns` runs ahead of the clock by at most a burst.
  [[nodiscard]] std::int64_t earliest_accept_ns() const noexcept {
    if (limits.accepts_per_second == 0) return 0;
    return next_accept_ns - interval_ns() * (burst() - 1);
  }
  void note_accept() noexcept {
    accepted_total.fetch_add(1, std::memory_order_relaxed);
    runtime::count(&runtime::WorkerCounters::accepted);
    if (limits.accepts_per_second > 0) next_accept_ns = std::max(next_accept_ns, base::now_ns()) + interval_ns();
  }
  [[nodiscard]] std::int64_t interval_ns() const noexcept { return 1'000'000'000 / limits.accepts_per_second; }
  [[nodiscard]] std::int64_t burst() const noexcept {
    return limits.accept_burst > 0 ? limits.accept_burst : std::max(limits.accepts_per_second / 10, 1u);
  }

  // Constant once listen() has returned.
  PollDesc& desc;
  const ListenLimits limits;
  PollDesc::Content content = PollDesc::Content::tcp;
  SocketFile file;

  // Touched only by whoever has the turn to accept.
  UniqueFd spare;  // given up to turn peers away when descriptors are exhausted
  std::int64_t next_accept_ns = 0;

  std::mutex peers_mutex;  // leaf; never held across a park
  std::map<IpAddress, std::uint32_t> peers;  // guarded by peers_mutex; connections open by peer

  std::atomic<std::uint32_t> references{1};
  std::atomic<std::uint32_t> open{0};
  std::atomic<bool> unlink_on_close{false};
  // Statistics.
  std::atomic<std::uint64_t> accepted_total{0};
  std::atomic<std::uint64_t> exhausted_total{0};
  std::atomic<std::uint64_t> turned_away_total{0};
  std::atomic<std::uint64_t> full_total{0};
};

Listener::Listener(Listener&& other) noexcept
    : desc_(std::exchange(other.desc_, nullptr)), state_(std::exchange(other.state_, nullptr)) {}

Listener& Listener::operator=(Listener&& other) noexcept {
  std::swap(desc_, other.desc_);
  std::swap(state_, other.state_);
  return *this;
}

Listener::~Listener() {
  if (desc_ == nullptr) return;
  if (state_->unlink_on_close.exchange(false) && is_open()) state_->file.remove();
  desc_->destroy();
  state_->drop_reference();
}

// --- accepting -----------------------------------------------------------------------------------------------------

Result<Conn> Listener::accept() {
  if (desc_ == nullptr) return fail(Errc::closed);
  PollDesc& desc = *desc_;
  State& state = *state_;
  const PollDesc::Call call(desc, Direction::read);
  if (!call) return fail(Errc::closed);
  auto pause = exhausted_pause_min;
  const auto pause_until = [&](std::int64_t until_ns) { return desc.pause_until(Direction::read, until_ns); };
  const auto back_off = [&] {
    const std::int64_t until = base::saturating_add(base::now_ns(), std::chrono::nanoseconds(pause).count());
    pause = std::min(pause * 2, exhausted_pause_max);
    return pause_until(until);
  };
  for (;;) {
    if (const std::error_code error = desc.blocked(Direction::read)) return fail(error);
    if (!desc.maybe_ready(Direction::read)) {
      if (const std::error_code error = desc.wait(Direction::read)) return fail(error);
      continue;
    }
    const std::uint64_t edge = desc.edge(Direction::read);
    if (state.is_full()) {
      // Whoever makes room first counts down and then nudges: either we saw the count, or its edge keeps us awake.
      state.full_total.fetch_add(1, std::memory_order_relaxed);
      runtime::count(&runtime::WorkerCounters::accept_full);
      desc.would_block(Direction::read, edge);
      continue;
    }
    if (const std::int64_t earliest = state.earliest_accept_ns(); earliest > 0 && earliest > base::now_ns()) {
      if (auto paused = pause_until(earliest); !paused) return fail(paused.error());
      continue;
    }

    sockaddr_storage peer_name;
    socklen_t peer_length = sizeof peer_name;
    const bool by_peer = state.limits.connections_per_peer > 0 && state.content == PollDesc::Content::tcp;
    UniqueFd fd(::accept4(desc.fd(), by_peer ? reinterpret_cast<sockaddr*>(&peer_name) : nullptr,
                          by_peer ? &peer_length : nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      const int error = last_errno();
      if (error == EAGAIN) {
        desc.would_block(Direction::read, edge);
      } else if (is_exhausted(error)) {
        state.exhausted_total.fetch_add(1, std::memory_order_relaxed);
        runtime::count(&runtime::WorkerCounters::accept_exhausted);
        if (error == EMFILE && state.spare) {
          state.spare.reset(-1);
          if (UniqueFd surplus(::accept4(desc.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)); surplus) {
            state.turned_away_total.fetch_add(1, std::memory_order_relaxed);
            runtime::count(&runtime::WorkerCounters::turned_away);
            reset_and_close(std::move(surplus));
          }
          state.spare.reset(open_spare());
        }
        if (auto paused = back_off(); !paused) return fail(paused.error());
        if (!state.spare) state.spare.reset(open_spare());
      } else if (!concerns_one_peer(error)) {
        return fail(owned_descriptor_error(desc.fd(), error));
      }
      continue;
    }

    IpAddress peer;
    if (by_peer) {
      peer = peer_of(Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&peer_name), peer_length));
      if (!state.admit(peer)) {
        state.turned_away_total.fetch_add(1, std::memory_order_relaxed);
        runtime::count(&runtime::WorkerCounters::turned_away);
        reset_and_close(std::move(fd));
        runtime::spend_budget();
        continue;
      }
    }
    auto accepted = PollDesc::open(fd.get(), PollDesc::First::wait);
    if (!accepted) {
      // No more watches or memory (ENOSPC, ENOMEM): this peer is lost, the listener is not.
      if (by_peer) state.forget(peer);
      if (accepted.error() == Errc::canceled) return fail(accepted.error());
      state.exhausted_total.fetch_add(1, std::memory_order_relaxed);
      runtime::count(&runtime::WorkerCounters::accept_exhausted);
      if (auto paused = back_off(); !paused) return fail(paused.error());
      continue;
    }
    static_cast<void>(fd.release());
    (*accepted)->set_content(state.content);
    if (state.counts()) {
      state.open.fetch_add(1, std::memory_order_relaxed);
      state.add_reference();
      if (by_peer) {
        (*accepted)->set_close_hook(&State::on_counted_close, new State::Counted{&state, peer});
      } else {
        (*accepted)->set_close_hook(&State::on_close, &state);
      }
    }
    state.note_accept();
    runtime::spend_budget();
    return Conn(*accepted);
  }
}

// --- the rest ------------------------------------------------------------------------------------------------------

Result<void> Listener::set_deadline(Deadline deadline) { return set_deadline_on(desc_, Direction::read, deadline); }

Result<void> Listener::close() {
  if (!is_open()) return fail(Errc::closed);
  // While it still listens: afterwards the name may be somebody else's.
  if (state_->unlink_on_close.exchange(false)) state_->file.remove();
  if (!desc_->close()) return fail(Errc::closed);
  return {};
}

void Listener::set_unlink_on_close(bool on) noexcept {
  if (state_ != nullptr && state_->file.exists() && is_open()) state_->unlink_on_close.store(on);
}

bool Listener::is_open() const noexcept { return desc_ != nullptr && !desc_->is_closed(); }
Result<void> Listener::raw_control(FunctionRef<void(int)> act) const { return net::raw_control(desc_, act); }
int Listener::native_handle() const noexcept { return is_open() ? desc_->lend_fd() : -1; }
Result<int> Listener::duplicate() const { return net::duplicate(desc_); }
Result<int> Listener::release() {
  const int fd = desc_ == nullptr ? -1 : desc_->detach();
  if (fd < 0) return fail(Errc::closed);
  return fd;
}

ListenerStats Listener::stats() const noexcept {
  if (state_ == nullptr) return {};
  return {.accepted_total = state_->accepted_total.load(std::memory_order_relaxed),
          .exhausted_total = state_->exhausted_total.load(std::memory_order_relaxed),
          .turned_away_total = state_->turned_away_total.load(std::memory_order_relaxed),
          .full_total = state_->full_total.load(std::memory_order_relaxed),
          .open = state_->open.load(std::memory_order_relaxed)};
}

Result<Endpoint> Listener::local_endpoint() const { return with_descriptor(desc_, &local_endpoint_of); }
Result<Address> Listener::local_address() const { return with_descriptor(desc_, &local_address_of); }

std::string Listener::describe(std::string_view operation, std::error_code error) const {
  const auto text = with_descriptor(
      desc_, [&](int fd) -> Result<std::string> { return describe_failure(operation, fd, error); });
  return text ? *text : describe_failure(operation, -1, error);
}

namespace {

// Takes over `fd`, which listens.
Result<Listener> make_listener(int fd, const ListenLimits& limits, int type, SocketFile file, bool unlink_on_close) {
  auto desc = PollDesc::open(fd, PollDesc::First::try_it);
  if (!desc) return fail(desc.error());
  (*desc)->end_watch_by_hand();  // its port shall be free as soon as it is closed
  auto* state = new Listener::State(**desc, limits);
  state->content = content_of(fd, type);
  state->spare.reset(open_spare());
  state->unlink_on_close.store(unlink_on_close && file.exists());
  state->file = std::move(file);
  return Listener(*desc, state);
}

Result<UniqueFd> bind_to(const Network& network, const Address& address, bool dual_stack, const ListenConfig& config) {
  auto fd = open_socket(network, address);
  if (!fd) return fd;
  const int raw = fd->get();
  const auto turn_on = [raw](int level, int name) { return set_option(raw, level, name, 1); };
  if (address.endpoint().address.is_v6()) {
    if (auto set = set_option(raw, IPPROTO_IPV6, IPV6_V6ONLY, static_cast<int>(!dual_stack)); !set) return fail(set.error());
  }
  // Not for datagrams: there it would let two sockets have one address.
  if (config.reuse_address && network.is_tcp()) {
    if (auto set = turn_on(SOL_SOCKET, SO_REUSEADDR); !set) return fail(set.error());
  }
  if (config.reuse_port && !network.is_unix()) {
    if (auto set = turn_on(SOL_SOCKET, SO_REUSEPORT); !set) return fail(set.error());
  }
  if (network.is_tcp()) {
    // Linux hands these on to accepted connections, so they cost nothing per connection.
    if (config.no_delay) {
      if (auto set = turn_on(IPPROTO_TCP, TCP_NODELAY); !set) return fail(set.error());
    }
    if (auto set = apply_keep_alive(raw, config.keep_alive); !set) return fail(set.error());
  }
  if (config.control) {
    if (auto set = config.control(raw, network_name(network, address), address.to_string()); !set) return fail(set.error());
  }
  sockaddr_storage storage{};
  const socklen_t length = address.to_sockaddr(storage);
  if (::bind(raw, reinterpret_cast<const sockaddr*>(&storage), length) != 0) return fail(last_error());
  return fd;
}

Result<Listener> listen_on(UniqueFd fd, const Network& network, const Address& address, const ListenConfig& config) {
  // INT_MAX: the kernel cuts it to net.core.somaxconn.
  SocketFile file(address);
  Result<Listener> made = fail(Errc::closed);
  if (::listen(fd.get(), config.backlog > 0 ? config.backlog : INT_MAX) != 0) {
    made = fail(last_error());
  } else {
    made = make_listener(fd.get(), config.limits, network.type, file, true);
  }
  if (made) {
    static_cast<void>(fd.release());
  } else {
    file.remove();  // bind made it
  }
  return made;
}

// A literal address, whose port may be the name of a service: ":http".
Result<Endpoint> endpoint_to_bind(const Network& network, std::string_view text) {
  auto local = literal_endpoint(network.family, text, true);
  if (local || local.error() != Errc::bad_address) return local;
  const auto parts = split_host_port(text);
  if (!parts) return local;
  const auto port = Resolver::system().port_of(network.is_packet() ? "udp" : "tcp", parts->port);
  if (!port) return local;
  const std::string host = parts->host.find(':') == std::string::npos ? parts->host : "[" + parts->host + "]";
  return literal_endpoint(network.family, host + ":" + std::to_string(*port), true);
}

}  // namespace

Result<UniqueFd> bind_socket(const Network& network, std::string_view text, const ListenConfig& config, Address* bound) {
  if (network.is_unix()) {
    const auto name = UnixName::parse(text);
    if (!name) return fail(name.error());
    if (bound != nullptr) *bound = *name;
    return bind_to(network, *name, false, config);
  }
  auto local = endpoint_to_bind(network, text);
  if (!local) return fail(local.error());
  const bool any_host = local->address.is_unspecified() && network.family == Family::any;
  const bool dual_stack = any_host && local->address.is_v6();
  auto fd = bind_to(network, *local, dual_stack, config);
  // A machine without IPv6: ":port" means its IPv4 addresses.
  if (!fd && dual_stack &&
      (fd.error() == std::errc::address_family_not_supported || fd.error() == std::errc::address_not_available)) {
    local->address = IpAddress::any_v4();
    fd = bind_to(network, *local, false, config);
  }
  if (bound != nullptr) *bound = *local;
  return fd;
}

Result<Listener> Listener::adopt(int fd, const ListenLimits& limits) {
  int accepts = 0;
  int type = 0;
  socklen_t length = sizeof accepts;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &length) != 0) return fail(last_error());
  if (accepts == 0) return fail(std::errc::invalid_argument);
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return fail(last_error());
  if (auto made = make_non_blocking(fd); !made) return fail(made.error());
  return make_listener(fd, limits, type, SocketFile(local_address_of(fd).value_or(Address())), false);
}

Result<Listener> listen(std::string_view name, std::string_view address, const ListenConfig& config) {
  const auto network = parse_network(name);
  if (!network) return fail(network.error());
  if (network->is_packet()) return fail(Errc::unknown_network);
  Address bound;
  auto fd = bind_socket(*network, address, config, &bound);
  if (!fd) return fail(fd.error());
  return listen_on(std::move(*fd), *network, bound, config);
}

Result<Listener> listen(const Endpoint& local, const ListenConfig& config) {
  const Network network{local.address.is_v6() ? Family::v6 : Family::v4, SOCK_STREAM};
  auto fd = bind_to(network, local, false, config);
  if (!fd) return fail(fd.error());
  return listen_on(std::move(*fd), network, local, config);
}

std::string describe_failure(std::string_view operation, std::string_view network, std::string_view address,
                             std::error_code error) {
  return describe_failure(operation, network, "", address, error);
}

}  // namespace roost::net
