// Looking up names, against a DNS server of the test's own on loopback: RS-01, RS-03, RS-04, RS-06, MC-03.
#include <net/if.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>
#include <thread>

#include <roost/net/resolver.h>
#include <roost/sync/context.h>

#include "conformance/dns_server.h"
#include "conformance/pairs.h"
#include "net/resolver_files.h"
#include "net/resolver_order.h"
#include "sanitized.h"

namespace roost::test {
namespace {

using net::Endpoint;
using net::IpAddress;
using net::IpFamily;
using net::Resolver;
using net::ResolverOptions;
using Manner = DnsServer::Manner;
using Addresses = std::vector<IpAddress>;

IpAddress ip(std::string_view text) { return must(IpAddress::parse(text)); }
Addresses ips(std::initializer_list<std::string_view> texts) {
  Addresses all;
  for (const auto text : texts) all.push_back(ip(text));
  return all;
}

void write_file(const std::string& path, std::string_view text) { std::ofstream(path, std::ios::trunc) << text; }

std::map<std::string, DnsServer::Host> zone() {
  const Addresses one = ips({"127.0.0.7"});
  return {
      {"both.test", {Manner::answers, ips({"127.0.0.7", "::1"})}},
      {"four.test", {Manner::answers, ips({"127.0.0.4", "127.0.0.5"})}},
      {"six.test", {Manner::answers, ips({"::1"})}},
      {"empty.test", {Manner::answers, {}}},
      {"missing.test", {Manner::does_not_exist, {}}},
      {"fails.test", {Manner::fails, {}}},
      {"refuses.test", {Manner::refuses, {}}},
      {"silent.test", {Manner::is_silent, {}}},
      {"waits.test", {Manner::waits, one}},
      {"waits-too.test", {Manner::waits, one}},
      {"long.test", {Manner::truncates, [] {
         Addresses many;
         for (std::uint8_t i = 1; i <= 200; ++i) many.push_back(IpAddress::v4(127, 0, 1, i));
         return many;
       }()}},
      {"cut.test", {Manner::cuts_records, one}},
      {"loop.test", {Manner::loops_names, one}},
      {"babble.test", {Manner::babbles, one}},
      {"host.search.test", {Manner::answers, ips({"127.0.0.8"})}},
      {"a.b.search.test", {Manner::answers, ips({"127.0.0.9"})}},
      {"a.b", {Manner::answers, ips({"127.0.0.10"})}},
      {"9.0.0.127.in-addr.arpa", {.name = "nine.test"}},
      {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", {.name = "six.example.test"}},
  };
}

// A resolver that asks `server` and heeds no file of the system.
ResolverOptions asking(std::initializer_list<const DnsServer*> servers) {
  ResolverOptions options;
  options.hosts_path = "/nonexistent/hosts";
  options.resolv_conf_path = "/nonexistent/resolv.conf";
  for (const DnsServer* server : servers) options.servers.push_back(server->endpoint());
  options.search.emplace();
  return options;
}

int threads_now() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == "Threads:") {
      int count = 0;
      status >> count;
      return count;
    }
  }
  return -1;
}

// No descriptor is with a poller but those that were.
testing::AssertionResult back_to(std::uint64_t descriptors) {
  if (eventually([&] { return runtime_stats().descriptors == descriptors; })) return testing::AssertionSuccess();
  return testing::AssertionFailure() << runtime_stats().descriptors << " descriptors, " << descriptors << " at first";
}

ROOST_SUITE(ResolverTest);

// --- answers -------------------------------------------------------------------------------------------------------

ROOST_CASE(ResolverTest, FindsTheAddressesOfBothFamilies) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  auto found = resolver.resolve("both.test");
  ASSERT_OK(found);
  std::ranges::sort(*found);
  Addresses wanted = ips({"127.0.0.7", "::1"});
  std::ranges::sort(wanted);
  EXPECT_EQ(*found, wanted);
  EXPECT_EQ(resolver.resolve("both.test", {.family = IpFamily::v4}).value_or(Addresses{}), ips({"127.0.0.7"}));
  EXPECT_EQ(resolver.resolve("both.test", {.family = IpFamily::v6}).value_or(Addresses{}), ips({"::1"}));
  EXPECT_EQ(resolver.resolve("FOUR.Test.").value_or(Addresses{}), ips({"127.0.0.4", "127.0.0.5"}));
}

ROOST_CASE(ResolverTest, LeavesNothingOpenAfterALookUp) {
  const auto before = runtime_stats().descriptors;
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  EXPECT_OK(resolver.resolve("both.test"));
  EXPECT_OK(resolver.resolve("long.test", {.family = IpFamily::v4}));
  EXPECT_TRUE(back_to(before));
}

ROOST_CASE(ResolverTest, TellsAMissingNameFromAMissingFamily) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  EXPECT_ERROR(resolver.resolve("missing.test"), Errc::host_not_found);
  EXPECT_ERROR(resolver.resolve("empty.test"), Errc::no_suitable_address);
  EXPECT_ERROR(resolver.resolve("four.test", {.family = IpFamily::v6}), Errc::no_suitable_address);
  EXPECT_ERROR(resolver.resolve("six.test", {.family = IpFamily::v4}), Errc::no_suitable_address);
}

ROOST_CASE(ResolverTest, DoesNotAskForNamesThatCannotBe) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  EXPECT_ERROR(resolver.resolve(""), std::errc::invalid_argument);
  for (const std::string& name : {std::string(64, 'a') + ".test", std::string("a..test"), std::string(".test"), std::string("."),
                                  std::string("nul\0.test", 9), std::string(300, 'a')}) {
    EXPECT_ERROR(resolver.resolve(name), Errc::host_not_found) << name;
  }
  EXPECT_EQ(server.questions(), 0);
}

ROOST_CASE(ResolverTest, ReportsAServerThatFails) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  for (const auto name : {"fails.test", "refuses.test"}) {
    const auto found = resolver.resolve(name);
    EXPECT_ERROR(found, Errc::name_server_failure) << name;
    EXPECT_TRUE(!found && is_temporary(found.error()));
  }
}

ROOST_CASE(ResolverTest, AsksTheNextServerWhenOneFailsOrIsGone) {
  DnsServer good(zone());
  DnsServer bad({{"four.test", {Manner::fails, {}}}});
  Resolver resolver(asking({&bad, &good}));
  EXPECT_EQ(resolver.resolve("four.test").value_or(Addresses{}), ips({"127.0.0.4", "127.0.0.5"}));
  EXPECT_GT(bad.questions(), 0);

  // Nobody listens there: the kernel says so at once.
  auto options = asking({&good});
  {
    const DnsServer gone({});
    options.servers.insert(options.servers.begin(), gone.endpoint());
  }
  Resolver second(options);
  const auto start = now();
  EXPECT_OK(second.resolve("four.test"));
  EXPECT_LT(since(start), 4s);
  options.servers.pop_back();
  Resolver third(options);
  EXPECT_ERROR(third.resolve("four.test"), Errc::name_server_failure);
  EXPECT_LT(since(start), 4s);
}

// Truncation and the retry over TCP.
ROOST_CASE(ResolverTest, AsksOverTcpWhenAnAnswerIsTruncated) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  const auto found = resolver.resolve("long.test", {.family = IpFamily::v4});
  ASSERT_OK(found);
  EXPECT_EQ(found->size(), 200u);
  EXPECT_EQ(found->front(), ip("127.0.1.1"));
  EXPECT_EQ(found->back(), ip("127.0.1.200"));
  EXPECT_EQ(server.questions_over_tcp(), 1);
  EXPECT_EQ(server.questions("long.test"), 2);
}

ROOST_CASE(ResolverTest, RejectsAMalformedAnswer) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  EXPECT_ERROR(resolver.resolve("cut.test", {.family = IpFamily::v4}), Errc::name_server_failure);
  EXPECT_ERROR(resolver.resolve("loop.test", {.family = IpFamily::v4}), Errc::name_server_failure);
}

ROOST_CASE(ResolverTest, WaitsForTheAnswerThroughRubbish) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  EXPECT_EQ(resolver.resolve("babble.test", {.family = IpFamily::v4}).value_or(Addresses{}), ips({"127.0.0.7"}));
}

// --- time and cancellation -----------------------------------------------------------------------------------------

// RS-03: a server that never answers.
ROOST_CASE(ResolverTest, TimesOutAtTheDeadlineWhenNoServerAnswers) {
  const auto before = runtime_stats().descriptors;
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  const auto start = now();
  const auto found = resolver.resolve("silent.test", {.deadline = Deadline::after(50ms)});
  EXPECT_TRUE(timed_out(found));
  EXPECT_TRUE(!found && is_timeout(found.error()));
  EXPECT_GE(since(start), 50ms);
  EXPECT_LT(since(start), 4s);  // before the server's own time-out
  EXPECT_TRUE(timed_out(resolver.resolve("both.test", {.deadline = Deadline::past()})));
  EXPECT_EQ(server.questions("both.test"), 0);
  EXPECT_TRUE(back_to(before));

  const auto [context, cancel] = with_timeout(Context::background(), 20ms);
  const ContextScope scope(context);
  EXPECT_TRUE(timed_out(resolver.resolve("silent.test")));
}

ROOST_CASE(ResolverTest, GivesUpAfterItsOwnTries) {
  DnsServer server(zone());
  auto options = asking({&server});
  options.timeout = 30ms;
  options.tries = 3;
  Resolver resolver(options);
  const auto start = now();
  EXPECT_TRUE(timed_out(resolver.resolve("silent.test", {.family = IpFamily::v4})));
  EXPECT_GE(since(start), 90ms);
  EXPECT_EQ(server.questions("silent.test"), 3);
}

ROOST_CASE(ResolverTest, TriesAnotherServerWhenOneIsSilent) {
  DnsServer silent({{"four.test", {Manner::is_silent, {}}}});
  DnsServer good(zone());
  auto options = asking({&silent, &good});
  options.timeout = 30ms;
  Resolver resolver(options);
  EXPECT_OK(resolver.resolve("four.test"));
  EXPECT_GT(silent.questions(), 0);
}

// RS-04: look-ups of the same host that are under way at once.
ROOST_CASE(ResolverTest, MergesLookUpsOfTheSameHost) {
  constexpr int callers = 50;
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  std::vector<Handle<Result<Addresses>>> fibers;
  for (int i = 0; i < callers; ++i) {
    fibers.push_back(go([&, i] { return resolver.resolve(i % 2 == 0 ? "waits.test" : "WAITS.test", {.family = IpFamily::v4}); }));
  }
  fibers.push_back(go([&] { return resolver.resolve("waits.test", {.family = IpFamily::any}); }));
  ASSERT_TRUE(eventually([&] { return server.questions() >= 3; }));
  // All of them, and the resolver's own fiber: a caller that came after the answer would ask anew.
  ASSERT_TRUE(parked(runtime::WaitReason::resolver, callers + 2));
  server.release();
  for (auto& fiber : fibers) EXPECT_EQ(fiber.join().value_or(Addresses{}), ips({"127.0.0.7"}));
  // One question for v4; two, for it is another look-up, for both families.
  EXPECT_EQ(server.questions("waits.test"), 3);
  // What is over is not an answer for later.
  EXPECT_OK(resolver.resolve("waits.test", {.family = IpFamily::v4}));
  EXPECT_EQ(server.questions("waits.test"), 4);
}

ROOST_CASE(ResolverTest, OneCallerThatGivesUpLeavesTheOthersAlone) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  auto stays = go([&] { return resolver.resolve("waits.test", {.family = IpFamily::v4}); });
  auto leaves = go([&] { return resolver.resolve("waits.test", {.family = IpFamily::v4}); });
  EXPECT_TRUE(timed_out(resolver.resolve("waits.test", {.family = IpFamily::v4, .deadline = Deadline::after(5ms)})));
  ASSERT_TRUE(eventually([&] { return server.questions() == 1; }));
  leaves.cancel();
  EXPECT_ERROR(leaves.join(), std::errc::operation_canceled);
  server.release();
  EXPECT_OK(stays.join());
  EXPECT_EQ(server.questions(), 1);
}

ROOST_CASE(ResolverTest, IsCanceledAtOnceAndClosesItsSockets) {
  const auto before = runtime_stats().descriptors;
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  auto canceled = go([&] { return resolver.resolve("silent.test"); });
  ASSERT_TRUE(eventually([&] { return server.questions() == 2; }));
  // The question may be out before the fiber that waits for its answer has the socket.
  EXPECT_TRUE(eventually([&] { return runtime_stats().descriptors > before; }));
  canceled.cancel();
  within(4s, [&] { EXPECT_ERROR(canceled.join(), std::errc::operation_canceled); });
  EXPECT_TRUE(back_to(before));
  EXPECT_OK(resolver.resolve("both.test"));
}

// --- many at once --------------------------------------------------------------------------------------------------

// Where the machine is too busy the watchdog starts spare workers, at most so many, and the kernel a few helpers of io_uring;
// nothing grows with the number of look-ups.
const int threads_more_max = static_cast<int>(RuntimeOptions().spare_workers_max) + 8;

// MC-03: more look-ups than anything is made for.
ROOST_CASE(ResolverTest, BearsAFloodOfLookUpsWithoutThreads) {
  constexpr int count = rounds(5'000);
  auto hosts = zone();
  for (int i = 0; i < count; ++i) {
    const auto high = static_cast<std::uint8_t>(i >> 8);
    hosts["flood-" + std::to_string(i) + ".test"] = {Manner::answers, {IpAddress::v4(127, 1, high, static_cast<std::uint8_t>(i))}};
  }
  DnsServer server(hosts);
  Resolver resolver(asking({&server}));
  const int threads_before = threads_now();
  std::atomic<int> good{0};
  std::atomic<int> late{0};
  std::vector<Handle<void>> fibers;
  for (int i = 0; i < count; ++i) {
    fibers.push_back(go([&, i] {
      const auto found = resolver.resolve("flood-" + std::to_string(i) + ".test", {.deadline = Deadline::after(60s)});
      if (!found) {
        late.fetch_add(is_timeout(found.error()) ? 1 : 0);
        return;
      }
      const auto high = static_cast<std::uint8_t>(i >> 8);
      if (*found == Addresses{IpAddress::v4(127, 1, high, static_cast<std::uint8_t>(i))}) good.fetch_add(1);
    }));
  }
  int threads_most = 0;
  std::uint64_t descriptors_most = 0;
  while (!std::ranges::all_of(fibers, [](const auto& fiber) { return fiber.done(); })) {
    threads_most = std::max(threads_most, threads_now());
    descriptors_most = std::max(descriptors_most, runtime_stats().descriptors);
    static_cast<void>(sleep_for(1ms));
  }
  for (auto& fiber : fibers) fiber.join();
  EXPECT_EQ(good.load() + late.load(), count);
  EXPECT_GT(good.load(), count * 9 / 10);  // the rest may be lost on an overfull loopback
  EXPECT_LE(threads_most, threads_before + threads_more_max);
  EXPECT_LE(descriptors_most, 200u);
  EXPECT_GT(server.source_ports(), static_cast<std::size_t>(count / 500));
}

ROOST_CASE(ResolverTest, TimesOutAFloodThatNobodyAnswers) {
  constexpr int count = 5'000;
  const auto before = runtime_stats().descriptors;
  std::map<std::string, DnsServer::Host> hosts;
  for (int i = 0; i < count; ++i) hosts["flood-" + std::to_string(i) + ".test"] = {Manner::is_silent, {}};
  DnsServer server(hosts);
  Resolver resolver(asking({&server}));
  const int threads_before = threads_now();
  std::atomic<int> late{0};
  std::vector<Handle<void>> fibers;
  for (int i = 0; i < count; ++i) {
    fibers.push_back(go([&, i] {
      const auto found = resolver.resolve("flood-" + std::to_string(i) + ".test", {.deadline = Deadline::after(200ms)});
      if (!found && is_timeout(found.error())) late.fetch_add(1);
    }));
  }
  for (auto& fiber : fibers) fiber.join();
  EXPECT_EQ(late.load(), count);
  EXPECT_LE(threads_now(), threads_before + threads_more_max);
  EXPECT_TRUE(back_to(before));
}

// --- the search list -----------------------------------------------------------------------------------------------

ROOST_CASE(ResolverTest, WalksTheSearchList) {
  DnsServer server(zone());
  auto options = asking({&server});
  options.search = {"nowhere.test", "search.test"};
  Resolver resolver(options);
  EXPECT_EQ(resolver.resolve("host").value_or(Addresses{}), ips({"127.0.0.8"}));
  EXPECT_GT(server.questions("host.nowhere.test"), 0);
  EXPECT_EQ(server.questions("host"), 0);
  // Enough dots: as it stands first.
  EXPECT_EQ(resolver.resolve("a.b").value_or(Addresses{}), ips({"127.0.0.10"}));
  // A dot at the end: only as it stands.
  EXPECT_ERROR(resolver.resolve("host."), Errc::host_not_found);
  EXPECT_ERROR(resolver.resolve("nohost"), Errc::host_not_found);
  EXPECT_GT(server.questions("nohost"), 0);

  options.ndots = 2;
  Resolver with_dots(options);
  EXPECT_EQ(with_dots.resolve("a.b").value_or(Addresses{}), ips({"127.0.0.9"}));
}

ROOST_CASE(ResolverTest, ReadsResolvConfAgainWhenItHasChanged) {
  const DnsServer one({{"name.one.test", {Manner::answers, ips({"127.0.0.1"})}}, {"name.two.test", {Manner::answers, ips({"127.0.0.2"})}}});
  ResolverOptions options;
  options.hosts_path = "/nonexistent/hosts";
  options.servers = {one.endpoint()};
  options.resolv_conf_path = fresh_path();
  write_file(options.resolv_conf_path, "search one.test\n");
  Resolver resolver(options);
  EXPECT_EQ(resolver.resolve("name").value_or(Addresses{}), ips({"127.0.0.1"}));
  write_file(options.resolv_conf_path, "search elsewhere.test two.test # changed\n");
  EXPECT_EQ(resolver.resolve("name").value_or(Addresses{}), ips({"127.0.0.2"}));
}

// --- without asking ------------------------------------------------------------------------------------------------

// RS-01: case, spaces, aliases.
ROOST_CASE(ResolverTest, FindsNamesInTheHostsFile) {
  DnsServer server(zone());
  auto options = asking({&server});
  options.hosts_path = fresh_path();
  write_file(options.hosts_path,
             "# comment\n"
             "127.0.0.2 odin\n"
             "  127.0.0.3\todin.local \t Odin-Alias   # and a comment\r\n"
             "::2 odin\n"
             "127.1.1.1 thor. both.test\n"
             "not-an-address loki\n"
             "127.0.0.99\n"
             "fe80::1%lo ullr");  // no newline at the end
  Resolver resolver(options);
  const auto v4 = [&](std::string_view name) {
    return resolver.resolve(name, {.family = IpFamily::v4}).value_or(Addresses{});
  };
  EXPECT_EQ(v4("odin"), ips({"127.0.0.2"}));
  EXPECT_EQ(v4("ODIN"), ips({"127.0.0.2"}));
  EXPECT_EQ(v4("odin."), ips({"127.0.0.2"}));
  EXPECT_EQ(v4("Odin.Local"), ips({"127.0.0.3"}));
  EXPECT_EQ(v4("odin-alias"), ips({"127.0.0.3"}));
  EXPECT_EQ(v4("thor"), ips({"127.1.1.1"}));
  EXPECT_EQ(resolver.resolve("odin").value_or(Addresses{}).size(), 2u);
  EXPECT_EQ(resolver.resolve("odin", {.family = IpFamily::v6}).value_or(Addresses{}), ips({"::2"}));
  EXPECT_EQ(resolver.resolve("ullr").value_or(Addresses{}), ips({"fe80::1%lo"}));
  EXPECT_EQ(v4("both.test"), ips({"127.1.1.1"}));
  EXPECT_EQ(server.questions(), 0);
  // Not in the file for this family: the servers are asked.
  EXPECT_EQ(resolver.resolve("both.test", {.family = IpFamily::v6}).value_or(Addresses{}), ips({"::1"}));
  EXPECT_ERROR(resolver.resolve("loki"), Errc::host_not_found);

  EXPECT_EQ(resolver.names_of(ip("127.0.0.3")).value_or(std::vector<std::string>{}),
            (std::vector<std::string>{"odin.local", "Odin-Alias"}));
}

// RS-01: the file changes.
ROOST_CASE(ResolverTest, ReadsTheHostsFileAgainWhenItHasChanged) {
  DnsServer server(zone());
  auto options = asking({&server});
  options.hosts_path = fresh_path();
  Resolver resolver(options);
  EXPECT_ERROR(resolver.resolve("odin"), Errc::host_not_found);  // there is no file yet
  write_file(options.hosts_path, "127.0.0.2 odin\n");
  EXPECT_EQ(resolver.resolve("odin").value_or(Addresses{}), ips({"127.0.0.2"}));
  write_file(options.hosts_path, "127.0.0.22 odin\n");
  EXPECT_EQ(resolver.resolve("odin").value_or(Addresses{}), ips({"127.0.0.22"}));
  std::string large = "127.0.0.23 odin\n";
  for (int i = 0; i < 10'000; ++i) large += "127.0.0.1 advertisement-" + std::to_string(i) + ".test\n";
  write_file(options.hosts_path, large);
  EXPECT_EQ(resolver.resolve("odin").value_or(Addresses{}), ips({"127.0.0.23"}));
  std::filesystem::remove(options.hosts_path);
  EXPECT_ERROR(resolver.resolve("odin"), Errc::host_not_found);
}

ROOST_CASE(ResolverTest, KnowsLocalhostByItself) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  for (const auto name : {"localhost", "LocalHost.", "db.localhost"}) {
    EXPECT_EQ(resolver.resolve(name, {.family = IpFamily::v4}).value_or(Addresses{}), ips({"127.0.0.1"})) << name;
    EXPECT_EQ(resolver.resolve(name, {.family = IpFamily::v6}).value_or(Addresses{}), ips({"::1"})) << name;
    EXPECT_EQ(resolver.resolve(name).value_or(Addresses{}).size(), 2u) << name;
  }
  EXPECT_EQ(server.questions(), 0);
}

ROOST_CASE(ResolverTest, TakesLiteralAddressesAsTheyStand) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  const std::string zoned = "fe80::1%" + std::to_string(::if_nametoindex("lo"));
  for (const std::string& text : {std::string("192.0.2.1"), std::string("2001:db8::1"), std::string("::ffff:192.0.2.1"),
                                  std::string("fe80::1%lo"), zoned}) {
    EXPECT_EQ(resolver.resolve(text).value_or(Addresses{}), Addresses{ip(text)}) << text;
  }
  EXPECT_EQ(resolver.resolve("fe80::1%lo")->front().zone(), ::if_nametoindex("lo"));
  EXPECT_ERROR(resolver.resolve("fe80::1%no-such-if"), std::errc::no_such_device);
  EXPECT_ERROR(resolver.resolve("2001:db8::x"), std::errc::invalid_argument);
  EXPECT_ERROR(resolver.resolve("192.0.2.1", {.family = IpFamily::v6}), Errc::no_suitable_address);
  EXPECT_ERROR(resolver.resolve("::1", {.family = IpFamily::v4}), Errc::no_suitable_address);
  EXPECT_EQ(server.questions(), 0);
}

ROOST_CASE(ResolverTest, KnowsServiceNames) {
  auto options = asking({});
  options.services_path = fresh_path();
  write_file(options.services_path, "# services\nroost 4242/tcp Nest # ours\nroost 4243/udp\nbad x/tcp\nalso-bad 70000/tcp\n");
  Resolver resolver(options);
  EXPECT_EQ(resolver.port_of("tcp", "roost").value_or(0), 4242);
  EXPECT_EQ(resolver.port_of("tcp6", "NEST").value_or(0), 4242);
  EXPECT_EQ(resolver.port_of("udp", "roost").value_or(0), 4243);
  EXPECT_EQ(resolver.port_of("tcp", "https").value_or(0), 443);  // not in the file
  EXPECT_EQ(resolver.port_of("tcp", "80").value_or(0), 80);
  EXPECT_EQ(resolver.port_of("tcp", "0").value_or(1), 0);
  EXPECT_ERROR(resolver.port_of("udp", "nest"), std::errc::invalid_argument);
  for (const auto bad : {"bad", "also-bad", "65536", "-1", "+80", "", "99999999999"}) {
    EXPECT_ERROR(resolver.port_of("tcp", bad), std::errc::invalid_argument) << bad;
  }
  EXPECT_ERROR(resolver.port_of("unix", "roost"), Errc::unknown_network);
  EXPECT_ERROR(resolver.port_of("sctp", "roost"), Errc::unknown_network);
}

ROOST_CASE(ResolverTest, FindsEndpoints) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  using Endpoints = std::vector<Endpoint>;
  const auto found = [&](std::string_view network, std::string_view address) {
    return resolver.resolve_endpoints(network, address).value_or(Endpoints{});
  };
  EXPECT_EQ(found("tcp4", "both.test:http"), (Endpoints{{ip("127.0.0.7"), 80}}));
  EXPECT_EQ(found("udp6", "both.test:domain"), (Endpoints{{ip("::1"), 53}}));
  EXPECT_EQ(found("tcp", "[fe80::1%lo]:1"), (Endpoints{{ip("fe80::1%lo"), 1}}));
  EXPECT_EQ(found("tcp", ":80"), (Endpoints{{ip("127.0.0.1"), 80}}));
  EXPECT_EQ(found("tcp6", ":80"), (Endpoints{{ip("::1"), 80}}));
  EXPECT_ERROR(resolver.resolve_endpoints("tcp", "both.test"), std::errc::invalid_argument);
  EXPECT_ERROR(resolver.resolve_endpoints("tcp", "both.test:no-such-service"), std::errc::invalid_argument);
  EXPECT_ERROR(resolver.resolve_endpoints("tcp", "missing.test:80"), Errc::host_not_found);
  EXPECT_ERROR(resolver.resolve_endpoints("unix", "both.test:80"), Errc::unknown_network);
}

// RS-03 as a program meets it: it dials.
ROOST_CASE(ResolverTest, IsWhatDiallingAsks) {
  const DnsServer server(zone());
  auto options = asking({&server});
  options.services_path = fresh_path();
  Resolver resolver(options);
  auto listener = must(net::listen("tcp4", "127.0.0.4:0"));
  const auto port = must(listener.local_endpoint()).port;
  write_file(options.services_path, "roost " + std::to_string(port) + "/tcp\n");
  net::Dialer dialer;
  dialer.resolver = &resolver;
  const auto conn = dialer.dial("tcp", "four.test:roost");
  ASSERT_OK(conn);
  EXPECT_EQ(must(conn->remote_endpoint()).address, ip("127.0.0.4"));
  EXPECT_ERROR(dialer.dial("tcp", "missing.test:roost"), Errc::host_not_found);
  EXPECT_ERROR(dialer.dial("tcp6", "four.test:roost"), Errc::no_suitable_address);
  dialer.timeout = 30ms;
  const auto late = dialer.dial("tcp", "silent.test:80");
  EXPECT_TRUE(timed_out(late));
  EXPECT_TRUE(!late && is_timeout(late.error()));
}

ROOST_CASE(ResolverTest, FindsTheNamesOfAnAddress) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  using Names = std::vector<std::string>;
  EXPECT_EQ(resolver.names_of(ip("127.0.0.9")).value_or(Names{}), Names{"nine.test"});
  EXPECT_EQ(resolver.names_of(ip("2001:db8::1")).value_or(Names{}), Names{"six.example.test"});
  EXPECT_ERROR(resolver.names_of(ip("127.0.0.77")), Errc::host_not_found);
}

ROOST_CASE(ResolverTest, MayBeUsedByPlainThreads) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  Result<Addresses> found;
  Result<Addresses> late;
  blocking([&] {
    std::thread thread([&] {
      found = resolver.resolve("both.test", {.family = IpFamily::v4});
      late = resolver.resolve("silent.test", {.deadline = Deadline::after(20ms)});
    });
    thread.join();
  });
  EXPECT_EQ(found.value_or(Addresses{}), ips({"127.0.0.7"}));
  EXPECT_TRUE(timed_out(late));
}

// --- from one runtime to the next ----------------------------------------------------------------------------------

RuntimeOptions two_workers() {
  RuntimeOptions options;
  options.workers = 2;
  return options;
}

TEST(ResolverLifeTest, EndsWithItsRuntimeAndGoesOnInTheNext) {
  DnsServer server(zone());
  Resolver resolver(asking({&server}));
  EXPECT_ERROR(resolver.resolve("both.test"), std::errc::operation_canceled);
  for (int i = 0; i < 3; ++i) {
    std::atomic<bool> ended{false};
    run(two_workers(), [&] {
      EXPECT_OK(resolver.resolve("both.test"));
      const int before = server.questions();
      go([&] {
        EXPECT_ERROR(resolver.resolve("silent.test"), std::errc::operation_canceled);
        ended.store(true);
      });
      EXPECT_TRUE(eventually([&] { return server.questions() == before + 2; }));
    });
    EXPECT_TRUE(ended.load());
  }
}

TEST(ResolverLifeTest, MayGoWhileAQuestionIsStillOut) {
  DnsServer server(zone());
  run(two_workers(), [&] {
    for (int i = 0; i < 20; ++i) {
      Resolver resolver(asking({&server}));
      EXPECT_TRUE(timed_out(resolver.resolve("silent.test", {.deadline = Deadline::after(1ms)})));
    }
  });
}

// --- the order of addresses (RS-06) ----------------------------------------------------------------------------------

struct OrderCase {
  const char* about;
  std::vector<const char*> destinations;
  std::vector<const char*> sources;  // "" is none
  std::vector<std::size_t> wanted;   // indices into destinations
};

// RS-06
TEST(AddressOrderTest, FollowsTheExamplesOfRfc6724) {
  const OrderCase cases[] = {
      {"matching scope, v6", {"2001:db8:1::1", "198.51.100.121"}, {"2001:db8:1::2", "169.254.13.78"}, {0, 1}},
      {"matching scope, v4", {"2001:db8:1::1", "198.51.100.121"}, {"fe80::1", "198.51.100.117"}, {1, 0}},
      {"higher precedence", {"10.1.2.3", "2001:db8:1::1"}, {"10.1.2.4", "2001:db8:1::2"}, {1, 0}},
      {"smaller scope", {"2001:db8:1::1", "fe80::1"}, {"2001:db8:1::2", "fe80::2"}, {1, 0}},
      {"longest matching prefix", {"2001:db8:3ffe::1", "2001:db8:1::1"}, {"2001:db8:3f44::2", "2001:db8:1::2"}, {1, 0}},
      {"matching label", {"2001:db8:1::1", "2002:c633:6401::1"}, {"2002:c633:6401::2", "2002:c633:6401::2"}, {1, 0}},
      {"precedence above 6to4", {"2002:c633:6401::1", "2001:db8:1::1"}, {"2002:c633:6401::2", "2001:db8:1::2"}, {1, 0}},
      {"unusable destinations last", {"2001:db8::1", "192.0.2.1", "192.0.2.2"}, {"", "192.0.2.9", ""}, {1, 0, 2}},
      {"equal ones stay", {"192.0.2.200", "192.0.2.10", "192.0.2.100"}, {"192.0.2.9", "192.0.2.9", "192.0.2.9"}, {0, 1, 2}},
      {"no prefix rule among v4", {"1.2.3.4", "54.83.193.112"}, {"10.2.3.4", "10.2.3.4"}, {0, 1}},
      {"only the network's half counts", {"2001:db8::f", "2001:db8::1"}, {"2001:db8::2", "2001:db8::2"}, {0, 1}},
      {"unique local below v4", {"fd00::1", "203.0.113.1"}, {"2001:db8::2", "203.0.113.9"}, {1, 0}},
      {"loopback", {"127.0.0.1", "::1"}, {"127.0.0.1", "::1"}, {1, 0}},
      {"mapped is v4", {"::ffff:192.0.2.1", "2001:db8::1"}, {"192.0.2.9", "2001:db8::2"}, {1, 0}},
      {"Teredo last", {"2001::1", "198.51.100.1", "2001:db8::1"}, {"2001::2", "198.51.100.9", "2001:db8::2"}, {2, 1, 0}},
  };
  for (const OrderCase& one : cases) {
    Addresses destinations;
    std::vector<std::optional<IpAddress>> sources;
    Addresses wanted;
    for (const auto text : one.destinations) destinations.push_back(ip(text));
    for (const std::string_view text : one.sources) {
      sources.push_back(text.empty() ? std::nullopt : std::optional(ip(text)));
    }
    for (const std::size_t index : one.wanted) wanted.push_back(destinations[index]);
    EXPECT_EQ(net::in_order(destinations, sources), wanted) << one.about;
  }
}

TEST(AddressOrderTest, DoesNotDependOnTheOrderGiven) {
  // One of each kind; whatever the order they come in, they leave in the same one.
  Addresses destinations = ips({"::1", "2001:db8::1", "192.0.2.1", "2002:c633:6401::1", "fe80::1", "2001::5", "fd00::7", "fec0::1"});
  const Addresses from = ips({"::1", "2001:db8::2", "192.0.2.2", "2002:c633:6401::2", "fe80::2", "2001::6", "fd00::8", "fec0::2"});
  std::map<IpAddress, IpAddress> source_of;
  for (std::size_t i = 0; i < from.size(); ++i) source_of[destinations[i]] = from[i];
  std::ranges::sort(destinations);
  Addresses first;
  do {
    std::vector<std::optional<IpAddress>> sources;
    for (const IpAddress& one : destinations) sources.emplace_back(source_of[one]);
    const Addresses sorted = net::in_order(destinations, sources);
    if (first.empty()) first = sorted;
    ASSERT_EQ(sorted, first);
  } while (std::ranges::next_permutation(destinations).found);
}

TEST(AddressOrderTest, AsksTheRoutingTableForSources) {
  EXPECT_EQ(net::source_for(ip("127.0.0.1")), ip("127.0.0.1"));
  EXPECT_EQ(net::in_order(ips({"127.0.0.1"})), ips({"127.0.0.1"}));
}

// --- files ---------------------------------------------------------------------------------------------------------

TEST(ResolvConfTest, IsReadAsResolvConf5HasIt) {
  const auto conf = net::parse_resolv_conf(
      "; comment\n# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver rubbish\nnameserver 192.0.2.3\n"
      "nameserver 192.0.2.4\ndomain first.test\nsearch Second.test third.test.\n"
      "options ndots:3 timeout:7 attempts:99 rotate unknown ndots:x\n");
  ASSERT_EQ(conf.servers.size(), 3u);
  EXPECT_EQ(conf.servers[1], (Endpoint{ip("2001:db8::1"), 53}));
  EXPECT_EQ(conf.search, (std::vector<std::string>{"second.test", "third.test"}));
  EXPECT_EQ(conf.ndots, 3u);
  EXPECT_EQ(conf.timeout, 7s);
  EXPECT_EQ(conf.tries, 5u);
  EXPECT_TRUE(conf.rotate);

  const auto empty = net::parse_resolv_conf("");
  EXPECT_TRUE(empty.servers.empty());
  EXPECT_FALSE(empty.has_search);
  EXPECT_EQ(empty.ndots, 1u);
  EXPECT_EQ(empty.timeout, 5s);
  EXPECT_EQ(empty.tries, 2u);
  EXPECT_TRUE(net::parse_resolv_conf("search .\n").has_search);
}

}  // namespace
}  // namespace roost::test
