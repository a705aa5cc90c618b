// Case 1: a fiber a connection against two, one to read and one to write, and against two descriptors as well.
//
// All three servers echo lines through a 4 KiB Reader and Writer. The two-fiber servers hand each line over a channel of 16,
// as programs do that "must not block the reader". The third writes to a duplicate of the descriptor, as programs do
// whose reader and writer each want to own one.
#include <sys/resource.h>

#include <memory>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <roost/roost.h>

#include "tools/cases/case.h"
#include "tools/cases/client.h"
#include "tools/common/format.h"
#include "tools/common/proc.h"
#include "tools/common/server_probe.h"

namespace roost::cases {
namespace {

using tools::format_bytes;
using tools::format_count;

enum class Way { one_fiber, two_fibers, two_descriptors };
constexpr Way ways[] = {Way::two_descriptors, Way::two_fibers, Way::one_fiber};

std::string name_of(Way way) {
  switch (way) {
    case Way::one_fiber:
      return "one fiber";
    case Way::two_fibers:
      return "two fibers";
    case Way::two_descriptors:
      return "two fibers, two descriptors";
  }
  return "";
}

constexpr Side side_of(Way way) {
  return way == Way::one_fiber ? Side::after : way == Way::two_fibers ? Side::between : Side::before;
}

constexpr std::size_t queue_lines = 16;

void serve_by_one(net::Conn conn) {
  io::Reader in(conn);
  io::Writer out(conn);
  while (const auto line = in.read_until('\n')) {
    if (!out.write(*line) || !out.flush()) return;
  }
}

void serve_by_two(net::Conn conn, bool own_descriptor) {
  net::Conn second;
  if (own_descriptor) {
    const auto duplicate = conn.duplicate();
    if (!duplicate) return;
    auto adopted = net::Conn::adopt(*duplicate);
    if (!adopted) return;
    second = std::move(*adopted);
  }
  net::Conn& to = own_descriptor ? second : conn;
  Chan<std::string> lines(queue_lines);
  auto writer = go([&to, lines] {
    io::Writer out(to);
    bool broken = false;
    // Of a broken connection the rest is taken and thrown away, or the reader would wait for room for ever.
    for (const std::string& line : lines) broken = broken || !out.write(line) || !out.flush();
  });
  io::Reader in(conn);
  while (const auto line = in.read_until('\n')) {
    if (!lines.send(std::string(*line))) break;
  }
  lines.close();
  writer.join();
}

void serve(Way way, const Helper::Tell& listening) {
  auto listener = net::listen("tcp4", "127.0.0.1:0");
  if (!listener) throw Failure("listen: " + listener.error().message());
  listening(listener->local_endpoint()->port);
  while (auto conn = listener->accept()) {
    if (way == Way::one_fiber) {
      go([conn = std::move(*conn)]() mutable { serve_by_one(std::move(conn)); });
    } else {
      go([conn = std::move(*conn), way]() mutable { serve_by_two(std::move(conn), way == Way::two_descriptors); });
    }
  }
}

struct Counts {
  std::size_t connections;
  std::size_t active;
  double seconds;
  std::uint64_t descriptor_limit;
};

// Memory, descriptors and CPU of one server.
Sample measure(Way way, const Counts& counts) {
  constexpr std::size_t message_bytes = 64;
  const ServerProcess server({}, [way](const Helper::Tell& listening) { serve(way, listening); });
  const tools::ServerProbe probe(server.pid());
  pin_to_processor(0);

  Sample sample;
  {
    const auto first = open_echoing(server.port(), 1);
  }  // touches what is touched once: code, first stacks, first buffers
  const auto memory_before = probe.memory();
  const std::uint64_t descriptors_before = probe.descriptors();
  const auto open = open_echoing(server.port(), counts.connections);
  if (open.size() != counts.connections) throw Failure(fmt::format("only {} connections stood", open.size()));
  const auto memory_after = probe.memory();
  const auto n = static_cast<double>(open.size());
  if (memory_before && memory_after) {
    sample.set(
        "memory_bytes",
        (static_cast<double>(memory_after->anonymous_bytes) - static_cast<double>(memory_before->anonymous_bytes)) / n);
  }
  // The first connection may not have been closed yet when the descriptors were counted before; rounding takes care of it.
  sample.set("descriptors", static_cast<double>(probe.descriptors() - descriptors_before) / n);

  ClosedLoop loop(server.port(), counts.active, message_bytes);
  loop.run_for(std::chrono::duration<double>(counts.seconds / 3));  // warm
  const auto cpu_before = probe.cpu();
  const double messages = static_cast<double>(loop.run_for(std::chrono::duration<double>(counts.seconds))) /
                          static_cast<double>(message_bytes);
  const auto cpu_after = probe.cpu();
  if (messages > 0 && cpu_before && cpu_after) {
    sample.set("cpu_us", (cpu_after->total_s - cpu_before->total_s) * 1e6 / messages);
  }
  return sample;
}

// Connections that stand, each echoed once, when the server may open so many descriptors. The clients are processes of their
// own, because each needs a descriptor for a connection, too.
Sample fill(Way way, std::uint64_t limit) {
  const ServerProcess server({.descriptors = limit}, [way](const Helper::Tell& listening) { serve(way, listening); });
  std::vector<std::unique_ptr<Helper>> clients;
  std::uint64_t stood = 0;
  const std::size_t share = limit * 2 / 3;
  for (int i = 0; i < 2; ++i) {
    clients.push_back(std::make_unique<Helper>([&server, share](const Helper::Tell& tell) {
      const auto open = open_echoing(server.port(), share);
      tell(open.size());
      ::pause();
    }));
    const std::uint64_t opened = clients.back()->await();
    stood += opened;
    if (opened < share) break;  // the server is full
  }
  Sample sample;
  sample.set("stood", static_cast<double>(stood));
  return sample;
}

}  // namespace

Outcome run_fibers(const Setting& setting, Progress& progress) {
  const std::uint64_t limit = std::min<std::uint64_t>(setting.quick ? 600 : 20'000, tools::descriptor_limit());
  const Counts counts =
      setting.quick ? Counts{200, 20, 0.1, limit} : Counts{std::min<std::size_t>(4'000, limit / 3), 100, 0.7, limit};
  const unsigned rounds = setting.quick ? 1 : 3;

  Turns turns[3];
  for (unsigned round = 1; round <= rounds; ++round) {
    for (const Way way : ways) {
      progress.turn(round, rounds, name_of(way));
      turns[static_cast<int>(way)].add(must(run_turn(Network::own_if_possible, [&] { return measure(way, counts); })));
    }
  }
  for (const Way way : ways) {
    progress.turn(rounds, rounds, name_of(way) + ", until the descriptors are used up");
    turns[static_cast<int>(way)].add(must(run_turn(Network::own_if_possible, [&] { return fill(way, limit); })));
  }

  Outcome outcome;
  outcome.method = fmt::format(
      "{} connections, each echoed once: growth of the server's anonymous memory and of its open descriptors. Then "
      "64-byte lines in a "
      "closed loop on {} more for {:.1f} s: the server's CPU clock. {} round{} in turn, medians. At last one server of "
      "each kind "
      "was filled until its {} descriptors were used up.",
      format_count(counts.connections), counts.active, counts.seconds, rounds, rounds == 1 ? "" : "s",
      format_count(limit));
  outcome.columns = {{"memory a connection", "memory_bytes_per_connection"},
                     {"a million would take", "memory_bytes_per_million"},
                     {"descriptors each", "descriptors_per_connection"},
                     {"CPU a message", "cpu_us_per_message"},
                     {fmt::format("stood with {} descriptors", format_count(limit)), "connections_at_limit"}};
  for (const Way way : ways) {
    const Turns& t = turns[static_cast<int>(way)];
    const double memory = t.median("memory_bytes");
    const double descriptors = t.median("descriptors");
    const double cpu = t.median("cpu_us");
    const double stood = t.median("stood");
    outcome.rows.push_back({name_of(way),
                            side_of(way),
                            {{fmt::format("{:.0f} B", memory), memory},
                             {format_bytes(memory * 1e6), memory * 1e6},
                             {fmt::format("{:.2f}", descriptors), descriptors},
                             {fmt::format("{:.2f} us", cpu), cpu},
                             {format_count(stood), stood}}});
    outcome.chart.bars.push_back(
        {"memory a connection", name_of(way), side_of(way), memory, fmt::format("{:.0f} B", memory), "bytes"});
  }
  for (const Way way : ways) {
    const double stood = turns[static_cast<int>(way)].median("stood");
    outcome.chart.bars.push_back({fmt::format("connections with {} descriptors", format_count(limit)), name_of(way),
                                  side_of(way), stood, format_count(stood)});
  }
  outcome.chart.title = "Memory of the server's user space a connection, and how many one process holds";

  const Turns& one = turns[static_cast<int>(Way::one_fiber)];
  const Turns& two = turns[static_cast<int>(Way::two_fibers)];
  const Turns& twice = turns[static_cast<int>(Way::two_descriptors)];
  const auto ratio = [](const Turns& a, const Turns& b, const char* name) { return a.median(name) / b.median(name); };
  outcome.claims = {
      {fmt::format("one fiber takes {:.0f} % of the memory of two", 100 * ratio(one, two, "memory_bytes")),
       ratio(one, two, "memory_bytes") < 0.75, false},
      {fmt::format("one fiber takes {:.0f} % of the CPU of two a message", 100 * ratio(one, two, "cpu_us")),
       ratio(one, two, "cpu_us") < 1, false},
      {fmt::format("a connection takes {:.2f} descriptors instead of {:.2f}", one.median("descriptors"),
                   twice.median("descriptors")),
       one.median("descriptors") < 1.1 && twice.median("descriptors") > 1.9, true},
      {fmt::format("{} connections stand with {} descriptors instead of {}", format_count(one.median("stood")),
                   format_count(limit), format_count(twice.median("stood"))),
       one.median("stood") > 1.8 * twice.median("stood") && twice.median("stood") > 0, true}};
  return outcome;
}

}  // namespace roost::cases
