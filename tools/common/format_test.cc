#include "tools/common/format.h"

#include <gtest/gtest.h>

#include "tools/common/parse.h"

namespace roost::tools {
namespace {

using namespace std::chrono_literals;

TEST(Format, CountsHaveSeparators) {
  EXPECT_EQ(format_count(std::uint64_t{0}), "0");
  EXPECT_EQ(format_count(std::uint64_t{999}), "999");
  EXPECT_EQ(format_count(std::uint64_t{1000}), "1,000");
  EXPECT_EQ(format_count(std::uint64_t{1234567}), "1,234,567");
  EXPECT_EQ(format_count(3.34), "3.3");
  EXPECT_EQ(format_count(19840.4), "19,840");
  EXPECT_EQ(format_count(0.0 / 0.0), "0");
}

TEST(Format, BytesAndTimesKeepThreeDigits) {
  EXPECT_EQ(format_bytes(812), "812 B");
  EXPECT_EQ(format_bytes(4113), "4.1 KB");
  EXPECT_EQ(format_bytes(413.2e6), "413 MB");
  EXPECT_EQ(format_bytes(999.7e6), "1.0 GB");
  EXPECT_EQ(format_us(85), "85 us");
  EXPECT_EQ(format_us(1240), "1.24 ms");
  EXPECT_EQ(format_us(12400), "12.4 ms");
  EXPECT_EQ(format_us(5e6), "5.0 s");
  EXPECT_EQ(format_seconds(5.12), "5.1 s");
  EXPECT_EQ(format_seconds(100), "1 m 40 s");
  EXPECT_EQ(format_seconds(7500), "2 h 05 m");
}

TEST(Format, AnOptionReadsBackAsItself) {
  for (const auto span : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(30s), std::chrono::nanoseconds(250ms),
                          std::chrono::nanoseconds(5min), std::chrono::nanoseconds(90min), std::chrono::nanoseconds(1500us),
                          std::chrono::nanoseconds(7)}) {
    EXPECT_EQ(parse_duration(format_option(span)), span);
  }
}

}  // namespace
}  // namespace roost::tools
