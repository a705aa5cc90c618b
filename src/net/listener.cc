#include <roost/net/listener.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>

#include <roost/time/sleep.h>

#include "base/assert.h"
#include "net/socket.h"
#include "runtime/netpoll.h"

namespace roost::net {

using detail::PollDesc;
using runtime::Direction;

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

// Takes the next waiting peer and resets its connection, so that it fails at once instead of waiting for its time-out.
void turn_one_away(int listener_fd) noexcept {
  const int fd = ::accept4(listener_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  const linger reset{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  ::close(fd);
}

Result<PollDesc*> open_listener(const Endpoint& local, bool dual_stack, std::string_view network,
                                const ListenConfig& config) {
  UniqueFd fd(::socket(local.address.is_v6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail(last_error());
  if (local.address.is_v6()) {
    if (auto set = set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, static_cast<int>(!dual_stack)); !set) {
      return fail(set.error());
    }
  }
  if (config.reuse_address) {
    if (auto set = set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1); !set) return fail(set.error());
  }
  if (config.reuse_port) {
    if (auto set = set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1); !set) return fail(set.error());
  }
  // Linux hands these on to accepted connections, so they cost nothing per connection.
  if (config.no_delay) {
    if (auto set = set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1); !set) return fail(set.error());
  }
  if (auto set = apply_keep_alive(fd.get(), config.keep_alive); !set) return fail(set.error());
  if (config.control) {
    if (auto set = config.control(fd.get(), network, local.to_string()); !set) return fail(set.error());
  }
  sockaddr_storage address{};
  const socklen_t length = local.to_sockaddr(address);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) return fail(last_error());
  // INT_MAX: the kernel cuts it to net.core.somaxconn.
  if (::listen(fd.get(), config.backlog > 0 ? config.backlog : INT_MAX) != 0) return fail(last_error());
  auto desc = PollDesc::open(fd.get(), PollDesc::First::try_it);
  if (desc) static_cast<void>(fd.release());
  return desc;
}

}  // namespace

Listener::Listener(Listener&& other) noexcept
    : desc_(std::exchange(other.desc_, nullptr)),
      spare_fd_(std::exchange(other.spare_fd_, -1)),
      exhausted_total_(other.exhausted_total_) {}

Listener& Listener::operator=(Listener&& other) noexcept {
  std::swap(desc_, other.desc_);
  std::swap(spare_fd_, other.spare_fd_);
  std::swap(exhausted_total_, other.exhausted_total_);
  return *this;
}

Listener::~Listener() {
  if (desc_ != nullptr) desc_->destroy();
  if (spare_fd_ >= 0) ::close(spare_fd_);
}

Result<Conn> Listener::accept() {
  if (desc_ == nullptr) return fail(Errc::closed);
  PollDesc& desc = *desc_;
  const PollDesc::Call call(desc, Direction::read);
  if (!call) return fail(Errc::closed);
  auto pause = exhausted_pause_min;
  for (;;) {
    if (const std::error_code error = desc.blocked(Direction::read)) return fail(error);
    if (!desc.maybe_ready(Direction::read)) {
      if (auto ready = desc.wait(Direction::read); !ready) return fail(ready.error());
      continue;
    }
    const std::uint64_t edge = desc.edge(Direction::read);
    UniqueFd fd(::accept4(desc.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    const int error = errno;
    if (fd) {
      auto accepted = PollDesc::open(fd.get(), PollDesc::First::wait);
      if (accepted) {
        static_cast<void>(fd.release());
        runtime::spend_budget();
        return Conn(*accepted);
      }
      // No more watches or memory (ENOSPC, ENOMEM): this peer is lost, the listener is not.
      ++exhausted_total_;
      if (auto slept = sleep_for(pause); !slept) return fail(slept.error());
      continue;
    }
    if (error == EAGAIN || error == EWOULDBLOCK) {
      desc.drained(Direction::read, edge);
    } else if (is_exhausted(error)) {
      ++exhausted_total_;
      if (error == EMFILE && spare_fd_ >= 0) {
        ::close(std::exchange(spare_fd_, -1));
        turn_one_away(desc.fd());
        spare_fd_ = open_spare();
      }
      if (auto slept = sleep_for(pause); !slept) return fail(slept.error());
      pause = std::min(pause * 2, exhausted_pause_max);
      if (spare_fd_ < 0) spare_fd_ = open_spare();
    } else if (!concerns_one_peer(error)) {
      return fail(std::error_code(error, std::generic_category()));
    }
  }
}

Result<void> Listener::set_deadline(Deadline deadline) {
  if (desc_ == nullptr || !desc_->set_deadline(Direction::read, deadline)) return fail(Errc::closed);
  return {};
}

Result<void> Listener::close() {
  if (desc_ == nullptr || !desc_->close()) return fail(Errc::closed);
  return {};
}

bool Listener::is_open() const noexcept { return desc_ != nullptr && !desc_->is_closed(); }
int Listener::native_handle() const noexcept { return is_open() ? desc_->fd() : -1; }
std::uint64_t Listener::exhausted_total() const noexcept { return exhausted_total_; }

Result<Endpoint> Listener::local_endpoint() const {
  if (!is_open()) return fail(Errc::closed);
  const PollDesc::Hold hold(*desc_);
  if (!hold) return fail(Errc::closed);
  return local_endpoint_of(desc_->fd());
}

Result<Listener> Listener::adopt(int fd) {
  int accepts = 0;
  socklen_t length = sizeof accepts;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &length) != 0) return fail(last_error());
  if (accepts == 0) return fail(std::errc::invalid_argument);
  if (auto made = make_non_blocking(fd); !made) return fail(made.error());
  auto desc = PollDesc::open(fd, PollDesc::First::try_it);
  if (!desc) return fail(desc.error());
  return Listener(*desc, open_spare());
}

Result<Listener> listen(std::string_view network, std::string_view address, const ListenConfig& config) {
  const auto family = parse_tcp_network(network);
  if (!family) return fail(family.error());
  auto local = literal_endpoint(*family, address, true);
  if (!local) return fail(local.error());
  const bool any_host = local->address.is_unspecified() && *family == TcpFamily::any;
  const bool dual_stack = any_host && local->address.is_v6();
  auto desc = open_listener(*local, dual_stack, local->address.is_v6() ? "tcp6" : "tcp4", config);
  // A machine without IPv6: ":port" means its IPv4 addresses.
  if (!desc && dual_stack && desc.error() == std::errc::address_family_not_supported) {
    local->address = IpAddress::any_v4();
    desc = open_listener(*local, false, "tcp4", config);
  }
  if (!desc) return fail(desc.error());
  return Listener(*desc, open_spare());
}

Result<Listener> listen(const Endpoint& local, const ListenConfig& config) {
  auto desc = open_listener(local, false, local.address.is_v6() ? "tcp6" : "tcp4", config);
  if (!desc) return fail(desc.error());
  return Listener(*desc, open_spare());
}

}  // namespace roost::net
