// The contract of backend.h as a suite that every backend passes.
//
// Where an event must not come, the tests use pairs of Unix sockets: what one end does is ready at the other when the call
// returns, so a look shows it without waiting. Races are met by repetition with counts; a lost wake or event shows as a test
// that hangs until CTest's time-out.
#include "poll/backend.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cstddef>
#endif

#include "base/clock.h"
#include "poll/backend_fake.h"
#include "sanitized.h"

namespace roost::poll {
namespace {

using base::never_ns;
using base::now_ns;

constexpr std::int64_t second_ns = 1'000'000'000;

struct Kind {
  const char* name;
  Result<std::unique_ptr<Backend>> (*open)();
};

Result<std::unique_ptr<Backend>> open_fake() { return std::make_unique<FakeBackend>(); }

#if defined(__linux__)
constexpr std::array system_kinds{Kind{"epoll", &open_epoll}, Kind{"io_uring", &open_io_uring}};
constexpr std::array all_kinds{Kind{"epoll", &open_epoll}, Kind{"io_uring", &open_io_uring}, Kind{"fake", &open_fake}};
#else
constexpr std::array system_kinds{Kind{"kqueue", &open_kqueue}};
constexpr std::array all_kinds{Kind{"kqueue", &open_kqueue}, Kind{"fake", &open_fake}};
#endif

std::string kind_name(const testing::TestParamInfo<Kind>& info) { return info.param.name; }

// A descriptor that closes itself.
class Fd {
 public:
  explicit Fd(int fd = -1) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { reset(); }
  void reset() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

void make_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

struct Pair {
  Fd near, far;
};
Pair unix_pair() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  make_nonblocking(fds[0]);
  make_nonblocking(fds[1]);
  return {Fd(fds[0]), Fd(fds[1])};
}

// Port 0: any.
Fd tcp_listener(std::uint16_t port, sockaddr_in& address) {
  Fd listener(::socket(AF_INET, SOCK_STREAM, 0));
  const int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return Fd();
  if (::listen(listener.get(), 16) != 0) return Fd();
  socklen_t size = sizeof address;
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  make_nonblocking(listener.get());
  return listener;
}
Pair tcp_pair() {
  sockaddr_in address;
  Fd listener = tcp_listener(0, address);
  Fd near(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(::connect(near.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  Fd far(::accept(listener.get(), nullptr, nullptr));
  EXPECT_GE(far.get(), 0);
  make_nonblocking(near.get());
  make_nonblocking(far.get());
  return {std::move(near), std::move(far)};
}

void put(const Fd& fd, std::string_view text) {
  ASSERT_EQ(::send(fd.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
}
// Reads until nothing is left. Returns how much there was.
std::size_t drain(int fd) {
  std::array<char, 4096> buffer;
  std::size_t total = 0;
  for (;;) {
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) return total;
    total += static_cast<std::size_t>(got);
  }
}
// How long until the peer has closed; -1: not within five seconds.
std::int64_t ns_until_end_of_stream(const Fd& fd) {
  const std::int64_t start = now_ns();
  pollfd polled{.fd = fd.get(), .events = POLLIN, .revents = 0};
  char byte = 0;
  if (::poll(&polled, 1, 5'000) != 1 || ::recv(fd.get(), &byte, 1, 0) != 0) return -1;
  return now_ns() - start;
}

class BackendTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    auto opened = GetParam().open();
    if (!opened && (opened.error() == std::errc::operation_not_permitted ||
                    opened.error() == std::errc::function_not_supported)) {
      GTEST_SKIP() << GetParam().name << " is not to be had here: " << opened.error().message();
    }
    ASSERT_TRUE(opened) << opened.error().message();
    backend_ = std::move(*opened);
  }

  // All that is reported now, without blocking.
  std::vector<Event> look() {
    std::vector<Event> all;
    std::array<Event, 64> events;
    for (;;) {
      const std::size_t count = backend_->wait(events, 0);
      if (count == 0) return all;
      all.insert(all.end(), events.begin(), events.begin() + static_cast<std::ptrdiff_t>(count));
    }
  }
  // Blocks until an event of `token` satisfies `wanted`; events of others are dropped. False: none within five seconds.
  bool await(Token token, const std::function<bool(const Event&)>& wanted) {
    const std::int64_t until = now_ns() + 5 * second_ns;
    std::array<Event, 64> events;
    while (now_ns() < until) {
      const std::size_t count = backend_->wait(events, until);
      for (std::size_t i = 0; i < count; ++i) {
        if (events[i].token == token && wanted(events[i])) return true;
      }
    }
    return false;
  }
  void close(Fd& fd, Token token) {
    if (backend_->needs_remove()) backend_->remove(fd.get(), token);
    fd.reset();
  }

  std::unique_ptr<Backend> backend_;
};

bool is_readable(const Event& event) { return event.readable; }
bool is_writable(const Event& event) { return event.writable; }
bool is_hangup(const Event& event) { return event.hangup; }

// --- what every backend does, the fake one included ------------------------------------------------------------------

class PollerWake : public BackendTest {};

TEST_P(PollerWake, AWakeBeforeTheWaitMakesItReturnAtOnce) {
  std::array<Event, 4> events;
  for (int i = 0; i < 1'000; ++i) {
    backend_->wake();
    EXPECT_EQ(backend_->wait(events, never_ns), 0u);
  }
}

TEST_P(PollerWake, AThousandWakesAreUsedUpByOneWait) {
  std::array<Event, 4> events;
  for (int i = 0; i < 1'000; ++i) backend_->wake();
  EXPECT_EQ(backend_->wait(events, never_ns), 0u);
  const std::int64_t until = now_ns() + 5'000'000;
  EXPECT_EQ(backend_->wait(events, until), 0u);
  EXPECT_GE(now_ns(), until);
}

TEST_P(PollerWake, AWakeDuringTheWaitEndsIt) {
  // Each round the waker goes ahead as soon as the owner is about to wait, so wakes fall before, into and after the
  // system call.
  constexpr int rounds = 20'000;
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
  std::thread owner([&] {
    std::array<Event, 4> events;
    for (int i = 1; i <= rounds; ++i) {
      begun.store(i);
      EXPECT_EQ(backend_->wait(events, never_ns), 0u);
      ended.store(i);
    }
  });
  for (int i = 1; i <= rounds; ++i) {
    while (begun.load() < i) std::this_thread::yield();
    if (i % 4 == 0) std::this_thread::yield();
    backend_->wake();
    while (ended.load() < i) std::this_thread::yield();
  }
  owner.join();
}

TEST_P(PollerWake, WakesFromManyThreadsAreNeverLost) {
  constexpr int wakers = 4;
  constexpr int tickets_each = 10'000;
  std::atomic<int> made{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < wakers; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < tickets_each; ++k) {
        made.fetch_add(1, std::memory_order_relaxed);  // wake() must make it visible
        backend_->wake();
      }
    });
  }
  std::array<Event, 4> events;
  while (made.load(std::memory_order_relaxed) < wakers * tickets_each) {
    EXPECT_EQ(backend_->wait(events, never_ns), 0u);
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(PollerWake, ALookUsesUpNoWake) {
  std::array<Event, 4> events;
  for (int i = 0; i < 100; ++i) {
    backend_->wake();
    EXPECT_EQ(backend_->wait(events, 0), 0u);
    EXPECT_EQ(backend_->wait(events, never_ns), 0u);
  }
}

TEST_P(PollerWake, AnotherThreadsLooksNeverTakeTheOwnersWake) {
  constexpr int rounds = test::rounds(4'000);
  std::atomic<int> woken{0};
  std::atomic<bool> over{false};
  std::thread owner([&] {
    std::array<Event, 4> events;
    for (int i = 1; i <= rounds; ++i) {
      EXPECT_EQ(backend_->wait(events, never_ns), 0u);
      woken.store(i);
      while (!over.load() && woken.load() == i) std::this_thread::yield();
    }
  });
  std::thread helper([&] {
    std::array<Event, 4> events;
    for (int i = 0; !over.load(); ++i) {
      EXPECT_EQ(backend_->wait(events, 0), 0u);
      if (i % 16 == 0) std::this_thread::yield();
    }
  });
  // One wake and one return each round; changing `woken` lets the owner go on.
  for (int i = 1; i <= rounds; ++i) {
    backend_->wake();
    while (woken.load() != i) std::this_thread::yield();
    woken.store(-i);
  }
  over.store(true);
  owner.join();
  helper.join();
}

TEST_P(PollerWake, ADeadlineIsNeverEarlyAndSubMillisecond) {
  std::array<Event, 4> events;
  for (const std::int64_t span : {50'000, 400'000, 1'000'000, 3'000'000}) {
    std::int64_t late_least = never_ns;
    for (int i = 0; i < 20; ++i) {
      const std::int64_t until = now_ns() + span;
      EXPECT_EQ(backend_->wait(events, until), 0u);
      const std::int64_t late = now_ns() - until;
      EXPECT_GE(late, 0);
      late_least = std::min(late_least, late);
    }
    // The best of twenty: the rest may have lost the processor.
    EXPECT_LT(late_least, 900'000) << "for a span of " << span << " ns";
  }
}

TEST_P(PollerWake, ADeadlineThatHasPassedReturnsAtOnce) {
  std::array<Event, 4> events;
  EXPECT_EQ(backend_->wait(events, 1), 0u);
  EXPECT_EQ(backend_->wait(events, now_ns() - second_ns), 0u);
}

TEST_P(PollerWake, ALookNeverBlocks) {
  std::array<Event, 4> events;
  for (int i = 0; i < 10'000; ++i) EXPECT_EQ(backend_->wait(events, 0), 0u);
}

TEST_P(PollerWake, AWaitUnderASteppedClockLastsUntilTheStepWakes) {
  base::ManualClock clock;
  base::ManualClock::set_on_advance(nullptr);
  std::atomic<bool> returned{false};
  std::array<Event, 4> events;
  EXPECT_EQ(backend_->wait(events, clock.now_ns()), 0u);  // its time has come
  const std::int64_t until = clock.now_ns() + 1'000;
  std::thread owner([&] {
    // A wait by the real clock would be over at once: the stepped one shows a time long ago.
    while (now_ns() < until) backend_->wait(events, until);
    returned.store(true);
  });
  clock.advance_ns(999);
  backend_->wake();
  EXPECT_FALSE(returned.load());
  clock.advance_ns(1);
  backend_->wake();
  owner.join();
  EXPECT_TRUE(returned.load());
}

INSTANTIATE_TEST_SUITE_P(Every, PollerWake, testing::ValuesIn(all_kinds), &kind_name);

// --- what the system's backends report -------------------------------------------------------------------------------

class PollerReadiness : public BackendTest {};

TEST_P(PollerReadiness, WhatIsReadyWhenAddedIsReportedOnce) {
  Pair pair = unix_pair();
  put(pair.far, "x");
  ASSERT_TRUE(backend_->add(pair.near.get(), 1));
  bool readable = false;
  bool writable = false;
  for (const Event& event : look()) {
    EXPECT_EQ(event.token, 1u);
    readable |= event.readable;
    writable |= event.writable;
  }
  EXPECT_TRUE(readable);
  EXPECT_TRUE(writable);
  EXPECT_TRUE(look().empty());
}

TEST_P(PollerReadiness, DataIsOneEdgeAndMoreDataIsAnother) {
  Pair pair = unix_pair();
  ASSERT_TRUE(backend_->add(pair.near.get(), 1));
  for (const Event& event : look()) EXPECT_FALSE(event.readable);
  put(pair.far, "a");
  auto events = look();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_TRUE(events[0].readable);
  EXPECT_TRUE(look().empty()) << "unread data is no edge";
  put(pair.far, "b");
  events = look();
  ASSERT_EQ(events.size(), 1u) << "though the first byte is still there";
  EXPECT_TRUE(events[0].readable);
  EXPECT_EQ(drain(pair.near.get()), 2u);
  put(pair.far, "c");
  events = look();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_TRUE(events[0].readable);
}

TEST_P(PollerReadiness, RoomToWriteIsAnEdge) {
  Pair pair = unix_pair();
  ASSERT_TRUE(backend_->add(pair.near.get(), 1));
  const std::array<char, 4096> block{};
  while (::send(pair.near.get(), block.data(), block.size(), 0) > 0) continue;
  ASSERT_EQ(errno, EAGAIN);
  look();
  EXPECT_GT(drain(pair.far.get()), 0u);
  EXPECT_TRUE(await(1, is_writable));
}

TEST_P(PollerReadiness, RoomToWriteOnTcpIsAnEdge) {
  Pair pair = tcp_pair();
  ASSERT_TRUE(backend_->add(pair.near.get(), 1));
  const std::array<char, 4096> block{};
  while (::send(pair.near.get(), block.data(), block.size(), 0) > 0) continue;
  ASSERT_EQ(errno, EAGAIN);
  look();
  for (const std::int64_t until = now_ns() + 5 * second_ns; now_ns() < until;) {
    drain(pair.far.get());
    std::array<Event, 4> events;
    const std::size_t count = backend_->wait(events, now_ns() + 1'000'000);
    if (count > 0 && events[0].writable) return;
  }
  ADD_FAILURE() << "never writable again";
}

TEST_P(PollerReadiness, DataFollowedByTheEndShowsTheHangupBeforeAnythingIsRead) {
  for (auto make_pair : {&unix_pair, &tcp_pair}) {
    Pair pair = make_pair();
    const Token token = make_pair == &unix_pair ? 1 : 2;
    ASSERT_TRUE(backend_->add(pair.near.get(), token));
    look();
    put(pair.far, "last words");
    pair.far.reset();
    EXPECT_TRUE(await(token, [](const Event& event) { return event.hangup && event.readable; }));
    EXPECT_TRUE(look().empty()) << "and never another edge";
    close(pair.near, token);
  }
}

TEST_P(PollerReadiness, UrgentDataSaysThatAShortReadProvesNothing) {
  Pair pair = tcp_pair();
  ASSERT_TRUE(backend_->add(pair.near.get(), 1));
  look();
  put(pair.far, "before");
  ASSERT_EQ(::send(pair.far.get(), "!", 1, MSG_OOB), 1);
  EXPECT_TRUE(await(1, [](const Event& event) { return event.readable && event.hangup; }));
}

TEST_P(PollerReadiness, AHalfClosedPeerIsAHangupAndTheOtherHalfStaysUsable) {
  Pair pair = tcp_pair();
  ASSERT_TRUE(backend_->add(pair.near.get(), 1));
  look();
  ::shutdown(pair.far.get(), SHUT_WR);
  EXPECT_TRUE(await(1, [](const Event& event) { return event.hangup && event.readable; }));
  put(pair.near, "answer");
  pollfd polled{.fd = pair.far.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&polled, 1, 5'000), 1);
  EXPECT_EQ(drain(pair.far.get()), 6u);
}

TEST_P(PollerReadiness, AResetIsAHangupInBothDirections) {
  Pair pair = tcp_pair();
  ASSERT_TRUE(backend_->add(pair.near.get(), 1));
  look();
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(pair.far.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  pair.far.reset();
  bool writable = false;
  EXPECT_TRUE(await(1, [&](const Event& event) {
    writable |= event.writable;
    return event.hangup && event.readable;
  }));
  EXPECT_TRUE(writable || await(1, is_writable));
}

TEST_P(PollerReadiness, AConnectionToAcceptMakesAListenerReadable) {
  sockaddr_in address;
  Fd listener = tcp_listener(0, address);
  ASSERT_TRUE(backend_->add(listener.get(), 1));
  look();
  for (int i = 0; i < 3; ++i) {
    Fd client(::socket(AF_INET, SOCK_STREAM, 0));
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_TRUE(await(1, is_readable));
    Fd accepted(::accept(listener.get(), nullptr, nullptr));
    EXPECT_GE(accepted.get(), 0);
  }
}

TEST_P(PollerReadiness, EachEndOfAPipeHasItsDirection) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  Fd read_end(fds[0]);
  Fd write_end(fds[1]);
  ASSERT_TRUE(backend_->add(read_end.get(), 1));
  ASSERT_TRUE(backend_->add(write_end.get(), 2));
  EXPECT_TRUE(await(2, is_writable));
  ASSERT_EQ(::write(write_end.get(), "x", 1), 1);
  EXPECT_TRUE(await(1, is_readable));
  close(write_end, 2);
  EXPECT_TRUE(await(1, is_hangup));
}

TEST_P(PollerReadiness, WhatIsAlwaysReadyIsRefused) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  auto added = backend_->add(::fileno(file), 1);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error(), std::errc::operation_not_permitted);
  std::fclose(file);
  Fd directory(::open("/", O_RDONLY));
  added = backend_->add(directory.get(), 2);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error(), std::errc::operation_not_permitted);
  EXPECT_TRUE(look().empty());
}

TEST_P(PollerReadiness, AClosedDescriptorIsRefused) {
  Pair pair = unix_pair();
  const int fd = pair.near.get();
  pair.near.reset();
  const auto added = backend_->add(fd, 1);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error(), std::errc::bad_file_descriptor);
  EXPECT_TRUE(look().empty());
}

TEST_P(PollerReadiness, EveryTokenWithoutTheInternalBitComesBackAsItIs) {
  std::vector<Pair> pairs;
  const std::vector<Token> tokens{0, 1, 0x7fff'ffff, Token{1} << 32, 0xffff'ffff'7fff'ffff, ~Token{0} & ~internal_token_bit};
  for (std::size_t i = 0; i < 5; ++i) {
    pairs.push_back(unix_pair());
    ASSERT_TRUE(backend_->add(pairs.back().near.get(), tokens[i]));
  }
  backend_->wake();
  std::map<Token, int> seen;
  for (const Event& event : look()) ++seen[event.token];
  EXPECT_EQ(seen.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(seen[tokens[i]], 1) << tokens[i];
}

TEST_P(PollerReadiness, MoreEventsThanRoomAreKeptForTheNextWaits) {
  constexpr std::size_t count = 100;
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < count; ++i) {
    pairs.push_back(unix_pair());
    ASSERT_TRUE(backend_->add(pairs.back().near.get(), i));
  }
  std::map<Token, int> seen;
  std::array<Event, 3> events;
  while (seen.size() < count) {
    const std::size_t got = backend_->wait(events, now_ns() + 5 * second_ns);
    ASSERT_GT(got, 0u);
    for (std::size_t i = 0; i < got; ++i) ++seen[events[i].token];
  }
  EXPECT_EQ(backend_->wait(events, 0), 0u);
}

// --- closing ---------------------------------------------------------------------------------------------------------

TEST_P(PollerReadiness, AReusedNumberReportsUnderItsNewTokenOnly) {
  Token token = 0;
  for (int round = 0; round < 200; ++round) {
    Pair old = unix_pair();
    const int fd = old.near.get();
    ASSERT_TRUE(backend_->add(fd, ++token));
    put(old.far, "x");
    if (round % 3 != 0) look();  // else the old life ends with its events unseen, or its watch not even begun
    close(old.near, token);
    look();
    Pair fresh = unix_pair();
    if (fresh.near.get() != fd) {  // the lowest free number is given out
      ASSERT_EQ(::dup2(fresh.near.get(), fd), fd);
      fresh.near = Fd(fd);
    }
    ASSERT_TRUE(backend_->add(fd, ++token));
    put(fresh.far, "y");
    bool readable = false;
    for (const Event& event : look()) {
      EXPECT_EQ(event.token, token);
      readable |= event.readable;
    }
    EXPECT_TRUE(readable);
    close(fresh.near, token);
  }
}

TEST_P(PollerReadiness, ARemovedDescriptorThatLivesOnIsSilentAndCanBeAddedAgain) {
  Pair pair = unix_pair();
  Token token = 0;
  for (int round = 0; round < 50; ++round) {
    ASSERT_TRUE(backend_->add(pair.near.get(), ++token));
    if (round % 2 == 0) look();  // else it is removed before any wait
    backend_->remove(pair.near.get(), token);
    look();
    put(pair.far, "x");
    EXPECT_TRUE(look().empty());
    drain(pair.near.get());
  }
}

TEST_P(PollerReadiness, ThePeerSeesTheEndWithoutAnyFurtherWait) {
  for (int round = 0; round < 100; ++round) {
    Pair pair = tcp_pair();
    ASSERT_TRUE(backend_->add(pair.near.get(), static_cast<Token>(round)));
    if (round % 2 == 0) look();
    close(pair.near, static_cast<Token>(round));
    ASSERT_GE(ns_until_end_of_stream(pair.far), 0);
  }
}

// An owner that has begun the watches itself, and then does `occupied` until told to stop.
class Owner {
 public:
  Owner(Backend& backend, std::function<void(std::atomic<bool>&)> occupied)
      : thread_([this, &backend, occupied = std::move(occupied)] {
          std::array<Event, 64> events;
          for (;;) {
            while (!busy_.load()) {
              if (over_.load()) return;
              backend.wait(events, 0);
            }
            idle_.store(false);
            occupied(busy_);
            while (busy_.load()) std::this_thread::yield();
            idle_.store(true);
          }
        }) {}
  ~Owner() {
    over_.store(true);
    busy_.store(false);
    thread_.join();
  }
  void occupy() {
    busy_.store(true);
    while (idle_.load()) std::this_thread::yield();
  }
  void release() {
    busy_.store(false);
    while (!idle_.load()) std::this_thread::yield();
  }

 private:
  std::atomic<bool> busy_{false};
  std::atomic<bool> over_{false};
  std::atomic<bool> idle_{true};
  std::thread thread_;
};

TEST_P(PollerReadiness, AListenersPortIsFreeAsSoonAsAnotherThreadHasRemovedAndClosedIt) {
  // The hardest close: any late release shows as "address in use". Removed on every backend: see remove().
  std::array<Event, 64> events;
  std::atomic<bool> over{false};
  std::thread owner([&] {
    while (!over.load()) backend_->wait(events, never_ns);
  });
  sockaddr_in address;
  Fd listener = tcp_listener(0, address);
  const std::uint16_t port = ntohs(address.sin_port);
  for (Token token = 1; token <= 500; ++token) {
    ASSERT_TRUE(backend_->add(listener.get(), token));
    // Half of the time the owner has certainly begun to watch.
    if (token % 2 == 0) {
      Fd client(::socket(AF_INET, SOCK_STREAM, 0));
      ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    backend_->remove(listener.get(), token);
    listener.reset();
    listener = tcp_listener(port, address);
    EXPECT_GE(listener.get(), 0) << "round " << token << ": " << std::strerror(errno);
    if (listener.get() < 0) break;
  }
  over.store(true);
  backend_->wake();
  owner.join();
}

TEST_P(PollerReadiness, ACloseIsPromptWhileTheOwnerComputes) {
  Pair pair = tcp_pair();
  std::vector<Pair> pairs;
  for (int i = 0; i < 20; ++i) pairs.push_back(tcp_pair());
  Owner owner(*backend_, [](std::atomic<bool>& busy) {
    while (busy.load()) continue;  // no system call
  });
  for (Token token = 0; token < pairs.size(); ++token) ASSERT_TRUE(backend_->add(pairs[token].near.get(), token));
  owner.occupy();
  for (Token token = 0; token < pairs.size(); ++token) {
    close(pairs[token].near, token);
    EXPECT_GE(ns_until_end_of_stream(pairs[token].far), 0);
  }
}

// --- several threads ---------------------------------------------------------------------------------------------------

TEST_P(PollerReadiness, WhatAnotherThreadAddsIsSeenByABlockedOwner) {
  constexpr Token rounds = 3'000;
  std::atomic<Token> seen{0};
  std::thread owner([&] {
    std::array<Event, 4> events;
    while (seen.load() < rounds) {
      const std::size_t count = backend_->wait(events, never_ns);
      for (std::size_t i = 0; i < count; ++i) {
        if (events[i].readable) seen.store(events[i].token);
      }
    }
  });
  for (Token token = 1; token <= rounds; ++token) {
    Pair pair = unix_pair();
    put(pair.far, "x");
    ASSERT_TRUE(backend_->add(pair.near.get(), token));
    while (seen.load() != token) std::this_thread::yield();
    close(pair.near, token);
  }
  owner.join();
}

TEST_P(PollerReadiness, EventsOfAnOwnerThatComputesAreSeenByAnotherThread) {
  std::vector<Pair> pairs;
  for (int i = 0; i < 20; ++i) pairs.push_back(unix_pair());
  Owner owner(*backend_, [](std::atomic<bool>& busy) {
    while (busy.load()) continue;
  });
  for (Token token = 0; token < pairs.size(); ++token) ASSERT_TRUE(backend_->add(pairs[token].near.get(), token));
  for (Token token = 0; token < pairs.size(); ++token) {
    owner.release();
    owner.occupy();
    put(pairs[token].far, "x");
    const std::int64_t until = now_ns() + 5 * second_ns;
    bool seen = false;
    while (!seen && now_ns() < until) {
      for (const Event& event : look()) seen |= event.token == token && event.readable;
    }
    EXPECT_TRUE(seen);
  }
}

TEST_P(PollerReadiness, EventsOfAnOwnerThatBlocksElsewhereAreSeenByAnotherThread) {
  int stop[2];
  ASSERT_EQ(::pipe(stop), 0);
  Pair pair = unix_pair();
  {
    Owner owner(*backend_, [&](std::atomic<bool>&) {
      char byte = 0;
      EXPECT_EQ(::read(stop[0], &byte, 1), 1);
    });
    ASSERT_TRUE(backend_->add(pair.near.get(), 1));
    owner.occupy();
    put(pair.far, "x");
    const std::int64_t until = now_ns() + 5 * second_ns;
    bool seen = false;
    while (!seen && now_ns() < until) {
      for (const Event& event : look()) seen |= event.readable;
    }
    EXPECT_TRUE(seen);
    // What is added now the owner does not begin to watch, so whoever looks for it must.
    Pair later = unix_pair();
    put(later.far, "x");
    ASSERT_TRUE(backend_->add(later.near.get(), 2));
    seen = false;
    while (!seen && now_ns() < until) {
      for (const Event& event : look()) seen |= event.token == 2 && event.readable;
    }
    EXPECT_TRUE(seen);
    EXPECT_EQ(::write(stop[1], "x", 1), 1);
    close(later.near, 2);
  }
  ::close(stop[0]);
  ::close(stop[1]);
}

TEST_P(PollerReadiness, WatchesOutliveTheThreadThatBeganThem) {
  Pair pair = unix_pair();
  std::thread([&] {
    ASSERT_TRUE(backend_->add(pair.near.get(), 1));
    look();
  }).join();
  for (int i = 0; i < 3; ++i) {
    put(pair.far, "x");
    EXPECT_TRUE(await(1, is_readable));
    drain(pair.near.get());
  }
  close(pair.near, 1);
  EXPECT_EQ(ns_until_end_of_stream(pair.far) >= 0, true);
}

TEST_P(PollerReadiness, TwoThreadsThatWaitAtOnceLoseNoMessage) {
  constexpr std::size_t sockets = 16;
  constexpr std::size_t messages_each = 5'000;
  struct Socket {
    Pair pair;
    std::mutex reading;
  };
  std::deque<Socket> all(sockets);
  std::atomic<std::size_t> received{0};
  for (std::size_t i = 0; i < sockets; ++i) {
    all[i].pair = unix_pair();
    ASSERT_TRUE(backend_->add(all[i].pair.near.get(), i));
  }
  const auto take = [&](std::int64_t until_ns) {
    std::array<Event, 8> events;
    const std::size_t count = backend_->wait(events, until_ns);
    for (std::size_t i = 0; i < count; ++i) {
      if (!events[i].readable) continue;
      Socket& socket = all[events[i].token];
      std::lock_guard guard(socket.reading);
      received += drain(socket.pair.near.get());
    }
  };
  const auto finished = [&] { return received.load() == sockets * messages_each; };
  std::thread owner([&] {
    while (!finished()) take(never_ns);
  });
  std::thread helper([&] {
    while (!finished()) take(0);
    backend_->wake();
  });
  std::thread writer([&] {
    for (std::size_t k = 0; k < messages_each; ++k) {
      for (Socket& socket : all) {
        while (::send(socket.pair.far.get(), "x", 1, 0) != 1) std::this_thread::yield();
      }
    }
  });
  owner.join();
  helper.join();
  writer.join();
  EXPECT_TRUE(finished());
}

// --- very many -----------------------------------------------------------------------------------------------------------

TEST_P(PollerReadiness, NothingIsLostWhenTwentyThousandDescriptorsAreReadyAtOnce) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const std::size_t pairs_max = std::min<std::size_t>(9'900, (limit.rlim_cur - 100) / 2);
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < pairs_max; ++i) {
    pairs.push_back(unix_pair());
    ASSERT_TRUE(backend_->add(pairs[i].near.get(), 2 * i)) << "descriptor " << 2 * i;
    ASSERT_TRUE(backend_->add(pairs[i].far.get(), 2 * i + 1)) << "descriptor " << 2 * i + 1;
  }
  const std::size_t descriptors = 2 * pairs_max;
  // Small batches let completions pile up.
  std::array<Event, 16> events;
  const auto await_all = [&](const std::function<bool(const Event&)>& wanted) {
    std::vector<bool> seen(descriptors);
    std::size_t missing = descriptors;
    while (missing > 0) {
      const std::size_t count = backend_->wait(events, now_ns() + 5 * second_ns);
      if (count == 0) break;
      for (std::size_t i = 0; i < count; ++i) {
        if (!wanted(events[i]) || seen[events[i].token]) continue;
        seen[events[i].token] = true;
        --missing;
      }
    }
    return descriptors - missing;
  };
  ASSERT_EQ(await_all(is_writable), descriptors);
  for (int round = 0; round < 3; ++round) {
    for (const Pair& pair : pairs) {
      put(pair.near, "x");
      put(pair.far, "x");
    }
    ASSERT_EQ(await_all(is_readable), descriptors) << "round " << round;
    for (const Pair& pair : pairs) {
      drain(pair.near.get());
      drain(pair.far.get());
    }
  }
  for (std::size_t i = 0; i < pairs_max; ++i) {
    close(pairs[i].near, 2 * i);
    close(pairs[i].far, 2 * i + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Every, PollerReadiness, testing::ValuesIn(system_kinds), &kind_name);

#if defined(__linux__)
// A child process in which io_uring_setup fails as a kernel without it, or a container's filter, makes it fail.
[[noreturn]] void exit_with_error_of_opening(int setup_errno) {
  const std::array<sock_filter, 4> program{
      sock_filter(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))),
      sock_filter(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1)),
      sock_filter(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(setup_errno))),
      sock_filter(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW))};
  const sock_fprog filter{.len = program.size(), .filter = const_cast<sock_filter*>(program.data())};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    ::_exit(200);
  }
  const auto opened = open_io_uring();
  ::_exit(opened ? 201 : opened.error().value());
}

TEST(IoUring, OpeningTellsWhyItIsNotToBeHad) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(exit_with_error_of_opening(EPERM), testing::ExitedWithCode(EPERM), "");
  EXPECT_EXIT(exit_with_error_of_opening(ENOSYS), testing::ExitedWithCode(ENOSYS), "");
  // An older kernel refuses the flags it does not know.
  EXPECT_EXIT(exit_with_error_of_opening(EINVAL), testing::ExitedWithCode(ENOSYS), "");
}
#endif

// --- the fake's own ----------------------------------------------------------------------------------------------------

TEST(FakeBackend, ReturnsWhatTheTestPostedAndKeepsWhatWasAsked) {
  FakeBackend backend(true);
  std::array<Event, 1> events;
  EXPECT_TRUE(backend.needs_remove());
  ASSERT_TRUE(backend.add(5, 50));
  EXPECT_EQ(backend.token_of(5), 50u);
  backend.post({.token = 50, .readable = true, .writable = false, .hangup = false});
  backend.post({.token = 51, .readable = false, .writable = true, .hangup = true});
  ASSERT_EQ(backend.wait(events, never_ns), 1u);
  EXPECT_EQ(events[0].token, 50u);
  ASSERT_EQ(backend.wait(events, 0), 1u);
  EXPECT_EQ(events[0].token, 51u);
  EXPECT_TRUE(events[0].hangup);
  EXPECT_EQ(backend.waits(), 2u);
  backend.remove(5, 49);
  EXPECT_TRUE(backend.is_watched(5)) << "another life's";
  backend.remove(5, 50);
  EXPECT_EQ(backend.watched_count(), 0u);
}

TEST(FakeBackend, RefusesAnAddAsScripted) {
  FakeBackend backend;
  backend.fail_next_add(std::make_error_code(std::errc::no_space_on_device));
  const auto added = backend.add(5, 50);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error(), std::errc::no_space_on_device);
  EXPECT_TRUE(backend.add(5, 50));
}

TEST(FakeBackend, APostReachesABlockedWait) {
  FakeBackend backend;
  std::thread poster([&] {
    backend.await_blocked();
    backend.post({.token = 7, .readable = true, .writable = false, .hangup = false});
  });
  std::array<Event, 4> events;
  EXPECT_EQ(backend.wait(events, never_ns), 1u);
  EXPECT_EQ(events[0].token, 7u);
  poster.join();
}

}  // namespace
}  // namespace roost::poll
