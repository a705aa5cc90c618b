#include <roost/io/scanner.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "io/scripted_stream.h"

namespace roost::io {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using namespace std::string_literals;

const std::error_code none;
const std::error_code reset = std::make_error_code(std::errc::connection_reset);

class ScannerTest : public testing::Test {
 protected:
  ~ScannerTest() override { EXPECT_EQ(base::buffers_borrowed(), borrowed_before_); }

  // All tokens of `text`, read in one piece and byte by byte, which must make no difference.
  std::vector<std::string> tokens(std::string_view text, SplitFunction split) {
    ScriptedSource whole, bytes;
    whole.data(text);
    for (const char& byte : text) bytes.data({&byte, 1});
    const auto one = rest(whole, split);
    const auto other = rest(bytes, split);
    EXPECT_EQ(one, other);
    return one;
  }
  std::vector<std::string> rest(Source& source, SplitFunction split) {
    Scanner scanner(source, {.split = std::move(split), .buffer_bytes = 16});
    std::vector<std::string> all;
    for (const std::string_view token : scanner) all.emplace_back(token);
    error_ = scanner.error();
    return all;
  }

  ScriptedSource source_;
  std::error_code error_;

 private:
  const std::uint64_t borrowed_before_ = base::buffers_borrowed();
};

// ---- lines

TEST_F(ScannerTest, SC02LinesEndWithNewlineOrCarriageReturnNewline) {
  EXPECT_THAT(tokens("", &split_lines), IsEmpty());
  EXPECT_THAT(tokens("one", &split_lines), ElementsAre("one"));
  EXPECT_THAT(tokens("one\ntwo", &split_lines), ElementsAre("one", "two"));
  EXPECT_THAT(tokens("one\ntwo\n", &split_lines), ElementsAre("one", "two"));
  EXPECT_THAT(tokens("one\r\ntwo\r\n", &split_lines), ElementsAre("one", "two"));
  EXPECT_THAT(tokens("one\ntwo\r", &split_lines), ElementsAre("one", "two"));
  EXPECT_THAT(tokens("one\ntwo\n\n", &split_lines), ElementsAre("one", "two", ""));
  EXPECT_THAT(tokens("one\ntwo\n\r", &split_lines), ElementsAre("one", "two", ""));
  EXPECT_THAT(tokens("\n\na\rb\n\n", &split_lines), ElementsAre("", "", "a\rb", ""));
  EXPECT_EQ(error_, none);
}

TEST_F(ScannerTest, SC01ALineBeyondTheLimitEndsTheScan) {
  source_.data("short\n" + std::string(300, 'x') + "\nnever\n");
  Scanner lines(source_, {.token_bytes_max = 256});
  ASSERT_TRUE(lines.scan());
  EXPECT_EQ(lines.token(), "short");
  EXPECT_FALSE(lines.scan());
  EXPECT_EQ(lines.error(), Errc::token_too_long);
  EXPECT_EQ(lines.token(), "");
  EXPECT_FALSE(lines.scan());
  EXPECT_EQ(lines.error(), Errc::token_too_long);
}

TEST_F(ScannerTest, ALineMayBeAsLongAsTheLimitWithItsEnd) {
  for (const std::size_t buffer_bytes : {16u, 256u, 4096u}) {
    ScriptedSource source;
    source.data(std::string(255, 'x') + "\n" + std::string(256, 'y') + "\n");
    Scanner lines(source, {.token_bytes_max = 256, .buffer_bytes = buffer_bytes});
    EXPECT_TRUE(lines.scan());
    EXPECT_EQ(lines.token().size(), 255u);
    EXPECT_FALSE(lines.scan());
    EXPECT_EQ(lines.error(), Errc::token_too_long);
  }
}

TEST_F(ScannerTest, LongLinesAreFoundWhole) {
  std::string text;
  for (std::size_t size = 0; size < 3000; size += 37) text += std::string(size, static_cast<char>('a' + size % 26)) + "\n";
  std::size_t size = 0;
  for (const std::string& line : tokens(text, &split_lines)) {
    EXPECT_EQ(line, std::string(size, static_cast<char>('a' + size % 26)));
    size += 37;
  }
  EXPECT_EQ(size, 3034u);
}

// ---- words, bytes, runes

TEST_F(ScannerTest, WordsStandBetweenWhiteSpace) {
  EXPECT_THAT(tokens("", &split_words), IsEmpty());
  EXPECT_THAT(tokens(" \t\n ", &split_words), IsEmpty());
  EXPECT_THAT(tokens("one", &split_words), ElementsAre("one"));
  EXPECT_THAT(tokens("  one\ttwo \n three  ", &split_words), ElementsAre("one", "two", "three"));
  EXPECT_THAT(tokens("a\u00a0b\u2003c\u3000d\u0085e", &split_words), ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_THAT(tokens("na\u00efve \u65e5\u672c", &split_words), ElementsAre("na\u00efve", "\u65e5\u672c"));
  EXPECT_THAT(tokens("bad\xff byte\xe2\x80", &split_words), ElementsAre("bad\xff", "byte\xe2\x80"));
}

TEST_F(ScannerTest, SpaceOfAnyLengthIsNotTooLong) {
  source_.data(std::string(10'000, ' ') + "end");
  Scanner words(source_, {.split = &split_words, .token_bytes_max = 64, .buffer_bytes = 16});
  ASSERT_TRUE(words.scan());
  EXPECT_EQ(words.token(), "end");
}

TEST_F(ScannerTest, BytesAreTakenAsTheyAre) {
  EXPECT_THAT(tokens("a\0\xff"s, &split_bytes), ElementsAre("a", "\0"s, "\xff"));
}

TEST_F(ScannerTest, RunesAreCharactersOrTheReplacement) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_THAT(tokens("a\u00e9\u65e5\U0001f600", &split_runes), ElementsAre("a", "\u00e9", "\u65e5", "\U0001f600"));
  EXPECT_THAT(tokens("\x80x", &split_runes), ElementsAre(bad, "x"));
  EXPECT_THAT(tokens("\xc0\x80", &split_runes), ElementsAre(bad, bad));                // overlong
  EXPECT_THAT(tokens("\xed\xa0\x80", &split_runes), ElementsAre(bad, bad, bad));       // a surrogate
  EXPECT_THAT(tokens("\xf4\x90\x80\x80", &split_runes), ElementsAre(bad, bad, bad, bad));  // beyond U+10FFFF
  EXPECT_THAT(tokens("\xe2\x82", &split_runes), ElementsAre(bad, bad));                // cut off at the end
}

// ---- functions of the user's

TEST_F(ScannerTest, SC05TokensBeforeASplitErrorAreDelivered) {
  const std::error_code mine = std::make_error_code(std::errc::illegal_byte_sequence);
  int count = 0;
  const auto split = [&](std::string_view data, bool at_end) -> Split {
    if (++count > 3) return {.error = mine};
    return split_bytes(data, at_end);
  };
  source_.data("abcdefg");
  EXPECT_THAT(rest(source_, split), ElementsAre("a", "b", "c"));
  EXPECT_EQ(error_, mine);
}

TEST_F(ScannerTest, SC05AnErrorAtTheEndIsReported) {
  const std::error_code mine = std::make_error_code(std::errc::illegal_byte_sequence);
  bool ended = false;
  const auto split = [&](std::string_view data, bool at_end) -> Split {
    const Split word = split_words(data, at_end);
    if (word.token && word.token->size() > 1) {
      ended = at_end;
      return {.error = mine};
    }
    return word;
  };
  EXPECT_THAT(tokens("1 2 33", split), ElementsAre("1", "2"));
  EXPECT_TRUE(ended);
  EXPECT_EQ(error_, mine);
}

TEST_F(ScannerTest, WhatCameBeforeASourcesErrorIsDelivered) {
  source_.data("one\ntw").error(reset).data("never\n");
  EXPECT_THAT(rest(source_, &split_lines), ElementsAre("one", "tw"));
  EXPECT_EQ(error_, reset);
}

TEST_F(ScannerTest, AWaitThatFailsEndsTheScan) {
  source_.data("one\n").error_while_waiting(Errc::deadline_exceeded);
  EXPECT_THAT(rest(source_, &split_lines), ElementsAre("one"));
  EXPECT_EQ(error_, std::errc::timed_out);
}

TEST_F(ScannerTest, TheLastTokenMayBeNamed) {
  const auto until_stop = [](std::string_view data, bool at_end) -> Split {
    Split word = split_words(data, at_end);
    if (word.token == "STOP") return {.advance = word.advance, .last = true};
    if (word.token == "END") word.last = true;
    return word;
  };
  EXPECT_THAT(tokens("1 2 STOP 3", until_stop), ElementsAre("1", "2"));
  EXPECT_THAT(tokens("1 2 END 3", until_stop), ElementsAre("1", "2", "END"));
  EXPECT_EQ(error_, none);
}

TEST_F(ScannerTest, ATokenMayFollowTheData) {
  // A list with commas: after the last one stands an empty item.
  bool over = false;
  const auto items = [&](std::string_view data, bool at_end) -> Split {
    const std::size_t comma = data.find(',');
    if (comma != std::string_view::npos) return {.advance = comma + 1, .token = data.substr(0, comma)};
    if (!at_end || over) return {};
    over = true;
    return {.advance = data.size(), .token = data, .last = true};
  };
  source_.data("1,2,");
  EXPECT_THAT(rest(source_, items), ElementsAre("1", "2", ""));
}

TEST_F(ScannerTest, AFunctionMaySkipWithoutAToken) {
  const auto digits = [](std::string_view data, bool) -> Split {
    if (data.empty()) return {};
    if (data[0] < '0' || data[0] > '9') return {.advance = 1};
    return {.advance = 1, .token = data.substr(0, 1)};
  };
  EXPECT_THAT(tokens("a1bc2d", digits), ElementsAre("1", "2"));
}

TEST_F(ScannerTest, AFunctionThatNeverAdvancesIsDiagnosed) {
  EXPECT_DEATH(
      {
        source_.data("x");
        rest(source_, [](std::string_view, bool) -> Split { return {.token = ""}; });
      },
      "without advancing");
}

TEST_F(ScannerTest, AdvancingBeyondTheDataIsDiagnosed) {
  EXPECT_DEATH(
      {
        source_.data("x");
        rest(source_, [](std::string_view data, bool) -> Split { return {.advance = data.size() + 1}; });
      },
      "beyond the data");
}

// ---- memory

TEST_F(ScannerTest, HoldsNoBufferWhileItWaitsBetweenTokens) {
  source_.late("one\n").late("two\nthr").data("ee\n").late("four");
  Scanner lines(source_);
  std::vector<std::string> all;
  for (const std::string_view line : lines) all.emplace_back(line);
  EXPECT_THAT(all, ElementsAre("one", "two", "three", "four"));
  EXPECT_EQ(source_.waits, 3);
  EXPECT_EQ(source_.buffers_while_waiting, 0u);
}

TEST_F(ScannerTest, GivesALargeBufferBackOnceItsTokenIsConsumed) {
  source_.data(std::string(40'000, 'x') + "\n").late("y\n");
  Scanner lines(source_);
  ASSERT_TRUE(lines.scan());
  EXPECT_EQ(lines.token().size(), 40'000u);
  ASSERT_TRUE(lines.scan());
  EXPECT_EQ(lines.token(), "y");
  EXPECT_LE(source_.largest_read, 65'536u);
}

}  // namespace
}  // namespace roost::io
