// ConnPool<T>: connections to one place, kept open between requests and handed from one user to the next.
//
//   roost::pool::ConnPool<roost::net::Conn> pool(
//       [](roost::Deadline deadline) { return roost::net::Dialer{.deadline = deadline}.dial("tcp", "127.0.0.1:6379"); },
//       {.max_open = 16});
//
//   auto conn = pool.acquire(roost::Deadline::after(1s));   // an idle connection, or a new one, or the next that comes back
//   if (!conn) return conn.error();
//   auto wrote = conn->check((*conn)->write("PING\r\n"));   // check(): an error marks the connection as failed
//   ...
//                                                          // the Lease goes out of scope: the connection is idle again
//
// A request over a connection that stands saves the round trip of the handshake and leaves no TIME_WAIT behind
// (docs/benchmarks.md, "Connection pool"). T is net::Conn or a client of some protocol built upon one; T's move constructor and
// destructor must be noexcept, and its destructor closes the connection.
//
// Promises
//   - Never more than max_open connections at a time: those in use, idle and being dialled are counted together.
//   - Whoever waits is served in the order of coming. A connection that comes back, or the right to dial another one, goes to the
//     first in line; nobody who comes later can take it on the way.
//   - The connection that was used last is reused first. The others so come to their idle time-out, and a pool shrinks to
//     what its load needs.
//   - A connection that the other end has closed, or that has sent something nobody asked for, is not handed out. For
//     net::Conn this costs no system call as a rule: the poller has been told already. See is_quiet().
//   - Nothing is dialled, checked or closed under a lock. Reusing a connection allocates nothing.
//
// A dead connection that nobody has noticed yet can be handed out still, as when the other end loses its power. A request
// that fails on a connection with is_reused() may be repeated, if it can be without harm, on one from
// acquire({.fresh = true}).
//
// All calls may be made from any fiber; acquire() and close() from plain threads, too, if the factory allows it. While there are
// idle connections, one fiber of the pool looks after them.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <roost/detail/ref_counted.h>
#include <roost/detail/wait.h>
#include <roost/error.h>
#include <roost/io/stream.h>
#include <roost/net/conn.h>
#include <roost/time/deadline.h>

namespace roost::pool {

inline constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

struct PoolOptions {
  // Connections at a time, in whatever state; acquire() waits beyond it. Set it to what the server can bear, divided by the
  // number of its clients. no_limit (or 0, as in Go) only where something else bounds the requests under way.
  std::size_t max_open = 64;

  // Idle connections kept; more are closed as they come back. Below the usual load this makes a pool dial again and again.
  std::size_t max_idle = no_limit;

  // An idle connection is closed after this long. 90 s is what Go's HTTP client takes; it must be shorter than the time-out of
  // the server and of every firewall in between. Zero: never.
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(90);

  // A connection is not used again once it is this old, so that load spreads to servers that came up since and a
  // change of addresses is followed. Zero: for ever.
  std::chrono::nanoseconds max_lifetime{0};
  // Each connection's life is shortened by up to this share of max_lifetime, at random, so that connections made together do
  // not end together. 0 to 1.
  double lifetime_jitter = 0.1;

  // While connections are idle, the pool looks through them this often, and closes those that have expired or that the
  // other end has closed (one timer, and a few nanoseconds for each). They are checked at acquire() anyway, so this
  // only bounds how long dead ones hold a descriptor. Zero: never; expired ones then wait for the next call.
  std::chrono::nanoseconds sweep_interval = std::chrono::seconds(1);
};

// Numbers at one moment, taken together. Totals only grow.
struct PoolStats {
  std::size_t open = 0;     // in_use + idle + dialing
  std::size_t in_use = 0;
  std::size_t idle = 0;
  std::size_t dialing = 0;
  std::size_t waiting = 0;  // calls of acquire() that wait in line

  std::uint64_t acquired_total = 0;
  std::uint64_t reused_total = 0;           // of these, by a connection that stood already
  std::uint64_t dialed_total = 0;           // successfully
  std::uint64_t dial_failures_total = 0;
  std::uint64_t waited_total = 0;           // calls that had to wait in line
  std::uint64_t gave_up_total = 0;          // of these, without success
  std::chrono::nanoseconds wait_time{0};    // of all of these together

  // Connections closed by the pool, by reason.
  std::uint64_t closed_failed_total = 0;    // marked as failed
  std::uint64_t closed_dead_total = 0;      // closed by the other end, or with stray data
  std::uint64_t closed_idle_total = 0;      // idle_timeout
  std::uint64_t closed_lifetime_total = 0;  // max_lifetime
  std::uint64_t closed_surplus_total = 0;   // max_idle; close_idle(); making room for a fresh one; close()
  std::uint64_t taken_total = 0;            // Lease::take()
};

struct AcquireOptions {
  // Covers waiting in line, and dialling if the factory takes a deadline. One that has passed is timed_out even if there
  // are idle connections.
  Deadline deadline = Deadline::none();
  // Dial, even though there are idle connections; one of these is closed if there is no room otherwise.
  bool fresh = false;
};

// True when the connection is open and there is nothing to read on it, not even its end: it can carry another request. Asks what
// the poller has reported; only where that leaves it open (the last read filled its buffer, or there was none yet) it costs one
// system call. Never parks.
[[nodiscard]] bool is_quiet(const net::Conn& conn) noexcept;

// --- for T ---------------------------------------------------------------------------------------------------------

// How the pool asks whether a connection can be used again: `bool T::is_reusable()` if there is one, else is_quiet() if T is
// a net::Conn, else yes. Asked when it comes back, when it is handed out, and by the sweep. It must not park, and must be quick.
// A client with a read buffer would say: return reader_.buffered() == 0 && roost::pool::is_quiet(conn_);
template <class T>
[[nodiscard]] bool is_reusable(T& connection) noexcept {
  if constexpr (requires { { connection.is_reusable() } -> std::convertible_to<bool>; }) {
    return connection.is_reusable();
  } else if constexpr (std::derived_from<T, net::Conn>) {
    return is_quiet(connection);
  } else {
    return true;
  }
}

namespace detail {

using roost::detail::Ref;
using roost::detail::RefCounted;

// A connection as the pool sees it.
struct Entry {
  Entry() noexcept = default;
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;
  virtual ~Entry() = default;
  [[nodiscard]] virtual bool is_reusable() noexcept = 0;
  virtual void lay_down() noexcept = 0;  // before it goes idle: deadlines of the last user do not concern the next

  std::int64_t expires_ns = std::numeric_limits<std::int64_t>::max();  // max_lifetime; constant once dialled
  std::int64_t idle_since_ns = 0;  // constant while idle
  bool was_reused = false;
  // Guarded by the pool's lock.
  bool under_check = false;        // by the sweep: nobody else may take it ...
  bool condemned = false;          // ... but the sweep is to close it
  Entry* older = nullptr;
  Entry* newer = nullptr;
};

// Everything of a pool that does not depend on T. src/pool/conn_pool.cc states its invariants.
class PoolCore final : public RefCounted {
 public:
  explicit PoolCore(const PoolOptions& options);

  // What acquire() got: a connection, or, if there is none and no error, the right to dial one, which counts as open and
  // is settled by dialed() or dial_failed().
  struct Grant {
    Entry* entry = nullptr;
    std::error_code error;
  };
  [[nodiscard]] Grant acquire(const AcquireOptions& options) noexcept;
  // False: the pool was closed meanwhile; the entry is to be given back, and not to be used.
  [[nodiscard]] bool dialed(Entry& entry) noexcept;
  void dial_failed() noexcept;
  // Takes the entry over.
  void give_back(Entry* entry, bool failed) noexcept;
  // The entry left the pool and belongs to the caller.
  void took(Entry& entry) noexcept;

  void close_idle() noexcept;
  void shut() noexcept;
  [[nodiscard]] Result<void> close(Deadline deadline) noexcept;
  [[nodiscard]] PoolStats stats() const noexcept;

 private:
  struct Waiter;
  enum class Verdict : std::uint8_t { usable, failed, dead, idle_too_long, too_old, surplus };

  ~PoolCore();
  static void destroy_this(RefCounted* self) noexcept;

  [[nodiscard]] Verdict judge(Entry& entry, std::int64_t now_ns) const noexcept;
  void discard(Entry* entry, Verdict why) noexcept ROOST_EXCLUDES(lock_);
  void discard_all(Entry* chain, Verdict why) noexcept ROOST_EXCLUDES(lock_);
  [[nodiscard]] Grant wait_in_line(Waiter& waiter, Deadline deadline) noexcept ROOST_EXCLUDES(lock_);
  [[nodiscard]] bool place(Entry& entry, roost::detail::WaitChain& woken) noexcept ROOST_REQUIRES(lock_);
  void free_slot(roost::detail::WaitChain& woken) noexcept ROOST_REQUIRES(lock_);
  void link_newest(Entry& entry) noexcept ROOST_REQUIRES(lock_);
  void unlink(Entry& entry) noexcept ROOST_REQUIRES(lock_);
  [[nodiscard]] Entry* newest_free() const noexcept ROOST_REQUIRES(lock_);
  [[nodiscard]] Entry* oldest_free() const noexcept ROOST_REQUIRES(lock_);
  [[nodiscard]] Entry* take_all_idle() noexcept ROOST_REQUIRES(lock_);
  void start_sweeper() noexcept ROOST_EXCLUDES(lock_);
  void sweep() noexcept;
  // Looks through the idle connections once; returns when to look again.
  [[nodiscard]] std::int64_t sweep_once() noexcept ROOST_EXCLUDES(lock_);

  const PoolOptions options_;
  mutable base::SpinLock lock_;  // leaf
  Entry* newest_ ROOST_GUARDED_BY(lock_) = nullptr;
  Entry* oldest_ ROOST_GUARDED_BY(lock_) = nullptr;
  bool closed_ ROOST_GUARDED_BY(lock_) = false;
  bool sweeping_ ROOST_GUARDED_BY(lock_) = false;
  roost::detail::WaitList waiting_ ROOST_GUARDED_BY(lock_);    // of acquire()
  roost::detail::WaitList draining_ ROOST_GUARDED_BY(lock_);   // of close()
  roost::detail::WaitList sweeper_ ROOST_GUARDED_BY(lock_);    // the sweeper, between two looks
  PoolStats stats_ ROOST_GUARDED_BY(lock_);
  std::uint64_t random_state_ ROOST_GUARDED_BY(lock_);
  std::atomic<std::uint64_t> reused_total_{0};                 // a statistic: relaxed everywhere
};

template <class T>
struct EntryOf final : Entry {
  explicit EntryOf(T&& connection) noexcept : value(std::move(connection)) {}
  bool is_reusable() noexcept override { return pool::is_reusable(value); }
  void lay_down() noexcept override {
    if constexpr (std::derived_from<T, io::Stream>) static_cast<void>(value.set_deadline(Deadline::none()));
  }
  T value;
};

}  // namespace detail

// --- a connection in use -------------------------------------------------------------------------------------------

// Gives its connection back when it goes out of scope, and when an exception passes through closes it instead, as nobody knows what
// was left half done. Belongs to one fiber at a time. May outlive its pool: the connection is then closed.
template <class T>
class Lease {
 public:
  Lease() noexcept = default;  // empty
  Lease(Lease&& other) noexcept
      : core_(std::move(other.core_)),
        entry_(std::exchange(other.entry_, nullptr)),
        exceptions_(other.exceptions_),
        failed_(other.failed_) {}
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      release();
      core_ = std::move(other.core_);
      entry_ = std::exchange(other.entry_, nullptr);
      exceptions_ = other.exceptions_;
      failed_ = other.failed_;
    }
    return *this;
  }
  ~Lease() { release(); }

  [[nodiscard]] T& operator*() const noexcept { return entry_->value; }
  [[nodiscard]] T* operator->() const noexcept { return &entry_->value; }
  explicit operator bool() const noexcept { return entry_ != nullptr; }

  // The connection will be closed and not returned. For every error of the connection, a time-out included: the answer may still
  // be on its way, and the next user would take it for his. Also when the other end has announced that it will close.
  void mark_failed() noexcept { failed_ = true; }
  [[nodiscard]] bool has_failed() const noexcept { return failed_; }
  // Marks the connection as failed if `result` is an error, and returns it.
  template <class R>
  R check(R result) {
    if (!result) failed_ = true;
    return result;
  }

  // The connection had been used before: a failure may only mean that it died while it was idle.
  [[nodiscard]] bool is_reused() const noexcept { return entry_->was_reused; }

  // Gives the connection back now. Never parks. The lease is empty afterwards.
  void release() noexcept {
    if (entry_ == nullptr) return;
    const auto core = std::move(core_);
    core->give_back(std::exchange(entry_, nullptr), failed_ || std::uncaught_exceptions() > exceptions_);
  }
  // Takes the connection out of the pool for good, as for a protocol that is switched to another. The lease is empty
  // afterwards.
  [[nodiscard]] T take() noexcept {
    const auto core = std::move(core_);
    const std::unique_ptr<detail::EntryOf<T>> entry(std::exchange(entry_, nullptr));
    core->took(*entry);
    return std::move(entry->value);
  }

  Lease(detail::Ref<detail::PoolCore> core, detail::EntryOf<T>* entry) noexcept  // internal
      : core_(std::move(core)), entry_(entry), exceptions_(std::uncaught_exceptions()) {}

 private:
  detail::Ref<detail::PoolCore> core_;
  detail::EntryOf<T>* entry_ = nullptr;  // owned; null: empty
  int exceptions_ = 0;                   // in flight when the connection was acquired
  bool failed_ = false;
};

// --- the pool ------------------------------------------------------------------------------------------------------

template <class T>
class ConnPool {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "connections are handed over where nothing may fail: T's move constructor and destructor must be noexcept");

  // `factory` makes a connection: Result<T> factory(Deadline), or Result<T> factory() where the pool's deadlines do not matter
  // to it. It may park, runs in the fiber that acquires, and several at once.
  template <class Factory>
    requires std::is_invocable_r_v<Result<T>, Factory&, Deadline> || std::is_invocable_r_v<Result<T>, Factory&>
  explicit ConnPool(Factory factory, const PoolOptions& options = {})
      : core_(detail::Ref<detail::PoolCore>::adopt(new detail::PoolCore(options))) {
    if constexpr (std::is_invocable_r_v<Result<T>, Factory&, Deadline>) {
      factory_ = std::move(factory);
    } else {
      factory_ = [made = std::move(factory)](Deadline) mutable -> Result<T> { return made(); };
    }
  }
  ConnPool(const ConnPool&) = delete;
  ConnPool& operator=(const ConnPool&) = delete;
  // As close(), without waiting for connections in use: each is closed when its lease ends. No call may be under way. A pool
  // must be gone, or closed, before run() returns.
  ~ConnPool() { core_->shut(); }

  // The idle connection that was used last, if there is one. Otherwise a new one while there are fewer than max_open. Otherwise
  // parks until it is the caller's turn.
  // Errors
  //   timed_out            the deadline passed; what was being dialled is closed
  //   operation_canceled   the fiber or its context was canceled, or the runtime stops; (Errc::pool_closed) the pool was closed
  //   not_enough_memory
  //   ...                  what the factory reports
  [[nodiscard]] Result<Lease<T>> acquire(const AcquireOptions& options) {
    const detail::PoolCore::Grant grant = core_->acquire(options);
    if (grant.error) return fail(grant.error);
    if (grant.entry != nullptr) return Lease<T>(core_, static_cast<detail::EntryOf<T>*>(grant.entry));
    return dial(options.deadline);
  }
  [[nodiscard]] Result<Lease<T>> acquire(Deadline deadline = Deadline::none()) {
    return acquire(AcquireOptions{.deadline = deadline});
  }

  // Closes what is idle now. Connections in use are not touched, and come back as ever.
  void close_idle() noexcept { core_->close_idle(); }

  // No more connections are handed out: acquire() fails with Errc::pool_closed, also where it is waiting. Idle ones are
  // closed at once, those in use when they come back, and close() parks until all have. Closing again waits as well.
  // Errors
  //   timed_out, operation_canceled   some are still in use. They will be closed as they come back.
  Result<void> close(Deadline deadline = Deadline::none()) noexcept { return core_->close(deadline); }

  [[nodiscard]] PoolStats stats() const noexcept { return core_->stats(); }

 private:
  Result<Lease<T>> dial(Deadline deadline) {
    // However the factory ends, by an exception too, the right to dial goes to the next in line.
    struct Right {
      detail::PoolCore* core;
      ~Right() {
        if (core != nullptr) core->dial_failed();
      }
    } right{core_.get()};
    Result<T> made = factory_(deadline);
    if (!made) return fail(made.error());
    std::unique_ptr<detail::EntryOf<T>> entry(new (std::nothrow) detail::EntryOf<T>(std::move(*made)));
    if (entry == nullptr) return fail(std::errc::not_enough_memory);
    right.core = nullptr;
    const bool open = core_->dialed(*entry);
    Lease<T> lease(core_, entry.release());
    if (!open) return fail(Errc::pool_closed);
    return lease;
  }

  const detail::Ref<detail::PoolCore> core_;
  std::function<Result<T>(Deadline)> factory_;
};

}  // namespace roost::pool
