// Case 2: how large should a buffer be? Echoes small, middle and large messages with buffers of several sizes.
//
// The server is a process of its own: one worker, a fiber a connection, which reads into a buffer and writes what came. The
// client, on another processor where there is one, is one thread on plain sockets with 16 connections, each with one message
// under way; it checks length and content. The sizes take turns within a round.
//
// Calls are counted twice. "reads and writes" are counted by the handler itself, around each call of the connection. "system
// calls" are all of the server's, the poller's too, counted by a kernel trace point; as that slows every call, it is done in a
// stretch of its own after the measured one.
//
// What would make the numbers wrong: other work on the machine, and taking them for a network's: on loopback the copy into
// the peer's socket is part of the send, and nothing is ever lost.
#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <roost/roost.h>

#include "tools/cases/case.h"
#include "tools/cases/client.h"
#include "tools/common/format.h"
#include "tools/common/server_probe.h"
#include "tools/common/shards.h"

namespace roost::cases {
namespace {

using tools::format_count;

constexpr std::array<std::size_t, 3> message_sizes{64, 4096, 256 * 1024};
constexpr std::array<std::size_t, 6> buffer_sizes{128, 4096, 16 * 1024, 32 * 1024, 64 * 1024, 128 * 1024};
constexpr std::size_t connection_count = 16;

std::string size_text(std::size_t bytes) {
  return bytes < 1024 ? fmt::format("{} B", bytes) : fmt::format("{} KiB", bytes / 1024);
}

void serve(std::size_t buffer_bytes, tools::SharedCounters& calls, const Helper::Tell& listening) {
  auto listener = net::listen("tcp4", "127.0.0.1:0");
  if (!listener) throw Failure("listen: " + listener.error().message());
  listening(listener->local_endpoint()->port);
  while (auto conn = listener->accept()) {
    go([conn = std::move(*conn), buffer_bytes, &calls]() mutable {
      std::vector<std::byte> buffer(buffer_bytes);
      for (;;) {
        const auto got = conn.read(buffer);
        if (!got || *got == 0) return;
        if (!conn.write(std::span<const std::byte>(buffer.data(), *got))) return;
        calls.add(0, 2);
      }
    });
  }
}

Sample measure(std::size_t message_bytes, std::size_t buffer_bytes, double seconds) {
  tools::SharedCounters calls(1);
  const ServerProcess server({}, [&](const Helper::Tell& listening) { serve(buffer_bytes, calls, listening); });
  const tools::ServerProbe probe(server.pid());
  pin_to_processor(0);

  Sample sample;
  ClosedLoop client(server.port(), connection_count, message_bytes);
  client.run_for(std::chrono::duration<double>(seconds / 5));  // warm
  const auto cpu_before = probe.cpu();
  const std::uint64_t calls_before = calls.sum();
  const auto start = std::chrono::steady_clock::now();
  const double mb = static_cast<double>(client.run_for(std::chrono::duration<double>(seconds))) / 1e6;
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::uint64_t calls_after = calls.sum();
  const auto cpu_after = probe.cpu();
  if (mb <= 0 || !cpu_before || !cpu_after) throw Failure("nothing was echoed");
  sample.set("mb_per_s", mb / took);
  sample.set("cpu_us_per_mb", (cpu_after->total_s - cpu_before->total_s) * 1e6 / mb);
  sample.set("calls_per_mb", static_cast<double>(calls_after - calls_before) / mb);

  const tools::SyscallCounter counter(probe);
  if (const auto before = counter.read()) {
    const double counted_mb = static_cast<double>(client.run_for(std::chrono::duration<double>(seconds / 3))) / 1e6;
    if (counted_mb > 0) sample.set("system_calls_per_mb", static_cast<double>(*counter.read() - *before) / counted_mb);
  }
  return sample;
}

}  // namespace

Outcome run_buffers(const Setting& setting, Progress& progress) {
  const double seconds = setting.quick ? 0.05 : 0.35;
  const unsigned rounds = setting.quick ? 1 : 3;
  Turns turns[message_sizes.size()][buffer_sizes.size()];
  for (unsigned round = 1; round <= rounds; ++round) {
    for (std::size_t m = 0; m < message_sizes.size(); ++m) {
      for (std::size_t b = 0; b < buffer_sizes.size(); ++b) {
        progress.turn(
            round, rounds,
            fmt::format("messages of {}, buffer of {}", size_text(message_sizes[m]), size_text(buffer_sizes[b])));
        turns[m][b].add(must(
            run_turn(Network::own_if_possible, [&] { return measure(message_sizes[m], buffer_sizes[b], seconds); })));
      }
    }
  }

  Outcome outcome;
  outcome.method = fmt::format(
      "{} connections with one message under way each, {:.2f} s a turn, {} round{} in turn, medians; MB are of "
      "messages, each "
      "counted once. Reads and writes are counted around each call, system calls (the poller's too) by a kernel trace "
      "point.",
      connection_count, seconds, rounds, rounds == 1 ? "" : "s");
  outcome.columns = {{"MB/s", "mb_per_s"},
                     {"server CPU, us/MB", "cpu_us_per_mb"},
                     {"reads + writes/MB", "calls_per_mb"},
                     {"system calls/MB", "system_calls_per_mb"}};
  for (std::size_t m = 0; m < message_sizes.size(); ++m) {
    for (std::size_t b = 0; b < buffer_sizes.size(); ++b) {
      const Turns& t = turns[m][b];
      const Side side = buffer_sizes[b] == 128 ? Side::before : Side::after;
      const double rate = t.median("mb_per_s");
      outcome.rows.push_back(
          {fmt::format("{} messages, {} buffer", size_text(message_sizes[m]), size_text(buffer_sizes[b])),
           side,
           {{fmt::format("{:.1f}", rate), rate},
            {format_count(t.median("cpu_us_per_mb")), t.median("cpu_us_per_mb")},
            {format_count(t.median("calls_per_mb")), t.median("calls_per_mb")},
            t.has("system_calls_per_mb")
                ? Cell{format_count(t.median("system_calls_per_mb")), t.median("system_calls_per_mb")}
                : Cell{"-"}}});
      outcome.chart.bars.push_back({fmt::format("messages of {}", size_text(message_sizes[m])),
                                    size_text(buffer_sizes[b]), side, rate, fmt::format("{:.1f} MB/s", rate)});
    }
  }
  outcome.chart.title = "MB of messages echoed a second, by the size of the buffer (more is better)";

  // 128 bytes against the size that is advised for such messages.
  const auto compare = [&](std::size_t m, std::size_t b) {
    const Turns& small = turns[m][0];
    const Turns& fit = turns[m][b];
    const std::string what =
        fmt::format("{} messages: {} instead of 128 B", size_text(message_sizes[m]), size_text(buffer_sizes[b]));
    const double fewer = small.median("calls_per_mb") / fit.median("calls_per_mb");
    const double faster = fit.median("mb_per_s") / small.median("mb_per_s");
    const double cheaper = small.median("cpu_us_per_mb") / fit.median("cpu_us_per_mb");
    outcome.claims.push_back(
        {fmt::format("{} take {} times fewer reads and writes", what, format_count(fewer)), fewer > 4, true});
    outcome.claims.push_back(
        {fmt::format("{} bring {} times the throughput", what, format_count(faster)), faster > 2, false});
    outcome.claims.push_back(
        {fmt::format("{} save {:.0f} % of the CPU", what, 100 - 100 / cheaper), cheaper > 2, false});
  };
  compare(1, 3);  // 4 KiB messages, 32 KiB
  compare(2, 4);  // 256 KiB messages, 64 KiB
  return outcome;
}

}  // namespace roost::cases
