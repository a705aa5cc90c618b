#include "tools/echo/server.h"

#include <cmath>

#include <roost/roost.h>

namespace roost::echo {

bool processes_suffice(unsigned processes, std::uint64_t connections, std::uint64_t per_process) {
  if (processes == 1) return connections <= per_process;
  const double n = static_cast<double>(connections);
  const double share = 1.0 / processes;
  return n * share + 6 * std::sqrt(n * share * (1 - share)) <= static_cast<double>(per_process);
}

unsigned processes_needed(std::uint64_t connections, std::uint64_t per_process) {
  if (per_process == 0) return 1;
  auto processes = static_cast<unsigned>(std::max<std::uint64_t>(1, (connections + per_process - 1) / per_process));
  while (!processes_suffice(processes, connections, per_process)) ++processes;
  return processes;
}

namespace {

net::KeepAlive keep_alive(const EchoOptions& options) {
  const bool timed = options.read_timeout != std::chrono::nanoseconds::max();
  const std::chrono::seconds idle = options.keep_alive.value_or(timed ? 0s : net::KeepAlive{}.idle);
  if (idle == 0s) return {.enable = false};
  return {.idle = idle, .interval = std::min(idle, net::KeepAlive{}.interval)};
}

}  // namespace

Totals& Totals::operator+=(const Totals& other) noexcept {
  open += other.open;
  accepted += other.accepted;
  refused += other.refused;
  timed_out += other.timed_out;
  failed += other.failed;
  exhausted += other.exhausted;
  messages += other.messages;
  bytes += other.bytes;
  fibers += other.fibers;
  return *this;
}

Server::Server(const EchoOptions& options, tools::SharedCounters& connections_open, unsigned slot) noexcept
    : options_(options), connections_open_(connections_open), slot_(slot) {}

Server::~Server() = default;

Result<net::Endpoint> Server::start(bool shared_port) {
  auto listener = net::listen(options_.listen, {.reuse_port = shared_port, .keep_alive = keep_alive(options_)});
  if (!listener) return fail(listener.error());
  listener_ = std::move(*listener);
  auto local = listener_.local_endpoint();
  if (!local) return fail(local.error());
  go({.name = "accept"}, [this] { accept_loop(); });
  return *local;
}

void Server::stop() { listener_.close(); }

// A connection that has a fiber only while there is something to echo. Those that sleep when the process ends are closed by
// its end.
class Server::Sleeper final : public net::OnDemand {
 public:
  Sleeper(Server& server, net::Conn conn, std::uint64_t number) noexcept
      : server_(server), conn_(std::move(conn)), number_(number) {}

  void begin() {
    conn_.set_read_deadline_after(server_.options_.read_timeout);
    if (!sleep(conn_)) go({.name = "connection"}, [this] { on_ready(); });
  }

 private:
  void on_ready() override {
    do {
      if (const auto end = echo(conn_, server_.options_, server_.tally_of(number_), Until::quiet)) {
        server_.finish(conn_, end);
        delete this;
        return;
      }
    } while (!sleep(conn_));
  }

  Server& server_;
  net::Conn conn_;
  const std::uint64_t number_;
};

void Server::accept_loop() {
  const std::uint64_t limit = options_.max_connections;
  while (auto accepted = listener_.accept()) {
    // Beyond the limit a connection is accepted and closed, not left waiting: the kernel has answered its SYN already,
    // so the peer believes that it is connected, and would find out only by its own time-out.
    if (connections_open_.add(slot_, 1) > limit && limit != 0) {
      connections_open_.add(slot_, -1);
      refused_.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    const std::uint64_t number = accepted_.fetch_add(1, std::memory_order_relaxed);
    if (options_.handler == HandlerKind::on_demand) {
      (new Sleeper(*this, std::move(*accepted), number))->begin();
      continue;
    }
    auto started = try_go({.name = "connection"}, [this, number, conn = std::move(*accepted)]() mutable {
      serve(std::move(conn), number);
    });
    if (!started) {  // no memory for a stack
      connections_open_.add(slot_, -1);
      closed_.fetch_add(1, std::memory_order_relaxed);
      refused_.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

void Server::serve(net::Conn conn, std::uint64_t number) {
  finish(conn, echo(conn, options_, tally_of(number), Until::end));
}

void Server::finish(net::Conn& conn, std::error_code end) {
  conn.close();
  // Counted before it is said to be gone, so that nobody sees a connection that ended without a reason.
  if (is_timeout(end)) {
    timed_out_.fetch_add(1, std::memory_order_relaxed);
  } else if (end != Errc::end_of_stream && end != Errc::canceled) {
    failed_.fetch_add(1, std::memory_order_relaxed);
  }
  closed_.fetch_add(1, std::memory_order_relaxed);
  connections_open_.add(slot_, -1);
}

Totals Server::totals() const noexcept {
  Totals totals;
  // Closed before accepted: the other way round a connection could come and go in between and leave less than none.
  const std::uint64_t closed = closed_.load(std::memory_order_relaxed);
  totals.accepted = accepted_.load(std::memory_order_relaxed);
  totals.open = totals.accepted > closed ? totals.accepted - closed : 0;
  totals.refused = refused_.load(std::memory_order_relaxed);
  totals.timed_out = timed_out_.load(std::memory_order_relaxed);
  totals.failed = failed_.load(std::memory_order_relaxed);
  totals.exhausted = listener_.exhausted_total();
  for (const Tally& tally : tallies_) {
    totals.messages += tally.messages.load(std::memory_order_relaxed);
    totals.bytes += tally.bytes.load(std::memory_order_relaxed);
  }
  totals.fibers = runtime_stats().fibers;
  return totals;
}

}  // namespace roost::echo
