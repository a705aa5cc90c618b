// Linux's io_uring as a readiness poller: one multishot, edge-triggered POLL_ADD per descriptor.
//
// Relies on Linux 5.19 (cooperative task running). Promises backend.h; docs/decisions/0030-pollers.md has the figures.
//
// Who submits matters. A poll's completions are delivered by the thread that submitted it, whenever that thread enters the
// kernel. So a watch added from another thread is not submitted there (that thread would be interrupted for each of its
// events) but queued, and submitted by the owner's next wait; if the owner is blocked it is kicked. Hence also no
// SINGLE_ISSUER and DEFER_TASKRUN, which would make waits cheaper still: with them nobody but the owner could look at
// the ring, and the connections of a stuck worker would stand still.
//
// COOP_TASKRUN: events do not interrupt a running owner; it collects them on its way through any system call, and the ring's
// TASKRUN flag tells when it has to make one on purpose. A wait that finds events collected already makes no system call. An
// owner that computes without system calls is reached by the clock tick, so a thread that looks on its behalf sees its
// events at most a tick late.
//
// A POLL_ADD holds the open file, so a close() alone would leave the connection open (needs_remove()). remove() cancels and
// then waits until the poll has ended. A canceled poll, too, ends in the thread that submitted it.
//
// The lock guards filling the submission queue and emptying the completion queue; it is not held during system calls. What was
// published in the submission queue is submitted in order by whichever thread enters next, so a cancel never
// overtakes the poll it is for.
#include <liburing.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <cerrno>
#include <ctime>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/clock.h"
#include "base/spin_lock.h"
#include "poll/backend.h"
#include "poll/wake_flag.h"

namespace roost::poll {
namespace {

constexpr unsigned submission_entries = 256;
// A full completion queue ends multishot polls, which then are armed anew. Also the kernel's hash table for cancels has its
// greatest size (256 buckets) only from 8192 on.
constexpr unsigned completion_entries = 8192;
constexpr unsigned completion_entries_min = 512;  // twice the submission queue's
constexpr std::uint32_t watched_events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI;
constexpr std::uint64_t kick_data = ~std::uint64_t{0};
// How long remove() waits for another thread to let go of a poll. Five ticks of the slowest clock (100 Hz).
constexpr std::int64_t removal_wait_max_ns = 50'000'000;

Event to_event(Token token, std::uint32_t mask) noexcept {
  return Event{.token = token,
               .readable = (mask & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0,
               .writable = (mask & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0,
               .hangup = (mask & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0};
}

class IoUringBackend final : public Backend {
 public:
  IoUringBackend() = default;
  ~IoUringBackend() override {
    if (opened_) ::io_uring_queue_exit(&ring_);
  }
  IoUringBackend(const IoUringBackend&) = delete;
  IoUringBackend& operator=(const IoUringBackend&) = delete;

  Result<void> open() ROOST_NO_THREAD_SAFETY_ANALYSIS {
    int error = 0;
    // Without CAP_IPC_LOCK the rings of a user count against RLIMIT_MEMLOCK. A short queue is better than none.
    for (unsigned completions = completion_entries; completions >= completion_entries_min; completions /= 4) {
      io_uring_params params{};
      params.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
                     IORING_SETUP_TASKRUN_FLAG;
      params.cq_entries = completions;
      error = -::io_uring_queue_init_params(submission_entries, &ring_, &params);
      if (error != ENOMEM) break;
    }
    // An older kernel does not know one of the flags.
    if (error == EINVAL) return fail(std::errc::function_not_supported);
    if (error != 0) return fail(std::error_code(error, std::generic_category()));
    opened_ = true;
    stash_.reserve(completion_entries);
    return {};
  }

  Result<void> add(int fd, Token token) override ROOST_EXCLUDES(lock_) {
    // The kernel would tell only later what epoll tells at once.
    struct stat status;
    if (::fstat(fd, &status) != 0) return fail(std::error_code(errno, std::generic_category()));
    if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode)) {
      return fail(std::errc::operation_not_permitted);
    }
    try {
      base::SpinGuard guard(lock_);
      queued_.push_back(token);
      watches_.emplace(token, Watch{.fd = fd, .submitted = false});
    } catch (const std::bad_alloc&) {
      return fail(std::errc::not_enough_memory);  // a queued token without a watch is passed over
    }
    // An owner that blocks after this finds the queue filled: it says that it blocks before it takes the lock.
    if (wake_.is_blocked()) kick();
    return {};
  }

  void remove(int fd, Token token) noexcept override ROOST_EXCLUDES(lock_);

  [[nodiscard]] bool needs_remove() const noexcept override { return true; }
  [[nodiscard]] bool reports_late() const noexcept override { return true; }

  std::size_t wait(std::span<Event> out, std::int64_t until_ns) noexcept override ROOST_EXCLUDES(lock_) {
    return until_ns == 0 ? look(out) : wait_until(out, until_ns);
  }

  void wake() noexcept override ROOST_EXCLUDES(lock_) {
    if (wake_.post()) kick();
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "io_uring"; }

 private:
  struct Watch {
    int fd;
    bool submitted;  // false: in queued_, and unknown to the kernel
  };
  // A remove() that waits for the end of its poll. Lives on the remover's stack.
  struct Removal {
    Token token;
    bool ended = false;
  };

  std::size_t look(std::span<Event> out) noexcept ROOST_EXCLUDES(lock_);
  std::size_t wait_until(std::span<Event> out, std::int64_t until_ns) noexcept ROOST_EXCLUDES(lock_);

  // --- submitting ---

  // Makes polls of the queued watches, as far as the submission queue has room.
  void submit_queued() noexcept ROOST_REQUIRES(lock_) {
    std::size_t taken = 0;
    while (taken < queued_.size() && ::io_uring_sq_space_left(&ring_) > 0) {
      const Token token = queued_[taken++];
      const auto found = watches_.find(token);
      if (found == watches_.end() || found->second.submitted) continue;
      io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
      ::io_uring_prep_poll_multishot(sqe, found->second.fd, watched_events);
      ::io_uring_sqe_set_data64(sqe, token);
      found->second.submitted = true;
    }
    if (taken > 0) queued_.erase(queued_.begin(), queued_.begin() + static_cast<std::ptrdiff_t>(taken));
  }

  // Publishes the filled entries to the kernel. Returns how many it has not taken yet, by whomever they were filled.
  unsigned publish() noexcept ROOST_REQUIRES(lock_) {
    // What io_uring_submit() does before its system call, which must not be made under the lock.
    ring_.sq.sqe_head = ring_.sq.sqe_tail;
    io_uring_smp_store_release(ring_.sq.ktail, ring_.sq.sqe_tail);
    return ring_.sq.sqe_tail - io_uring_smp_load_acquire(ring_.sq.khead);
  }

  // Returns 0 or more, or -errno.
  int enter(unsigned unsubmitted, unsigned events_min, unsigned flags, const __kernel_timespec* timeout = nullptr) noexcept {
    io_uring_getevents_arg argument{};
    if (timeout != nullptr) {
      argument.ts = reinterpret_cast<std::uintptr_t>(timeout);
      return ::io_uring_enter2(static_cast<unsigned>(ring_.ring_fd), unsubmitted, events_min,
                               flags | IORING_ENTER_EXT_ARG, reinterpret_cast<sigset_t*>(&argument), sizeof argument);
    }
    return ::io_uring_enter(static_cast<unsigned>(ring_.ring_fd), unsubmitted, events_min, flags, nullptr);
  }

  // Submits one request that `prepare` fills in, and everything published before it, now.
  template <class Prepare>
  void submit_now(Prepare prepare) noexcept ROOST_EXCLUDES(lock_) {
    bool prepared = false;
    for (;;) {
      unsigned unsubmitted = 0;
      {
        base::SpinGuard guard(lock_);
        if (!prepared) {
          if (io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_); sqe != nullptr) {
            prepare(sqe);
            prepared = true;
          }
        }
        unsubmitted = publish();
      }
      if (prepared && unsubmitted == 0) return;
      const int entered = enter(unsubmitted, 0, IORING_ENTER_GETEVENTS);
      if (prepared && entered >= 0 && static_cast<unsigned>(entered) >= unsubmitted) return;
      // Another thread was faster, or the kernel has no memory or no room for completions for the moment.
      if (entered < 0) {
        check(entered);
        make_room();
        ::sched_yield();
      }
    }
  }

  void kick() noexcept ROOST_EXCLUDES(lock_) {
    // Completes within this thread's system call, and thereby wakes the owner. An eventfd would need a poll of its own.
    submit_now([](io_uring_sqe* sqe) {
      ::io_uring_prep_nop(sqe);
      ::io_uring_sqe_set_data64(sqe, kick_data);
    });
  }

  static void check(int entered) noexcept {
    // EBADR: completions were dropped, because the kernel found no memory to keep them. Connections would wait for ever.
    ROOST_ASSERT(entered != -EBADR, "the kernel ran out of memory and dropped io_uring completions");
    ROOST_ASSERT(entered >= 0 || entered == -ETIME || entered == -EINTR || entered == -EAGAIN || entered == -EBUSY ||
                     entered == -ENOMEM,
                 "io_uring_enter failed in a way that no running kernel should show");
  }

  // --- collecting ---

  [[nodiscard]] bool has_completions() const noexcept ROOST_REQUIRES(lock_) {
    return stash_next_ < stash_.size() || ::io_uring_cq_ready(&ring_) > 0;
  }
  // True: completions exist that only a system call brings into the queue.
  [[nodiscard]] bool must_enter() const noexcept {
    return (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  }

  std::size_t collect(std::span<Event> out) noexcept ROOST_REQUIRES(lock_) {
    std::size_t stored = 0;
    while (stored < out.size() && stash_next_ < stash_.size()) out[stored++] = stash_[stash_next_++];
    if (stash_next_ == stash_.size()) {
      stash_.clear();
      stash_next_ = 0;
    }
    while (stored < out.size() && take_completion(out[stored])) ++stored;
    return stored;
  }

  // Empties the completion queue, for whoever cannot hand out events. True: the owner must be kicked if it is blocked.
  bool stash_completions() noexcept ROOST_REQUIRES(lock_) {
    Event event;
    while (take_completion(event)) {
      stash_.push_back(event);
      owner_due_ = true;
    }
    return std::exchange(owner_due_, false);
  }
  void make_room() noexcept ROOST_EXCLUDES(lock_) {
    base::SpinGuard guard(lock_);
    if (stash_completions()) owner_due_ = true;
  }

  // Takes completions until one of them is an event. False: the queue is empty.
  bool take_completion(Event& event) noexcept ROOST_REQUIRES(lock_) {
    while (::io_uring_cq_ready(&ring_) > 0) {
      const io_uring_cqe cqe = ring_.cq.cqes[*ring_.cq.khead & ring_.cq.ring_mask];
      ::io_uring_cq_advance(&ring_, 1);
      if (cqe.user_data == kick_data) {
        owner_due_ = true;
      } else if ((cqe.user_data & internal_token_bit) != 0) {
        // A cancel that found nothing: the poll has ended by itself.
        end_removal(cqe.user_data & ~internal_token_bit);
      } else if ((cqe.flags & IORING_CQE_F_MORE) != 0) {
        event = to_event(cqe.user_data, static_cast<std::uint32_t>(cqe.res));
        return true;
      } else if (end_poll(cqe, event)) {
        return true;
      }
    }
    return false;
  }

  // A poll's last completion. True: it is an event.
  bool end_poll(const io_uring_cqe& cqe, Event& event) noexcept ROOST_REQUIRES(lock_) {
    const Token token = cqe.user_data;
    const auto found = watches_.find(token);
    if (found == watches_.end()) {
      end_removal(token);
      return false;
    }
    event = Event{.token = token, .readable = true, .writable = true, .hangup = false};
    if (cqe.res < 0 && cqe.res != -ECANCELED) {
      // It could not be watched. The caller's next try on the descriptor shows why, and will not wait again.
      event.hangup = true;
      watches_.erase(found);
      return true;
    }
    // The completion queue was full, or (canceled) the thread that had submitted it has ended: watched on, and as edges
    // may have been missed in between, both directions are to be tried.
    if (cqe.res > 0) event.hangup = to_event(token, static_cast<std::uint32_t>(cqe.res)).hangup;
    found->second.submitted = false;
    queued_.push_back(token);
    return true;
  }

  void end_removal(Token token) noexcept ROOST_REQUIRES(lock_) {
    for (Removal* removal : removals_) {
      if (removal->token == token) removal->ended = true;
    }
  }

  bool opened_ = false;                 // constant once open() has returned
  io_uring ring_{};                     // descriptor and addresses are constant; the queues' ends are guarded by lock_

  base::SpinLock lock_;                 // leaf
  std::unordered_map<Token, Watch> watches_ ROOST_GUARDED_BY(lock_);
  std::vector<Token> queued_ ROOST_GUARDED_BY(lock_);      // watches to submit, oldest first
  std::vector<Event> stash_ ROOST_GUARDED_BY(lock_);       // collected by a thread that could not hand them out
  std::size_t stash_next_ ROOST_GUARDED_BY(lock_) = 0;     // those before it are handed out
  std::vector<Removal*> removals_ ROOST_GUARDED_BY(lock_);
  bool owner_due_ ROOST_GUARDED_BY(lock_) = false;         // another thread took a kick or an event that was the owner's

  WakeFlag wake_;
};

std::size_t IoUringBackend::look(std::span<Event> out) noexcept {
  unsigned unsubmitted = 0;
  {
    base::SpinGuard guard(lock_);
    submit_queued();
    unsubmitted = publish();
  }
  if (unsubmitted > 0 || must_enter()) check(enter(unsubmitted, 0, IORING_ENTER_GETEVENTS));
  std::size_t stored = 0;
  bool kicked = false;
  {
    base::SpinGuard guard(lock_);
    stored = collect(out);
    kicked = std::exchange(owner_due_, false);
  }
  if (kicked && wake_.is_blocked()) kick();  // it was meant for the owner
  return stored;
}

std::size_t IoUringBackend::wait_until(std::span<Event> out, std::int64_t until_ns) noexcept {
  for (;;) {
    const bool stepped = base::ManualClock::installed();
    const std::int64_t span = until_ns == base::never_ns ? base::never_ns : until_ns - base::now_ns();
    const bool due = span <= 0;
    // Said before looking: whoever adds or wakes after the look below sees it and kicks.
    const bool asleep = !due && wake_.block();
    unsigned unsubmitted = 0;
    bool may_block = false;
    {
      base::SpinGuard guard(lock_);
      submit_queued();
      unsubmitted = publish();
      may_block = asleep && queued_.empty() && !has_completions();
    }
    if (may_block) {
      const __kernel_timespec timeout{.tv_sec = span / 1'000'000'000, .tv_nsec = span % 1'000'000'000};
      const bool unlimited = stepped || until_ns == base::never_ns;
      check(enter(unsubmitted, 1, IORING_ENTER_GETEVENTS, unlimited ? nullptr : &timeout));
    } else if (unsubmitted > 0 || must_enter()) {
      check(enter(unsubmitted, 0, IORING_ENTER_GETEVENTS));
    }
    wake_.unblock();
    std::size_t stored = 0;
    {
      base::SpinGuard guard(lock_);
      stored = collect(out);
      owner_due_ = false;
    }
    if (stored > 0 || due) {
      wake_.take();
      return stored;
    }
    if (wake_.take()) return 0;
  }
}

void IoUringBackend::remove(int, Token token) noexcept {
  Removal removal{.token = token};
  {
    base::SpinGuard guard(lock_);
    const auto found = watches_.find(token);
    if (found == watches_.end()) return;
    const bool submitted = found->second.submitted;
    watches_.erase(found);
    if (!submitted) return;
    removals_.push_back(&removal);
  }
  submit_now([token](io_uring_sqe* sqe) {
    ::io_uring_prep_cancel64(sqe, token, 0);
    ::io_uring_sqe_set_data64(sqe, token | internal_token_bit);
    ::io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
  });
  // Its own polls a thread has ended by now. For those of another it waits; that thread, if it sleeps, was woken by the cancel.
  std::int64_t give_up_ns = 0;
  for (bool ended = false; !ended;) {
    bool stashed = false;
    {
      base::SpinGuard guard(lock_);
      stashed = stash_completions();
      ended = removal.ended;
      if (ended) std::erase(removals_, &removal);
    }
    if (stashed && wake_.is_blocked()) kick();
    if (ended) return;
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);  // not now_ns(): a stepped clock stands still
    const std::int64_t now_ns = static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
    if (give_up_ns == 0) give_up_ns = now_ns + removal_wait_max_ns;
    if (now_ns > give_up_ns) break;
    ::sched_yield();
  }
  base::SpinGuard guard(lock_);
  std::erase(removals_, &removal);
}

}  // namespace

Result<std::unique_ptr<Backend>> open_io_uring() {
  auto backend = std::make_unique<IoUringBackend>();
  if (auto opened = backend->open(); !opened) return fail(opened.error());
  return backend;
}

}  // namespace roost::poll
