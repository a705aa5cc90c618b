#include <roost/net/endpoint.h>

#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <string>

namespace roost::net {
namespace {

std::string parsed(std::string_view text) {
  const auto address = IpAddress::parse(text);
  return address ? address->to_string() : std::string(error_name(address.error()));
}
std::string parsed_endpoint(std::string_view text) {
  const auto endpoint = Endpoint::parse(text);
  return endpoint ? endpoint->to_string() : std::string(error_name(endpoint.error()));
}
std::string split(std::string_view text) {
  const auto parts = split_host_port(text);
  return parts ? parts->host + " " + parts->port : std::string(error_name(parts.error()));
}
std::string loopback_interface() {
  char name[IF_NAMESIZE] = "";
  return ::if_indextoname(1, name) != nullptr ? name : "";
}

TEST(IpAddress, ReadsAndWritesV4) {
  for (const char* text : {"0.0.0.0", "192.0.2.1", "255.255.255.255"}) EXPECT_EQ(parsed(text), text);
  const auto address = IpAddress::parse("192.0.2.1").value();
  EXPECT_TRUE(address.is_v4());
  EXPECT_EQ(address, IpAddress::v4(192, 0, 2, 1));
  EXPECT_EQ(address, IpAddress::v4(0xc0000201));
  EXPECT_EQ(address.v4_host_order(), 0xc0000201u);
}

TEST(IpAddress, ReadsV6AndWritesItInItsShortestForm) {
  const std::pair<const char*, const char*> forms[] = {
      {"::", "::"},
      {"::1", "::1"},
      {"2001:db8::1", "2001:db8::1"},
      {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
      {"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
      {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
      {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
      {"::ffff:c000:201", "::ffff:192.0.2.1"},
      {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
  };
  for (const auto& [text, form] : forms) {
    EXPECT_EQ(parsed(text), form);
    EXPECT_TRUE(IpAddress::parse(text)->is_v6());
    EXPECT_EQ(parsed(form), form);
  }
}

TEST(IpAddress, RefusesWhatIsNoAddress) {
  for (const char* text :
       {"", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.-4", "0x7f.0.0.1",
        "localhost", ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::", "g::", "[::1]", "::1%",
        "1.2.3.4%lo", "::ffff:1.2.3.4%1", "fe80::1%0", "fe80::1%00"}) {
    EXPECT_EQ(parsed(text), "bad_address") << text;
    const auto address = IpAddress::parse(text);
    EXPECT_EQ(address.error(), std::errc::invalid_argument) << text;
  }
  EXPECT_EQ(parsed(std::string_view("1.2.3.4\0", 8)), "bad_address");
  EXPECT_EQ(parsed(std::string(10'000, ':')), "bad_address");
}

TEST(IpAddress, KnowsZonesByNameAndByNumber) {
  const std::string interface = loopback_interface();
  ASSERT_FALSE(interface.empty()) << "interface 1 is the loopback one on Linux";
  const auto by_name = IpAddress::parse("fe80::1%" + interface).value();
  EXPECT_EQ(by_name.zone(), 1u);
  EXPECT_EQ(by_name, IpAddress::parse("fe80::1%1").value());
  EXPECT_NE(by_name, IpAddress::parse("fe80::1").value());
  EXPECT_EQ(by_name.to_string(), "fe80::1%" + interface);
  EXPECT_EQ(parsed("fe80::1%4000000000"), "fe80::1%4000000000");  // no such interface: stays a number
}

TEST(IpAddress, AZoneThatNoInterfaceHasIsNamedAsSuch) {
  EXPECT_EQ(parsed("fe80::1%nosuchif0"), "ENODEV");
  EXPECT_EQ(parsed("fe80::1%a-name-longer-than-any-interface-has"), "ENODEV");
  EXPECT_EQ(parsed("fe80::1%4294967296"), "ENODEV");
  EXPECT_EQ(parsed("fe80::1%-1"), "ENODEV");
}

TEST(IpAddress, KnowsSpecialAddresses) {
  EXPECT_TRUE(IpAddress::loopback_v4().is_loopback());
  EXPECT_TRUE(IpAddress::loopback_v6().is_loopback());
  EXPECT_TRUE(IpAddress::parse("127.255.255.254")->is_loopback());
  EXPECT_TRUE(IpAddress::parse("::ffff:127.0.0.1")->is_loopback());
  EXPECT_FALSE(IpAddress::parse("128.0.0.1")->is_loopback());
  EXPECT_FALSE(IpAddress::parse("7f00::")->is_loopback());
  EXPECT_TRUE(IpAddress().is_unspecified());
  EXPECT_TRUE(IpAddress::any_v6().is_unspecified());
  EXPECT_NE(IpAddress::any_v4(), IpAddress::any_v6());
  EXPECT_FALSE(IpAddress::loopback_v6().is_unspecified());
  EXPECT_EQ(IpAddress::loopback_v6().to_string(), "::1");
}

TEST(IpAddress, AMappedAddressUnmaps) {
  const auto mapped = IpAddress::parse("::ffff:192.0.2.1").value();
  EXPECT_TRUE(mapped.is_v4_mapped());
  EXPECT_EQ(mapped.unmapped(), IpAddress::v4(192, 0, 2, 1));
  EXPECT_EQ(mapped.v4_host_order(), 0xc0000201u);
  EXPECT_NE(mapped, mapped.unmapped());
  EXPECT_FALSE(IpAddress::v4(1, 2, 3, 4).is_v4_mapped());
  const auto other = IpAddress::parse("::192.0.2.1").value();
  EXPECT_EQ(other.unmapped(), other);
}

TEST(Endpoint, ReadsAndWritesAddressAndPort) {
  EXPECT_EQ(parsed_endpoint("192.0.2.1:80"), "192.0.2.1:80");
  EXPECT_EQ(parsed_endpoint("[::1]:65535"), "[::1]:65535");
  EXPECT_EQ(parsed_endpoint(":8080"), "0.0.0.0:8080");
  EXPECT_EQ(parsed_endpoint("127.0.0.1:0"), "127.0.0.1:0");
  EXPECT_EQ(parsed_endpoint("[fe80::1%1]:80"), "[fe80::1%" + loopback_interface() + "]:80");
  EXPECT_EQ(Endpoint::parse(":1")->address, IpAddress::any_v4());
}

TEST(Endpoint, RefusesWhatIsNone) {  // DI-20, LI-09
  for (const char* text : {"", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:+1", "1.2.3.4: 1",
                           "1.2.3.4:1 ", "1.2.3.4:http", "::1:80", "[::1]", "[::1]80", "[::1:80", "[]:80",
                           "[1.2.3.4]:80", "localhost:80", "1.2.3.4:80:80", "[::1]:99999999999999999999"}) {
    EXPECT_EQ(parsed_endpoint(text), "bad_address") << text;
  }
  EXPECT_EQ(parsed_endpoint("[fe80::1%nosuchif0]:80"), "ENODEV");
}

TEST(Endpoint, SurvivesTheKernelsForm) {
  for (const char* text : {"192.0.2.1:80", "0.0.0.0:0", "[2001:db8::1]:443", "[::ffff:192.0.2.1]:1", "[fe80::1%7]:2"}) {
    const auto endpoint = Endpoint::parse(text).value();
    sockaddr_storage storage;
    std::memset(&storage, 0xff, sizeof storage);
    const unsigned length = endpoint.to_sockaddr(storage);
    EXPECT_EQ(length, endpoint.address.is_v6() ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
    EXPECT_EQ(storage.ss_family, endpoint.address.is_v6() ? AF_INET6 : AF_INET);
    EXPECT_EQ(Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length), endpoint) << text;
    EXPECT_EQ(Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length - 1).error(),
              Errc::bad_address);
  }
  sockaddr_un path{};
  path.sun_family = AF_UNIX;
  EXPECT_EQ(Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&path), sizeof path).error(),
            std::errc::address_family_not_supported);
  EXPECT_EQ(Endpoint::from_sockaddr(nullptr, 0).error(), Errc::bad_address);
}

TEST(Endpoint, IsOrderedAndCompared) {
  const auto first = Endpoint::parse("10.0.0.1:80").value();
  EXPECT_EQ(first, first);
  EXPECT_LT(first, Endpoint::parse("10.0.0.1:81").value());
  EXPECT_LT(first, Endpoint::parse("10.0.0.2:1").value());
}

TEST(SplitHostPort, TakesNamesAddressesAndEmptyHosts) {
  EXPECT_EQ(split("localhost:http"), "localhost http");
  EXPECT_EQ(split("192.0.2.1:80"), "192.0.2.1 80");
  EXPECT_EQ(split("[::1]:80"), "::1 80");
  EXPECT_EQ(split("[fe80::1%eth0]:80"), "fe80::1%eth0 80");
  EXPECT_EQ(split(":80"), " 80");
  EXPECT_EQ(split("host:"), "host ");
  EXPECT_EQ(split("[]:80"), " 80");
}

TEST(SplitHostPort, RefusesWhatIsAmbiguousOrUnfinished) {
  for (const char* text : {"", "host", "::1", "::1:80", "a:b:80", "[::1]", "[::1", "[::1]x:80", "[::1]:80:80", "h[ost:80",
                           "host]:80", "host:[80", "[[::1]]:80", "[::1]]:80", "host:80]"}) {
    EXPECT_EQ(split(text), "bad_address") << text;
  }
}

}  // namespace
}  // namespace roost::net
