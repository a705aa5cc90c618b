#include <roost/pool/conn_pool.h>

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include <roost/go.h>

#include "base/clock.h"
#include "runtime/parking.h"
#include "sync/waiting.h"

namespace roost::pool {

bool is_quiet(const net::Conn& conn) noexcept {
  if (!conn.is_open()) return false;
  if (!conn.maybe_readable()) return true;  // else data, an end, an error; or nobody has looked yet
  char byte;
  return ::recv(conn.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

namespace detail {

using roost::detail::Answer;
using roost::detail::WaitChain;
using roost::detail::WaitEnd;
using roost::detail::WaitNode;

// Invariants, under lock_
//   I1  open is in_use + idle + dialing, and at most max_open. A connection that is being closed still counts as in use, so
//       that there are never more than max_open descriptors.
//   I2  while somebody waits in line, open is max_open and no connection is idle but one that the sweep looks at.
//   I3  the idle list is ordered by idle_since_ns; newest_ is reused first.
//   I4  at most one idle entry is under_check; only the sweep unlinks it. If it is condemned it counts as in use.
//   I5  closed_ stays; then nobody waits in line and nothing is idle.
struct PoolCore::Waiter : WaitNode {
  bool fresh = false;
};

PoolCore::PoolCore(const PoolOptions& options)
    : RefCounted(&PoolCore::destroy_this),
      options_([&] {
        PoolOptions checked = options;
        if (checked.max_open == 0) checked.max_open = no_limit;
        checked.lifetime_jitter = std::clamp(checked.lifetime_jitter, 0.0, 1.0);
        return checked;
      }()),
      random_state_(static_cast<std::uint64_t>(base::now_ns()) * 2 + 1) {}

PoolCore::~PoolCore() = default;
void PoolCore::destroy_this(RefCounted* self) noexcept { delete static_cast<PoolCore*>(self); }

// --- taking and giving back ----------------------------------------------------------------------------------------

PoolCore::Grant PoolCore::acquire(const AcquireOptions& options) noexcept {
  if (const WaitEnd end = roost::detail::hindrance(runtime::current_waiter(), options.deadline.ns()); end != WaitEnd::answered) {
    return {nullptr, roost::detail::wait_error(end)};
  }
  for (;;) {
    Entry* candidate = nullptr;
    Entry* in_the_way = nullptr;
    Waiter waiter;
    {
      base::SpinGuard guard(lock_);
      if (closed_) return {nullptr, make_error_code(Errc::pool_closed)};
      if (!options.fresh) candidate = newest_free();
      if (candidate != nullptr) {
        unlink(*candidate);
        --stats_.idle;
        ++stats_.in_use;
      } else if (stats_.open < options_.max_open) {
        ++stats_.open;
        ++stats_.dialing;
        return {};
      } else if (in_the_way = options.fresh ? oldest_free() : nullptr; in_the_way != nullptr) {
        unlink(*in_the_way);
        --stats_.idle;
        ++stats_.dialing;
        ++stats_.closed_surplus_total;
      } else {
        waiter.fresh = options.fresh;
        waiter.waiter = roost::detail::current_waiter();
        waiting_.push_back(waiter);
        ++stats_.waiting;
        ++stats_.waited_total;
      }
    }
    if (in_the_way != nullptr) {
      delete in_the_way;
      return {};
    }
    if (candidate == nullptr) return wait_in_line(waiter, options.deadline);
    const Verdict verdict = judge(*candidate, base::coarse_now_ns());
    if (verdict == Verdict::usable) {
      reused_total_.fetch_add(1, std::memory_order_relaxed);
      return {candidate, {}};
    }
    discard(candidate, verdict);
  }
}

PoolCore::Grant PoolCore::wait_in_line(Waiter& waiter, Deadline deadline) noexcept {
  const std::int64_t start = base::now_ns();
  const WaitEnd end = roost::detail::await_answer_until(waiter, deadline.ns(), runtime::WaitReason::pool, this);
  bool withdrawn = false;
  if (end != WaitEnd::answered) {
    {
      base::SpinGuard guard(lock_);
      if (waiter.linked) {
        withdrawn = true;
        waiting_.remove(waiter);
        --stats_.waiting;
      }
    }
    // Taken out of the line already: the answer is on its way, and a connection must not get lost.
    if (!withdrawn) roost::detail::await_answer(waiter, runtime::WaitReason::pool, this);
  }
  const bool granted = !withdrawn && waiter.answer.load(std::memory_order_acquire) == Answer::granted;
  {
    base::SpinGuard guard(lock_);
    stats_.wait_time += std::chrono::nanoseconds(base::now_ns() - start);
    if (!granted) ++stats_.gave_up_total;
  }
  if (withdrawn) return {nullptr, roost::detail::wait_error(end)};
  if (!granted) return {nullptr, make_error_code(Errc::pool_closed)};
  if (waiter.value != nullptr) reused_total_.fetch_add(1, std::memory_order_relaxed);
  return {static_cast<Entry*>(waiter.value), {}};
}

bool PoolCore::dialed(Entry& entry) noexcept {
  const std::int64_t now = base::coarse_now_ns();
  base::SpinGuard guard(lock_);
  --stats_.dialing;
  ++stats_.in_use;
  ++stats_.dialed_total;
  if (options_.max_lifetime.count() > 0) {
    // xorshift64: who knows the next life-time gains nothing.
    random_state_ ^= random_state_ << 13;
    random_state_ ^= random_state_ >> 7;
    random_state_ ^= random_state_ << 17;
    const double share = static_cast<double>(random_state_ >> 11) * 0x1p-53 * options_.lifetime_jitter;
    const auto shorter = static_cast<std::int64_t>(share * static_cast<double>(options_.max_lifetime.count()));
    entry.expires_ns = base::saturating_add(now, options_.max_lifetime.count() - shorter);
  }
  if (closed_) return false;
  ++stats_.acquired_total;
  return true;
}

void PoolCore::dial_failed() noexcept {
  WaitChain woken;
  {
    base::SpinGuard guard(lock_);
    --stats_.dialing;
    ++stats_.dial_failures_total;
    free_slot(woken);
  }
  woken.answer_all(Answer::granted);
}

void PoolCore::give_back(Entry* entry, bool failed) noexcept {
  entry->was_reused = true;
  Verdict verdict = Verdict::failed;
  if (!failed) {
    entry->lay_down();
    entry->idle_since_ns = base::coarse_now_ns();
    verdict = judge(*entry, entry->idle_since_ns);
  }
  if (verdict == Verdict::usable) {
    WaitChain woken;
    bool placed = false;
    bool unattended = false;
    {
      base::SpinGuard guard(lock_);
      placed = place(*entry, woken);
      unattended = stats_.idle > 0 && !sweeping_;
    }
    woken.answer_all(Answer::granted);
    if (unattended) start_sweeper();
    if (placed) return;
    verdict = Verdict::surplus;
  }
  discard(entry, verdict);
}

// To the first in line, or among the idle. False: it is to be closed.
bool PoolCore::place(Entry& entry, WaitChain& woken) noexcept {
  if (closed_) return false;
  if (WaitNode* first = waiting_.front()) {
    if (static_cast<Waiter*>(first)->fresh) return false;
    waiting_.remove(*first);
    --stats_.waiting;
    first->value = &entry;
    woken.push(first);
    return true;
  }
  if (stats_.idle >= options_.max_idle) return false;
  link_newest(entry);
  --stats_.in_use;
  ++stats_.idle;
  return true;
}

void PoolCore::took(Entry&) noexcept {
  WaitChain woken;
  {
    base::SpinGuard guard(lock_);
    --stats_.in_use;
    ++stats_.taken_total;
    free_slot(woken);
  }
  woken.answer_all(Answer::granted);
}

// --- ending connections --------------------------------------------------------------------------------------------

PoolCore::Verdict PoolCore::judge(Entry& entry, std::int64_t now_ns) const noexcept {
  if (now_ns >= entry.expires_ns) return Verdict::too_old;
  if (options_.idle_timeout.count() > 0 && now_ns - entry.idle_since_ns >= options_.idle_timeout.count()) {
    return Verdict::idle_too_long;
  }
  return entry.is_reusable() ? Verdict::usable : Verdict::dead;
}

// Closes a connection that counts as in use, and only then frees its slot (I1).
void PoolCore::discard(Entry* entry, Verdict why) noexcept {
  delete entry;
  WaitChain woken;
  {
    base::SpinGuard guard(lock_);
    switch (why) {
      case Verdict::failed: ++stats_.closed_failed_total; break;
      case Verdict::dead: ++stats_.closed_dead_total; break;
      case Verdict::idle_too_long: ++stats_.closed_idle_total; break;
      case Verdict::too_old: ++stats_.closed_lifetime_total; break;
      case Verdict::surplus:
      case Verdict::usable: ++stats_.closed_surplus_total; break;
    }
    --stats_.in_use;
    free_slot(woken);
  }
  woken.answer_all(Answer::granted);
}

void PoolCore::discard_all(Entry* chain, Verdict why) noexcept {
  while (chain != nullptr) discard(std::exchange(chain, chain->newer), why);
}

// One that counted as open is gone: the first in line may dial in its place.
void PoolCore::free_slot(WaitChain& woken) noexcept {
  if (WaitNode* first = waiting_.pop_front()) {
    --stats_.waiting;
    ++stats_.dialing;
    first->value = nullptr;
    woken.push(first);
    return;
  }
  if (--stats_.open == 0 && closed_) {
    while (WaitNode* node = draining_.pop_front()) woken.push(node);
  }
}

void PoolCore::close_idle() noexcept {
  Entry* chain;
  {
    base::SpinGuard guard(lock_);
    chain = take_all_idle();
  }
  discard_all(chain, Verdict::surplus);
}

void PoolCore::shut() noexcept {
  Entry* chain;
  WaitChain turned_away;
  WaitChain sweeper;
  {
    base::SpinGuard guard(lock_);
    closed_ = true;
    chain = take_all_idle();
    while (WaitNode* node = waiting_.pop_front()) {
      --stats_.waiting;
      turned_away.push(node);
    }
    if (WaitNode* node = sweeper_.pop_front()) sweeper.push(node);
  }
  turned_away.answer_all(Answer::closed);
  sweeper.answer_all(Answer::closed);
  discard_all(chain, Verdict::surplus);
}

Result<void> PoolCore::close(Deadline deadline) noexcept {
  shut();
  WaitNode node;
  {
    base::SpinGuard guard(lock_);
    if (stats_.open == 0) return {};
    node.waiter = roost::detail::current_waiter();
    draining_.push_back(node);
  }
  const WaitEnd end = roost::detail::await_answer_until(node, deadline.ns(), runtime::WaitReason::pool, this);
  if (end == WaitEnd::answered) return {};
  {
    base::SpinGuard guard(lock_);
    if (node.linked) {
      draining_.remove(node);
      return fail(roost::detail::wait_error(end));
    }
  }
  roost::detail::await_answer(node, runtime::WaitReason::pool, this);
  return {};
}

PoolStats PoolCore::stats() const noexcept {
  base::SpinGuard guard(lock_);
  PoolStats stats = stats_;
  stats.reused_total = reused_total_.load(std::memory_order_relaxed);
  stats.acquired_total += stats.reused_total;
  return stats;
}

// --- the idle list -------------------------------------------------------------------------------------------------

void PoolCore::link_newest(Entry& entry) noexcept {
  entry.newer = nullptr;
  entry.older = newest_;
  (newest_ == nullptr ? oldest_ : newest_->newer) = &entry;
  newest_ = &entry;
}

void PoolCore::unlink(Entry& entry) noexcept {
  (entry.newer == nullptr ? newest_ : entry.newer->older) = entry.older;
  (entry.older == nullptr ? oldest_ : entry.older->newer) = entry.newer;
}

// I4: at most one is under check.
Entry* PoolCore::newest_free() const noexcept {
  return newest_ != nullptr && newest_->under_check ? newest_->older : newest_;
}
Entry* PoolCore::oldest_free() const noexcept {
  return oldest_ != nullptr && oldest_->under_check ? oldest_->newer : oldest_;
}

// Chained by `newer`; they count as in use from now on.
Entry* PoolCore::take_all_idle() noexcept {
  Entry* chain = nullptr;
  for (Entry* entry = newest_; entry != nullptr;) {
    Entry* const older = entry->older;
    if (!entry->condemned) {
      --stats_.idle;
      ++stats_.in_use;
      if (entry->under_check) {
        entry->condemned = true;
      } else {
        unlink(*entry);
        entry->newer = chain;
        chain = entry;
      }
    }
    entry = older;
  }
  return chain;
}

// --- the sweep -----------------------------------------------------------------------------------------------------

void PoolCore::start_sweeper() noexcept {
  // In a fiber that is canceled, as all are when the runtime stops, it would end at once; somebody else will start it.
  if (options_.sweep_interval.count() <= 0 || !this_fiber::exists() || this_fiber::is_canceled()) return;
  {
    base::SpinGuard guard(lock_);
    if (sweeping_ || closed_) return;
    sweeping_ = true;
  }
  const auto started = try_go({.name = "connection pool"}, [core = Ref<PoolCore>::share(this)] { core->sweep(); });
  if (started) return;
  base::SpinGuard guard(lock_);
  sweeping_ = false;
}

// Goes on while there are idle connections.
void PoolCore::sweep() noexcept {
  for (;;) {
    const std::int64_t until = sweep_once();
    WaitNode node;
    {
      base::SpinGuard guard(lock_);
      if (newest_ == nullptr || closed_) {
        sweeping_ = false;
        return;
      }
      node.waiter = roost::detail::current_waiter();
      sweeper_.push_back(node);
    }
    const WaitEnd end = roost::detail::await_answer_until(node, until, runtime::WaitReason::sleep, this);
    bool answered = true;
    {
      base::SpinGuard guard(lock_);
      if (node.linked) {
        sweeper_.remove(node);
        answered = false;
      }
      if (answered || end == WaitEnd::canceled) sweeping_ = false;
    }
    if (answered) roost::detail::await_answer(node, runtime::WaitReason::pool, this);
    if (answered || end == WaitEnd::canceled) return;
  }
}

std::int64_t PoolCore::sweep_once() noexcept {
  constexpr int checks_before_yield = 64;
  // The fine clock: by the coarse one, what this fiber was woken for would not have expired yet, and it would spin.
  const std::int64_t now = base::now_ns();
  std::int64_t next_look = base::saturating_add(now, options_.sweep_interval.count());
  int checks = 0;
  lock_.lock();
  // Those that came after the start are left to the next sweep, or a busy pool would keep this one going for ever.
  for (Entry* entry = oldest_; entry != nullptr && entry->idle_since_ns <= now;) {
    entry->under_check = true;
    lock_.unlock();
    Verdict verdict = judge(*entry, now);
    if (verdict == Verdict::usable) {
      next_look = std::min(next_look, entry->expires_ns);
      if (options_.idle_timeout.count() > 0) {
        next_look = std::min(next_look, base::saturating_add(entry->idle_since_ns, options_.idle_timeout.count()));
      }
    }
    const bool yields = ++checks % checks_before_yield == 0;
    if (yields) roost::yield();
    lock_.lock();
    entry->under_check = false;
    Entry* next = entry->newer;
    if (next != nullptr && next->idle_since_ns > now) next = nullptr;
    // Somebody may have come to wait in line because this one was not to be had (I2).
    const bool wanted = verdict == Verdict::usable && !entry->condemned && !waiting_.empty();
    if (verdict != Verdict::usable || entry->condemned || wanted) {
      unlink(*entry);
      if (!entry->condemned) {
        --stats_.idle;
        ++stats_.in_use;
      }
      // So that it keeps its place while the lock is away.
      if (next != nullptr) next->under_check = true;
      WaitChain woken;
      const bool placed = wanted && place(*entry, woken);
      lock_.unlock();
      woken.answer_all(Answer::granted);
      if (!placed) discard(entry, verdict == Verdict::usable ? Verdict::surplus : verdict);
      lock_.lock();
    }
    entry = next;
  }
  lock_.unlock();
  return next_look;
}

}  // namespace detail
}  // namespace roost::pool
