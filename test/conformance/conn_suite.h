// What every connection owes its user, whatever it is made of: TCP, a Unix socket or memory. In the spirit of
// golang.org/x/net/nettest.TestConn, of which the cases are kin.
//
//   ROOST_CONN_SUITE(TcpConn, [] { return streams(tcp_pair()); })
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <utility>

#include "conformance/pairs.h"

namespace roost::test {

struct StreamPair {
  std::unique_ptr<io::Stream> one;
  std::unique_ptr<io::Stream> two;
};
using MakePair = std::function<StreamPair()>;

template <class P>
StreamPair streams(P pair) {
  return {std::make_unique<net::Conn>(std::move(pair.client)), std::make_unique<net::Conn>(std::move(pair.server))};
}

namespace conn_suite {

// Waits until calls of the directions asked for are certainly under way: on a socket, or in memory.
[[nodiscard]] inline bool waiting(int reads, int writes) {
  using enum runtime::WaitReason;
  return eventually([&] {
    return parked_now(io_read) + parked_now(channel_receive) >= reads && parked_now(io_write) + parked_now(channel_send) >= writes;
  });
}

// RW-02: 1 MiB in pieces of 1 KiB arrives byte for byte, then the end of the stream.
inline void moves_a_mebibyte(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  std::vector<std::byte> sent(1 << 20);
  std::mt19937 random(2);
  for (auto& byte : sent) byte = static_cast<std::byte>(random());
  auto writer = go([&sent, &one] {
    for (std::size_t at = 0; at < sent.size(); at += 1024) {
      if (!one->write(std::span<const std::byte>(sent).subspan(at, 1024))) return false;
    }
    return one->close().has_value();
  });
  std::vector<std::byte> got;
  std::array<std::byte, 1024> buffer;
  for (;;) {
    const auto count = two->read(buffer);
    ASSERT_OK(count);
    if (*count == 0) break;
    got.insert(got.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*count));
  }
  EXPECT_TRUE(writer.join());
  EXPECT_OK(two->close());
  EXPECT_TRUE(got == sent);
}

// RW-03: a thousand steps, each side adds one to what it got.
inline void plays_ping_pong(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  constexpr std::uint64_t steps = 1000;
  const auto send = [](io::Stream& conn, std::uint64_t value) { return conn.write(std::as_bytes(std::span(&value, 1))); };
  const auto receive = [](io::Stream& conn) -> std::uint64_t {
    const auto text = read_exactly(conn, sizeof(std::uint64_t));
    std::uint64_t value = ~std::uint64_t{0};
    if (text) std::memcpy(&value, text->data(), sizeof value);
    return value;
  };
  auto other = go([&, &conn = *two] {
    for (std::uint64_t i = 0; i < steps; i += 2) {
      if (receive(conn) != i || !send(conn, i + 1)) return false;
    }
    return true;
  });
  for (std::uint64_t i = 0; i < steps; i += 2) {
    ASSERT_OK(send(*one, i));
    ASSERT_EQ(receive(*one), i + 1);
  }
  EXPECT_TRUE(other.join());
}

// DL-25: readers with deadlines that come and go, into buffers that change hands at once: nothing is stored late.
inline void stores_nothing_after_a_read_timed_out(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  auto chatter = go([&conn = *two] {
    std::array<std::byte, 1024> noise;
    noise.fill(std::byte{7});
    for (;;) {
      if (!conn.write(noise)) return;
    }
  });
  static_cast<void>(one->set_read_deadline(Deadline::after(1ms)));
  std::vector<Handle<void>> readers;
  for (int i = 0; i < 10; ++i) {
    readers.push_back(go([&conn = *one] {
      std::array<std::byte, 1024> out;
      std::array<std::byte, 1024> copy;
      for (int j = 0; j < 10; ++j) {
        const auto got = conn.read(out);
        out.fill(std::byte{0});
        copy = out;
        if (!got) static_cast<void>(conn.set_read_deadline(Deadline::after(1ms)));
      }
    }));
  }
  for (auto& reader : readers) reader.join();
  EXPECT_OK(one->close());
  EXPECT_OK(two->close());
  chatter.join();
}

// DL-26: likewise, nothing is taken from a buffer after its write has returned.
inline void takes_nothing_after_a_write_timed_out(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  // One that certainly waits, as nobody reads.
  std::vector<std::byte> much(1 << 16);
  auto stuck = go([&much, &conn = *one] {
    auto wrote = conn.write(much);
    while (wrote) wrote = conn.write(much);
    std::ranges::fill(much, std::byte{0xff});
    return wrote;
  });
  ASSERT_TRUE(waiting(0, 1));
  ASSERT_OK(one->set_write_deadline(Deadline::past()));
  EXPECT_TRUE(timed_out(stuck.join()));
  auto drain = go([&conn = *two] {
    std::array<std::byte, 1024> out;
    for (auto got = conn.read(out); got && *got > 0; got = conn.read(out)) {
      for (const std::byte byte : std::span(out.data(), *got)) {
        if (byte != std::byte{0}) return false;
      }
    }
    return true;
  });
  static_cast<void>(one->set_write_deadline(Deadline::after(1ms)));
  std::vector<Handle<void>> writers;
  for (int i = 0; i < 10; ++i) {
    writers.push_back(go([&conn = *one] {
      std::array<std::byte, 1024> data;
      for (int j = 0; j < 10; ++j) {
        data.fill(std::byte{0});
        const auto wrote = conn.write(data);
        data.fill(std::byte{0xff});
        if (!wrote) static_cast<void>(conn.set_write_deadline(Deadline::after(1ms)));
      }
    }));
  }
  for (auto& writer : writers) writer.join();
  EXPECT_OK(one->close());
  EXPECT_TRUE(drain.join()) << "a changed buffer was sent";
}

// DL-20: a read deadline leaves writes alone.
inline void read_deadline_leaves_writes_alone(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  auto drain = go([&conn = *two] {
    std::array<std::byte, 1024> out;
    for (auto got = conn.read(out); got && *got > 0;) got = conn.read(out);
  });
  std::array<std::byte, 1024> buffer{};
  ASSERT_OK(one->set_read_deadline(Deadline::past()));
  EXPECT_TRUE(timed_out(one->read(buffer)));
  EXPECT_OK(one->write(buffer));
  EXPECT_OK(one->close());
  drain.join();
}

// DL-21: a write deadline leaves reads alone.
inline void write_deadline_leaves_reads_alone(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  auto chatter = go([&conn = *two] {
    std::array<std::byte, 1024> noise{};
    while (conn.write(noise)) {
    }
  });
  std::array<std::byte, 1024> buffer{};
  ASSERT_OK(one->set_write_deadline(Deadline::past()));
  EXPECT_TRUE(timed_out(one->write(buffer)));
  const auto got = one->read(buffer);
  EXPECT_OK(got);
  EXPECT_GT(got.value_or(0), 0u);
  EXPECT_OK(one->close());
  chatter.join();
}

inline void expect_round_trip(io::Stream& conn, std::string_view text) {
  EXPECT_OK(conn.write(text));
  const auto back = read_exactly(conn, text.size());
  ASSERT_OK(back);
  EXPECT_EQ(*back, text);
}

// DL-22: after deadlines passed and were lifted the connection is as good as before.
inline void lives_on_after_a_deadline(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  auto echoing = go([&conn = *two] { echo(conn); });
  expect_round_trip(*one, "one");
  std::array<std::byte, 1024> buffer{};
  ASSERT_OK(one->set_deadline(Deadline::past()));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(timed_out(one->write(buffer)));
    EXPECT_TRUE(timed_out(one->read(buffer)));
  }
  ASSERT_OK(one->set_deadline(Deadline::none()));
  expect_round_trip(*one, "two");
  EXPECT_OK(one->close());
  echoing.join();
}

// DL-23: a deadline in the past, set by a third fiber, ends a read and a write that wait; and not before.
inline void a_past_deadline_ends_pending_calls(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  std::atomic<bool> set{false};
  auto reader = go([&, &conn = *one] {
    std::array<std::byte, 64> buffer;
    const auto got = conn.read(buffer);
    EXPECT_TRUE(set.load());
    return got;
  });
  auto writer = go([&, &conn = *one] {
    const std::vector<std::byte> much(1 << 16);
    auto wrote = conn.write(much);
    while (wrote) wrote = conn.write(much);
    EXPECT_TRUE(set.load());
    return wrote;
  });
  ASSERT_TRUE(waiting(1, 1));
  set = true;
  ASSERT_OK(one->set_deadline(Deadline::past()));
  within(5s, [&] {
    EXPECT_TRUE(timed_out(reader.join()));
    EXPECT_TRUE(timed_out(writer.join()));
  });
}

// DL-24: a deadline ahead ends calls when it comes, and lifting it makes the connection whole again.
inline void a_future_deadline_ends_pending_calls(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  ASSERT_OK(one->set_deadline(Deadline::after(20ms)));
  auto reader = go([&conn = *one] {
    std::array<std::byte, 64> buffer;
    return conn.read(buffer);
  });
  auto writer = go([&conn = *one] {
    const std::vector<std::byte> much(1 << 16);
    auto wrote = conn.write(much);
    while (wrote) wrote = conn.write(much);
    return wrote;
  });
  within(5s, [&] {
    EXPECT_TRUE(timed_out(reader.join()));
    EXPECT_TRUE(timed_out(writer.join()));
  });
  ASSERT_OK(one->set_deadline(Deadline::none()));
  auto echoing = go([&conn = *two] { echo(conn); });
  auto resync = go([&conn = *one] {
    // The other end echoes what got through before the deadline, too.
    std::array<std::byte, 4096> buffer;
    for (bool found = false; !found;) {
      const auto got = conn.read(buffer);
      if (!got || *got == 0) return false;
      for (std::size_t i = 0; i < *got; ++i) found = found || buffer[i] == std::byte{'!'};
    }
    return true;
  });
  EXPECT_OK(one->write("!"));
  EXPECT_TRUE(resync.join());
  EXPECT_OK(one->close());
  echoing.join();
}

// CL-05: close ends pending calls, of both directions, promptly.
inline void close_ends_pending_calls(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  auto reader = go([&conn = *one] {
    std::array<std::byte, 64> buffer;
    auto got = conn.read(buffer);
    while (got && *got > 0) got = conn.read(buffer);
    return got;
  });
  auto writer = go([&conn = *one] {
    const std::vector<std::byte> much(1 << 16);
    auto wrote = conn.write(much);
    while (wrote) wrote = conn.write(much);
    return wrote;
  });
  ASSERT_TRUE(waiting(1, 1));
  within(5s, [&] {
    EXPECT_OK(one->close());
    EXPECT_TRUE(reports_closed(reader.join()));
    EXPECT_TRUE(reports_closed(writer.join()));
  });
}

// CL-06: only the first close succeeds; every call afterwards says that the connection is closed.
inline void closes_once(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  std::array<std::byte, 8> buffer{};
  EXPECT_OK(one->close());
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(reports_closed(one->close()));
  EXPECT_TRUE(reports_closed(one->read(buffer)));
  EXPECT_TRUE(reports_closed(one->write(buffer)));
  EXPECT_TRUE(reports_closed(one->set_deadline(Deadline::none())));
  EXPECT_TRUE(reports_closed(one->set_read_deadline(Deadline::past())));
  EXPECT_TRUE(reports_closed(one->set_write_deadline(Deadline::past())));
  EXPECT_TRUE(reports_closed(one->close_read()));
  EXPECT_TRUE(reports_closed(one->close_write()));
}

// RW-01: an empty buffer is neither a wait nor the end of the stream.
inline void reads_nothing_into_nothing(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  for (io::Stream* conn : {one.get(), two.get()}) {
    const auto got = conn->read(std::span<std::byte>());
    EXPECT_OK(got);
    EXPECT_EQ(got.value_or(1), 0u);
  }
}

// HC-02: each side ends its own direction and goes on with the other.
inline void halves_close_apart(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  std::array<std::byte, 8> buffer{};
  EXPECT_OK(one->close_write());
  EXPECT_EQ(two->read(buffer).value_or(99), 0u);
  auto back = go([&conn = *two] { return conn.write("back").has_value(); });
  EXPECT_EQ(read_exactly(*one, 4).value_or("?"), "back");
  EXPECT_TRUE(back.join());
  EXPECT_OK(two->close_write());
  EXPECT_EQ(one->read(buffer).value_or(99), 0u);
  EXPECT_ERROR(one->write("x"), std::errc::broken_pipe);
  EXPECT_ERROR(two->write("x"), std::errc::broken_pipe);
}

// HC-01: after close_read there is nothing to read.
inline void reads_nothing_after_close_read(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  std::array<std::byte, 8> buffer{};
  EXPECT_OK(one->close_read());
  within(5s, [&, &conn = *one] { EXPECT_EQ(conn.read(buffer).value_or(0), 0u); });
}

// CL-04: the peer's close ends a pending read with the end of the stream.
inline void a_close_of_the_peer_ends_a_pending_read(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  auto reader = go([&conn = *one] {
    std::array<std::byte, 8> buffer;
    return conn.read(buffer);
  });
  ASSERT_TRUE(waiting(1, 0));
  EXPECT_OK(two->close());
  within(5s, [&] { EXPECT_EQ(reader.join().value_or(99), 0u); });
}

// Everything at once, from everywhere: no crash, no hang, no race.
inline void bears_every_method_at_once(const MakePair& make_pair) {
  auto [one, two] = make_pair();
  auto echoing = go([&conn = *two] { echo(conn); });
  std::vector<Handle<void>> fibers;
  for (int i = 0; i < 20; ++i) {
    fibers.push_back(go([&conn = *one] {
      std::array<std::byte, 1024> buffer{};
      static_cast<void>(conn.write(buffer));
    }));
    fibers.push_back(go([&conn = *one] {
      std::array<std::byte, 1024> buffer;
      static_cast<void>(conn.read(buffer));
    }));
    fibers.push_back(go([&conn = *one] {
      static_cast<void>(conn.set_deadline(Deadline::after(10ms)));
      static_cast<void>(conn.set_read_deadline(Deadline::after(10ms)));
      static_cast<void>(conn.set_write_deadline(Deadline::after(10ms)));
    }));
  }
  for (auto& fiber : fibers) fiber.join();
  EXPECT_OK(one->close());
  echoing.join();
}

}  // namespace conn_suite

// All of it, one case after the other, for a connection that has no suite of its own.
inline void conn_conformance(const MakePair& make_pair) {
  using namespace conn_suite;
  for (const auto run_case :
       {&moves_a_mebibyte, &plays_ping_pong, &stores_nothing_after_a_read_timed_out, &takes_nothing_after_a_write_timed_out,
        &read_deadline_leaves_writes_alone, &write_deadline_leaves_reads_alone, &lives_on_after_a_deadline,
        &a_past_deadline_ends_pending_calls, &a_future_deadline_ends_pending_calls, &close_ends_pending_calls, &closes_once,
        &reads_nothing_into_nothing, &halves_close_apart, &reads_nothing_after_close_read,
        &a_close_of_the_peer_ends_a_pending_read, &bears_every_method_at_once}) {
    run_case(make_pair);
  }
}

}  // namespace roost::test

#define ROOST_CONN_SUITE(suite, ...)                                                                                    \
  ROOST_SUITE(suite);                                                                                                    \
  ROOST_CASE(suite, MovesAMebibyte) { conn_suite::moves_a_mebibyte(__VA_ARGS__); }                                       \
  ROOST_CASE(suite, PlaysPingPong) { conn_suite::plays_ping_pong(__VA_ARGS__); }                                         \
  ROOST_CASE(suite, StoresNothingAfterAReadTimedOut) { conn_suite::stores_nothing_after_a_read_timed_out(__VA_ARGS__); } \
  ROOST_CASE(suite, TakesNothingAfterAWriteTimedOut) { conn_suite::takes_nothing_after_a_write_timed_out(__VA_ARGS__); } \
  ROOST_CASE(suite, ReadDeadlineLeavesWritesAlone) { conn_suite::read_deadline_leaves_writes_alone(__VA_ARGS__); }       \
  ROOST_CASE(suite, WriteDeadlineLeavesReadsAlone) { conn_suite::write_deadline_leaves_reads_alone(__VA_ARGS__); }       \
  ROOST_CASE(suite, LivesOnAfterADeadline) { conn_suite::lives_on_after_a_deadline(__VA_ARGS__); }                       \
  ROOST_CASE(suite, APastDeadlineEndsPendingCalls) { conn_suite::a_past_deadline_ends_pending_calls(__VA_ARGS__); }      \
  ROOST_CASE(suite, AFutureDeadlineEndsPendingCalls) { conn_suite::a_future_deadline_ends_pending_calls(__VA_ARGS__); }  \
  ROOST_CASE(suite, CloseEndsPendingCalls) { conn_suite::close_ends_pending_calls(__VA_ARGS__); }                        \
  ROOST_CASE(suite, ClosesOnce) { conn_suite::closes_once(__VA_ARGS__); }                                                \
  ROOST_CASE(suite, ReadsNothingIntoNothing) { conn_suite::reads_nothing_into_nothing(__VA_ARGS__); }                    \
  ROOST_CASE(suite, HalvesCloseApart) { conn_suite::halves_close_apart(__VA_ARGS__); }                                   \
  ROOST_CASE(suite, ReadsNothingAfterCloseRead) { conn_suite::reads_nothing_after_close_read(__VA_ARGS__); }             \
  ROOST_CASE(suite, ACloseOfThePeerEndsAPendingRead) {                                                                   \
    conn_suite::a_close_of_the_peer_ends_a_pending_read(__VA_ARGS__);                                                    \
  }                                                                                                                      \
  ROOST_CASE(suite, BearsEveryMethodAtOnce) { conn_suite::bears_every_method_at_once(__VA_ARGS__); }
