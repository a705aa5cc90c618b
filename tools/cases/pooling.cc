// Case 4: a connection dialled for each request against connections from a pool.
//
// The server answers a line with a line, in a process of its own on another processor; the client is fibers in the turn's own
// process. Both ways ask from as many fibers at once. In a network namespace of its own a turn sees its TIME_WAIT alone, and
// net.ipv4.tcp_tw_reuse is 0 there: that is what the default, 2, means for every address but loopback.
#include <sys/resource.h>

#include <fmt/format.h>

#include "tools/cases/case.h"
#include "tools/cases/requests.h"
#include "tools/common/format.h"
#include "tools/common/server_probe.h"

namespace roost::cases {
namespace {

using tools::format_count;
using tools::format_us;

enum class Way { dial, pool };
constexpr Way ways[] = {Way::dial, Way::pool};

std::string name_of(Way way) { return way == Way::dial ? "dialled for each request" : "from a pool"; }

double own_cpu_s() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

Sample measure(Way way, std::size_t requests, std::size_t fibers, bool own_network) {
  if (own_network) set_sysctl("net.ipv4.tcp_tw_reuse", "0");
  const ServerProcess server({}, [](const Helper::Tell& listening) {
    auto listener = net::listen("tcp4", "127.0.0.1:0");
    if (!listener) throw Failure("listen: " + listener.error().message());
    listening(listener->local_endpoint()->port);
    serve_pings(*listener);
  });
  const tools::ServerProbe probe(server.pid());
  pin_to_processor(0);

  Sample sample;
  run_on_fibers([&] {
    const auto address = net::Endpoint{net::IpAddress::loopback_v4(), server.port()};
    std::atomic<std::uint64_t> dials{0};
    const auto dial = [&](Deadline deadline) {
      dials.fetch_add(1);
      return net::dial(address, deadline);
    };
    pool::ConnPool<net::Conn> pool(dial, {.max_open = fibers});
    const auto ask = [&]() -> Result<void> {
      if (way == Way::pool) {
        auto lease = pool.acquire();
        if (!lease) return fail(lease.error());
        return lease->check(ping(**lease));
      }
      auto conn = dial(Deadline::none());
      if (!conn) return fail(conn.error());
      return ping(*conn);
    };
    const double waiting_before = static_cast<double>(count_time_wait());
    const auto server_before = probe.cpu();
    const double own_before = own_cpu_s();
    const auto figures = measure_requests(requests, fibers, ask);
    const double own_after = own_cpu_s();
    const auto server_after = probe.cpu();
    if (!figures) throw Failure("a request failed: " + figures.error().message());
    const auto n = static_cast<double>(requests);
    sample.set("per_second", n / figures->seconds);
    sample.set("p50_us", percentile(figures->took_us, 0.5));
    sample.set("p99_us", percentile(figures->took_us, 0.99));
    sample.set("dials", static_cast<double>(dials.load()));
    sample.set("time_wait", static_cast<double>(count_time_wait()) - waiting_before);
    sample.set("client_cpu_us", (own_after - own_before) * 1e6 / n);
    if (server_before && server_after)
      sample.set("server_cpu_us", (server_after->total_s - server_before->total_s) * 1e6 / n);
    static_cast<void>(pool.close());
  });
  return sample;
}

}  // namespace

Outcome run_pooling(const Setting& setting, Progress& progress) {
  const std::size_t requests = setting.quick ? 300 : 8'000;
  const std::size_t fibers = setting.quick ? 4 : 16;
  const unsigned rounds = setting.quick ? 1 : 5;
  Turns turns[2];
  for (unsigned round = 1; round <= rounds; ++round) {
    for (const Way way : ways) {
      progress.turn(round, rounds, name_of(way));
      turns[static_cast<int>(way)].add(must(
          run_turn(Network::own_if_possible, [&] { return measure(way, requests, fibers, setting.own_network); })));
    }
  }

  Outcome outcome;
  outcome.method = fmt::format(
      "{} requests by {} fibers at once, {} round{} in turn, medians. {}", format_count(requests), fibers, rounds,
      rounds == 1 ? "" : "s",
      setting.own_network
          ? "Each turn has a network namespace of its own, with tcp_tw_reuse 0 as for an address that is not loopback."
          : "TIME_WAIT is the difference of the machine's count, other programs' connections included.");
  outcome.columns = {{"median", "p50_us"},
                     {"p99", "p99_us"},
                     {"requests/s", "requests_per_s"},
                     {"CPU, client", "client_cpu_us_per_request"},
                     {"CPU, server", "server_cpu_us_per_request"},
                     {"dials", "dials"},
                     {"TIME_WAIT left", "time_wait_left"}};
  for (const Way way : ways) {
    const Turns& t = turns[static_cast<int>(way)];
    const Side side = way == Way::dial ? Side::before : Side::after;
    const auto time = [&](const char* name) { return Cell{format_us(t.median(name)), t.median(name)}; };
    const auto cpu = [&](const char* name) { return Cell{fmt::format("{:.1f} us", t.median(name)), t.median(name)}; };
    const auto count = [&](const char* name) { return Cell{format_count(t.median(name)), t.median(name)}; };
    outcome.rows.push_back({name_of(way),
                            side,
                            {time("p50_us"), time("p99_us"), count("per_second"), cpu("client_cpu_us"),
                             cpu("server_cpu_us"), count("dials"), count("time_wait")}});
  }
  const auto bars = [&](const char* group, const char* name, bool is_time) {
    for (const Way way : ways) {
      const double value = turns[static_cast<int>(way)].median(name);
      outcome.chart.bars.push_back({group, name_of(way), way == Way::dial ? Side::before : Side::after, value,
                                    is_time ? format_us(value) : format_count(value), is_time ? "us" : "count"});
    }
  };
  bars("median of a request", "p50_us", true);
  bars("99th percentile", "p99_us", true);
  bars("TIME_WAIT left", "time_wait", false);
  outcome.chart.title = "What a request costs, and what it leaves behind (less is better)";

  const Turns& dialled = turns[0];
  const Turns& pooled = turns[1];
  const auto n = static_cast<double>(requests);
  const auto cpu = [](const Turns& t) { return t.median("client_cpu_us") + t.median("server_cpu_us"); };
  outcome.claims = {
      {fmt::format("{} dials became {}", format_count(dialled.median("dials")), format_count(pooled.median("dials"))),
       dialled.median("dials") == n && pooled.median("dials") <= static_cast<double>(fibers), true},
      {fmt::format("{} connections in TIME_WAIT became {}", format_count(dialled.median("time_wait")),
                   format_count(pooled.median("time_wait"))),
       dialled.median("time_wait") > 0.9 * n && pooled.median("time_wait") <= static_cast<double>(fibers),
       setting.own_network},
      {fmt::format("the median request takes {} instead of {}", format_us(pooled.median("p50_us")),
                   format_us(dialled.median("p50_us"))),
       pooled.median("p50_us") < dialled.median("p50_us"), false},
      {fmt::format("a request costs {:.1f} us of CPU at both ends instead of {:.1f} us", cpu(pooled), cpu(dialled)),
       cpu(pooled) < cpu(dialled), false}};
  return outcome;
}

}  // namespace roost::cases
