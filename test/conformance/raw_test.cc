// Raw access: system calls of one's own with the poller's waiting, and descriptors that are no sockets.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "base/clock.h"
#include "conformance/conn_suite.h"

namespace roost::test {
namespace {

ROOST_SUITE(Raw);

std::array<std::byte, 64> room;

// RC-01
ROOST_CASE(Raw, AMessageIsWrittenAndItsEchoReadByHand) {
  auto [client, server] = tcp_pair();
  std::vector<char> message(8 << 20);  // more than the socket's buffers hold, so that both directions have to wait
  for (std::size_t i = 0; i < message.size(); ++i) message[i] = static_cast<char>(i * 31);
  auto writing_fiber = go([&, &conn = client] {
    std::size_t at = 0;
    int tries = 0;
    const auto done = conn.raw_write([&](int fd) {
      ++tries;
      while (at < message.size()) {
        const ssize_t count = ::send(fd, message.data() + at, message.size() - at, MSG_NOSIGNAL);
        if (count < 0) return false;
        at += static_cast<std::size_t>(count);
      }
      return true;
    });
    EXPECT_GT(tries, 1);
    return done.has_value() && at == message.size();
  });
  // Only now: a peer that empties the buffers as fast as they are filled would leave nothing to wait for.
  ASSERT_TRUE(parked(runtime::WaitReason::io_write));
  auto echoing = go([&conn = server] { echo(conn); });
  std::vector<char> got(message.size());
  std::size_t at = 0;
  EXPECT_OK(client.raw_read([&](int fd) {
    while (at < got.size()) {
      const ssize_t count = ::recv(fd, got.data() + at, got.size() - at, 0);
      if (count <= 0) return count == 0;
      at += static_cast<std::size_t>(count);
    }
    return true;
  }));
  EXPECT_EQ(at, message.size());
  EXPECT_TRUE(writing_fiber.join());
  EXPECT_TRUE(got == message);
  ASSERT_OK(client.close());
  echoing.join();
}

// A raw call that waits is ended by close, and takes its turn among the others.
ROOST_CASE(Raw, APendingRawCallEndsWithItsConnection) {
  auto [client, server] = tcp_pair();
  auto pending = go([&conn = client] {
    return conn.raw_read([](int fd) {
      char byte;
      return ::recv(fd, &byte, 1, 0) >= 0;
    });
  });
  ASSERT_TRUE(reading());
  auto queued = go([&conn = client] { return conn.read(room); });
  ASSERT_TRUE(parked(runtime::WaitReason::io_turn));
  ASSERT_OK(client.close());
  within(5s, [&] {
    EXPECT_TRUE(reports_closed(pending.join()));
    EXPECT_TRUE(reports_closed(queued.join()));
  });
}

ROOST_CASE(Raw, ReadinessIsWaitedForWithoutReading) {
  auto [client, server] = tcp_pair();
  auto waiting = go([&conn = client] { return conn.wait_readable(); });
  ASSERT_TRUE(reading());
  ASSERT_OK(server.write("x"));
  within(5s, [&] { EXPECT_OK(waiting.join()); });
  EXPECT_EQ(client.read(room).value_or(0), 1u);
  EXPECT_OK(client.wait_writable());
  // A poller may report one edge twice, so it takes a read in vain to be sure that there is nothing.
  ASSERT_OK(client.set_read_deadline(Deadline::after(5ms)));
  EXPECT_TRUE(timed_out(client.read(room)));
  EXPECT_FALSE(client.maybe_readable());
  ASSERT_OK(client.set_read_deadline(Deadline::after(5ms)));
  EXPECT_TRUE(timed_out(client.wait_readable()));
}

// Adopting and lending: two Conns over one socket, each with a descriptor of its own.
ROOST_CASE(Raw, ADuplicateIsAConnectionOfItsOwn) {
  auto [client, server] = tcp_pair();
  auto second = must(net::Conn::adopt(must(client.duplicate())));
  ASSERT_OK(second.write("from the second"));
  EXPECT_EQ(read_exactly(server, 15).value_or(""), "from the second");
  ASSERT_OK(client.close());
  ASSERT_OK(second.write("still"));
  EXPECT_EQ(read_exactly(server, 5).value_or(""), "still");
  const int fd = must(second.release());
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_TRUE(reports_closed(second.write("x")));
  EXPECT_EQ(::send(fd, "bare", 4, 0), 4);
  EXPECT_EQ(read_exactly(server, 4).value_or(""), "bare");
  ::close(fd);
  EXPECT_EQ(server.read(room).value_or(9), 0u);
}

// A socket made elsewhere, blocking as it is.
ROOST_CASE(Raw, ABlockingSocketIsAdopted) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  auto one = must(net::Conn::adopt(ends[0]));
  auto two = must(net::Conn::adopt(ends[1]));
  auto echoing = go([&] { echo(two); });
  conn_suite::expect_round_trip(one, "hello");
  ASSERT_OK(one.close());
  echoing.join();
}

// --- descriptors that are no sockets -------------------------------------------------------------------------------

ROOST_CASE(Raw, PipesReadWriteAndWait) {
  auto pipe = must(net::os_pipe());
  auto reader = go([&] { return pipe.read_end.read(room); });
  ASSERT_TRUE(reading());
  ASSERT_OK(pipe.write_end.write("x"));
  EXPECT_EQ(reader.join().value_or(0), 1u);
  // More than it holds: the writer waits.
  const std::vector<std::byte> much(1 << 20, std::byte{4});
  auto writer = go([&] {
    const auto wrote = pipe.write_end.write(much);
    static_cast<void>(pipe.write_end.close());
    return wrote;
  });
  std::size_t total = 0;
  std::array<std::byte, 5000> part;
  for (auto got = pipe.read_end.read(part); got && *got > 0; got = pipe.read_end.read(part)) total += *got;
  EXPECT_EQ(total, much.size());
  EXPECT_EQ(writer.join().value_or(0), much.size());
  // A pipe without a reader is an error, not the end of the program.
  auto broken = must(net::os_pipe());
  ASSERT_OK(broken.read_end.close());
  EXPECT_ERROR(broken.write_end.write("x"), std::errc::broken_pipe);
  ASSERT_OK(broken.write_end.close());
  EXPECT_TRUE(reports_closed(broken.write_end.close()));
  EXPECT_TRUE(reports_closed(broken.write_end.write("x")));
}

ROOST_CASE(Raw, EventsAndTimersOfTheKernelAreWaitedFor) {
  auto events = must(net::Descriptor::adopt(::eventfd(0, EFD_CLOEXEC)));
  auto waiting = go([&] {
    std::array<std::byte, 8> value;
    return events.read(value);
  });
  ASSERT_TRUE(reading());
  const std::uint64_t one = 1;
  ASSERT_OK(events.write(std::as_bytes(std::span(&one, 1))));
  EXPECT_EQ(waiting.join().value_or(0), 8u);

  auto timer = must(net::Descriptor::adopt(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)));
  must(timer.raw_control([](int fd) {
    const itimerspec in_5_ms{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = 5'000'000}};
    ASSERT_EQ(::timerfd_settime(fd, 0, &in_5_ms, nullptr), 0);
  }));
  const auto start = now();
  std::array<std::byte, 8> ticks;
  within(5s, [&] { EXPECT_EQ(timer.read(ticks).value_or(0), 8u); });
  EXPECT_GE(since(start), 4ms);
}

ROOST_CASE(Raw, AFileCannotBeWaitedFor) {
  const int file = ::open(fresh_path().c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  EXPECT_ERROR(net::Descriptor::adopt(file), std::errc::operation_not_permitted);
  EXPECT_EQ(::close(file), 0);  // still ours
  EXPECT_ERROR(net::Descriptor::adopt(-1), std::errc::bad_file_descriptor);
}

// NP-01
TEST(RawPoller, AWakeFromAnotherThreadEndsALongWait) {
  for (const PollerKind kind : {PollerKind::epoll, PollerKind::io_uring}) {
    if (opening_error(kind)) continue;
    const auto poller = must(kind == PollerKind::epoll ? poll::open_epoll() : poll::open_io_uring());
    std::array<poll::Event, 8> events;
    const auto start = now();
    std::thread waker([&] {
      std::this_thread::sleep_for(20ms);
      poller->wake();
      poller->wake();
    });
    EXPECT_EQ(poller->wait(events, base::now_ns() + Nanoseconds(10s).count()), 0u);
    EXPECT_LT(since(start), 5s);
    waker.join();
  }
}

// NP-05: a socket is read though every thread computes, until just that has happened.
TEST(RawPoller, AReadySocketIsServedAlthoughEveryThreadComputes) {
  for (const PollerKind kind : {PollerKind::epoll, PollerKind::io_uring}) {
    if (opening_error(kind)) continue;
    for (const unsigned workers : {1u, 2u}) {
      RuntimeOptions options;
      options.workers = workers;
      options.poller = kind;
      options.stuck_report_after = 0ms;  // it is meant to be so
      std::atomic<bool> served{false};
      run(options, [&] {
        auto [client, server] = tcp_pair();
        auto reader = go([&, &conn = client] {
          EXPECT_EQ(conn.read(room).value_or(0), 1u);
          served = true;
        });
        ASSERT_TRUE(reading());
        std::atomic<unsigned> computing{0};
        const auto compute = [&] {
          ++computing;
          for (const auto start = now(); !served && since(start) < 20s;) {
          }
          EXPECT_TRUE(served) << workers << " workers, poller " << static_cast<int>(kind);
        };
        // Written by a thread of its own, once nobody is left to look after the poller.
        std::thread writer([&, fd = must(server.duplicate())] {
          while (computing < workers) std::this_thread::yield();
          EXPECT_EQ(::send(fd, "x", 1, MSG_NOSIGNAL), 1);
          ::close(fd);
        });
        std::vector<Handle<void>> fibers;
        for (unsigned i = 1; i < workers; ++i) fibers.push_back(go(compute));
        compute();
        for (auto& fiber : fibers) fiber.join();
        reader.join();
        writer.join();
      });
    }
  }
}

// What is left of a closed descriptor's number must not reach its successor.
ROOST_CASE(Raw, ANumbersNextOwnerGetsNoneOfItsEvents) {
  for (int i = 0; i < 200; ++i) {
    auto [client, server] = tcp_pair();
    const int number = client.native_handle();
    auto reader = go([&conn = client] { return conn.read(room); });
    auto closer = go([&conn = client] { static_cast<void>(conn.close()); });
    static_cast<void>(server.write("late"));
    closer.join();
    static_cast<void>(reader.join());
    auto [next, peer] = tcp_pair();
    static_cast<void>(number);
    ASSERT_OK(next.set_read_deadline(Deadline::after(1ms)));
    EXPECT_TRUE(timed_out(next.read(room)));
  }
}

}  // namespace
}  // namespace roost::test
