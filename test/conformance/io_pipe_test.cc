#include <roost/io/pipe.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <roost/go.h>
#include <roost/io/copy.h>
#include <roost/runtime.h>
#include <roost/time/sleep.h>

namespace roost::io {
namespace {

const std::error_code mine = std::make_error_code(std::errc::illegal_byte_sequence);

Result<std::string> read_some(PipeReader& reader, std::size_t size = 64) {
  std::string text(size, '\0');
  const auto got = reader.read(std::as_writable_bytes(std::span(text)));
  if (!got) return fail(got.error());
  text.resize(*got);
  return text;
}

// Each test runs with one worker and with several.
class PipeTest : public testing::TestWithParam<unsigned> {
 protected:
  void in_runtime(std::function<void()> body) {
    RuntimeOptions options;
    options.workers = GetParam();
    options.detect_deadlock = false;  // threads outside take part
    run(options, [&] { body(); });
  }
};
INSTANTIATE_TEST_SUITE_P(Workers, PipeTest, testing::Values(1u, 3u));

TEST_P(PipeTest, AWriteReturnsWhenAllOfItWasRead) {
  in_runtime([] {
    auto [reader, writer] = pipe();
    bool written = false;
    auto writing = go([&] {
      EXPECT_EQ(writer.write("hello, world"), 12u);
      written = true;
      EXPECT_EQ(writer.write("!"), 1u);
      writer.close();
    });
    EXPECT_EQ(read_some(reader, 5), "hello");
    EXPECT_FALSE(written);
    EXPECT_EQ(read_some(reader, 5), ", wor");
    EXPECT_FALSE(written);
    EXPECT_EQ(read_some(reader, 5), "ld");
    EXPECT_EQ(read_some(reader, 5), "!");
    EXPECT_EQ(read_some(reader, 5), "");
    EXPECT_EQ(read_some(reader, 5), "");
    writing.join();
  });
}

TEST_P(PipeTest, PI03ClosingTheWriterWithAnErrorIsWhatReadsReport) {
  in_runtime([] {
    auto [reader, writer] = pipe();
    auto reading = go([&] { return read_some(reader); });
    yield();
    writer.close(mine);
    EXPECT_EQ(reading.join().error(), mine);
    EXPECT_EQ(read_some(reader).error(), mine);
    EXPECT_EQ(reader.read({}).error(), mine);
    EXPECT_EQ(writer.write("x").error(), Errc::closed);
    writer.close();  // the first counts
    EXPECT_EQ(read_some(reader).error(), mine);
  });
}

TEST_P(PipeTest, PI03ClosingTheReaderWithAnErrorIsWhatWritesReport) {
  in_runtime([] {
    auto [reader, writer] = pipe();
    auto writing = go([&] { return writer.write("hello"); });
    EXPECT_EQ(read_some(reader, 2), "he");
    reader.close(mine);
    EXPECT_EQ(writing.join().error(), mine);
    EXPECT_EQ(writer.write("x").error(), mine);
    EXPECT_EQ(writer.write("").error(), mine);
    EXPECT_EQ(read_some(reader).error(), Errc::closed);
  });
}

TEST_P(PipeTest, PI03WithoutAReasonWritesReportABrokenPipeAndReadsTheEnd) {
  in_runtime([] {
    auto [reader, writer] = pipe();
    reader.close();
    EXPECT_EQ(writer.write("x").error(), std::errc::broken_pipe);
    auto [other_reader, other_writer] = pipe();
    other_writer.close();
    EXPECT_EQ(read_some(other_reader), "");
  });
}

TEST_P(PipeTest, ACloseEndsAllCallsOfBothSides) {
  in_runtime([] {
    for (const bool close_reader : {false, true}) {
      auto [reader, writer] = pipe();
      std::vector<Handle<Result<std::size_t>>> writing;
      for (int i = 0; i < 5; ++i) writing.push_back(go([&] { return writer.write("x"); }));
      while (!reader.maybe_readable()) yield();
      close_reader ? reader.close(mine) : writer.close(mine);
      for (auto& one : writing) {
        const auto wrote = one.join();
        EXPECT_EQ(wrote.error(), close_reader ? mine : std::error_code(Errc::closed));
      }

      auto [reader_2, writer_2] = pipe();
      std::vector<Handle<Result<std::string>>> reading;
      for (int i = 0; i < 5; ++i) reading.push_back(go([&] { return read_some(reader_2); }));
      yield();
      close_reader ? reader_2.close(mine) : writer_2.close(mine);
      for (auto& one : reading) {
        const auto got = one.join();
        EXPECT_EQ(got.error(), close_reader ? std::error_code(Errc::closed) : mine);
      }
    }
  });
}

TEST_P(PipeTest, DestroyingOneSideClosesIt) {
  in_runtime([] {
    auto ends = pipe();
    { const PipeWriter gone = std::move(ends.writer); }
    EXPECT_EQ(read_some(ends.reader), "");
    auto others = pipe();
    { const PipeReader gone = std::move(others.reader); }
    EXPECT_EQ(others.writer.write("x").error(), std::errc::broken_pipe);
  });
}

TEST_P(PipeTest, PI03ConcurrentWritesAreNotInterleaved) {
  in_runtime([] {
    constexpr int writers = 8;
    constexpr int rounds = 200;
    auto [reader, writer] = pipe();
    std::vector<Handle<void>> writing;
    for (int i = 0; i < writers; ++i) {
      writing.push_back(go([&, i] {
        const std::string line = std::string(static_cast<std::size_t>(10 + i), static_cast<char>('a' + i)) + "\n";
        for (int round = 0; round < rounds; ++round) ASSERT_EQ(writer.write(line), line.size());
      }));
    }
    auto closing = go([&] {
      for (auto& one : writing) one.join();
      writer.close();
    });
    std::string all;
    for (;;) {
      const auto part = read_some(reader, 3);
      ASSERT_TRUE(part);
      if (part->empty()) break;
      all += *part;
    }
    closing.join();
    std::map<std::string, int> lines;
    for (std::size_t at = 0; at < all.size();) {
      const std::size_t end = all.find('\n', at);
      ++lines[all.substr(at, end - at)];
      at = end + 1;
    }
    EXPECT_EQ(lines.size(), static_cast<std::size_t>(writers));
    for (int i = 0; i < writers; ++i) {
      EXPECT_EQ(lines[std::string(static_cast<std::size_t>(10 + i), static_cast<char>('a' + i))], rounds);
    }
  });
}

TEST_P(PipeTest, SeveralReadersGetEveryByteOnce) {
  in_runtime([] {
    auto [reader, writer] = pipe();
    std::vector<Handle<std::size_t>> reading;
    for (int i = 0; i < 4; ++i) {
      reading.push_back(go([&] {
        std::size_t total = 0;
        for (;;) {
          const auto part = read_some(reader, 7);
          if (!part || part->empty()) return total;
          total += part->size();
        }
      }));
    }
    for (int round = 0; round < 500; ++round) ASSERT_EQ(writer.write("0123456789"), 10u);
    writer.close();
    std::size_t total = 0;
    for (auto& one : reading) total += one.join();
    EXPECT_EQ(total, 5000u);
  });
}

TEST_P(PipeTest, CancelledCallsLeaveAndOthersGoOn) {
  in_runtime([] {
    auto [reader, writer] = pipe();
    auto first = go([&] { return writer.write("first"); });
    while (!reader.maybe_readable()) yield();
    auto second = go([&] { return writer.write("second"); });
    first.cancel();
    EXPECT_EQ(first.join().error(), Errc::canceled);
    EXPECT_EQ(read_some(reader), "second");
    EXPECT_EQ(second.join(), 6u);

    auto lost = go([&] { return read_some(reader); });
    yield();
    auto kept = go([&] { return read_some(reader); });
    yield();
    lost.cancel();
    EXPECT_EQ(lost.join().error(), Errc::canceled);
    EXPECT_EQ(writer.write("x"), 1u);
    EXPECT_EQ(kept.join(), "x");
  });
}

TEST_P(PipeTest, WaitingForBytesTakesNone) {
  in_runtime([] {
    auto [reader, writer] = pipe();
    EXPECT_FALSE(reader.maybe_readable());
    auto writing = go([&] { return writer.write("x"); });
    EXPECT_TRUE(reader.wait_readable());
    EXPECT_TRUE(reader.maybe_readable());
    EXPECT_EQ(read_some(reader), "x");
    EXPECT_EQ(writing.join(), 1u);
    writer.close();
    EXPECT_TRUE(reader.maybe_readable());
    EXPECT_TRUE(reader.wait_readable());
  });
}

TEST_P(PipeTest, ThreadsOutsideTheRuntimeMayUseIt) {
  auto ends = pipe();
  std::thread outside([writer = std::move(ends.writer)]() mutable {
    for (int i = 0; i < 100; ++i) EXPECT_EQ(writer.write("line\n"), 5u);
  });
  std::string all;
  in_runtime([&] {
    for (;;) {
      const auto part = read_some(ends.reader, 3);
      ASSERT_TRUE(part);
      if (part->empty()) break;
      all += *part;
    }
  });
  outside.join();
  EXPECT_EQ(all.size(), 500u);
}

}  // namespace
}  // namespace roost::io
