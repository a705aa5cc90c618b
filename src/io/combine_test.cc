// Sources and sinks made of others: limit, tee, multi.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include <roost/io/copy.h>
#include <roost/io/limit.h>
#include <roost/io/multi.h>
#include <roost/io/tee.h>

#include "io/scripted_stream.h"

namespace roost::io {
namespace {

const std::error_code reset = std::make_error_code(std::errc::connection_reset);

// All that comes until the end, by reads of `step` bytes.
std::string read_all(Source& source, std::size_t step = 7) {
  std::string all;
  std::string part(step, '\0');
  while (const auto got = source.read(std::as_writable_bytes(std::span(part)))) {
    if (*got == 0) return all;
    all.append(part, 0, *got);
  }
  return all + "<error>";
}

// ---- LimitSource

TEST(LimitSourceTest, EndsAfterItsCountAndLeavesTheRest) {
  ScriptedSource source;
  source.data("0123456789");
  LimitSource limited(source, 4);
  EXPECT_EQ(read_all(limited, 3), "0123");
  EXPECT_EQ(limited.remaining(), 0u);
  EXPECT_EQ(read_all(source), "456789");
}

TEST(LimitSourceTest, EndsWhereItsSourceEnds) {
  ScriptedSource source;
  source.data("01");
  LimitSource limited(source, 4);
  EXPECT_EQ(read_all(limited), "01");
  EXPECT_EQ(limited.remaining(), 2u);
}

TEST(LimitSourceTest, AsksNothingOfItsSourceOnceItsCountIsReached) {
  ScriptedSource source;
  source.late("x");
  LimitSource limited(source, 0);
  EXPECT_TRUE(limited.maybe_readable());
  EXPECT_TRUE(limited.wait_readable());
  EXPECT_EQ(read_all(limited), "");
  EXPECT_EQ(source.reads + source.waits, 0);
}

TEST(LimitSourceTest, ReportsItsSourcesError) {
  ScriptedSource source;
  source.data("ab").error(reset);
  LimitSource limited(source, 10);
  std::array<std::byte, 4> out;
  EXPECT_EQ(limited.read(out), 2u);
  EXPECT_EQ(limited.read(out).error(), reset);
  EXPECT_EQ(limited.remaining(), 8u);
}

TEST(LimitSourceTest, IsCopiedByTheQuickWayOfItsSource) {
  ScriptedSource first, second;
  first.data("0123");
  second.data("456789");
  MultiSource quick({&first, &second});
  LimitSource limited(quick, 6);
  ScriptedSink sink;
  EXPECT_EQ(copy(sink, limited), 6u);
  EXPECT_EQ(sink.text, "012345");
  EXPECT_EQ(limited.remaining(), 0u);
}

// ---- TeeSource

TEST(TeeSourceTest, WritesWhatIsRead) {
  ScriptedSource source;
  source.data("hello ").late("world");
  ScriptedSink copy;
  TeeSource tee(source, copy);
  EXPECT_EQ(read_all(tee, 4), "hello world");
  EXPECT_EQ(copy.text, "hello world");
}

TEST(TeeSourceTest, ReportsAFailedCopy) {
  ScriptedSource source;
  source.data("ab").data("cd");
  ScriptedSink sink;
  TeeSource tee(source, sink);
  std::array<std::byte, 4> out;
  sink.takes = 1;
  EXPECT_EQ(tee.read(out).error(), Errc::short_write);
  sink.code = std::make_error_code(std::errc::broken_pipe);
  EXPECT_EQ(tee.read(out).error(), std::errc::broken_pipe);
}

// ---- MultiSource

TEST(MultiSourceTest, ReadsOneAfterTheOther) {
  ScriptedSource first, empty, last;
  first.data("one ").data("two ");
  last.data("three");
  MultiSource multi({&first, &empty, &last});
  EXPECT_EQ(read_all(multi, 3), "one two three");
  EXPECT_EQ(read_all(multi), "");
}

TEST(MultiSourceTest, ReadingNothingEndsNoSource) {
  ScriptedSource first;
  first.data("one");
  MultiSource multi({&first});
  EXPECT_EQ(multi.read({}), 0u);
  EXPECT_EQ(read_all(multi), "one");
}

TEST(MultiSourceTest, AnErrorStaysWithItsSource) {
  ScriptedSource first, second;
  first.error(reset).data("again");
  second.data("!");
  MultiSource multi({&first, &second});
  std::array<std::byte, 8> out;
  EXPECT_EQ(multi.read(out).error(), reset);
  EXPECT_EQ(read_all(multi), "again!");
}

TEST(MultiSourceTest, CopiesAtMostAsManyBytesAsAskedFor) {
  ScriptedSource first, second;
  first.data("0123");
  second.data("456789");
  MultiSource multi({&first, &second});
  ScriptedSink sink;
  EXPECT_EQ(copy_n(sink, multi, 6), 6u);
  EXPECT_EQ(sink.text, "012345");
  EXPECT_EQ(copy(sink, multi), 4u);
  EXPECT_EQ(sink.text, "0123456789");
}

// ---- MultiSink

TEST(MultiSinkTest, WritesToAll) {
  ScriptedSink one, two;
  MultiSink multi({&one, &two});
  EXPECT_EQ(multi.write("hello"), 5u);
  const std::array<std::span<const std::byte>, 2> pieces{as_bytes(" "), as_bytes("world")};
  EXPECT_EQ(multi.write_vectored(pieces), 6u);
  EXPECT_EQ(one.text, "hello world");
  EXPECT_EQ(two.text, "hello world");
  EXPECT_EQ(two.vectored_calls, 1);
}

TEST(MultiSinkTest, TheFirstFailureEndsAWrite) {
  ScriptedSink one, two, three;
  MultiSink multi({&one, &two, &three});
  two.takes = 2;
  EXPECT_EQ(multi.write("hello").error(), Errc::short_write);
  EXPECT_EQ(one.text, "hello");
  EXPECT_EQ(three.text, "");
  two.code = reset;
  EXPECT_EQ(multi.write("hello").error(), reset);
}

TEST(MultiSinkTest, WithoutSinksTakesEverything) {
  MultiSink multi({});
  EXPECT_EQ(multi.write("hello"), 5u);
}

}  // namespace
}  // namespace roost::io
