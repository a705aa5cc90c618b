#include <roost/io/writer.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>

#include "base/buffer_pool.h"
#include "io/scripted_stream.h"

namespace roost::io {
namespace {

using testing::ElementsAre;

class WriterTest : public testing::Test {
 protected:
  ~WriterTest() override { EXPECT_EQ(base::buffers_borrowed(), borrowed_before_); }

  [[nodiscard]] std::uint64_t borrowed() const { return base::buffers_borrowed() - borrowed_before_; }

  ScriptedSink sink_;

 private:
  const std::uint64_t borrowed_before_ = base::buffers_borrowed();
};

TEST_F(WriterTest, GathersSmallWritesIntoOneCall) {
  Writer writer(sink_);
  EXPECT_EQ(writer.write("one "), 4u);
  EXPECT_EQ(writer.write("two"), 3u);
  EXPECT_TRUE(writer.write_byte(std::byte{'\n'}));
  EXPECT_EQ(writer.buffered(), 8u);
  EXPECT_EQ(writer.available(), 4'096u - 8u);
  EXPECT_TRUE(sink_.calls.empty());
  EXPECT_TRUE(writer.flush());
  EXPECT_EQ(sink_.text, "one two\n");
  EXPECT_THAT(sink_.calls, ElementsAre(8));
  EXPECT_EQ(writer.buffered(), 0u);
}

TEST_F(WriterTest, HoldsABufferOnlyFromTheFirstWriteToTheFlush) {
  Writer writer(sink_);
  EXPECT_EQ(borrowed(), 0u);
  EXPECT_TRUE(writer.write("x"));
  EXPECT_EQ(borrowed(), 1u);
  EXPECT_TRUE(writer.flush());
  EXPECT_EQ(borrowed(), 0u);
  EXPECT_TRUE(writer.flush());  // nothing to send: the sink is not called
  EXPECT_EQ(writer.write(""), 0u);
  EXPECT_EQ(borrowed(), 0u);
  EXPECT_THAT(sink_.calls, ElementsAre(1));
}

TEST_F(WriterTest, AWriteThatOverflowsFillsTheBufferSendsItAndKeepsTheRest) {
  Writer writer(sink_, 16);
  EXPECT_TRUE(writer.write("0123456789"));
  EXPECT_EQ(writer.write("abcdefghij"), 10u);
  EXPECT_THAT(sink_.calls, ElementsAre(16));
  EXPECT_EQ(writer.buffered(), 4u);
  EXPECT_TRUE(writer.flush());
  EXPECT_EQ(sink_.text, "0123456789abcdefghij");
}

TEST_F(WriterTest, AWriteThatJustFitsStaysBuffered) {
  Writer writer(sink_, 16);
  EXPECT_TRUE(writer.write("0123456789"));
  EXPECT_TRUE(writer.write("abcdef"));
  EXPECT_TRUE(sink_.calls.empty());
  EXPECT_EQ(writer.available(), 0u);
  EXPECT_TRUE(writer.write_byte(std::byte{'!'}));
  EXPECT_THAT(sink_.calls, ElementsAre(16));
  EXPECT_TRUE(writer.flush());
  EXPECT_EQ(sink_.text, "0123456789abcdef!");
}

TEST_F(WriterTest, BF_12_ALargeWriteToAnEmptyBufferGoesPastItInOneCall) {
  Writer writer(sink_, 16);
  const std::string large(1'000, 'x');
  EXPECT_EQ(writer.write(large), 1'000u);
  EXPECT_EQ(writer.write(large.substr(0, 16)), 16u);
  EXPECT_THAT(sink_.calls, ElementsAre(1'000, 16));
  EXPECT_EQ(writer.buffered(), 0u);
  EXPECT_EQ(borrowed(), 0u);
}

TEST_F(WriterTest, BF_12_ALargeWriteBehindBufferedBytesIsOneVectoredCall) {
  Writer writer(sink_, 16);
  EXPECT_TRUE(writer.write("head "));
  EXPECT_EQ(writer.write(std::string(100, 'x')), 100u);
  EXPECT_EQ(sink_.vectored_calls, 1);
  EXPECT_THAT(sink_.calls, ElementsAre(105));
  EXPECT_EQ(sink_.text, "head " + std::string(100, 'x'));
  EXPECT_EQ(borrowed(), 0u);
}

TEST_F(WriterTest, BF_06_AShortWriteOrAnErrorOfTheSinkIsStickyAndNamed) {
  const std::error_code broken_pipe = std::make_error_code(std::errc::broken_pipe);
  struct Case {
    std::size_t taken;  // of two bytes
    std::error_code code;
    std::error_code expected;
  };
  const Case cases[] = {
      {0, {}, Errc::short_write}, {1, {}, Errc::short_write}, {2, {}, {}},
      {0, broken_pipe, broken_pipe}, {1, broken_pipe, broken_pipe}, {2, broken_pipe, broken_pipe},
  };
  for (const Case& row : cases) {
    ScriptedSink sink;
    sink.takes = row.taken;
    sink.code = row.code;
    Writer writer(sink);
    EXPECT_TRUE(writer.write("hi"));
    for (int flushes = 0; flushes < 2; ++flushes) {
      const auto flushed = writer.flush();
      EXPECT_EQ(flushed ? std::error_code() : flushed.error(), row.expected) << row.taken << " " << row.code.message();
    }
    EXPECT_EQ(sink.calls.size(), 1u);
    if (!row.expected) continue;
    EXPECT_EQ(borrowed(), 0u);
    EXPECT_EQ(writer.write("x").error(), row.expected);
    EXPECT_EQ(writer.write("").error(), row.expected);
    EXPECT_EQ(writer.write(std::string(10'000, 'x')).error(), row.expected);
    EXPECT_EQ(writer.write_byte(std::byte{'x'}).error(), row.expected);
    EXPECT_EQ(writer.buffered(), 0u);
    EXPECT_EQ(sink.calls.size(), 1u);
  }
}

TEST_F(WriterTest, BF_06_ALargeWriteThatFailsIsStickyToo) {
  for (const std::string_view buffered : {"", "head"}) {
    ScriptedSink sink;
    sink.takes = 3;
    Writer writer(sink, 16);
    if (!buffered.empty()) {
      EXPECT_TRUE(writer.write(buffered));
    }
    EXPECT_EQ(writer.write(std::string(100, 'x')).error(), Errc::short_write);
    EXPECT_EQ(writer.flush().error(), Errc::short_write);
    EXPECT_EQ(borrowed(), 0u);
  }
}

TEST_F(WriterTest, AnOverflowThatFailsIsStickyToo) {
  Writer writer(sink_, 16);
  EXPECT_TRUE(writer.write("0123456789"));
  sink_.code = Errc::deadline_exceeded;
  EXPECT_EQ(writer.write("0123456789").error(), std::errc::timed_out);
  EXPECT_EQ(writer.flush().error(), std::errc::timed_out);
  EXPECT_EQ(writer.available(), 16u);
}

TEST(WriterDeathTest, BF_10_ASinkThatTakesMoreThanItWasGivenIsAMistake) {
  class LyingSink final : public Sink {
   public:
    Result<std::size_t> write(std::span<const std::byte> data) override { return data.size() + 1; }
  };
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  LyingSink sink;
  Writer writer(sink);
  ASSERT_TRUE(writer.write(as_bytes("x")));
  EXPECT_DEATH((void)writer.flush(), "a sink took more bytes than it was given");
}

TEST_F(WriterTest, TheDestructorDropsWhatWasNotFlushed) {
  {
    Writer writer(sink_);
    EXPECT_TRUE(writer.write("lost"));
  }
  EXPECT_TRUE(sink_.calls.empty());
}

TEST_F(WriterTest, MovingTakesTheBufferAndTheErrorAlong) {
  Writer first(sink_, 16);
  EXPECT_TRUE(first.write("one "));
  Writer second(std::move(first));
  EXPECT_EQ(first.buffered(), 0u);
  EXPECT_TRUE(first.flush());
  EXPECT_TRUE(second.write("two"));
  EXPECT_TRUE(second.flush());
  EXPECT_EQ(sink_.text, "one two");

  sink_.code = Errc::closed;
  EXPECT_TRUE(second.write("x"));
  EXPECT_FALSE(second.flush());
  Writer third(std::move(second));
  EXPECT_EQ(third.flush().error(), Errc::closed);
  EXPECT_TRUE(second.flush());
}

TEST_F(WriterTest, ItsSizeIsClamped) {
  const std::pair<std::size_t, std::size_t> sizes[] = {
      {0, 16}, {17, 32}, {4'096, 4'096}, {4'097, 8'192}, {SIZE_MAX, 1'048'576}};
  for (const auto& [asked, given] : sizes) EXPECT_EQ(Writer(sink_, asked).buffer_bytes(), given) << asked;
}

TEST_F(WriterTest, VectoredWritesAreGatheredToo) {
  Writer writer(sink_);
  const std::array<std::span<const std::byte>, 3> pieces{as_bytes("a"), as_bytes(""), as_bytes("bc")};
  EXPECT_EQ(writer.write_vectored(pieces), 3u);
  EXPECT_TRUE(sink_.calls.empty());
  EXPECT_TRUE(writer.flush());
  EXPECT_EQ(sink_.text, "abc");
}

TEST_F(WriterTest, RandomWritesArriveInOrderAndNoCallIsSmallerThanItNeedsToBe) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    ScriptedSink sink;
    Writer writer(sink, std::size_t{16} << random() % 4);
    std::string sent;
    for (int i = 0; i < 200; ++i) {
      std::string piece(random() % (random() % 8 == 0 ? 300 : 20), static_cast<char>('a' + random() % 26));
      sent += piece;
      EXPECT_EQ(writer.write(piece), piece.size());
      EXPECT_EQ(sink.text.size() + writer.buffered(), sent.size());
    }
    for (const std::size_t size : sink.calls) EXPECT_GE(size, writer.buffer_bytes());
    EXPECT_TRUE(writer.flush());
    EXPECT_EQ(sink.text, sent);
  }
}

}  // namespace
}  // namespace roost::io
