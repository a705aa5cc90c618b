#include "examples/example_test.h"
#include "test/conformance/dns_server.h"

namespace roost::test {
namespace {

using Manner = DnsServer::Manner;

net::IpAddress ip(std::string_view text) { return net::IpAddress::parse(text).value(); }

TEST(Lookup, PrintsWhatAServerKnows) {
  const DnsServer server({{"one.test", {Manner::answers, {ip("127.0.0.7")}}},
                          {"two.test", {Manner::answers, {ip("127.0.0.8")}}},
                          {"9.0.0.127.in-addr.arpa", {.name = "nine.test"}}});
  Program lookup({"--server", server.endpoint().to_string(), "one.test.", "two.test.:https", "127.0.0.9", "absent.test."});
  EXPECT_EQ(lookup.wait(), 1);
  EXPECT_EQ(lookup.out(), "one.test. 127.0.0.7\ntwo.test.:https 127.0.0.8:443\n127.0.0.9 nine.test\n");
  EXPECT_EQ(lookup.err(), "lookup: absent.test.: no such host\n");
}

TEST(Lookup, GivesUpInTime) {
  const DnsServer server({{"silent.test", {Manner::is_silent, {}}}});
  Program lookup({"--server", server.endpoint().to_string(), "--timeout", "50", "silent.test."});
  EXPECT_EQ(lookup.wait(), 1);
  EXPECT_EQ(lookup.err(), "lookup: silent.test.: deadline exceeded\n");
}

TEST(Lookup, TellsWhatItCannotUse) {
  Program server({"--server", "nowhere", "one.test"});
  EXPECT_EQ(server.wait(), 2);
  EXPECT_EQ(server.err(), "lookup: --server 'nowhere': expected ADDRESS:PORT, as in 192.0.2.53:53\n");
  Program timeout({"--timeout", "0", "one.test"});
  EXPECT_EQ(timeout.wait(), 2);
  EXPECT_EQ(timeout.err(), "lookup: --timeout '0': expected milliseconds, 1 or more\n");
  Program nothing({});
  EXPECT_EQ(nothing.wait(), 2);
}

}  // namespace
}  // namespace roost::test
