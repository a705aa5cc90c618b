// kqueue, for FreeBSD, DragonFly, NetBSD and macOS: two edge-triggered filters per descriptor.
//
// NOT YET RUN ANYWHERE. It is built on those systems only, and its authors had none; a compiler has checked it against
// declarations written after the manual pages. backend_test.cc is what it has to pass: take a failure of that suite as a
// defect of this file. docs/decisions/0030-pollers.md says what else a port needs.
//
// Relies on EVFILT_USER (OpenBSD has none before 7.8). The last close ends a watch by itself.
#include <sys/types.h>
// after sys/types.h
#include <sys/event.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include "base/clock.h"
#include "poll/backend.h"
#include "poll/wake_flag.h"

namespace roost::poll {
namespace {

// No descriptor: the ident of a user filter is in a space of its own.
constexpr std::uintptr_t wake_ident = 0;

std::error_code last_error() noexcept { return {errno, std::generic_category()}; }

// EV_SET takes its udata as void* on most systems and as intptr_t on NetBSD before 10.
template <class Udata>
void set_udata(Udata& udata, Token token) noexcept {
  static_assert(sizeof(Udata) >= sizeof(Token), "a token does not fit into kqueue's user data on a 32-bit system");
  udata = reinterpret_cast<Udata>(static_cast<std::uintptr_t>(token));
}

struct kevent change(std::uintptr_t ident, short filter, unsigned short flags, unsigned fflags, Token token) noexcept {
  struct kevent made {};
  made.ident = ident;
  made.filter = filter;
  made.flags = flags;
  made.fflags = fflags;
  set_udata(made.udata, token);
  return made;
}

Event to_event(const struct kevent& reported) noexcept {
  const bool end = (reported.flags & (EV_EOF | EV_ERROR)) != 0;
  const bool read = reported.filter == EVFILT_READ;
  // The end of the read side also wakes a writer: where a pipe's reader has gone, some systems tell it only there. The
  // end of the write side says nothing of reading. Urgent data is not told apart from other, so no short read may
  // be taken for the end of it: every readable edge says hangup.
  return Event{.token = static_cast<Token>(reinterpret_cast<std::uintptr_t>(reported.udata)),
               .readable = read,
               .writable = !read || end,
               .hangup = read};
}

class KqueueBackend final : public Backend {
 public:
  explicit KqueueBackend(int queue_fd) noexcept : queue_fd_(queue_fd) {}
  ~KqueueBackend() override { ::close(queue_fd_); }
  KqueueBackend(const KqueueBackend&) = delete;
  KqueueBackend& operator=(const KqueueBackend&) = delete;

  Result<void> open() noexcept {
    const struct kevent watched = change(wake_ident, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0);
    if (::kevent(queue_fd_, &watched, 1, nullptr, 0, nullptr) != 0) return fail(last_error());
    return {};
  }

  Result<void> add(int fd, Token token) override {
    // kqueue would watch a file, and report its distance from the end.
    struct stat status;
    if (::fstat(fd, &status) != 0) return fail(last_error());
    if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode)) {
      return fail(std::errc::operation_not_permitted);
    }
    const auto ident = static_cast<std::uintptr_t>(fd);
    // Receipts, so that the result of each filter is told: an end of a pipe has one direction only.
    std::array<struct kevent, 2> changes{change(ident, EVFILT_READ, EV_ADD | EV_CLEAR | EV_RECEIPT, 0, token),
                                         change(ident, EVFILT_WRITE, EV_ADD | EV_CLEAR | EV_RECEIPT, 0, token)};
    std::array<struct kevent, 2> receipts;
    const timespec at_once{};
    const int count = ::kevent(queue_fd_, changes.data(), 2, receipts.data(), 2, &at_once);
    if (count < 0) return fail(last_error());
    int watched = 0;
    int error = 0;
    for (int i = 0; i < count; ++i) {
      const struct kevent& receipt = receipts[static_cast<std::size_t>(i)];
      if (receipt.data == 0) {
        ++watched;
      } else if (error == 0) {
        error = static_cast<int>(receipt.data);
      }
    }
    if (watched == 0) return fail(std::error_code(error != 0 ? error : EINVAL, std::generic_category()));
    return {};
  }

  void remove(int fd, Token) noexcept override {
    const auto ident = static_cast<std::uintptr_t>(fd);
    // One call each: an error of the first would keep the second from being made.
    for (const short filter : {short{EVFILT_READ}, short{EVFILT_WRITE}}) {
      const struct kevent ended = change(ident, filter, EV_DELETE, 0, 0);
      ::kevent(queue_fd_, &ended, 1, nullptr, 0, nullptr);
    }
  }

  std::size_t wait(std::span<Event> out, std::int64_t until_ns) noexcept override {
    std::array<struct kevent, 256> events;
    const int room = static_cast<int>(std::min(out.size(), events.size()));
    int count = 0;
    if (until_ns == 0) {
      count = wait_for(events.data(), room, 0);
    } else {
      count = wait_for(events.data(), room, wake_.block() ? until_ns : 0);
      wake_.unblock();
      wake_.take();
    }
    std::size_t stored = 0;
    for (int i = 0; i < count; ++i) {
      const struct kevent& event = events[static_cast<std::size_t>(i)];
      if (event.filter == EVFILT_USER) {
        if (until_ns == 0 && wake_.is_blocked()) kick();  // it was meant for the owner
        continue;
      }
      out[stored++] = to_event(event);
    }
    return stored;
  }

  void wake() noexcept override {
    if (wake_.post()) kick();
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "kqueue"; }

 private:
  void kick() noexcept {
    const struct kevent triggered = change(wake_ident, EVFILT_USER, 0, NOTE_TRIGGER, 0);
    ::kevent(queue_fd_, &triggered, 1, nullptr, 0, nullptr);
  }

  int wait_for(struct kevent* events, int room, std::int64_t until_ns) noexcept {
    std::int64_t span = 0;
    if (until_ns != 0) {
      // A stepped clock wakes the poller itself when it moves.
      const bool unlimited = until_ns == base::never_ns || (base::ManualClock::installed() && until_ns > base::now_ns());
      if (unlimited) return ::kevent(queue_fd_, nullptr, 0, events, room, nullptr);
      span = std::max<std::int64_t>(until_ns - base::now_ns(), 0);
    }
    // A day is long enough to look again; some systems refuse very long waits.
    span = std::min<std::int64_t>(span, std::int64_t{86'400} * 1'000'000'000);
    const timespec timeout{.tv_sec = static_cast<time_t>(span / 1'000'000'000),
                           .tv_nsec = static_cast<long>(span % 1'000'000'000)};
    return ::kevent(queue_fd_, nullptr, 0, events, room, &timeout);
  }

  const int queue_fd_;
  WakeFlag wake_;
};

}  // namespace

Result<std::unique_ptr<Backend>> open_kqueue() {
  const int queue_fd = ::kqueue();
  if (queue_fd < 0) return fail(last_error());
  auto backend = std::make_unique<KqueueBackend>(queue_fd);
  if (auto opened = backend->open(); !opened) return fail(opened.error());
  return backend;
}

}  // namespace roost::poll
