#include <roost/io/copy.h>

#include <gtest/gtest.h>

#include <string>

#include <roost/io/reader.h>
#include <roost/io/writer.h>

#include "base/buffer_pool.h"
#include "io/scripted_stream.h"

namespace roost::io {
namespace {

class CopyTest : public testing::Test {
 protected:
  ~CopyTest() override { EXPECT_EQ(base::buffers_borrowed(), borrowed_before_); }

  ScriptedSource source_;
  ScriptedSink sink_;

 private:
  const std::uint64_t borrowed_before_ = base::buffers_borrowed();
};

TEST_F(CopyTest, CopiesUntilTheSourceEnds) {
  const std::string large(100'000, 'x');
  source_.data("ab").late(large).late("c");
  EXPECT_EQ(copy(sink_, source_), 100'003u);
  EXPECT_EQ(sink_.text, "ab" + large + "c");
  EXPECT_EQ(source_.largest_read, 32'768u);
  EXPECT_EQ(source_.waits, 2);
}

TEST_F(CopyTest, HoldsNoBufferWhileTheSourceHasNothing) {
  source_.late("a").late("b").data("c").late("d");
  EXPECT_EQ(copy(sink_, source_), 4u);
  EXPECT_EQ(source_.buffers_while_waiting, 0u);
}

TEST_F(CopyTest, OfAnEmptySourceIsZeroBytes) {
  EXPECT_EQ(copy(sink_, source_), 0u);
  EXPECT_TRUE(sink_.calls.empty());
}

TEST_F(CopyTest, StopsAtTheCountAndReadsNothingBeyond) {
  source_.data("0123456789");
  EXPECT_EQ(copy_n(sink_, source_, 0), 0u);
  EXPECT_EQ(source_.reads, 0);
  EXPECT_EQ(copy_n(sink_, source_, 4), 4u);
  EXPECT_EQ(sink_.text, "0123");
  EXPECT_EQ(copy_n(sink_, source_, 100), 6u);
  EXPECT_EQ(sink_.text, "0123456789");
}

TEST_F(CopyTest, ReportsTheErrorOfEitherSide) {
  source_.data("ab").error(Errc::deadline_exceeded).error_while_waiting(Errc::canceled).data("cd");
  EXPECT_EQ(copy(sink_, source_).error(), std::errc::timed_out);
  EXPECT_EQ(sink_.text, "ab");
  EXPECT_EQ(copy(sink_, source_).error(), std::errc::operation_canceled);
  sink_.code = std::make_error_code(std::errc::broken_pipe);
  EXPECT_EQ(copy(sink_, source_).error(), std::errc::broken_pipe);
}

TEST_F(CopyTest, AShortWriteIsAnError) {
  source_.data("abc");
  sink_.takes = 2;
  EXPECT_EQ(copy(sink_, source_).error(), Errc::short_write);
}

TEST_F(CopyTest, WorksThroughReaderAndWriter) {
  source_.data("header\nbody ").late("of it");
  Reader reader(source_);
  EXPECT_EQ(reader.read_line(), "header");
  Writer writer(sink_);
  EXPECT_EQ(copy(writer, reader), 10u);
  EXPECT_TRUE(writer.flush());
  EXPECT_EQ(sink_.text, "body of it");
  EXPECT_EQ(source_.buffers_while_waiting, 1u);  // the writer's, which was not flushed
}

}  // namespace
}  // namespace roost::io
