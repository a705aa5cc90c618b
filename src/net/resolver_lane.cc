#include "net/resolver_core.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "net/io_loop.h"
#include "net/resolver_order.h"

namespace roost::net {

namespace {

using runtime::WaitReason;

constexpr int index_of(Direction direction) noexcept { return static_cast<int>(direction); }

std::error_code error_of(int status) noexcept {
  switch (status) {
    case ARES_SUCCESS: return {};
    case ARES_ENOTFOUND:
    case ARES_EBADNAME:
    case ARES_ENONAME: return Errc::host_not_found;
    case ARES_ENODATA: return Errc::no_suitable_address;
    case ARES_ETIMEOUT: return Errc::deadline_exceeded;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION: return Errc::canceled;
    case ARES_ENOMEM: return std::make_error_code(std::errc::not_enough_memory);
    default: return Errc::name_server_failure;
  }
}

// The names to ask for, in turn, as resolv.conf(5) has it.
std::vector<std::string> candidates_for(const std::string& name, const ResolvConf& conf) {
  if (name.ends_with('.')) return {name.substr(0, name.size() - 1)};
  std::vector<std::string> candidates;
  for (const std::string& domain : conf.search) {
    if (!domain.empty()) candidates.push_back(name + '.' + domain);
  }
  const bool as_it_stands_first = static_cast<unsigned>(std::ranges::count(name, '.')) >= conf.ndots;
  candidates.insert(as_it_stands_first ? candidates.begin() : candidates.end(), name);
  return candidates;
}

// Which of two failures tells more: a server that failed may know what another one denies.
std::error_code more_telling(std::error_code a, std::error_code b) noexcept {
  const auto rank = [](std::error_code error) {
    return !error ? 0 : error == Errc::host_not_found ? 1 : error == Errc::no_suitable_address ? 2 : 3;
  };
  return rank(b) > rank(a) ? b : a;
}

}  // namespace

// --- questions -----------------------------------------------------------------------------------------------------

void Lane::take(std::shared_ptr<Flight> flight) {
  ++taken_;
  ++wanted_;
  flight->lane = this;
  in_tray_.push_back(std::move(flight));
  if (driver_) wake();
}

void Lane::lose_one() noexcept {
  if (--wanted_ == 0 && driver_) wake();
}

void Lane::run() {
  {
    const std::lock_guard lock(core_->mutex_);
    driver_ = runtime::current_waiter();
  }
  const std::error_code not_open = open_channel();
  bool stopping = false;
  for (;;) {
    // First what may park, so that no wake-up is spent there that the looks below would miss.
    if (reap_sockets()) continue;
    std::vector<std::shared_ptr<Flight>> fresh;
    bool nobody_waits = false;
    {
      const std::lock_guard lock(core_->mutex_);
      fresh.swap(in_tray_);
      std::erase_if(fresh, [](const auto& flight) { return flight->done; });  // dropped before it began
      nobody_waits = wanted_ == 0;
      stopping = stopping || runtime::current_is_canceled();
      const bool over = fresh.empty() && (pending_ == 0 || nobody_waits || stopping);
      if ((over || stopping) && core_->current_ == this) core_->current_ = nullptr;
      if (over) break;
    }
    for (const auto& flight : fresh) {
      if (stopping || not_open) {
        finish(flight, {.error = stopping ? make_error_code(Errc::canceled) : not_open, .addresses = {}, .names = {}});
      } else {
        begin(flight);
      }
    }
    if (stopping || not_open) continue;
    do {
      // With no descriptor: what has waited too long is sent again or given up.
      ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
      while (!again_.empty()) {
        auto flight = std::move(again_.back());
        again_.pop_back();
        ask_next(std::move(flight));
      }
      adopt_sockets();
    } while (process_sockets() || !again_.empty());
    const bool to_reap = std::ranges::any_of(sockets_, [](const auto& socket) { return socket->given_up.load(); });
    if (pending_ > 0 && !to_reap) runtime::park_until(WaitReason::resolver, next_timeout_ns(), this);
  }
  // Whatever is left is called back with an error.
  if (channel_ != nullptr) ares_destroy(channel_);
  channel_ = nullptr;
  for (auto& socket : sockets_) socket->given_up.store(true);
  while (reap_sockets()) {
  }
}

std::error_code Lane::open_channel() {
  conf_ = core_->configuration(*made_for_);
  ares_options options{};
  // The search list is walked here and not by c-ares, whose own walk ends early; answers that say "try another server" are
  // handled by it. No files and no environment: they were read already.
  options.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES;
  options.timeout = static_cast<int>(conf_.timeout.count());
  options.tries = static_cast<int>(conf_.tries);
  options.ndots = 0;
  char lookups[] = "b";
  options.lookups = lookups;
  char no_file[] = "/dev/null";
  options.resolvconf_path = no_file;
  int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS | ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS |
             ARES_OPT_SORTLIST | ARES_OPT_RESOLVCONF;
  mask |= conf_.rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE;
  options.sock_state_cb = [](void* lane, ares_socket_t fd, int, int writable) {
    if (Socket* socket = static_cast<Lane*>(lane)->find(fd)) socket->wants_write = writable != 0;
  };
  options.sock_state_cb_data = this;
  mask |= ARES_OPT_SOCK_STATE_CB;
  static const int library = ares_library_init(ARES_LIB_INIT_ALL);
  if (library != ARES_SUCCESS) return error_of(library);
  if (const int status = ares_init_options(&channel_, &options, mask); status != ARES_SUCCESS) {
    channel_ = nullptr;
    return error_of(status);
  }
  ares_set_socket_functions(channel_, &socket_functions, this);

  std::vector<ares_addr_port_node> nodes(conf_.servers.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const Endpoint& server = conf_.servers[i];
    ares_addr_port_node& node = nodes[i];
    node.next = i + 1 < nodes.size() ? &nodes[i + 1] : nullptr;
    node.family = server.address.is_v6() ? AF_INET6 : AF_INET;
    std::memcpy(&node.addr, server.address.bytes().data(), server.address.is_v6() ? 16 : 4);
    node.udp_port = node.tcp_port = server.port;
  }
  return error_of(ares_set_servers_ports(channel_, nodes.data()));
}

void Lane::begin(const std::shared_ptr<Flight>& flight) {
  ++pending_;
  if (flight->question.kind == Question::Kind::names) {
    const IpAddress address = flight->question.address.unmapped();
    ares_gethostbyaddr(channel_, address.bytes().data(), address.is_v6() ? 16 : 4, address.is_v6() ? AF_INET6 : AF_INET,
                       &on_names, new Call{this, flight});
    return;
  }
  flight->candidates = candidates_for(flight->question.name, conf_);
  std::ranges::reverse(flight->candidates);
  ask_next(flight);
}

void Lane::ask_next(std::shared_ptr<Flight> flight) {
  const std::string name = std::move(flight->candidates.back());
  flight->candidates.pop_back();
  const IpFamily family = flight->question.family;
  ares_addrinfo_hints hints{};
  hints.ai_flags = ARES_AI_NOSORT;
  hints.ai_family = family == IpFamily::v4 ? AF_INET : family == IpFamily::v6 ? AF_INET6 : AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, &on_addresses, new Call{this, std::move(flight)});
}

void Lane::on_addresses(void* argument, int status, int, ares_addrinfo* found) {
  const std::unique_ptr<Call> call(static_cast<Call*>(argument));
  const std::unique_ptr<ares_addrinfo, void (*)(ares_addrinfo*)> owner(found, &ares_freeaddrinfo);
  Lane& lane = *call->lane;
  Answer answer;
  answer.error = error_of(status);
  if (!answer.error) {
    for (const ares_addrinfo_node* node = found->nodes; node != nullptr; node = node->ai_next) {
      const auto endpoint = Endpoint::from_sockaddr(node->ai_addr, node->ai_addrlen);
      if (!endpoint) continue;
      auto& all = answer.addresses;
      if (std::ranges::find(all, endpoint->address) == all.end()) all.push_back(endpoint->address);
    }
    if (answer.addresses.empty()) answer.error = Errc::no_suitable_address;
    answer.addresses = in_order(std::move(answer.addresses));
  }
  Flight& flight = *call->flight;
  if (answer.error && lane.opening_failed_for_want_of_descriptors_ && answer.error == Errc::name_server_failure) {
    answer.error = std::make_error_code(std::errc::too_many_files_open);
  }
  // Silence is not tried again: it would multiply the time-out by the length of the search list.
  const bool may_go_on = answer.error && answer.error != Errc::canceled && answer.error != Errc::deadline_exceeded;
  if (may_go_on) answer.error = flight.best_error = more_telling(flight.best_error, answer.error);
  if (may_go_on && !flight.candidates.empty()) {
    lane.again_.push_back(call->flight);
    return;
  }
  --lane.pending_;
  lane.finish(call->flight, std::move(answer));
}

void Lane::on_names(void* argument, int status, int, hostent* found) {
  const std::unique_ptr<Call> call(static_cast<Call*>(argument));
  Answer answer;
  answer.error = error_of(status);
  if (answer.error == Errc::no_suitable_address) answer.error = Errc::host_not_found;
  if (!answer.error) {
    const auto add = [&](const char* name) {
      if (name != nullptr && *name != '\0' && std::ranges::find(answer.names, name) == answer.names.end()) {
        answer.names.emplace_back(name);
      }
    };
    add(found->h_name);
    for (char** alias = found->h_aliases; alias != nullptr && *alias != nullptr; ++alias) add(*alias);
    if (answer.names.empty()) answer.error = Errc::host_not_found;
  }
  --call->lane->pending_;
  call->lane->finish(call->flight, std::move(answer));
}

void Lane::finish(const std::shared_ptr<Flight>& flight, Answer answer) { core_->finish(flight, std::move(answer)); }

std::int64_t Lane::next_timeout_ns() const noexcept {
  timeval left{};
  if (ares_timeout(channel_, nullptr, &left) == nullptr) return base::never_ns;
  // c-ares counts in whole microseconds, and what is not quite due is not handled: wake a little later.
  constexpr std::int64_t margin_ns = 1'000'000;
  return base::now_ns() + std::int64_t{left.tv_sec} * 1'000'000'000 + std::int64_t{left.tv_usec} * 1'000 + margin_ns;
}

// --- sockets -------------------------------------------------------------------------------------------------------

Lane::Socket* Lane::find(int fd) noexcept {
  // A closed one stands first: its number cannot be in use again before it has been reaped.
  const auto found = std::ranges::find_if(sockets_, [fd](const auto& socket) { return socket->fd == fd; });
  return found == sockets_.end() ? nullptr : found->get();
}

// Gives the poller what c-ares has connected since.
void Lane::adopt_sockets() {
  // By index: c-ares may open further sockets meanwhile.
  for (std::size_t i = 0; i < sockets_.size(); ++i) {
    Socket& socket = *sockets_[i];
    if (socket.desc != nullptr || !socket.connected || socket.broken || socket.given_up.load()) continue;
    auto desc = PollDesc::open(socket.fd, PollDesc::First::wait);
    if (!desc) {
      socket.broken = true;  // receive() says so to c-ares
      ares_process_fd(channel_, socket.fd, ARES_SOCKET_BAD);
      continue;
    }
    socket.desc = *desc;
    socket.desc->set_content(socket.stream ? PollDesc::Content::stream : PollDesc::Content::messages);
    for (const Direction direction : {Direction::read, Direction::write}) {
      // Datagrams are sent, or lost, at once.
      if (direction == Direction::write && !socket.stream) continue;
      socket.watches[index_of(direction)].fiber =
          go({.name = "resolver socket"}, [this, &socket, direction] { watch(socket, direction); });
    }
  }
}

// Lets c-ares read and write where that may succeed. True: it did something.
bool Lane::process_sockets() {
  bool did = false;
  for (std::size_t i = 0; i < sockets_.size(); ++i) {
    Socket& socket = *sockets_[i];
    const auto open = [&] { return socket.desc != nullptr && !socket.given_up.load(); };
    for (const Direction direction : {Direction::read, Direction::write}) {
      const bool reads = direction == Direction::read;
      const auto may = [&] { return socket.desc->maybe_ready(direction) || (reads && socket.error != 0); };
      while (open() && (reads || socket.wants_write) && may()) {
        did = true;
        const std::uint64_t edge = socket.desc->edge(direction);
        const unsigned calls = socket.calls;
        ares_process_fd(channel_, reads ? socket.fd : ARES_SOCKET_BAD, reads ? ARES_SOCKET_BAD : socket.fd);
        // Not interested after all; without this the loop would not end.
        if (socket.calls == calls && open()) socket.desc->would_block(direction, edge);
      }
    }
    if (!open()) continue;
    for (const Direction direction : {Direction::read, Direction::write}) {
      Watch& watch = socket.watches[index_of(direction)];
      if (!socket.desc->maybe_ready(direction) && watch.attention.exchange(false)) {
        runtime::unpark(runtime::Waiter::from_bits(watch.watcher.load()));
      }
    }
  }
  return did;
}

void Lane::watch(Socket& socket, Direction direction) {
  Watch& self = socket.watches[index_of(direction)];
  self.watcher.store(runtime::current_waiter().bits());
  while (!socket.given_up.load() && wait_ready(socket.desc, direction)) {
    self.attention.store(true);
    wake();
    while (self.attention.load() && !socket.given_up.load()) runtime::park(WaitReason::resolver, this);
  }
  // Also when the runtime stops: the lane's fiber has to see that as well.
  wake();
}

// Closes what c-ares has given up. May park. True: there was something.
bool Lane::reap_sockets() {
  std::vector<std::unique_ptr<Socket>> given_up;
  for (std::size_t i = 0; i < sockets_.size();) {
    if (sockets_[i]->given_up.load()) {
      given_up.push_back(std::move(sockets_[i]));
      sockets_.erase(sockets_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  for (auto& socket : given_up) {
    UniqueFd unwatched(socket->desc == nullptr ? socket->fd : -1);
    if (socket->desc == nullptr) continue;
    for (Watch& watch : socket->watches) runtime::unpark(runtime::Waiter::from_bits(watch.watcher.load()));
    socket->desc->close();
    for (Watch& watch : socket->watches) {
      if (watch.fiber.joinable()) watch.fiber.join();
    }
    socket->desc->destroy();
  }
  return !given_up.empty();
}

// --- what c-ares calls ---------------------------------------------------------------------------------------------

const ares_socket_functions Lane::socket_functions = {&Lane::open_socket_for, &Lane::close_socket, &Lane::connect_socket,
                                                      &Lane::receive, &Lane::send};

ares_socket_t Lane::open_socket_for(int domain, int type, int protocol, void* lane) {
  auto& self = *static_cast<Lane*>(lane);
  const int fd = ::socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  const int error = last_errno();
  self.opening_failed_for_want_of_descriptors_ = fd < 0 && (error == EMFILE || error == ENFILE);
  if (fd >= 0) self.sockets_.push_back(std::make_unique<Socket>(fd, type == SOCK_STREAM));
  return fd;
}

int Lane::close_socket(ares_socket_t fd, void* lane) {
  if (Socket* socket = static_cast<Lane*>(lane)->find(fd)) socket->given_up.store(true);
  return 0;
}

int Lane::connect_socket(ares_socket_t fd, const sockaddr* to, ares_socklen_t length, void* lane) {
  if (Socket* socket = static_cast<Lane*>(lane)->find(fd)) socket->connected = true;
  return ::connect(fd, to, length);
}

ares_ssize_t Lane::receive(ares_socket_t fd, void* out, size_t size, int flags, sockaddr* from, ares_socklen_t* length,
                           void* lane) {
  Socket* socket = static_cast<Lane*>(lane)->find(fd);
  if (socket == nullptr || socket->broken) {
    errno = ENOMEM;
    return -1;
  }
  ++socket->calls;
  if (socket->error != 0) {
    errno = std::exchange(socket->error, 0);
    return -1;
  }
  const std::uint64_t edge = socket->desc == nullptr ? 0 : socket->desc->edge(Direction::read);
  const ssize_t count = ::recvfrom(fd, out, size, flags, from, length);
  if (count < 0 && errno == EAGAIN && socket->desc != nullptr) {
    socket->desc->would_block(Direction::read, edge);
    errno = EAGAIN;
  }
  return count;
}

ares_ssize_t Lane::send(ares_socket_t fd, const iovec* pieces, int count, void* lane) {
  Socket* socket = static_cast<Lane*>(lane)->find(fd);
  if (socket == nullptr || socket->broken) {
    errno = ENOMEM;
    return -1;
  }
  ++socket->calls;
  const std::uint64_t edge = socket->desc == nullptr ? 0 : socket->desc->edge(Direction::write);
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces);
  message.msg_iovlen = static_cast<std::size_t>(count);
  ssize_t sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
  if (sent < 0 && errno == ECONNREFUSED && !socket->stream) {
    // That was an earlier datagram. c-ares would blame it on this one alone and let the other wait for its time-out;
    // an error on receiving it takes for all.
    socket->error = ECONNREFUSED;
    sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
  }
  if (sent >= 0 || errno != EAGAIN) return sent;
  if (!socket->stream) {
    // A full buffer drops a datagram like any router on its way; it is asked again after the time-out. As an error it
    // would count against the server.
    ssize_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += static_cast<ssize_t>(pieces[i].iov_len);
    return bytes;
  }
  if (socket->desc != nullptr) socket->desc->would_block(Direction::write, edge);
  errno = EAGAIN;
  return -1;
}

}  // namespace roost::net
