// Parks fibers on file descriptors and wakes them when the poller reports readiness. The one place where runtime and poll meet.
//
// A PollDesc is the state of one open descriptor: who waits to read, who waits to write, the deadlines, and who is inside
// its calls. It is recycled, never freed, so a late kernel event always points at valid memory; the generation in its
// token tells such an event apart from one for the descriptor's next life.
//
// The readiness word, one per direction, is either
//   a parked fiber       its address (bits 0 and 1 clear),
//   a sleeper            its address with bit 1 set: somebody who waits without a fiber (roost/net/on_demand.h), or
//   a state (odd)        bit 0 set, bit 1 "ready" (a call may succeed), bit 2 "hangup" (a short read proves nothing), and
//                        from bit 3 a count of edges.
//   from \ to     state, ready              state, not ready                          fiber
//   state         an edge (count + 1)       drained() or would_block(), if no edge    wait(), if not ready
//                                           came between
//   fiber         an edge, then unpark      the fiber itself, on waking               -
//   sleeper       an edge, then its wake    close or a deadline, then its wake        -
// Descriptors are watched edge-triggered: after a read that returned less than asked for, a stream socket is known to be
// empty, and drained() says so without another system call. An edge that arrives between that read and drained() has
// changed the count, so it is kept. Data and end of stream may arrive as one edge, and never another: "hangup" outlives
// short reads. It does not outlive EAGAIN, by which the kernel promises another edge: an error that was reported and taken
// (a datagram that was refused) must not leave a reader that spins.
//
// Deadlines are lazy: setting one stores a number. A timer is armed only when a fiber parks and none earlier is armed, and
// re-arms itself when it fires early.
//
// Lock order: PollDesc::timer_lock_ before TimerQueue's lock; FdMutex's lock is a leaf.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>
#include <system_error>

#include <roost/detail/sleeper.h>
#include <roost/error.h>
#include <roost/time/deadline.h>

#include "base/clock.h"
#include "base/spin_lock.h"
#include "poll/backend.h"
#include "runtime/fd_mutex.h"
#include "runtime/fiber.h"
#include "time/timer_queue.h"

namespace roost::runtime {
struct DebugDescriptionOffsets;
}

namespace roost::detail {

// What bytes are to a descriptor, and so what a short read proves: a TCP socket is empty after one; anything else may
// return less than it has (a Unix stream stops where descriptors were passed along, a message where it ends).
enum class Content : std::uint8_t { tcp, stream, messages };

// When a poller found what it reports, in waits of that poller, which are numbered from 1 as they begin. An event may be old
// news by the time it is handed out: another worker's fiber may have read meanwhile what it tells of.
struct ReportAge {
  std::uint32_t wait;
  bool is_unknown;  // the system tells what was so at some time before (poll::Backend::reports_late)

  // Whether a descriptor may have been emptied after the report was made. `waits_before`: how many waits had begun when it had
  // been found empty. A wait that began later looked at it anew, so what it reports came later. Counts may wrap around: after
  // two thousand million waits this says yes for nothing, which costs a question to the kernel.
  [[nodiscard]] constexpr bool may_precede(std::uint32_t waits_before) const noexcept {
    return is_unknown || static_cast<std::int32_t>(waits_before - wait) >= 0;
  }
};

// The members of PollDesc that every call and every event touches: one cache line, up to the turns' state, with which
// FdMutex begins. A base, so that they lie in front of the timer's node.
struct PollDescHot {
  explicit PollDescHot(std::uint32_t slot) noexcept : slot_(slot) {}

  std::atomic<std::uint64_t> words_[2];
  std::atomic<std::int64_t> deadlines_ns_[2];
  std::atomic<std::int64_t> armed_ns_{base::never_ns};  // when the timer fires; never_ns: not armed. Stored under timer_lock_
  std::atomic<int> fd_{-1};                         // atomic: also looked at by whoever describes fibers
  std::atomic<std::uint32_t> generation_{0};
  const std::uint32_t slot_;
  std::uint16_t worker_ = 0;                        // whose poller watches it
  std::atomic<Content> content_{Content::tcp};
  std::atomic<bool> has_idle_timeout_{false};
  runtime::FdMutex mutex_;
};
static_assert(sizeof(PollDescHot) - sizeof(runtime::FdMutex) + sizeof(std::uint64_t) == 64, "one cache line");

// Memory: 192 bytes (three cache lines), checked below.
class alignas(64) PollDesc : private PollDescHot, public time::Timer {
 public:
  using Direction = runtime::Direction;
  using Content = detail::Content;

  // Whether a fresh descriptor's first call is tried or waits for the poller's first report. A poller reports what is ready
  // when a descriptor is added, so a connection on which the peer speaks first need not try in vain.
  enum class First : std::uint8_t { try_it, wait };

  // Takes over `fd`, which must be non-blocking, and registers it with a poller. On error the descriptor stays the caller's.
  // Errors: those of Backend::add; not_enough_memory; operation_canceled when no runtime runs.
  static Result<PollDesc*> open(int fd, First first_read) noexcept;

  // Wakes everybody inside, waits until they have left, closes the descriptor. False: it was closed before.
  bool close() noexcept;
  // close(), if that has not happened, and gives the state back. Nobody may be inside.
  void destroy() noexcept;
  // As close(), but hands the open descriptor to the caller. -1: it was closed before.
  int detach() noexcept;

  // Set before anybody else knows of the descriptor.
  // `tcp` also promises that a call is tried inside a turn only (Call).
  void set_content(Content content) noexcept { content_.store(content, std::memory_order_relaxed); }
  [[nodiscard]] Content content() const noexcept { return content_.load(std::memory_order_relaxed); }
  // close(2) may wait (SO_LINGER with a time), so it is made on a thread that may.
  void set_lingers(bool lingers) noexcept { lingers_.store(lingers, std::memory_order_relaxed); }
  // Called once with `argument` when the descriptor is closed or handed out, by whoever leaves it last. Must not park.
  using CloseHook = void (*)(void* argument) noexcept;
  void set_close_hook(CloseHook hook, void* argument) noexcept {
    close_hook_ = hook;
    close_argument_ = argument;
  }

  [[nodiscard]] int fd() const noexcept { return fd_.load(std::memory_order_relaxed); }
  // As fd(), for somebody who may duplicate it: then closing the number does not end the poller's watch, so it is ended
  // by hand.
  int lend_fd() noexcept {
    end_watch_by_hand();
    return fd();
  }
  // Before the close the poller is told to let go, which costs a system call. Also for descriptors whose port must be free
  // as soon as they are closed (poll/backend.h, remove()).
  void end_watch_by_hand() noexcept { watch_ended_by_hand_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool is_closed() const noexcept { return mutex_.is_closed(); }

  // Parks until a call of that direction may succeed. The caller is inside (see Call).
  // Errors: closed, deadline_exceeded, canceled.
  [[nodiscard]] std::error_code wait(Direction direction) noexcept;
  // Parks until `until_ns` whatever the poller reports, so that a call that keeps failing for want of something else does
  // not spin. Afterwards a call may be tried. Errors: as wait().
  Result<void> pause_until(Direction direction, std::int64_t until_ns) noexcept;
  // Leaves `sleeper` in a fiber's place: its wake() is called, once, when a read may succeed, the read deadline or idle time-out
  // has passed, or the descriptor is being closed. From then on the sleeper may be gone. False: that is so already. "May
  // succeed" is not enough for it: whoever is woken for nothing would wait on as a fiber. So the kernel is asked where the
  // word proves nothing (after a hangup, on a Unix socket), and the poller's late reports are checked.
  bool sleep(Sleeper& sleeper) noexcept;
  // Takes a sleeper out again. False: there was none, or its wake-up is under way.
  bool take_sleeper() noexcept;
  // What wait() would fail with now; to be asked before every try, because an expired deadline beats ready data.
  [[nodiscard]] std::error_code blocked(Direction direction) noexcept;
  // The same question where the answer is nearly always no: three loads, and a coarse clock if there is a deadline. May say
  // yes near a deadline; blocked() then knows. `caller` is the fiber that asks; null on a plain thread.
  [[nodiscard]] bool maybe_blocked(Direction direction, const Fiber* caller) const noexcept {
    if (mutex_.is_closed() || (caller != nullptr && caller->is_canceled())) return true;
    const std::int64_t limit = limit_ns(direction);
    return limit != base::never_ns && base::coarse_now_ns() + 2 * base::coarse_tick_ns() >= limit;
  }

  // False: a call of that direction is known to find nothing.
  [[nodiscard]] bool maybe_ready(Direction direction) const noexcept {
    return (words_[static_cast<int>(direction)].load(std::memory_order_acquire) & state_ready) == state_ready;
  }
  // The edge count to hand to drained() after a try. Acquire pairs with the poller's release: what the edge reported is there.
  [[nodiscard]] std::uint64_t edge(Direction direction) const noexcept {
    return words_[static_cast<int>(direction)].load(std::memory_order_acquire);
  }
  // A try was told EAGAIN: there will be another edge. Keeps edges that came since `edge` was taken.
  void would_block(Direction direction, std::uint64_t edge) noexcept {
    words_[static_cast<int>(direction)].compare_exchange_strong(edge, edge & ~(ready | hangup), std::memory_order_acq_rel);
  }
  // A short read, where that proves that nothing is left.
  void drained(Direction direction, std::uint64_t edge) noexcept {
    if ((edge & hangup) != 0 || content() != Content::tcp) return;
    words_[static_cast<int>(direction)].compare_exchange_strong(edge, edge & ~ready, std::memory_order_acq_rel);
  }
  // As an edge from the poller: whoever waits tries again.
  void nudge(Direction direction) noexcept { post_edge(direction, false); }
  // Bytes moved: the idle time-out starts anew.
  void note_activity() noexcept {
    if (has_idle_timeout_.load(std::memory_order_relaxed)) [[unlikely]] {
      last_activity_ns_.store(base::coarse_now_ns(), std::memory_order_relaxed);
    }
  }

  // Any fiber or thread; a pending call notices at once. False: closed.
  bool set_deadline(Direction direction, Deadline deadline) noexcept {
    if (mutex_.is_closed()) return false;
    deadlines_ns_[static_cast<int>(direction)].store(deadline.ns(), std::memory_order_seq_cst);
    kick(direction);  // whoever is parked looks at it again
    return true;
  }
  bool set_idle_timeout(std::int64_t span_ns) noexcept;

  // The poller's report. Where it may be out of date a sleeper that has nothing to read sleeps on. Any worker. "Writable" and
  // "hangup" at once is an end, an error, or a watch that came to an end: always news.
  void on_event(const poll::Event& event, const ReportAge& age) noexcept {
    if (event.readable) post_edge(Direction::read, event.hangup, event.writable && event.hangup ? nullptr : &age);
    if (event.writable && !is_known_writable()) post_edge(Direction::write, false);
  }
  // Brings what on_event() will touch of this state, and then of the fiber that waits to read, nearer.
  void prefetch() const noexcept { __builtin_prefetch(words_); }
  void prefetch_waiter() const noexcept {
    const std::uint64_t word = words_[0].load(std::memory_order_relaxed);
    if ((word & is_state) == 0) __builtin_prefetch(reinterpret_cast<const void*>(word & ~sleeper_tag));
  }
  [[nodiscard]] bool is_generation(std::uint32_t generation) const noexcept {
    return generation_.load(std::memory_order_acquire) == generation;
  }

  // Being inside a call: at most one caller of a direction at a time, and the descriptor stays open meanwhile.
  class Call {
   public:
    Call(PollDesc& desc, Direction direction) noexcept
        : desc_(desc), direction_(direction), entered_(desc.mutex_.enter(direction)) {}
    ~Call() {
      if (entered_ && desc_.mutex_.leave(direction_)) desc_.close_now();
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    explicit operator bool() const noexcept { return entered_; }

   private:
    PollDesc& desc_;
    const Direction direction_;
    const bool entered_;
  };
  // Keeps the descriptor open without taking a turn.
  class Hold {
   public:
    explicit Hold(PollDesc& desc) noexcept : desc_(desc), held_(desc.mutex_.hold()) {}
    ~Hold() {
      if (held_ && desc_.mutex_.release()) desc_.close_now();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    explicit operator bool() const noexcept { return held_; }

   private:
    PollDesc& desc_;
    const bool held_;
  };

 private:
  friend class PollDescSlab;
  friend struct runtime::DebugDescriptionOffsets;

  static constexpr std::uint64_t is_state = 1;
  static constexpr std::uint64_t ready = 2;
  static constexpr std::uint64_t state_ready = is_state | ready;
  static constexpr std::uint64_t sleeper_tag = 2;  // in a word that is no state
  static constexpr std::uint64_t hangup = 4;
  static constexpr std::uint64_t one_edge = 8;

  explicit PollDesc(std::uint32_t slot) noexcept : PollDescHot(slot), Timer(&PollDesc::on_timer) {}

  // Names this life of the descriptor to the poller.
  [[nodiscard]] poll::Token token() const noexcept {
    return (static_cast<poll::Token>(generation_.load(std::memory_order_relaxed)) << 32) | slot_;
  }
  bool begin_close() noexcept;
  void wait_closed() noexcept;
  void close_now() noexcept;
  // Wakes whoever waits, if somebody does. seq_cst pairs with wait().
  void kick(Direction direction) noexcept {
    const std::uint64_t word = words_[static_cast<int>(direction)].load(std::memory_order_seq_cst);
    if ((word & is_state) == 0) [[unlikely]] wake_waiter(direction, word);
  }
  void wake_waiter(Direction direction, std::uint64_t word) noexcept;
  [[nodiscard]] bool has_sleeper() const noexcept { return is_sleeper(words_[0].load(std::memory_order_relaxed)); }
  static constexpr bool is_sleeper(std::uint64_t word) noexcept { return (word & (is_state | sleeper_tag)) == sleeper_tag; }
  // Without an age it is news for certain.
  void post_edge(Direction direction, bool is_hangup, const ReportAge* age = nullptr) noexcept;
  void withdraw(Direction direction, std::uint64_t fiber_word, std::uint64_t state) noexcept;
  [[nodiscard]] std::int64_t limit_ns(Direction direction) const noexcept {
    std::int64_t limit = deadlines_ns_[static_cast<int>(direction)].load(std::memory_order_seq_cst);
    if (has_idle_timeout_.load(std::memory_order_seq_cst)) [[unlikely]] {
      limit = std::min(limit, base::saturating_add(last_activity_ns_.load(std::memory_order_relaxed),
                                                   idle_ns_.load(std::memory_order_relaxed)));
    }
    return limit;
  }
  // Linux reports each arrival of data as "readable and writable". That a descriptor is writable, where that is known, is no
  // news unless somebody was told EAGAIN before the report and has yet to say so (would_block()). TCP sockets are tried inside a
  // Call only. So if nobody is inside now, whoever was has said it, and his leaving makes it seen here: the turn is looked at
  // first. Whoever enters from now on tries after the report, and an EAGAIN that he is told is newer.
  [[nodiscard]] bool is_known_writable() const noexcept {
    return content() == Content::tcp && !mutex_.is_entered(Direction::write) && maybe_ready(Direction::write);
  }
  [[nodiscard]] std::uint32_t waits_begun() const noexcept;
  [[nodiscard]] std::error_code look_before_park(Direction direction) noexcept;
  void arm(std::int64_t when_ns) noexcept;
  void disarm() noexcept;
  static void on_timer(time::Timer& timer) noexcept;
  void check_timer() noexcept;

  std::atomic<std::int64_t> last_activity_ns_{0};
  std::atomic<std::int64_t> idle_ns_{0};            // while has_idle_timeout_

  // The rest: opening and closing.
  bool keep_open_ = false;                          // detach(): do not close the number
  std::atomic<std::uintptr_t> closer_{0};           // a Waiter: whoever waits for the last caller to leave
  std::atomic<bool> watch_ended_by_hand_{false};    // lent, adopted, or a port that must be free at once
  std::atomic<bool> lingers_{false};                // see set_lingers()
  std::atomic<bool> closed_now_{false};             // the descriptor is closed, or handed out
  base::SpinLock timer_lock_;
  CloseHook close_hook_ = nullptr;
  void* close_argument_ = nullptr;
  PollDesc* next_free_ = nullptr;                   // guarded by the slab's lock
};
static_assert(sizeof(PollDesc) <= 192, "documented in conn.h: a waiting connection costs three cache lines");

}  // namespace roost::detail

namespace roost::runtime {
using detail::PollDesc;

// Hands a poller's events to their descriptors, and drops those of an earlier life.
void dispatch_events(std::span<const poll::Event> events, const detail::ReportAge& age) noexcept;

// Somebody waits for a descriptor without a fiber. Looks at every descriptor's state.
[[nodiscard]] bool any_sleeper() noexcept;
// Descriptors' states made so far, in use or free.
[[nodiscard]] std::uint64_t poll_descs_made() noexcept;
}  // namespace roost::runtime
