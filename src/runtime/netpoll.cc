#include "runtime/netpoll.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <new>

#include <roost/go.h>

#include "base/assert.h"
#include "runtime/runtime_state.h"
#include "runtime/switching.h"

namespace roost::detail {

// All PollDescs there ever were, found by slot. Chunks are never freed.
class PollDescSlab {
 public:
  static PollDescSlab& instance() noexcept {
    static auto* slab = new PollDescSlab;  // never destroyed: connections may outlive the runtime
    return *slab;
  }

  PollDesc* take() noexcept {
    base::SpinGuard guard(lock_);
    if (free_ == nullptr && !grow()) return nullptr;
    PollDesc* desc = free_;
    free_ = desc->next_free_;
    return desc;
  }
  void give(PollDesc* desc) noexcept {
    base::SpinGuard guard(lock_);
    desc->next_free_ = free_;
    free_ = desc;
  }
  [[nodiscard]] PollDesc* find(std::uint32_t slot) const noexcept {
    return chunks_[slot / chunk_descs].load(std::memory_order_acquire) + slot % chunk_descs;
  }
  [[nodiscard]] bool any_sleeper() const noexcept {
    const auto count = static_cast<std::uint32_t>(made());
    for (std::uint32_t slot = 0; slot < count; ++slot) {
      if (find(slot)->has_sleeper()) return true;
    }
    return false;
  }
  [[nodiscard]] std::uint64_t made() const noexcept { return made_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t chunk_descs = 1024;
  static constexpr std::uint32_t chunks_max = 16'384;  // 16.7 million descriptors

  bool grow() noexcept ROOST_REQUIRES(lock_) {
    const auto first = static_cast<std::uint32_t>(made_.load(std::memory_order_relaxed));
    if (first / chunk_descs >= chunks_max) return false;
    auto* chunk = static_cast<PollDesc*>(
        ::operator new(sizeof(PollDesc) * chunk_descs, std::align_val_t(alignof(PollDesc)), std::nothrow));
    if (chunk == nullptr) return false;
    for (std::uint32_t i = chunk_descs; i-- > 0;) {
      auto* desc = ::new (chunk + i) PollDesc(first + i);
      desc->next_free_ = free_;
      free_ = desc;
    }
    // Release pairs with the acquire in find().
    chunks_[first / chunk_descs].store(chunk, std::memory_order_release);
    made_.store(first + chunk_descs, std::memory_order_relaxed);
    return true;
  }

  base::SpinLock lock_;  // leaf
  PollDesc* free_ ROOST_GUARDED_BY(lock_) = nullptr;
  std::array<std::atomic<PollDesc*>, chunks_max> chunks_{};  // append only
  std::atomic<std::uint64_t> made_{0};
};

namespace {

constexpr int index_of(runtime::Direction direction) noexcept { return static_cast<int>(direction); }

// Which descriptor numbers have an owner among us: a bit each. Two owners would close each other's files and lose each
// other's events, long after the mistake was made; so it is told when it is made. Numbers beyond the table go unchecked.
class OwnedNumbers {
 public:
  // False: it has an owner already.
  static bool claim(int fd) noexcept {
    if (static_cast<std::size_t>(fd) >= numbers_max) return true;
    const std::uint64_t bit = std::uint64_t{1} << (fd % 64);
    return (words_[static_cast<std::size_t>(fd) / 64].fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
  }
  static void release(int fd) noexcept {
    if (static_cast<std::size_t>(fd) >= numbers_max) return;
    words_[static_cast<std::size_t>(fd) / 64].fetch_and(~(std::uint64_t{1} << (fd % 64)), std::memory_order_relaxed);
  }

 private:
  static constexpr std::size_t numbers_max = std::size_t{16} << 20;
  // 2 MiB of zeros, of which the kernel provides the pages that are touched.
  static inline constinit std::array<std::atomic<std::uint64_t>, numbers_max / 64> words_{};
};

[[noreturn]] void panic_two_owners(int fd) noexcept {
  std::array<char, 160> text;
  std::snprintf(text.data(), text.size(),
                "descriptor %d has two owners: it was adopted twice, or closed behind its owner's back and opened anew", fd);
  base::panic(__FILE__, __LINE__, text.data());
}

// Whether a read would find data, an end or an error. Costs a system call. Unlike a read that only peeks it works for whatever was
// adopted, and knows of the urgent byte at which a TCP read stops.
bool has_something_to_read(int fd) noexcept {
  pollfd asked{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&asked, 1, 0) != 0;  // on failure a read shall tell why
}

}  // namespace

Result<PollDesc*> PollDesc::open(int fd, First first_read) noexcept {
  const runtime::Visit visit;
  runtime::Runtime* runtime = visit.runtime();
  if (runtime == nullptr) return fail(Errc::canceled);
  PollDesc* desc = PollDescSlab::instance().take();
  if (desc == nullptr) return fail(std::errc::not_enough_memory);
  if (!OwnedNumbers::claim(fd)) panic_two_owners(fd);
  runtime::Worker& worker = runtime->place_descriptor();
  desc->fd_.store(fd, std::memory_order_relaxed);
  desc->worker_ = static_cast<std::uint16_t>(worker.index());
  desc->keep_open_ = false;
  desc->content_.store(Content::tcp, std::memory_order_relaxed);
  desc->watch_ended_by_hand_.store(false, std::memory_order_relaxed);
  desc->lingers_.store(false, std::memory_order_relaxed);
  desc->close_hook_ = nullptr;
  desc->closed_now_.store(false, std::memory_order_relaxed);
  desc->closer_.store(0, std::memory_order_relaxed);
  desc->has_idle_timeout_.store(false, std::memory_order_relaxed);
  desc->words_[0].store(first_read == First::try_it ? state_ready : is_state, std::memory_order_relaxed);
  desc->words_[1].store(state_ready, std::memory_order_relaxed);
  for (auto& deadline : desc->deadlines_ns_) deadline.store(base::never_ns, std::memory_order_relaxed);
  desc->mutex_.reset();
  if (auto added = worker.poller().add(fd, desc->token()); !added) {
    OwnedNumbers::release(fd);
    PollDescSlab::instance().give(desc);
    return fail(added.error());
  }
  worker.descriptors.fetch_add(1, std::memory_order_relaxed);
  return desc;
}

// --- closing -------------------------------------------------------------------------------------------------------

bool PollDesc::begin_close() noexcept {
  if (!mutex_.close()) return false;
  kick(Direction::read);
  kick(Direction::write);
  return true;
}

bool PollDesc::close() noexcept {
  if (!begin_close()) return false;
  wait_closed();
  return true;
}

void PollDesc::wait_closed() noexcept {
  closer_.store(runtime::current_waiter().bits(), std::memory_order_seq_cst);
  if (mutex_.release()) {
    close_now();
    return;
  }
  while (!closed_now_.load(std::memory_order_seq_cst)) runtime::park(runtime::WaitReason::close, this);
}

void PollDesc::close_now() noexcept {
  disarm();
  const int fd = this->fd();
  {
    const runtime::Visit visit;
    if (runtime::Runtime* runtime = visit.runtime(); runtime != nullptr && worker_ < runtime->worker_count()) {
      runtime::Worker& worker = runtime->worker(worker_);
      worker.descriptors.fetch_sub(1, std::memory_order_relaxed);
      // A close ends the watch by itself, unless the open file lives on somewhere or the poller holds it for a moment.
      if (keep_open_ || watch_ended_by_hand_.load(std::memory_order_relaxed) || worker.poller().needs_remove()) {
        worker.poller().remove(fd, token());
      }
    }
  }
  // From here on events in flight are of an earlier life.
  generation_.fetch_add(1, std::memory_order_release);
  OwnedNumbers::release(fd);  // before the kernel may give the number to another thread
  if (!keep_open_) {
    if (lingers_.load(std::memory_order_relaxed)) [[unlikely]] {
      blocking([fd] { ::close(fd); });
    } else {
      ::close(fd);
    }
  }
  if (close_hook_ != nullptr) close_hook_(close_argument_);
  const runtime::Waiter closer = runtime::Waiter::from_bits(closer_.load(std::memory_order_seq_cst));
  // The closer may give this state back as soon as it sees the flag.
  closed_now_.store(true, std::memory_order_seq_cst);
  if (closer) runtime::unpark(closer);
}

void PollDesc::destroy() noexcept {
  // Closed but not yet really: some call, perhaps close() itself, is still inside.
  ROOST_ASSERT(is_closed() ? closed_now_.load(std::memory_order_seq_cst) : mutex_.is_quiet(),
               "a connection or listener was destroyed while a call on it was under way");
  close();
  PollDescSlab::instance().give(this);
}

int PollDesc::detach() noexcept {
  if (!mutex_.close()) return -1;
  keep_open_ = true;
  kick(Direction::read);
  kick(Direction::write);
  const int fd = this->fd();
  wait_closed();
  return fd;
}

void PollDesc::wake_waiter(Direction direction, std::uint64_t word) noexcept {
  if (!is_sleeper(word)) {
    runtime::unpark(reinterpret_cast<Fiber*>(word));
    return;
  }
  // A sleeper cannot look for itself whether it was meant, so it is woken by whoever takes it out, and only once.
  if (!words_[index_of(direction)].compare_exchange_strong(word, is_state, std::memory_order_acq_rel)) return;
  runtime::Runtime::note_sleeper_woken();
  auto* sleeper = reinterpret_cast<Sleeper*>(word & ~sleeper_tag);
  sleeper->wake(*sleeper);
}

// --- waiting -------------------------------------------------------------------------------------------------------

std::error_code PollDesc::blocked(Direction direction) noexcept {
  if (!maybe_blocked(direction, runtime::current_fiber())) [[likely]] return {};
  if (mutex_.is_closed()) return Errc::closed;
  if (const std::error_code interrupted = runtime::current_interruption()) return interrupted;
  // The coarse clock is a quarter of the price; this one is asked only within a tick of the deadline.
  const std::int64_t limit = limit_ns(direction);
  if (limit != base::never_ns && base::now_ns() >= limit) return Errc::deadline_exceeded;
  return {};
}

std::error_code PollDesc::wait(Direction direction) noexcept {
  std::atomic<std::uint64_t>& word = words_[index_of(direction)];
  for (;;) {
    std::uint64_t state = word.load(std::memory_order_acquire);
    ROOST_ASSERT((state & is_state) != 0, "a connection that sleeps without a fiber was read from");
    if ((state & ready) != 0) return {};
    runtime::Worker* worker = runtime::current_worker();
    Fiber* self = worker == nullptr ? nullptr : worker->current();
    ROOST_ASSERT(self != nullptr, "a call that waits for a descriptor was made outside a fiber; start one with roost::go");
    const auto own = reinterpret_cast<std::uint64_t>(self);
    // seq_cst here and in whoever changes a condition (close, cancel, set_deadline): each first stores and then looks at the
    // other's store, so that either this fiber sees the new condition below, or the changer sees the fiber and wakes it.
    if (!word.compare_exchange_strong(state, own, std::memory_order_seq_cst)) continue;
    // No clock is asked: a timer that is armed for the limit or before wakes the fiber, were it due at this moment.
    if (mutex_.is_closed() || self->is_canceled() ||
        armed_ns_.load(std::memory_order_seq_cst) > limit_ns(direction)) [[unlikely]] {
      if (const std::error_code error = look_before_park(direction)) {
        withdraw(direction, own, is_state);
        return error;
      }
    }
    const auto reason = direction == Direction::read ? runtime::WaitReason::io_read : runtime::WaitReason::io_write;
    if (!runtime::take_notification(*self)) [[likely]] runtime::park_fiber(*worker, *self, reason, this);
    // Woken by an edge, the word says "ready"; woken for another reason, the next round finds out which.
    if (word.load(std::memory_order_relaxed) == own) [[unlikely]] withdraw(direction, own, is_state);
  }
}

// The fiber has published itself and something speaks against parking, or no timer is armed for its deadline.
[[gnu::noinline]] std::error_code PollDesc::look_before_park(Direction direction) noexcept {
  if (const std::error_code error = blocked(direction)) return error;
  if (const std::int64_t limit = limit_ns(direction); armed_ns_.load(std::memory_order_seq_cst) > limit) arm(limit);
  return {};
}

Result<void> PollDesc::pause_until(Direction direction, std::int64_t until_ns) noexcept {
  Fiber* self = runtime::current_fiber();
  ROOST_ASSERT(self != nullptr, "a call that waits for a descriptor was made outside a fiber; start one with roost::go");
  std::atomic<std::uint64_t>& word = words_[index_of(direction)];
  const auto own = reinterpret_cast<std::uint64_t>(self);
  const auto reason = direction == Direction::read ? runtime::WaitReason::io_read : runtime::WaitReason::io_write;
  for (;;) {
    // Published as in wait(), so that close, cancel and deadlines find the fiber.
    word.store(own, std::memory_order_seq_cst);
    const std::error_code error = blocked(direction);
    const bool over = base::now_ns() >= until_ns;
    if (!error && !over) runtime::park_until(reason, std::min(until_ns, limit_ns(direction)), this);
    withdraw(direction, own, state_ready);
    if (error) return fail(error);
    if (over) return {};
  }
}

// Still there unless an edge has replaced it.
void PollDesc::withdraw(Direction direction, std::uint64_t fiber_word, std::uint64_t state) noexcept {
  words_[index_of(direction)].compare_exchange_strong(fiber_word, state, std::memory_order_acq_rel);
}

void PollDesc::post_edge(Direction direction, bool is_hangup, const ReportAge* age) noexcept {
  std::atomic<std::uint64_t>& word = words_[index_of(direction)];
  std::uint64_t old = word.load(std::memory_order_relaxed);
  std::uint64_t next;
  do {
    next = (old & is_state) != 0 ? (old | ready) + one_edge : state_ready;
    if (is_hangup) next |= hangup;
    // Release pairs with the acquire of whoever reads the word: what the kernel reported before is seen.
  } while (!word.compare_exchange_weak(old, next, std::memory_order_acq_rel, std::memory_order_relaxed));
  if ((old & is_state) != 0) return;
  if (is_sleeper(old)) {
    runtime::Runtime::note_sleeper_woken();
    auto* sleeper = reinterpret_cast<Sleeper*>(old & ~sleeper_tag);
    // Looked at only now that nobody else can wake it: else it might be woken, read it all and sleep again in between.
    if (age != nullptr && age->may_precede(sleeper->waits_before) && sleep(*sleeper)) return;
    sleeper->wake(*sleeper);
  } else {
    runtime::unpark(reinterpret_cast<Fiber*>(old));
  }
}

// Of its poller. Asked after the read that found the descriptor empty, and before the sleeper can be seen: a wait that is not counted
// here has its look at the descriptor ahead of it. It was counted (Worker::poll) before it entered the kernel; that read and its
// look take the socket's lock there, which keeps both sides in this order.
std::uint32_t PollDesc::waits_begun() const noexcept {
  const runtime::Runtime* runtime = runtime::Runtime::current();
  return runtime == nullptr || worker_ >= runtime->worker_count() ? 0 : runtime->worker(worker_).waits_begun.load(std::memory_order_seq_cst);
}

bool PollDesc::sleep(Sleeper& sleeper) noexcept {
  std::atomic<std::uint64_t>& word = words_[index_of(Direction::read)];
  const std::uint64_t own = reinterpret_cast<std::uint64_t>(&sleeper) | sleeper_tag;
  const std::int64_t limit = limit_ns(Direction::read);
  sleeper.waits_before = waits_begun();
  for (;;) {
    std::uint64_t state = word.load(std::memory_order_acquire);
    ROOST_ASSERT((state & is_state) != 0, "a connection that another fiber reads was put to sleep");
    if (blocked(Direction::read)) return false;
    if ((state & ready) != 0) {
      const Hold hold(*this);
      if (!hold || has_something_to_read(fd())) return false;
      would_block(Direction::read, state);
    } else if (word.compare_exchange_weak(state, own, std::memory_order_seq_cst)) {
      break;
    }
  }
  runtime::count(&runtime::WorkerCounters::sleepers_begun);
  // From here on the sleeper may have been woken, and be gone; this state stays valid memory, and arming it for nothing
  // does no harm. As in wait(): published first, then looked at what may have changed.
  if (armed_ns_.load(std::memory_order_seq_cst) > limit) arm(limit);
  if (mutex_.is_closed()) kick(Direction::read);
  return true;
}

bool PollDesc::take_sleeper() noexcept {
  std::atomic<std::uint64_t>& word = words_[index_of(Direction::read)];
  std::uint64_t old = word.load(std::memory_order_acquire);
  if (!is_sleeper(old) || !word.compare_exchange_strong(old, is_state, std::memory_order_acq_rel)) return false;
  runtime::Runtime::note_sleeper_woken();
  return true;
}

// --- deadlines -----------------------------------------------------------------------------------------------------

bool PollDesc::set_idle_timeout(std::int64_t span_ns) noexcept {
  if (mutex_.is_closed()) return false;
  last_activity_ns_.store(base::now_ns(), std::memory_order_relaxed);
  if (span_ns > 0) idle_ns_.store(span_ns, std::memory_order_relaxed);
  has_idle_timeout_.store(span_ns > 0, std::memory_order_seq_cst);
  kick(Direction::read);
  kick(Direction::write);
  return true;
}

void PollDesc::arm(std::int64_t when_ns) noexcept {
  runtime::Worker* worker = runtime::current_worker();
  base::SpinGuard guard(timer_lock_);
  if (armed_ns_.load(std::memory_order_relaxed) <= when_ns) return;
  // If it cannot be canceled it is firing at this moment, and check_timer() waits for our lock.
  time::TimerQueue::cancel(*this);
  worker->timers.arm(*this, when_ns);
  armed_ns_.store(when_ns, std::memory_order_seq_cst);
}

void PollDesc::disarm() noexcept {
  base::SpinGuard guard(timer_lock_);
  time::TimerQueue::cancel(*this);
  armed_ns_.store(base::never_ns, std::memory_order_relaxed);
}

void PollDesc::on_timer(time::Timer& timer) noexcept { static_cast<PollDesc&>(timer).check_timer(); }

void PollDesc::check_timer() noexcept {
  {
    base::SpinGuard guard(timer_lock_);
    if (is_armed()) return;  // armed anew since it fired
    // seq_cst: a fiber that publishes itself after this store arms the timer; one that did so before is seen below.
    armed_ns_.store(base::never_ns, std::memory_order_seq_cst);
  }
  const std::int64_t now = base::now_ns();
  std::int64_t next = base::never_ns;
  for (const Direction direction : {Direction::read, Direction::write}) {
    const std::uint64_t word = words_[index_of(direction)].load(std::memory_order_seq_cst);
    if ((word & is_state) != 0) continue;
    const std::int64_t limit = limit_ns(direction);
    if (limit <= now) {
      wake_waiter(direction, word);
    } else {
      next = std::min(next, limit);
    }
  }
  if (next != base::never_ns) arm(next);
}

}  // namespace roost::detail

namespace roost::runtime {

void dispatch_events(std::span<const poll::Event> events, const detail::ReportAge& age) noexcept {
  // With very many connections a descriptor's state, and the fiber in it, are in no cache near by. They are called for a few
  // events ahead, so that the fetches overlap: first the state, and when that is there the fiber that it names.
  constexpr std::size_t states_ahead = 6;
  constexpr std::size_t fibers_ahead = 3;
  const detail::PollDescSlab& slab = detail::PollDescSlab::instance();
  const auto find = [&](std::size_t i) { return slab.find(static_cast<std::uint32_t>(events[i].token)); };
  for (std::size_t i = 0; i < std::min(states_ahead, events.size()); ++i) find(i)->prefetch();
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (i + states_ahead < events.size()) find(i + states_ahead)->prefetch();
    if (i + fibers_ahead < events.size()) find(i + fibers_ahead)->prefetch_waiter();
    PollDesc* desc = find(i);
    if (desc->is_generation(static_cast<std::uint32_t>(events[i].token >> 32))) desc->on_event(events[i], age);
  }
}

bool any_sleeper() noexcept { return detail::PollDescSlab::instance().any_sleeper(); }

std::uint64_t poll_descs_made() noexcept { return detail::PollDescSlab::instance().made(); }

}  // namespace roost::runtime
