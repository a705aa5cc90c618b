// Case 3: a slowloris attack, a byte a second on each of thousands of connections, against three servers.
//
// All three echo lines and refuse connections beyond a limit. The first has no time-outs. The second ends connections on which
// nothing has moved for a while: each byte of the attack is a move. The third gives every line an absolute deadline, which
// no byte moves, and the idle time-out as well.
//
// Two kinds of honest clients tell what the attack does: some that stand since before and send a line every 50 ms, and some
// that dial anew for each line, as browsers and apps do. The attack is a process of its own on plain sockets.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <thread>
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

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using tools::format_count;
using tools::format_us;

enum class Guard { none, idle, deadline };
constexpr std::array guards{Guard::none, Guard::idle, Guard::deadline};

struct Counts {
  std::size_t limit;                     // connections the server takes
  std::size_t attackers;                 // more than that
  milliseconds time_limit;               // of a line, and for silence
  milliseconds calm;                     // before the attack
  milliseconds attack;                   // how long it is watched
  std::chrono::microseconds drip_pause;  // between two bytes of one attacker
};

std::string name_of(Guard guard, const Counts& counts) {
  const std::string span = fmt::format("{:g} s", std::chrono::duration<double>(counts.time_limit).count());
  switch (guard) {
    case Guard::none:
      return "no time-out";
    case Guard::idle:
      return span + " of silence";
    case Guard::deadline:
      return span + " a line";
  }
  return "";
}

constexpr Side side_of(Guard guard) {
  return guard == Guard::none ? Side::before : guard == Guard::idle ? Side::between : Side::after;
}

void serve(Guard guard, const Counts& counts, const Helper::Tell& listening) {
  auto listener = net::listen("tcp4", "127.0.0.1:0");
  if (!listener) throw Failure("listen: " + listener.error().message());
  listening(listener->local_endpoint()->port);
  const milliseconds idle = guard == Guard::none ? milliseconds(0) : counts.time_limit;
  net::Server server({.connections_max = counts.limit, .idle_timeout = idle});
  static_cast<void>(server.serve(*listener, [&](net::Conn& conn) {
    io::Reader in(conn);
    for (;;) {
      // Set once for a line: what trickles in meanwhile does not move it.
      if (guard == Guard::deadline) conn.set_read_deadline_after(counts.time_limit);
      const auto line = in.read_until('\n');
      if (!line || !conn.write(*line)) return;
    }
  }));
}

// Connects, tells so by a byte, and then sends a byte a second on each connection, spread over the second, until it is
// killed.
[[noreturn]] void attack(std::uint16_t port, const Counts& counts, int tell) {
  std::vector<PlainSocket> sockets;
  for (std::size_t i = 0; i < counts.attackers; ++i) {
    PlainSocket one = connect_to(port);
    if (!one) break;  // out of descriptors
    ::fcntl(one.fd(), F_SETFL, O_NONBLOCK);
    sockets.push_back(std::move(one));
  }
  static_cast<void>(::send(tell, "d", 1, MSG_NOSIGNAL));
  const auto step = counts.drip_pause / static_cast<std::int64_t>(std::max<std::size_t>(sockets.size(), 1));
  auto due = Clock::now();
  for (std::size_t next = 0;; next = (next + 1) % sockets.size()) {
    if (sockets.empty()) ::pause();
    // Cut off or turned away: its descriptor is of no use any more, and the attacker does not come back.
    if (sockets[next] && ::send(sockets[next].fd(), "x", 1, MSG_NOSIGNAL) < 0 && errno != EAGAIN) sockets[next] = {};
    due += step;
    std::this_thread::sleep_until(due);
  }
}

// What honest clients saw in one stretch of time.
struct Seen {
  std::vector<double> took_us;
  std::uint64_t failed = 0;
};

// Latencies count from the moment a line was due, so that waiting behind a slow answer is part of the next one's.
struct Honest {
  enum Phase { beginning, calm, attacked, last_second, phases };
  std::array<Seen, phases> standing;
  std::array<Seen, phases> dialing;
  std::atomic<int> phase{beginning};  // which is not judged: all dial at once then
  std::atomic<bool> dialing_paused{false};
  std::atomic<int> dials{0};  // under way
  std::atomic<bool> stop{false};
};

constexpr milliseconds honest_pause{50};
constexpr milliseconds honest_patience{1'000};
constexpr std::chrono::seconds patience{20};  // with a busy machine
constexpr std::size_t honest_each = 10;       // of either kind

Result<void> ask(net::Conn& conn, Deadline until) {
  static constexpr std::string_view line = "an honest line\n";
  conn.set_read_deadline(until);
  conn.set_write_deadline(until);
  if (auto wrote = conn.write(line); !wrote) return fail(wrote.error());
  char back[64];
  std::size_t got = 0;
  while (got < line.size()) {
    const auto n = conn.read(std::as_writable_bytes(std::span(back)).subspan(got));
    if (!n) return fail(n.error());
    if (*n == 0) return fail(Errc::end_of_stream);
    got += *n;
  }
  return std::string_view(back, got) == line ? Result<void>{} : fail(std::errc::protocol_error);
}

// Ends a connection and waits until the server has closed it, too: from then on its place is free.
void leave(net::Conn& conn, Deadline until) {
  static_cast<void>(conn.set_read_deadline(until));
  std::array<std::byte, 64> rest{};
  if (conn.close_write()) {
    for (auto n = conn.read(rest); n && *n > 0;) n = conn.read(rest);
  }
  static_cast<void>(conn.close());
}

// Asks by `once` every 50 ms until told to stop; one that took longer is followed by the next at once.
template <class Once>
void ask_on_schedule(Honest& honest, std::array<Seen, Honest::phases>& seen, std::size_t index, Once once) {
  auto due = Clock::now() + honest_pause * static_cast<int>(index) / static_cast<int>(honest_each);
  while (!honest.stop) {
    static_cast<void>(sleep_until(Deadline::at(due)));
    if (honest.stop) return;
    Seen& now = seen[static_cast<std::size_t>(honest.phase.load())];
    if (once()) {
      now.took_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - due).count());
    } else {
      ++now.failed;
      // What was due while it waited in vain is dropped: it failed once.
      due = std::max(due, Clock::now() - honest_pause);
    }
    due += honest_pause;
  }
}

void record(Sample& sample, const std::string& name, const Seen& seen) {
  sample.set(name + "_answered", static_cast<double>(seen.took_us.size()));
  sample.set(name + "_failed", static_cast<double>(seen.failed));
  if (!seen.took_us.empty()) sample.set(name + "_p99_us", percentile(seen.took_us, 0.99));
}

Sample measure(Guard guard, const Counts& counts) {
  // As many descriptors as the server takes connections, and a few for itself.
  const ServerProcess server({.descriptors = counts.limit + 64},
                             [&](const Helper::Tell& listening) { serve(guard, counts, listening); });
  const tools::ServerProbe probe(server.pid());
  // Started before this process has a thread, and let off later.
  int gate[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate) != 0) fail_errno("socketpair");
  Helper attackers([&](const Helper::Tell& tell) {
    ::close(gate[1]);
    tell(0);
    char go_ahead = 0;
    if (::read(gate[0], &go_ahead, 1) != 1) return;
    attack(server.port(), counts, gate[0]);
  });
  attackers.await();
  ::close(gate[0]);
  pin_to_processor(0);

  Sample sample;
  run_on_fibers([&] {
    const net::Endpoint address{net::IpAddress::loopback_v4(), server.port()};
    Honest honest;
    WaitGroup clients;
    WaitGroup dialing;  // of these
    std::atomic<bool> could_dial{true};
    for (std::size_t i = 0; i < honest_each; ++i) {
      clients.add(2);
      dialing.add();
      go([&, i] {
        auto conn = net::dial(address);
        if (!conn) could_dial = false;
        ask_on_schedule(honest, honest.standing, i,
                        [&] { return conn && ask(*conn, Deadline::after(honest_patience)); });
        dialing.wait();  // or its place would let in one that still dials
        clients.done();
      });
      go([&, i] {
        ask_on_schedule(honest, honest.dialing, i, [&] {
          while (honest.dialing_paused) static_cast<void>(sleep_for(5ms));
          ++honest.dials;
          const Deadline until = Deadline::after(honest_patience);
          auto conn = net::dial(address, until);
          const bool answered = conn && ask(*conn, until);
          if (conn) leave(*conn, honest.phase < Honest::attacked ? Deadline::after(patience) : until);
          --honest.dials;
          return answered;
        });
        dialing.done();
        clients.done();
      });
    }
    static_cast<void>(sleep_for(counts.calm / 3));
    honest.phase = Honest::calm;
    static_cast<void>(sleep_for(counts.calm));

    // The attack fills the server while nobody else dials. A place that an honest client left just then would stay free: those
    // who are turned away do not come back.
    honest.dialing_paused = true;
    while (honest.dials != 0) static_cast<void>(sleep_for(5ms));
    // Listing thousands of descriptors takes milliseconds, in which no honest client on this worker would be served.
    const auto descriptors = [&probe] {
      return static_cast<double>(blocking([&probe] { return probe.descriptors(); }));
    };
    const double before = descriptors();
    const auto places = static_cast<double>(counts.limit - honest_each);
    const bool let_off = ::send(gate[1], "g", 1, MSG_NOSIGNAL) == 1;
    const auto start = Clock::now();
    // Where lines have a deadline the first may be cut off before the last has dialled.
    bool has_dialed = false;
    const auto is_filled = [&] {
      char byte = 0;
      has_dialed = has_dialed || ::recv(gate[1], &byte, 1, MSG_DONTWAIT) == 1;
      return has_dialed && (guard == Guard::deadline || descriptors() - before >= places);
    };
    while (!is_filled() && Clock::now() - start < patience) static_cast<void>(sleep_for(5ms));
    honest.phase = Honest::attacked;
    honest.dialing_paused = false;

    // On a machine that is busy this took long, or the server is late to close: a verdict of counts waits for them.
    const auto last_stretch = std::min<milliseconds>(1'000ms, counts.attack / 4);
    const auto end = std::max(start + counts.attack, Clock::now() + 2 * last_stretch);
    std::vector<double> held;
    double most = 0;
    double freed_at_s = -1;
    constexpr milliseconds sampling{100};
    const auto goes_on = [&](Clock::time_point due) {
      return due <= end || (guard == Guard::deadline && freed_at_s < 0 && due <= end + patience);
    };
    for (auto due = start + sampling; goes_on(due); due += sampling) {
      static_cast<void>(sleep_until(Deadline::at(due)));
      if (end - due < last_stretch) honest.phase = Honest::last_second;
      const double now = std::max(0.0, descriptors() - before);
      held.push_back(now);
      most = std::max(most, now);
      // The honest ones that dial come and go, ten at a time.
      const bool is_free = has_dialed && now <= honest_each;
      if (!is_free) freed_at_s = -1;
      if (is_free && freed_at_s < 0) freed_at_s = std::chrono::duration<double>(Clock::now() - start).count();
    }
    honest.stop = true;
    clients.wait();
    if (!let_off) throw Failure("the attack could not be let off");
    if (!could_dial) throw Failure("an honest client could not dial before the attack");

    sample.series["held"] = held;
    sample.set("held_most", most);
    sample.set("held_at_end", held.back());
    sample.set("places_free", std::max(0.0, places - held.back()));
    if (freed_at_s >= 0) sample.set("freed_at_s", freed_at_s);
    record(sample, "standing_calm", honest.standing[Honest::calm]);
    record(sample, "standing_last", honest.standing[Honest::last_second]);
    record(sample, "dialing_calm", honest.dialing[Honest::calm]);
    record(sample, "dialing_last", honest.dialing[Honest::last_second]);
    Seen during = honest.standing[Honest::attacked];
    const Seen& last = honest.standing[Honest::last_second];
    during.took_us.insert(during.took_us.end(), last.took_us.begin(), last.took_us.end());
    during.failed += last.failed;
    record(sample, "standing_attacked", during);
    record(sample, "dialing_attacked", honest.dialing[Honest::attacked]);
  });
  ::close(gate[1]);
  return sample;
}

}  // namespace

Outcome run_slowloris(const Setting& setting, Progress& progress) {
  Counts counts{3'000, 3'600, 2'000ms, 1'000ms, 5'000ms, 1'000ms};
  if (setting.quick) counts = {100, 150, 1'500ms, 300ms, 4'000ms, 100ms};
  // The attackers are a process with the same limit on descriptors.
  const std::size_t descriptors = tools::descriptor_limit();
  if (descriptors < counts.attackers + 100)
    counts = {descriptors / 2, descriptors * 3 / 5, 2'000ms, 1'000ms, 5'000ms, 1'000ms};
  const unsigned rounds = setting.quick ? 1 : 2;

  Turns turns[guards.size()];
  for (unsigned round = 1; round <= rounds; ++round) {
    for (const Guard guard : guards) {
      progress.turn(round, rounds, name_of(guard, counts));
      turns[static_cast<int>(guard)].add(
          must(run_turn(Network::own_if_possible, [&] { return measure(guard, counts); })));
    }
  }

  Outcome outcome;
  outcome.method = fmt::format(
      "A server that takes {} connections; {} attackers that send a byte every {:g} s each, for {:g} s; {} honest "
      "clients on "
      "standing connections and {} that dial for each line, each every {} ms. Descriptors are counted in /proc. {} "
      "round{} in turn, "
      "medians.",
      format_count(counts.limit), format_count(counts.attackers),
      std::chrono::duration<double>(counts.drip_pause).count(), std::chrono::duration<double>(counts.attack).count(),
      honest_each, honest_each, honest_pause.count(), rounds, rounds == 1 ? "" : "s");
  outcome.columns = {{"held at most", "held_most"},
                     {"held at the end", "held_at_end"},
                     {"places free", "places_free_at_end"},
                     {"freed after", "freed_after_s"},
                     {"dialling: failed in the end", "dialing_failed_last_percent"},
                     {"standing p99, calm", "standing_calm_p99_us"},
                     {"standing p99, attacked", "standing_attacked_p99_us"}};
  for (const Guard guard : guards) {
    const Turns& t = turns[static_cast<int>(guard)];
    const double failed = t.median("dialing_last_failed");
    const double asked = failed + t.median("dialing_last_answered");
    const double failed_percent = asked > 0 ? 100 * failed / asked : 0;
    const auto count = [&](const char* name) { return Cell{format_count(t.median(name)), t.median(name)}; };
    const auto latency = [&](const char* name) { return Cell{format_us(t.median(name)), t.median(name)}; };
    outcome.rows.push_back(
        {name_of(guard, counts),
         side_of(guard),
         {count("held_most"),
          count("held_at_end"),
          count("places_free"),
          t.has("freed_at_s") ? Cell{fmt::format("{:.1f} s", t.median("freed_at_s")), t.median("freed_at_s")}
                              : Cell{"never"},
          {fmt::format("{:.0f} %", failed_percent), failed_percent},
          latency("standing_calm_p99_us"),
          latency("standing_attacked_p99_us")}});
    outcome.chart.bars.push_back({"descriptors the attack holds at the end", name_of(guard, counts), side_of(guard),
                                  t.median("held_at_end"), format_count(t.median("held_at_end"))});
    outcome.chart.lines.push_back({name_of(guard, counts), side_of(guard), t.median_series("held")});
  }
  for (std::size_t g = 0; g < guards.size(); ++g) {
    outcome.chart.bars.push_back({"new honest clients that fail in the last second", name_of(guards[g], counts),
                                  side_of(guards[g]), *outcome.rows[g].cells[4].value, outcome.rows[g].cells[4].text,
                                  "percent"});
  }
  outcome.chart.title = "What a slowloris attack holds (less is better)";
  outcome.chart.lines_title = "Descriptors that the attack holds, over the seconds since it began";
  std::size_t points = outcome.chart.lines.front().values.size();
  for (const Line& line : outcome.chart.lines) points = std::min(points, line.values.size());
  for (Line& line : outcome.chart.lines) line.values.resize(points);
  for (std::size_t i = 1; i <= points; ++i) outcome.chart.times_s.push_back(0.1 * static_cast<double>(i));

  const Turns& none = turns[static_cast<int>(Guard::none)];
  const Turns& idle = turns[static_cast<int>(Guard::idle)];
  const Turns& deadline = turns[static_cast<int>(Guard::deadline)];
  const double limit = static_cast<double>(counts.limit);
  outcome.claims = {
      {fmt::format("without time-outs the attack holds {} of {} connections to the end",
                   format_count(none.median("held_at_end")), format_count(counts.limit)),
       none.median("held_at_end") > 0.8 * limit, true},
      {fmt::format("{:.0f} % of the clients that dial are locked out then", *outcome.rows[0].cells[4].value),
       *outcome.rows[0].cells[4].value > 95, true},
      {fmt::format("a time-out of silence alone frees nothing of it: {} are held",
                   format_count(idle.median("held_at_end"))),
       idle.median("held_at_end") > 0.8 * limit, false},
      {fmt::format("a deadline for each line frees every descriptor of the attack{}",
                   deadline.has("freed_at_s") ? fmt::format(", {:.1f} s after it began", deadline.median("freed_at_s"))
                                              : std::string(": it does not")),
       deadline.has("freed_at_s"), true},
      {fmt::format("and in the last second {} of {} new clients are answered",
                   format_count(deadline.median("dialing_last_answered")),
                   format_count(deadline.median("dialing_last_answered") + deadline.median("dialing_last_failed"))),
       deadline.median("dialing_last_answered") > 0 && deadline.median("dialing_last_failed") == 0, false}};
  return outcome;
}

}  // namespace roost::cases
