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

TEST(Payload, ALengthInFrontCountsWhatFollows) {
  for (const std::size_t bytes : {5u, 6u, 22u, 23u, 300u, 70'000u}) {
    const Payload payload(42, 7, bytes, Protocol::length);
    const std::string message = text(payload, bytes);
    std::size_t length = 0;
    for (int i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(message[static_cast<std::size_t>(i)]);
    EXPECT_EQ(length, bytes - 4);
    EXPECT_TRUE(matches(payload, 0, message));
    EXPECT_FALSE(matches(payload, 0, message + "x"));
    EXPECT_NE(message, text(Payload(42, 8, bytes, Protocol::length), bytes));
    if (bytes < 22) continue;
    EXPECT_EQ(message.substr(4, 17), "0000002a.00000007");
  }
}

TEST(Payload, FixedBytesHaveNoFraming) {
  for (const std::size_t bytes : {1u, 2u, 18u, 19u, 300u}) {
    const Payload payload(42, 7, bytes, Protocol::fixed);
    const std::string message = text(payload, bytes);
    EXPECT_EQ(message.find('\n'), std::string::npos);
    EXPECT_TRUE(matches(payload, 0, message));
    EXPECT_NE(message, text(Payload(42, 8, bytes, Protocol::fixed), bytes));
    if (bytes < 18) continue;
    EXPECT_EQ(message.substr(0, 17), "0000002a.00000007");
  }
}

TEST(Payload, ProtocolsAreCalledByName) {
  for (const Protocol protocol : {Protocol::line, Protocol::length, Protocol::fixed}) {
    EXPECT_EQ(parse_protocol(protocol_name(protocol)), protocol);
  }
  EXPECT_FALSE(parse_protocol("http"));
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
