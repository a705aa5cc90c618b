#include <roost/signal.h>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <vector>

#include "base/assert.h"
#include "net/socket.h"
#include "runtime/netpoll.h"

namespace roost {
namespace {

// Where the handler writes; -1 while no SignalSet lives.
std::atomic<int> signal_pipe{-1};

void on_signal(int number) noexcept {
  const int saved_errno = errno;
  const auto byte = static_cast<unsigned char>(number);
  // A full pipe already holds more signals than anybody waits for.
  [[maybe_unused]] const ssize_t wrote = ::write(signal_pipe.load(std::memory_order_relaxed), &byte, 1);
  errno = saved_errno;
}

}  // namespace

struct SignalSet::State {
  detail::PollDesc* desc = nullptr;
  net::UniqueFd write_end;
  struct Replaced {
    int number;
    struct sigaction action;
  };
  std::vector<Replaced> replaced;
};

SignalSet::SignalSet(std::initializer_list<int> signals) : state_(new State) {
  int ends[2];
  ROOST_ASSERT(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0, "no descriptors for a SignalSet");
  auto desc = detail::PollDesc::open(ends[0], detail::PollDesc::First::wait);
  ROOST_ASSERT(desc.has_value(), "a SignalSet needs a running runtime");
  state_->desc = *desc;
  state_->write_end = net::UniqueFd(ends[1]);
  ROOST_ASSERT(signal_pipe.exchange(ends[1]) == -1, "two SignalSets at once");
  for (const int number : signals) {
    struct sigaction action {};
    action.sa_handler = &on_signal;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    State::Replaced replaced{.number = number, .action = {}};
    ROOST_ASSERT(::sigaction(number, &action, &replaced.action) == 0, "a SignalSet was given a signal that cannot be caught");
    state_->replaced.push_back(replaced);
  }
}

SignalSet::~SignalSet() {
  for (const auto& replaced : state_->replaced) ::sigaction(replaced.number, &replaced.action, nullptr);
  signal_pipe.store(-1);
  state_->desc->destroy();
  delete state_;
}

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
    if (auto ready = desc.wait(Direction::read); !ready) return fail(ready.error());
  }
}

}  // namespace roost
