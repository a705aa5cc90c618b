#include "tools/common/parse.h"

#include <gtest/gtest.h>

namespace roost::tools {
namespace {

using namespace std::chrono_literals;

TEST(Parse, DurationsHaveUnitsAndMayBeCompound) {
  EXPECT_EQ(parse_duration("250ms"), 250ms);
  EXPECT_EQ(parse_duration("30s"), 30s);
  EXPECT_EQ(parse_duration("5m"), 5min);
  EXPECT_EQ(parse_duration("1h"), 1h);
  EXPECT_EQ(parse_duration("1h30m"), 90min);
  EXPECT_EQ(parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(parse_duration("10us"), 10us);
  EXPECT_EQ(parse_duration("0"), 0s);
  EXPECT_EQ(parse_duration("0s"), 0s);
}

TEST(Parse, AMalformedDurationIsNamedWithARemedy) {
  for (const char* bad : {"", "s", "5x", "-5s", "5 s", "1e3s", "infs", "nan", "5s5", "..5s", "99999999d", "5s,"}) {
    const auto parsed = parse_duration(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_NE(parsed.error().find(bad), std::string::npos) << parsed.error();
  }
  EXPECT_EQ(parse_duration("30").error(), "`30` has no unit; write 30s for seconds, or use ms, m, h");
}

TEST(Parse, SizesCountInPowersOf1024) {
  EXPECT_EQ(parse_size("64"), 64u);
  EXPECT_EQ(parse_size("4KiB"), 4096u);
  EXPECT_EQ(parse_size("64k"), 65536u);
  EXPECT_EQ(parse_size("1MiB"), 1048576u);
  EXPECT_EQ(parse_size("1.5M"), 1572864u);
  EXPECT_EQ(parse_size("2GB"), 2147483648u);
  for (const char* bad : {"", "k", "4Q", "-1", "4 KiB", "1e6", "999999999T"}) EXPECT_FALSE(parse_size(bad)) << bad;
}

TEST(Parse, CountsAndRatesCountInPowersOf1000) {
  EXPECT_EQ(parse_count("100000"), 100'000u);
  EXPECT_EQ(parse_count("100k"), 100'000u);
  EXPECT_EQ(parse_count("1M"), 1'000'000u);
  EXPECT_EQ(parse_count("100,000"), 100'000u);
  EXPECT_EQ(parse_count("1.5k"), 1'500u);
  EXPECT_EQ(parse_rate("0.5"), 0.5);
  for (const char* bad : {"", "many", "-1", "1.5", "1,0", "1,0000", ",100", "0x10", "1e5"}) EXPECT_FALSE(parse_count(bad)) << bad;
}

TEST(Parse, AListenAddressIsAnAddressAndAPort) {
  EXPECT_EQ(parse_listen_address("127.0.0.1:8080")->to_string(), "127.0.0.1:8080");
  EXPECT_EQ(parse_listen_address("localhost:80")->to_string(), "127.0.0.1:80");
  EXPECT_EQ(parse_listen_address(":80")->to_string(), "0.0.0.0:80");
  EXPECT_EQ(parse_listen_address("[::1]:80")->to_string(), "[::1]:80");
  for (const char* bad : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "1.2.3:80",
                          "somewhere:80", "::1:80"}) {
    EXPECT_FALSE(parse_listen_address(bad)) << bad;
  }
}

TEST(Parse, ATargetNeedsAHostAndAPort) {
  EXPECT_EQ(resolve_host_port("localhost:80")->to_string(), "127.0.0.1:80");
  EXPECT_EQ(resolve_host_port("[::1]:80")->to_string(), "[::1]:80");
  EXPECT_FALSE(resolve_host_port(":80"));
  EXPECT_FALSE(resolve_host_port("127.0.0.1:0"));
  EXPECT_FALSE(resolve_host_port("no..such.host:80"));  // an empty label: refused without asking a name server
}

TEST(Parse, AddressRangesIncludeBothEndsAndWrapAround) {
  const auto range = parse_address_range("127.0.0.255-127.0.1.1");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->count, 3u);
  EXPECT_EQ(range->at(0).to_string(), "127.0.0.255");
  EXPECT_EQ(range->at(1).to_string(), "127.0.1.0");
  EXPECT_EQ(range->at(3).to_string(), "127.0.0.255");
  EXPECT_EQ(parse_address_range("10.0.0.1")->count, 1u);
  EXPECT_EQ(parse_address_range("::1")->at(7).to_string(), "::1");
  for (const char* bad : {"", "-", "10.0.0.1-", "10.0.0.2-10.0.0.1", "::1-::2", "10.0.0.0/8", "0.0.0.0-255.255.255.255"}) {
    EXPECT_FALSE(parse_address_range(bad)) << bad;
  }
}

}  // namespace
}  // namespace roost::tools
