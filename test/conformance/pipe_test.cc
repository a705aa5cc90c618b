// net::pipe(): a connection in memory, in every respect.
#include <roost/net/pipe.h>

#include <thread>

#include "conformance/conn_suite.h"

namespace roost::test {
namespace {

StreamPair memory_streams(std::size_t buffer_bytes) {
  auto made = net::pipe(buffer_bytes);
  return {std::make_unique<net::PipeConn>(std::move(made.one)), std::make_unique<net::PipeConn>(std::move(made.two))};
}

// PI-01: the whole suite, with a buffer and without.
ROOST_CONN_SUITE(BufferedPipe, [] { return memory_streams(net::pipe_buffer_bytes); })
ROOST_CONN_SUITE(UnbufferedPipe, [] { return memory_streams(0); })
ROOST_CONN_SUITE(SmallPipe, [] { return memory_streams(7); })

ROOST_SUITE(MemoryPipe);

std::array<std::byte, 64> room;

// PI-01, DL-01, DL-04: a past deadline beats ready data and free room.
ROOST_CASE(MemoryPipe, ADeadlineBeatsReadyData) {
  auto [one, two] = net::pipe();
  ASSERT_OK(one.write("data"));
  ASSERT_OK(two.set_read_deadline(Deadline::past()));
  EXPECT_TRUE(timed_out(two.read(room)));
  ASSERT_OK(one.set_write_deadline(Deadline::past()));
  EXPECT_TRUE(timed_out(one.write("x")));
  ASSERT_OK(two.set_read_deadline(Deadline::none()));
  EXPECT_EQ(two.read(room).value_or(0), 4u);
}

// What was written before a close is read after it.
ROOST_CASE(MemoryPipe, AClosedEndsBytesAreStillRead) {
  auto [one, two] = net::pipe();
  ASSERT_OK(one.write("last words"));
  ASSERT_OK(one.close());
  EXPECT_EQ(read_exactly(two, 10).value_or(""), "last words");
  EXPECT_EQ(two.read(room).value_or(9), 0u);
  EXPECT_ERROR(two.write("x"), std::errc::broken_pipe);
}

// PI-03: a reason travels to the other side, whichever side closes.
ROOST_CASE(MemoryPipe, AReasonForClosingReachesTheOtherEnd) {
  for (const std::size_t bytes : {std::size_t{0}, net::pipe_buffer_bytes}) {
    auto [one, two] = net::pipe(bytes);
    ASSERT_OK(one.close_write_with(std::make_error_code(std::errc::io_error)));
    ASSERT_OK(one.close_write_with(std::make_error_code(std::errc::no_link)));  // the first reason stands
    for (int i = 0; i < 2; ++i) EXPECT_ERROR(two.read(room), std::errc::io_error);
    ASSERT_OK(one.close_read_with(std::make_error_code(std::errc::owner_dead)));
    for (int i = 0; i < 2; ++i) EXPECT_ERROR(two.write("x"), std::errc::owner_dead);
  }
}

// PI-03: and ends what waits there.
ROOST_CASE(MemoryPipe, AReasonForClosingEndsPendingCalls) {
  auto [one, two] = net::pipe(0);
  auto reader = go([&end = two] { return end.read(room); });
  ASSERT_TRUE(parked(runtime::WaitReason::channel_receive));
  ASSERT_OK(one.close_write_with(std::make_error_code(std::errc::io_error)));
  EXPECT_ERROR(reader.join(), std::errc::io_error);
  auto writer = go([&end = two] { return end.write("x"); });
  ASSERT_TRUE(parked(runtime::WaitReason::channel_send));
  ASSERT_OK(one.close_read_with(std::make_error_code(std::errc::owner_dead)));
  EXPECT_ERROR(writer.join(), std::errc::owner_dead);
}

// PI-03: writes of several fibers are whole, also when the reader takes them in small bites.
ROOST_CASE(MemoryPipe, WritesDoNotMix) {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{5}, net::pipe_buffer_bytes}) {
    auto [one, two] = net::pipe(bytes);
    constexpr std::size_t length = 30;
    constexpr int writers = 20;
    std::vector<Handle<bool>> fibers;
    for (int i = 0; i < writers; ++i) {
      fibers.push_back(go([&end = one, i] { return end.write(std::string(length, static_cast<char>('a' + i))).has_value(); }));
    }
    std::string all;
    std::array<std::byte, 7> bite;
    while (all.size() < length * writers) {
      const auto got = two.read(bite);
      ASSERT_OK(got);
      all.append(reinterpret_cast<const char*>(bite.data()), *got);
    }
    for (auto& fiber : fibers) EXPECT_TRUE(fiber.join());
    for (std::size_t at = 0; at < all.size(); at += length) {
      EXPECT_EQ(all.substr(at, length), std::string(length, all[at]));
    }
  }
}

// Without a buffer a write returns only when its bytes were read.
ROOST_CASE(MemoryPipe, AnUnbufferedWriteMeetsItsReads) {
  auto [one, two] = net::pipe(0);
  auto writer = go([&end = one] { return end.write("abc"); });
  EXPECT_EQ(read_exactly(two, 2).value_or(""), "ab");
  ASSERT_TRUE(parked(runtime::WaitReason::channel_send));
  EXPECT_FALSE(writer.done());
  EXPECT_EQ(read_exactly(two, 1).value_or(""), "c");
  EXPECT_EQ(writer.join().value_or(0), 3u);
}

ROOST_CASE(MemoryPipe, WaitsForBytesWithoutTakingThem) {
  auto [one, two] = net::pipe();
  EXPECT_FALSE(two.maybe_readable());
  auto waiting = go([&end = two] { return end.wait_readable(); });
  ASSERT_TRUE(parked(runtime::WaitReason::channel_receive));
  ASSERT_OK(one.write("x"));
  EXPECT_OK(waiting.join());
  EXPECT_TRUE(two.maybe_readable());
  EXPECT_EQ(two.read(room).value_or(0), 1u);
}

// A plain thread at one end, a fiber at the other.
ROOST_CASE(MemoryPipe, JoinsAThreadAndAFiber) {
  auto [one, two] = net::pipe(0);
  std::thread thread([&end = one] {
    for (int i = 0; i < 1000; ++i) static_cast<void>(end.write("ping"));
    static_cast<void>(end.close());
  });
  std::size_t total = 0;
  std::array<std::byte, 3> out;
  for (auto got = two.read(out); got && *got > 0; got = two.read(out)) total += *got;
  EXPECT_EQ(total, 4000u);
  blocking([&] { thread.join(); });
}

}  // namespace
}  // namespace roost::test
