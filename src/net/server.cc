#include <roost/net/server.h>

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include <roost/go.h>

#include "base/spin_lock.h"
#include "runtime/netpoll.h"
#include "runtime/parking.h"

namespace roost::net {
namespace server_detail {

// What a server's connections share.
class ServerCore {
 public:
  explicit ServerCore(const ServerOptions& wanted) noexcept : options(wanted) {}

  // Counts a connection that was accepted, unless there are as many as there may be. At once and not when its fiber gets to
  // run: a burst is accepted before any of its fibers has, and would pass the limit.
  [[nodiscard]] bool admit() noexcept {
    base::SpinGuard guard(lock_);
    if (options.connections_max != 0 && open_ >= options.connections_max) return false;
    ++open_;
    return true;
  }
  // An admitted one, from here on in the list until remove().
  void add(Served& served) noexcept {
    base::SpinGuard guard(lock_);
    served.next_ = first_;
    if (first_ != nullptr) first_->previous_ = &served;
    first_ = &served;
  }
  void remove(Served& served) noexcept {
    std::vector<runtime::Waiter> waiters;
    {
      base::SpinGuard guard(lock_);
      // A walk that stands on this one goes on behind it.
      if (walk_ == &served) walk_ = served.next_;
      (served.previous_ != nullptr ? served.previous_->next_ : first_) = served.next_;
      if (served.next_ != nullptr) served.next_->previous_ = served.previous_;
      if (--open_ == 0) waiters.swap(waiters_);
    }
    for (const runtime::Waiter waiter : waiters) runtime::unpark(waiter);
  }

  // Ends sleeping connections; `all`: tells the others that nothing more comes (graceful) or closes them.
  enum class Others { leave, end_reading, close };
  void sweep(Others others) noexcept {
    // A few at a time under the lock: a system call for each of a million would hold everybody up.
    constexpr int batch = 64;
    {
      base::SpinGuard guard(lock_);
      walk_ = first_;
    }
    for (;;) {
      SleepingConn* ended[batch];
      int ended_count = 0;
      {
        base::SpinGuard guard(lock_);
        for (int i = 0; i < batch && walk_ != nullptr; ++i) {
          Served& served = *walk_;
          walk_ = served.next_;
          if (served.on_demand_ && SleepingConn::take_back(served.conn)) {
            ended[ended_count++] = static_cast<SleepingConn*>(&served);  // ours alone from here on
            asleep.fetch_sub(1, std::memory_order_relaxed);
          } else if (others == Others::end_reading) {
            static_cast<void>(served.conn.close_read());
          } else if (others == Others::close) {
            abort_calls(served.conn);
          }
        }
        if (ended_count == 0 && walk_ == nullptr) return;
      }
      for (int i = 0; i < ended_count; ++i) delete ended[i];
    }
  }

  // Parks until no connection is left. False: `until` passed first.
  bool wait_empty(Deadline until) {
    for (;;) {
      {
        base::SpinGuard guard(lock_);
        if (open_ == 0) return true;
        if (until.has_passed()) return false;
        waiters_.push_back(runtime::current_waiter());
      }
      runtime::park_until(runtime::WaitReason::shutdown, until.ns());
    }
  }

  // False: the server is stopping.
  bool add_listener(Listener& listener) {
    base::SpinGuard guard(lock_);
    if (stopping.load(std::memory_order_relaxed)) return false;
    listeners_.push_back(&listener);
    return true;
  }
  void remove_listener(Listener& listener) {
    base::SpinGuard guard(lock_);
    std::erase(listeners_, &listener);
  }
  void stop_listening() {
    std::vector<Listener*> listeners;
    {
      base::SpinGuard guard(lock_);
      stopping.store(true, std::memory_order_seq_cst);
      listeners.swap(listeners_);
    }
    // serve() removes its listener only after its accept has returned, which the close below brings about.
    for (Listener* listener : listeners) static_cast<void>(listener->close());
  }
  void keep(std::shared_ptr<void> handler) {
    base::SpinGuard guard(lock_);
    handlers_.push_back(std::move(handler));
  }
  [[nodiscard]] std::uint64_t open() noexcept {
    base::SpinGuard guard(lock_);
    return open_;
  }

  const ServerOptions options;
  std::atomic<bool> stopping{false};
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::int64_t> asleep{0};

 private:
  // Makes every call inside fail and every later one, too; the handler closes. Conn::close() would wait for the calls.
  static void abort_calls(Conn& conn) noexcept {
    static_cast<void>(conn.set_read_deadline(Deadline::past()));
    static_cast<void>(conn.set_write_deadline(Deadline::past()));
    static_cast<void>(conn.close_read());
    static_cast<void>(conn.close_write());
  }

  base::SpinLock lock_;  // nothing is locked under it but a connection's own spin locks
  Served* first_ ROOST_GUARDED_BY(lock_) = nullptr;
  Served* walk_ ROOST_GUARDED_BY(lock_) = nullptr;  // where sweep() stands
  std::uint64_t open_ ROOST_GUARDED_BY(lock_) = 0;  // admitted and not yet removed; some may not be in the list yet
  std::vector<runtime::Waiter> waiters_ ROOST_GUARDED_BY(lock_);
  std::vector<Listener*> listeners_ ROOST_GUARDED_BY(lock_);
  std::vector<std::shared_ptr<void>> handlers_ ROOST_GUARDED_BY(lock_);
};

Served::Served(ServerCore& core, Conn accepted, bool on_demand)
    : conn(std::move(accepted)), core_(core), on_demand_(on_demand) {
  core_.add(*this);
}

Served::~Served() {
  static_cast<void>(conn.close());
  core_.remove(*this);
}

void SleepingConn::begin() {
  if (!sleep(conn)) go(SpawnOptions{.name = "on-demand"}, [this] { on_ready(); });
}

void SleepingConn::on_ready() {
  core_.asleep.fetch_sub(1, std::memory_order_relaxed);
  for (;;) {
    // A connection that the handler has closed is done, whatever it says: there is nothing to wait for.
    if (round() == Round::close || core_.stopping.load(std::memory_order_relaxed) || !conn.is_open()) {
      delete this;
      return;
    }
    core_.asleep.fetch_add(1, std::memory_order_relaxed);
    ServerCore& core = core_;
    if (sleep(conn)) return;
    core.asleep.fetch_sub(1, std::memory_order_relaxed);
    if (conn.maybe_readable()) continue;
    // Not readable and yet not to be slept on: timed out, closed or canceled. The handler learns of it by its next read, and
    // that was its last round whatever it says.
    static_cast<void>(round());
    delete this;
    return;
  }
}

namespace {

// Accepts until the server stops; hands each connection to `start`.
Result<void> accept_all(ServerCore& core, Listener& listener, FunctionRef<void(Conn)> start) {
  if (!core.add_listener(listener)) {
    static_cast<void>(listener.close());
    return fail(Errc::closed);
  }
  for (;;) {
    auto accepted = listener.accept();
    if (!accepted) {
      core.remove_listener(listener);
      return fail(accepted.error());
    }
    if (!core.admit()) {
      core.refused.fetch_add(1, std::memory_order_relaxed);
      static_cast<void>(accepted->set_linger(0));  // a reset: the client learns of it at once
      continue;
    }
    core.accepted.fetch_add(1, std::memory_order_relaxed);
    if (core.options.idle_timeout.count() > 0) static_cast<void>(accepted->set_idle_timeout(core.options.idle_timeout));
    start(std::move(*accepted));
  }
}

}  // namespace
}  // namespace server_detail

Server::Server(ServerOptions options) : core_(std::make_unique<server_detail::ServerCore>(options)) {}

Server::~Server() {
  close();
  core_->wait_empty(Deadline::none());
}

Result<void> Server::serve(Listener& listener, std::function<void(Conn&)> handler) {
  auto shared = std::make_shared<std::function<void(Conn&)>>(std::move(handler));
  keep(shared);
  return server_detail::accept_all(*core_, listener, [this, run = shared.get()](Conn accepted) {
    go(SpawnOptions{.name = "connection"}, [core = core_.get(), run, conn = std::move(accepted)]() mutable {
      server_detail::Served served(*core, std::move(conn), false);
      if (!core->stopping.load(std::memory_order_relaxed)) (*run)(served.conn);
    });
  });
}

Result<void> Server::serve_sleeping(Listener& listener, FunctionRef<server_detail::SleepingConn*(Conn)> make) {
  return server_detail::accept_all(*core_, listener, [this, &make](Conn accepted) {
    server_detail::SleepingConn* served = make(std::move(accepted));
    core_->asleep.fetch_add(1, std::memory_order_relaxed);
    served->begin();
  });
}

void Server::keep(std::shared_ptr<void> handler) { core_->keep(std::move(handler)); }

Result<void> Server::shutdown(Deadline until) {
  core_->stop_listening();
  core_->sweep(server_detail::ServerCore::Others::end_reading);
  if (core_->wait_empty(until)) return {};
  close();
  return fail(Errc::deadline_exceeded);
}

void Server::close_idle() { core_->sweep(server_detail::ServerCore::Others::leave); }

void Server::close() {
  core_->stop_listening();
  core_->sweep(server_detail::ServerCore::Others::close);
}

ServerStats Server::stats() const {
  return {.accepted = core_->accepted.load(std::memory_order_relaxed),
          .refused = core_->refused.load(std::memory_order_relaxed),
          .open = core_->open(),
          .asleep = static_cast<std::uint64_t>(std::max<std::int64_t>(core_->asleep.load(std::memory_order_relaxed), 0))};
}

}  // namespace roost::net
