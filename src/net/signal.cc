// A signal's handler may do next to nothing, so it writes the signal's number into the pipe of every set that wants it; the
// sets' fibers wait for their pipes as for any other descriptor.
//
// A set that stops takes its bits out of its slot and then waits until no handler is inside, so that none writes into a
// descriptor that has got another meaning by then.
#include <roost/signal.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>

#include <roost/detail/spin_lock.h>
#include <roost/go.h>

#include "base/assert.h"
#include "net/socket.h"
#include "runtime/netpoll.h"

namespace roost {
namespace {

constexpr int signals_max = 64;

constexpr std::uint64_t bit_of(int number) noexcept { return std::uint64_t{1} << (number - 1); }

struct Slot {
  std::atomic<std::uint64_t> wanted{0};  // 0: free, or stopped
  std::atomic<int> pipe{-1};
};

// What the handler reads.
constinit std::array<Slot, 64> slots;
constinit std::atomic<unsigned> handlers_inside{0};

void on_signal(int number) noexcept {
  const int saved_errno = errno;
  // seq_cst on both sides: whoever stops stores `wanted` and then looks at the count, so either this handler sees that the
  // set has stopped, or the set waits for this handler.
  handlers_inside.fetch_add(1, std::memory_order_seq_cst);
  const auto byte = static_cast<unsigned char>(number);
  for (const Slot& slot : slots) {
    if ((slot.wanted.load(std::memory_order_seq_cst) & bit_of(number)) == 0) continue;
    // A full pipe already holds more signals than anybody waits for.
    [[maybe_unused]] const ssize_t wrote = ::write(slot.pipe.load(std::memory_order_relaxed), &byte, 1);
  }
  handlers_inside.fetch_sub(1, std::memory_order_seq_cst);
  errno = saved_errno;
}

// Which signals are caught at present, and what they did before. Not touched by the handler.
class Dispositions {
 public:
  static Dispositions& instance() {
    static auto* dispositions = new Dispositions;  // never destroyed: sets may end late
    return *dispositions;
  }

  // Takes a slot for a set that wants these signals.
  Slot& join(std::uint64_t wanted, int pipe) {
    std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (taken_[i]) continue;
      taken_[i] = true;
      slots[i].pipe.store(pipe, std::memory_order_relaxed);
      slots[i].wanted.store(wanted, std::memory_order_seq_cst);
      for_each(wanted, [&](int number) {
        if (interest_[index(number)]++ == 0) catch_it(number);
      });
      return slots[i];
    }
    base::panic(__FILE__, __LINE__, "more than 64 SignalSets at once");
  }
  // No handler writes for this slot once this has returned.
  void stop(Slot& slot) noexcept {
    {
      std::lock_guard lock(mutex_);
      for_each(slot.wanted.exchange(0, std::memory_order_seq_cst), [&](int number) {
        if (--interest_[index(number)] == 0) ::sigaction(number, &before_[index(number)], nullptr);
      });
    }
    while (handlers_inside.load(std::memory_order_seq_cst) != 0) ::sched_yield();
  }
  void leave(Slot& slot) noexcept {
    stop(slot);
    std::lock_guard lock(mutex_);
    taken_[static_cast<std::size_t>(&slot - slots.data())] = false;
  }
  // Takes the signals away from all sets.
  void take_away(std::uint64_t numbers, void (*handler)(int)) noexcept {
    std::lock_guard lock(mutex_);
    for (Slot& slot : slots) slot.wanted.fetch_and(~numbers, std::memory_order_seq_cst);
    for_each(numbers, [&](int number) {
      interest_[index(number)] = 0;
      struct sigaction action {};
      action.sa_handler = handler;
      ::sigaction(number, &action, nullptr);
    });
  }

 private:
  static std::size_t index(int number) noexcept { return static_cast<std::size_t>(number - 1); }
  template <class F>
  static void for_each(std::uint64_t numbers, F&& visit) {
    for (int number = 1; number <= signals_max; ++number) {
      if ((numbers & bit_of(number)) != 0) visit(number);
    }
  }
  void catch_it(int number) noexcept {
    struct sigaction action {};
    action.sa_handler = &on_signal;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    ROOST_ASSERT(::sigaction(number, &action, &before_[index(number)]) == 0, "a SignalSet was given a signal that cannot be caught");
  }

  std::mutex mutex_;  // never held across a park; guards all below, and who changes `slots`
  std::array<bool, slots.size()> taken_{};
  std::array<unsigned, signals_max> interest_{};
  std::array<struct sigaction, signals_max> before_{};
};

std::uint64_t mask_of(std::initializer_list<int> signals) {
  std::uint64_t mask = 0;
  for (const int number : signals) {
    ROOST_ASSERT(number >= 1 && number <= signals_max, "a number that is no signal");
    mask |= bit_of(number);
  }
  return mask;
}

}  // namespace

struct SignalSet::State {
  detail::PollDesc* desc = nullptr;
  net::UniqueFd write_end;
  Slot* slot = nullptr;
};

SignalSet::SignalSet(std::initializer_list<int> signals) : state_(std::make_unique<State>()) {
  int ends[2];
  ROOST_ASSERT(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0, "no descriptors for a SignalSet");
  auto desc = detail::PollDesc::open(ends[0], detail::PollDesc::First::wait);
  ROOST_ASSERT(desc.has_value(), "a SignalSet needs a running runtime");
  state_->desc = *desc;
  state_->write_end = net::UniqueFd(ends[1]);
  state_->slot = &Dispositions::instance().join(mask_of(signals), ends[1]);
}

SignalSet::~SignalSet() {
  Dispositions::instance().leave(*state_->slot);
  state_->desc->destroy();
}

void SignalSet::stop() noexcept { Dispositions::instance().stop(*state_->slot); }

Result<int> SignalSet::wait(Deadline deadline) {
  using runtime::Direction;
  detail::PollDesc& desc = *state_->desc;
  const detail::PollDesc::Call call(desc, Direction::read);
  if (!call) return fail(Errc::closed);
  desc.set_deadline(Direction::read, deadline);
  for (;;) {
    const std::uint64_t edge = desc.edge(Direction::read);
    unsigned char number = 0;
    const ssize_t count = ::read(desc.fd(), &number, 1);
    if (count == 1) return number;
    if (count < 0 && net::last_errno() == EINTR) continue;
    desc.would_block(Direction::read, edge);
    if (const std::error_code error = desc.blocked(Direction::read)) return fail(error);
    if (const std::error_code error = desc.wait(Direction::read)) return fail(error);
  }
}

void ignore_signals(std::initializer_list<int> signals) noexcept { Dispositions::instance().take_away(mask_of(signals), SIG_IGN); }
void reset_signals(std::initializer_list<int> signals) noexcept { Dispositions::instance().take_away(mask_of(signals), SIG_DFL); }

namespace {

// Gives the signals back as soon as the context is done, before whoever canceled it goes on.
struct StopHook final : detail::ContextHook {
  explicit StopHook(std::shared_ptr<SignalSet> stops)
      : ContextHook([](RefCounted* self) noexcept { delete static_cast<StopHook*>(self); },
                    [](ContextHook* self) noexcept { static_cast<StopHook*>(self)->set->stop(); }),
        set(std::move(stops)) {}
  const std::shared_ptr<SignalSet> set;
};

}  // namespace

CancelableContext with_signals(const Context& parent, std::initializer_list<int> signals) {
  CancelableContext made = with_cancel(parent);
  auto set = std::make_shared<SignalSet>(signals);
  const auto hook = detail::Ref<detail::ContextHook>::adopt(new StopHook(set));
  detail::add_hook(made.context, hook.get());
  // The last owner of the set, as its destructor may park: the hook runs in whatever cancels.
  go(SpawnOptions{.name = "with_signals"}, [set = std::move(set), hook, context = made.context, cancel = made.cancel] {
    const ContextScope scope(context);
    if (set->wait()) cancel(std::make_error_code(std::errc::interrupted));
  }).detach();
  return made;
}

}  // namespace roost
