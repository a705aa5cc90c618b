// Linux's epoll, edge-triggered.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <ctime>

#include "base/clock.h"
#include "poll/backend.h"
#include "poll/wake_flag.h"

namespace roost::poll {
namespace {

constexpr Token wake_token = ~Token{0};

std::error_code last_error() noexcept { return {errno, std::generic_category()}; }

class EpollBackend final : public Backend {
 public:
  EpollBackend(int epoll_fd, int event_fd) noexcept : epoll_fd_(epoll_fd), event_fd_(event_fd) {}
  ~EpollBackend() override {
    ::close(event_fd_);
    ::close(epoll_fd_);
  }

  Result<void> add(int fd, Token token) override {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    event.data.u64 = token;
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return fail(last_error());
    return {};
  }

  void remove(int fd, Token) noexcept override { ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr); }

  std::size_t wait(std::span<Event> out, std::int64_t until_ns) noexcept override {
    // On the owner's own small stack; a batch is also the bound on how long events are handed out without a look at
    // the run queue.
    std::array<epoll_event, 256> events;
    const int room = static_cast<int>(std::min(out.size(), events.size()));
    int count = 0;
    if (until_ns == 0) {
      count = ::epoll_wait(epoll_fd_, events.data(), room, 0);
    } else {
      count = wait_until(events.data(), room, wake_.block() ? until_ns : 0);
      wake_.unblock();
      wake_.take();
    }
    std::size_t stored = 0;
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      if (event.data.u64 == wake_token) {
        // The eventfd is watched for edges, so it need not be read: each write is a new edge.
        if (until_ns == 0 && wake_.is_blocked()) kick();  // it was meant for the owner
        continue;
      }
      out[stored++] = Event{.token = event.data.u64,
                            .readable = (event.events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0,
                            .writable = (event.events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0,
                            .hangup = (event.events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0};
    }
    return stored;
  }

  void wake() noexcept override {
    if (wake_.post()) kick();
  }

  std::string_view name() const noexcept override { return "epoll"; }

 private:
  void kick() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t wrote = ::write(event_fd_, &one, sizeof one);
  }

  int wait_until(epoll_event* events, int room, std::int64_t until_ns) noexcept {
    if (until_ns == 0) return ::epoll_wait(epoll_fd_, events, room, 0);
    if (until_ns == base::never_ns) return ::epoll_wait(epoll_fd_, events, room, -1);
    // A stepped clock wakes the poller itself when it moves.
    if (base::ManualClock::installed()) {
      return ::epoll_wait(epoll_fd_, events, room, until_ns <= base::now_ns() ? 0 : -1);
    }
    const std::int64_t span = std::max<std::int64_t>(until_ns - base::now_ns(), 0);
    if (has_pwait2_) {
      const timespec timeout{.tv_sec = static_cast<time_t>(span / 1'000'000'000),
                             .tv_nsec = static_cast<long>(span % 1'000'000'000)};
      const int count = ::epoll_pwait2(epoll_fd_, events, room, &timeout, nullptr);
      if (count >= 0 || errno != ENOSYS) return count;
      has_pwait2_ = false;  // before Linux 5.11
    }
    // Round up: 0.4 ms cut to 0 would turn this wait into a spin until the time has come.
    const std::int64_t milliseconds = std::min<std::int64_t>((span + 999'999) / 1'000'000, 1'000'000'000);
    return ::epoll_wait(epoll_fd_, events, room, static_cast<int>(milliseconds));
  }

  const int epoll_fd_;
  const int event_fd_;
  WakeFlag wake_;
  std::atomic<bool> has_pwait2_{true};
};

}  // namespace

Result<std::unique_ptr<Backend>> open_epoll() {
  const int epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return fail(last_error());
  const int event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_fd < 0) {
    const std::error_code error = last_error();
    ::close(epoll_fd);
    return fail(error);
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = wake_token;
  if (::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event_fd, &event) != 0) {
    const std::error_code error = last_error();
    ::close(event_fd);
    ::close(epoll_fd);
    return fail(error);
  }
  return std::make_unique<EpollBackend>(epoll_fd, event_fd);
}

}  // namespace roost::poll
