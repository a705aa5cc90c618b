#include <roost/io/reader.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "io/scripted_stream.h"

namespace roost::io {
namespace {

using namespace std::string_literals;

std::span<std::byte> bytes_of(std::string& text) { return std::as_writable_bytes(std::span(text)); }
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
const std::error_code timed_out = Errc::deadline_exceeded;

class ReaderTest : public testing::Test {
 protected:
  ~ReaderTest() override { EXPECT_EQ(base::buffers_borrowed(), borrowed_before_); }

  [[nodiscard]] std::uint64_t borrowed() const { return base::buffers_borrowed() - borrowed_before_; }

  ScriptedSource source_;

 private:
  const std::uint64_t borrowed_before_ = base::buffers_borrowed();
};

// ---- read_until

TEST_F(ReaderTest, ReadUntilReturnsOneTokenAtATime) {
  source_.data("one\ntwo\n\nthr").data("ee\n");
  Reader reader(source_);
  EXPECT_EQ(reader.read_until('\n'), "one\n");
  EXPECT_EQ(reader.read_until('\n'), "two\n");
  EXPECT_EQ(reader.read_until('\n'), "\n");
  EXPECT_EQ(reader.read_until('\n'), "three\n");
  EXPECT_EQ(reader.read_until('\n').error(), Errc::end_of_stream);
  EXPECT_EQ(reader.read_until('\n').error(), Errc::end_of_stream);
}

TEST_F(ReaderTest, AnyByteCanBeTheDelimiter) {
  source_.data("a\0b\xff"s);
  Reader reader(source_);
  EXPECT_EQ(reader.read_until('\0'), "a\0"s);
  EXPECT_EQ(reader.read_until('\xff'), "b\xff");
}

TEST_F(ReaderTest, ATokenInManyPiecesIsPutTogether) {
  std::string token(10'000, 'x');
  token += '\n';
  for (const char letter : token) source_.data({&letter, 1});
  Reader reader(source_, 16);
  EXPECT_EQ(reader.read_until('\n'), token);
}

TEST_F(ReaderTest, AnEndWithinATokenKeepsWhatCame) {
  source_.data("half a li");
  Reader reader(source_);
  EXPECT_EQ(reader.read_until('\n').error(), Errc::end_of_stream);
  EXPECT_EQ(reader.buffered_text(), "half a li");
  EXPECT_EQ(reader.read_until('\n').error(), Errc::end_of_stream);
  EXPECT_EQ(reader.take_buffered(), "half a li");
  EXPECT_EQ(reader.buffered(), 0u);
  EXPECT_EQ(reader.take_buffered(), "");
}

TEST_F(ReaderTest, ADeadlineWithinATokenKeepsWhatCameAndTheCallCanBeRepeated) {
  source_.data("half").error(timed_out).data(" a line\n");
  Reader reader(source_);
  EXPECT_EQ(reader.read_until('\n').error(), std::errc::timed_out);
  EXPECT_EQ(reader.buffered_text(), "half");
  EXPECT_EQ(reader.read_until('\n'), "half a line\n");
}

TEST_F(ReaderTest, ALineOfAMebibyteGrowsTheBufferWhichShrinksWhenItIsEmpty) {
  const std::string line = std::string(1024 * 1024 - 1, 'x') + '\n';
  source_.data(line).late("next\n");
  Reader reader(source_);
  EXPECT_EQ(reader.read_until('\n'), line);
  source_.largest_read = 0;
  EXPECT_EQ(reader.read_until('\n'), "next\n");
  EXPECT_EQ(source_.largest_read, 4096u);
}

TEST_F(ReaderTest, TheBufferShrinksAlsoWhenALongLineDragsTheStartOfTheNextAlong) {
  source_.data(std::string(99'999, 'x') + "\nnex");
  Reader reader(source_);
  EXPECT_EQ(reader.read_until('\n')->size(), 100'000u);
  EXPECT_EQ(reader.buffered_text(), "nex");
  source_.largest_read = 0;
  source_.data("t\n");
  EXPECT_EQ(reader.read_until('\n'), "next\n");
  EXPECT_EQ(source_.largest_read, 4096u - 3u);
}

TEST_F(ReaderTest, ATokenBeyondTheLimitIsRefusedAndNothingIsLost) {  // BF-11, SC-01
  source_.data("0123456789\nshort\n");
  Reader reader(source_, ReaderOptions{.token_bytes_max = 10});
  EXPECT_EQ(reader.read_until('\n').error(), Errc::token_too_long);
  EXPECT_EQ(reader.read_until('\n').error(), std::errc::message_size);
  std::string skipped(11, ' ');
  EXPECT_EQ(reader.read_full(bytes_of(skipped)), 11u);
  EXPECT_EQ(skipped, "0123456789\n");
  EXPECT_EQ(reader.read_until('\n'), "short\n");
}

TEST_F(ReaderTest, ATokenOfExactlyTheLimitIsReturned) {
  for (const std::size_t limit : {1u, 10u, 16u, 17u, 4'096u, 10'000u}) {
    const std::string token = std::string(limit - 1, 'x') + '\n';
    ScriptedSource source;
    source.data(token).data(std::string(limit, 'y'));
    Reader reader(source, ReaderOptions{.buffer_bytes = 16, .token_bytes_max = limit});
    EXPECT_EQ(reader.read_until('\n'), token) << limit;
    EXPECT_EQ(reader.read_until('\n').error(), Errc::token_too_long) << limit;
    EXPECT_EQ(reader.buffered_text().substr(0, limit), std::string(limit, 'y'));
  }
}

// ---- read_slice

TEST_F(ReaderTest, BF_02_ASliceLongerThanTheBufferIsBufferFullThenTheRest) {
  source_.data("And now, hello, world!");
  Reader reader(source_, 16);
  EXPECT_EQ(reader.read_slice(','), "And now,");
  EXPECT_EQ(reader.read_slice('!'), " hello, world!");

  source_.data("this token is longer than sixteen!");
  EXPECT_EQ(reader.read_slice('!').error(), Errc::buffer_full);
  EXPECT_EQ(reader.read_slice('!').error(), std::errc::no_buffer_space);
  EXPECT_EQ(reader.take_buffered(), "this token is lo");
  EXPECT_EQ(reader.read_slice('!').error(), Errc::buffer_full);
  EXPECT_EQ(reader.take_buffered(), "nger than sixtee");
  EXPECT_EQ(reader.read_slice('!'), "n!");
}

TEST_F(ReaderTest, ASliceIsBoundByTheBufferSizeEvenWhileTheBufferIsLarger) {
  source_.data(std::string(100, 'x'));
  Reader reader(source_, 16);
  EXPECT_EQ(reader.read_until('\n').error(), Errc::end_of_stream);
  EXPECT_EQ(reader.read_slice('\n').error(), Errc::buffer_full);
  EXPECT_EQ(reader.take_buffered(), std::string(100, 'x'));
}

// ---- read_line

TEST_F(ReaderTest, BF_11_LinesComeWithoutTheirEndWhateverThePieces) {
  const std::string text = "plain\ndos\r\n\n\r\nodd\rcr\r\r\nlast\r";
  const std::vector<std::string> lines = {"plain", "dos", "", "", "odd\rcr\r", "last\r"};
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    ScriptedSource source;
    for (std::size_t at = 0; at < text.size(); at += piece) source.data(text.substr(at, piece));
    Reader reader(source, 16);
    std::vector<std::string> got;
    for (;;) {
      const auto line = reader.read_line();
      if (!line) {
        EXPECT_EQ(line.error(), Errc::end_of_stream);
        break;
      }
      got.emplace_back(*line);
    }
    EXPECT_EQ(got, lines) << "pieces of " << piece;
  }
}

TEST_F(ReaderTest, BF_11_ALineIsNeverReturnedTogetherWithAnError) {
  source_.data("kept").error(std::make_error_code(std::errc::connection_reset)).data(" whole\n");
  Reader reader(source_);
  EXPECT_EQ(reader.read_line().error(), std::errc::connection_reset);
  EXPECT_EQ(reader.read_line(), "kept whole");
}

TEST_F(ReaderTest, BF_11_ALineTooLongIsAnErrorAndItsBytesCanBeTaken) {
  source_.data("0123456789abcdef\nnext\n");
  Reader reader(source_, ReaderOptions{.buffer_bytes = 16, .token_bytes_max = 8});
  EXPECT_EQ(reader.read_line().error(), Errc::token_too_long);
  EXPECT_EQ(reader.take_buffered(), "0123456789abcdef");
  EXPECT_EQ(reader.read_line(), "");
  EXPECT_EQ(reader.read_line(), "next");
}

// ---- read, read_full, read_byte

TEST_F(ReaderTest, ReadReturnsWhatIsBufferedBeforeItCallsTheSource) {
  source_.data("line\nrest").data("more");
  Reader reader(source_);
  EXPECT_EQ(reader.read_until('\n'), "line\n");
  std::string out(100, ' ');
  EXPECT_EQ(reader.read(bytes_of(out)), 4u);
  EXPECT_EQ(source_.reads, 1);
  EXPECT_EQ(reader.read(bytes_of(out)), 4u);
  EXPECT_EQ(source_.reads, 2);
  EXPECT_EQ(out.substr(0, 4), "more");
  EXPECT_EQ(reader.read(bytes_of(out)), 0u);
}

TEST_F(ReaderTest, AReadOfABufferOrMoreGoesPastTheBuffer) {
  source_.data(std::string(20'000, 'x'));
  Reader reader(source_);
  std::string out(10'000, ' ');
  EXPECT_EQ(reader.read(bytes_of(out)), 10'000u);
  EXPECT_EQ(source_.largest_read, 10'000u);
  EXPECT_EQ(borrowed(), 0u);
}

TEST_F(ReaderTest, BF_09_AReadOfNothingReturnsZeroAndTouchesNothing) {
  source_.data("some\ndata").error(timed_out);
  Reader reader(source_);
  EXPECT_EQ(reader.read({}), 0u);
  EXPECT_EQ(reader.read_full({}), 0u);
  EXPECT_EQ(source_.reads, 0);
  EXPECT_EQ(reader.read_until('\n'), "some\n");
  EXPECT_EQ(reader.read({}), 0u);
  EXPECT_EQ(reader.buffered_text(), "data");
  EXPECT_EQ(reader.discard(0), 0u);
  EXPECT_TRUE(reader.unread_byte());
  EXPECT_EQ(reader.buffered_text(), "\ndata");
}

TEST_F(ReaderTest, ReadFullFillsAllOfItFromBufferAndSource) {
  source_.data("ab").data(std::string(5'000, 'x')).data("yz");
  Reader reader(source_);
  EXPECT_EQ(reader.read_byte(), std::byte{'a'});
  std::string out(5'002, ' ');
  EXPECT_EQ(reader.read_full(bytes_of(out)), 5'002u);
  EXPECT_EQ(out, "b" + std::string(5'000, 'x') + "y");
  EXPECT_EQ(reader.read_byte(), std::byte{'z'});
}

TEST_F(ReaderTest, ReadFullSaysEndOfStreamAndLeavesWhatCameInOut) {
  source_.data("abc");
  Reader reader(source_);
  std::string out(5, '.');
  EXPECT_EQ(reader.read_full(bytes_of(out)).error(), Errc::end_of_stream);
  EXPECT_EQ(out, "abc..");
  std::string large(5'000, '.');
  EXPECT_EQ(reader.read_full(bytes_of(large)).error(), Errc::end_of_stream);
}

TEST_F(ReaderTest, BF_01_ASourceThatReturnsNothingIsAtItsEndAndIsNotAskedAgainAndAgain) {
  // In roost zero bytes mean the end, so what Go gives up after a hundred tries ends at the first one.
  Reader reader(source_);
  EXPECT_EQ(reader.read_byte().error(), Errc::end_of_stream);
  EXPECT_EQ(source_.reads, 1);
  EXPECT_EQ(reader.read_line().error(), Errc::end_of_stream);
  EXPECT_EQ(reader.peek(1).error(), Errc::end_of_stream);
  EXPECT_EQ(reader.discard(1).error(), Errc::end_of_stream);
  EXPECT_EQ(source_.reads, 4);
}

TEST_F(ReaderTest, TheEndIsNotRemembered) {  // as a terminal's is not
  source_.data("a");
  Reader reader(source_);
  EXPECT_EQ(reader.read_until('\n').error(), Errc::end_of_stream);
  source_.data("b\n");
  EXPECT_EQ(reader.read_until('\n'), "ab\n");
}

class LyingSource final : public Source {
 public:
  Result<std::size_t> read(std::span<std::byte>) override { return static_cast<std::size_t>(-1); }
};

TEST(ReaderDeathTest, BF_10_ASourceThatReturnsANegativeCountIsAMistake) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  LyingSource source;
  Reader reader(source);
  std::string out(8'192, ' ');
  EXPECT_DEATH((void)reader.read_byte(), "a source returned more bytes than it was asked for");
  EXPECT_DEATH((void)reader.read(bytes_of(out)), "a source returned more bytes than it was asked for");
}

// ---- unread

TEST_F(ReaderTest, BF_04_UnreadIsAllowedOnceAfterARead) {
  source_.data("abcd\nef");
  Reader reader(source_);
  EXPECT_EQ(reader.unread_byte().error(), Errc::invalid_unread);  // before any read
  EXPECT_EQ(reader.read_byte(), std::byte{'a'});
  EXPECT_TRUE(reader.unread_byte());
  EXPECT_EQ(reader.unread_byte().error(), std::errc::invalid_argument);  // twice
  EXPECT_EQ(reader.read_until('\n'), "abcd\n");
  EXPECT_TRUE(reader.unread_byte());
  EXPECT_EQ(reader.read_until('\n'), "\n");
  std::string out(2, ' ');
  EXPECT_EQ(reader.read(bytes_of(out)), 2u);
  EXPECT_TRUE(reader.unread_byte());
  EXPECT_EQ(reader.read_byte(), std::byte{'f'});
}

TEST_F(ReaderTest, BF_04_UnreadIsRefusedAfterPeekAndDiscard) {
  source_.data("abcdef");
  Reader reader(source_);
  EXPECT_EQ(reader.read_byte(), std::byte{'a'});
  EXPECT_TRUE(reader.peek(1));
  EXPECT_EQ(reader.unread_byte().error(), Errc::invalid_unread);
  EXPECT_EQ(reader.read_byte(), std::byte{'b'});
  EXPECT_EQ(reader.discard(1), 1u);
  EXPECT_EQ(reader.unread_byte().error(), Errc::invalid_unread);
  EXPECT_EQ(reader.buffered_text(), "def");
}

TEST_F(ReaderTest, BF_04_UnreadWorksAfterAReadPastTheBuffer) {
  source_.data(std::string(4'095, 'x') + "y");
  Reader reader(source_);
  std::string out(4'096, ' ');
  EXPECT_EQ(reader.read(bytes_of(out)), 4'096u);
  EXPECT_TRUE(reader.unread_byte());
  EXPECT_EQ(reader.buffered_text(), "y");
  EXPECT_EQ(reader.read_byte(), std::byte{'y'});
  EXPECT_EQ(reader.read_byte().error(), Errc::end_of_stream);
}

TEST_F(ReaderTest, BF_04_UnreadWorksAfterTheEndAndAfterAnError) {
  source_.data("a").error(timed_out).error_while_waiting(timed_out);
  Reader reader(source_);
  EXPECT_EQ(reader.read_byte(), std::byte{'a'});
  EXPECT_EQ(reader.read_byte().error(), timed_out);
  EXPECT_TRUE(reader.unread_byte());
  EXPECT_EQ(reader.read_byte(), std::byte{'a'});
  EXPECT_EQ(reader.read_byte().error(), timed_out);
  EXPECT_EQ(reader.read_byte().error(), Errc::end_of_stream);
  EXPECT_TRUE(reader.unread_byte());
  EXPECT_EQ(reader.read_until('\n').error(), Errc::end_of_stream);
  EXPECT_EQ(reader.take_buffered(), "a");
  EXPECT_TRUE(reader.unread_byte());
  EXPECT_EQ(reader.buffered_text(), "a");
}

TEST_F(ReaderTest, BF_04_UnreadIsRefusedOnceAFailedReadHasMovedTheRest) {
  source_.data("ab").error(timed_out);
  Reader reader(source_);
  EXPECT_EQ(reader.read_byte(), std::byte{'a'});
  EXPECT_EQ(reader.read_until('\n').error(), timed_out);
  EXPECT_EQ(reader.unread_byte().error(), Errc::invalid_unread);
  EXPECT_EQ(reader.buffered_text(), "b");
}

// ---- peek, discard

TEST_F(ReaderTest, PeekShowsBytesWithoutConsumingThem) {
  source_.data("ab").data("cdef");
  Reader reader(source_, 16);
  EXPECT_EQ(text_of(*reader.peek(0)), "");
  EXPECT_EQ(text_of(*reader.peek(3)), "abc");
  EXPECT_EQ(text_of(*reader.peek(2)), "ab");
  EXPECT_EQ(reader.peek(17).error(), Errc::buffer_full);
  EXPECT_EQ(reader.peek(16).error(), Errc::end_of_stream);
  EXPECT_EQ(reader.buffered_text(), "abcdef");
}

TEST_F(ReaderTest, PeekOfAWholeBufferMovesWhatIsUnreadToItsFront) {
  source_.data("0123456789abcdef").data("ghij");
  Reader reader(source_, 16);
  EXPECT_EQ(reader.discard(4), 4u);
  EXPECT_EQ(text_of(*reader.peek(16)), "456789abcdefghij");
}

TEST_F(ReaderTest, DiscardSkipsMoreThanABuffer) {
  source_.data(std::string(1'000, 'x')).data("y");
  Reader reader(source_, 16);
  EXPECT_EQ(reader.discard(1'000), 1'000u);
  EXPECT_EQ(reader.read_byte(), std::byte{'y'});
  EXPECT_EQ(reader.discard(5).error(), Errc::end_of_stream);
}

// ---- what a waiting reader holds

TEST_F(ReaderTest, HoldsNoBufferBeforeTheFirstReadNorWhileItWaits) {
  source_.late("one\n").late("two\n").late("x").error_while_waiting(timed_out);
  Reader reader(source_);
  EXPECT_EQ(borrowed(), 0u);
  EXPECT_EQ(reader.read_until('\n'), "one\n");
  EXPECT_EQ(borrowed(), 1u);  // the view's
  EXPECT_EQ(reader.read_until('\n'), "two\n");
  EXPECT_EQ(reader.read_byte(), std::byte{'x'});
  EXPECT_EQ(reader.read_byte().error(), timed_out);
  EXPECT_EQ(borrowed(), 0u);
  EXPECT_EQ(source_.waits, 4);
  EXPECT_EQ(source_.reads, 3);
  EXPECT_EQ(source_.buffers_while_waiting, 0u);
}

TEST_F(ReaderTest, KeepsItsBufferWhileMoreIsReady) {
  source_.data("one\n").data("two\n");
  Reader reader(source_);
  const auto* first = reader.read_until('\n')->data();
  EXPECT_EQ(reader.read_until('\n')->data(), first);
  EXPECT_EQ(source_.waits, 0);
}

TEST_F(ReaderTest, HoldsNoBufferAfterEverythingWasCopiedOutNorAfterTheEnd) {
  source_.data("abc").data("d\n");
  Reader reader(source_);
  std::string out(10, ' ');
  EXPECT_EQ(reader.read(bytes_of(out)), 3u);
  EXPECT_EQ(borrowed(), 0u);
  EXPECT_EQ(reader.read_line(), "d");
  EXPECT_EQ(reader.read_line().error(), Errc::end_of_stream);
  EXPECT_EQ(borrowed(), 0u);
}

TEST_F(ReaderTest, WaitReadableGivesTheBufferBackAndTellsOfBufferedBytesAtOnce) {
  source_.data("one\ntwo\n").late("three\n");
  Reader reader(source_);
  EXPECT_TRUE(reader.maybe_readable());
  EXPECT_EQ(reader.read_line(), "one");
  EXPECT_TRUE(reader.maybe_readable());
  EXPECT_TRUE(reader.wait_readable());
  EXPECT_EQ(source_.waits, 0);
  EXPECT_EQ(reader.read_line(), "two");
  EXPECT_FALSE(reader.maybe_readable());
  EXPECT_TRUE(reader.wait_readable());
  EXPECT_EQ(source_.waits, 1);
  EXPECT_EQ(source_.buffers_while_waiting, 0u);
  EXPECT_TRUE(reader.maybe_readable());
  EXPECT_EQ(reader.read_line(), "three");
}

// ---- the object

TEST_F(ReaderTest, ItsSizesAreClamped) {
  const std::pair<std::size_t, std::size_t> sizes[] = {
      {0, 16}, {1, 16}, {17, 32}, {4'096, 4'096}, {4'097, 8'192}, {1'048'577, 1'048'576}, {SIZE_MAX, 1'048'576}};
  for (const auto& [asked, given] : sizes) EXPECT_EQ(Reader(source_, asked).buffer_bytes(), given) << asked;
  source_.data("\n\n");
  Reader smallest(source_, ReaderOptions{.token_bytes_max = 0});
  EXPECT_EQ(smallest.read_until('\n'), "\n");
  Reader largest(source_, ReaderOptions{.token_bytes_max = SIZE_MAX});
  EXPECT_EQ(largest.read_until('\n').error(), Errc::end_of_stream);
}

TEST_F(ReaderTest, MovingTakesTheBufferAlongAndViewsStayValid) {
  source_.data("one\ntwo\n").data("three\n");
  Reader first(source_);
  const std::string_view line = *first.read_line();
  Reader second(std::move(first));
  EXPECT_EQ(line, "one");
  EXPECT_EQ(first.buffered(), 0u);
  EXPECT_EQ(second.buffered_text(), "two\n");
  EXPECT_TRUE(second.has_buffered('w'));
  EXPECT_FALSE(second.has_buffered('x'));
  EXPECT_TRUE(second.unread_byte());
  EXPECT_EQ(second.read_line(), "");
  EXPECT_EQ(first.unread_byte().error(), Errc::invalid_unread);
  EXPECT_EQ(first.read_line(), "three");
}

TEST_F(ReaderTest, ReadersCanBeStacked) {
  source_.late("one\ntwo\n");
  Reader inner(source_, 16);
  Reader outer(inner, 64);
  EXPECT_EQ(outer.read_line(), "one");
  EXPECT_EQ(outer.read_line(), "two");
  EXPECT_EQ(outer.read_line().error(), Errc::end_of_stream);
  EXPECT_EQ(source_.buffers_while_waiting, 0u);
}

TEST_F(ReaderTest, RandomCallsOnRandomPiecesSeeTheStreamInOrder) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    ScriptedSource source;
    std::string sent;
    for (int i = 0; i < 60; ++i) {
      std::string piece(1 + random() % (random() % 8 == 0 ? 300 : 20), ' ');
      for (char& letter : piece) letter = random() % 12 == 0 ? '\n' : static_cast<char>('a' + random() % 26);
      random() % 2 == 0 ? source.data(piece) : source.late(piece);
      if (random() % 10 == 0) source.error(timed_out);
      if (random() % 10 == 0) source.error_while_waiting(timed_out);
      sent += piece;
    }
    Reader reader(source, ReaderOptions{.buffer_bytes = std::size_t{16} << random() % 4, .token_bytes_max = 64});
    std::string seen;
    bool can_unread = false;
    for (;;) {
      std::error_code error;
      const auto consume = [&](std::string_view text) {
        seen += text;
        can_unread = can_unread || !text.empty();
      };
      std::string out(1 + random() % 200, ' ');
      switch (random() % 8) {
        case 0:
          if (const auto got = reader.read_until('\n')) consume(*got); else error = got.error();
          break;
        case 1:
          if (const auto got = reader.read_slice('\n')) consume(*got); else error = got.error();
          break;
        case 2:
          if (const auto got = reader.read(bytes_of(out)); !got) error = got.error();
          else if (*got == 0) error = Errc::end_of_stream;
          else consume(out.substr(0, *got));
          break;
        case 3:
          if (const auto got = reader.read_byte()) consume({reinterpret_cast<const char*>(&*got), 1}); else error = got.error();
          break;
        case 4:
          if (const auto got = reader.peek(random() % 16)) {
            ASSERT_EQ(text_of(*got), sent.substr(seen.size(), got->size()));
          } else {
            error = got.error();
          }
          can_unread = false;
          break;
        case 5: {
          ASSERT_EQ(reader.buffered_text(), sent.substr(seen.size(), reader.buffered()));
          consume(reader.take_buffered());
          break;
        }
        case 6: {
          const std::size_t count = 1 + random() % 3;
          if (reader.buffered() < count) break;
          ASSERT_EQ(reader.discard(count), count);
          seen += sent.substr(seen.size(), count);
          can_unread = false;
          break;
        }
        default:
          if (const auto unread = reader.unread_byte()) {
            ASSERT_TRUE(can_unread);
            seen.pop_back();
          }
          can_unread = false;
          break;
      }
      ASSERT_EQ(seen, sent.substr(0, seen.size()));
      if (error == Errc::end_of_stream) {
        consume(reader.take_buffered());
        if (seen.size() == sent.size()) break;
      }
    }
    EXPECT_EQ(seen, sent);
    EXPECT_EQ(source.buffers_while_waiting, 0u);
  }
}

}  // namespace
}  // namespace roost::io
