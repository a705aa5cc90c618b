#include "tools/load/payload.h"

#include <gtest/gtest.h>

#include <string>

namespace roost::load {
namespace {

std::string text(const Payload& payload, std::size_t bytes) {
  std::string out(bytes, '\0');
  payload.write(0, std::as_writable_bytes(std::span(out)));
  return out;
}

bool matches(const Payload& payload, std::size_t offset, const std::string& received) {
  return payload.matches(offset, std::as_bytes(std::span(received)));
}

TEST(Payload, CarriesConnectionAndSequenceAndEndsWithTheOnlyNewline) {
  const std::string line = text(Payload(42, 7, 64), 64);
  EXPECT_EQ(line.substr(0, 18), "0000002a.00000007 ");
  EXPECT_EQ(line.find('\n'), 63u);
}

TEST(Payload, EveryLengthHasItsOwnAnswerAndNoOther) {
  for (const std::size_t bytes : {1u, 2u, 5u, 9u, 17u, 18u, 19u, 20u, 29u, 64u, 1000u, 70'000u}) {
    const Payload payload(1, 2, bytes);
    const std::string line = text(payload, bytes);
    EXPECT_EQ(line.find('\n'), bytes - 1);
    EXPECT_TRUE(matches(payload, 0, line));
    EXPECT_FALSE(matches(payload, 0, line + "x"));
    if (bytes > 1) {
      EXPECT_NE(line, text(Payload(1, 3, bytes), bytes)) << "a different sequence";
    }
    if (bytes > 9) {
      EXPECT_NE(line, text(Payload(2, 2, bytes), bytes)) << "a different connection";
    }
  }
}

TEST(Payload, PartsMatchAtTheirOffset) {
  const Payload payload(123'456, 789, 500);
  const std::string line = text(payload, 500);
  for (std::size_t begin = 0; begin < 500; begin += 7) {
    EXPECT_TRUE(matches(payload, begin, line.substr(begin)));
    EXPECT_TRUE(matches(payload, begin, line.substr(begin, 3)));
    std::string wrong = line.substr(begin);
    wrong[wrong.size() / 2] ^= 1;
    EXPECT_FALSE(matches(payload, begin, wrong));
  }
}

}  // namespace
}  // namespace roost::load
