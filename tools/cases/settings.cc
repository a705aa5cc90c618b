// Case 5: a system left as it is against the settings of `roost doctor`.
//
// Three settings, each before and after, each in a network namespace of its own, so that the machine's stay as they are:
//   the listen queue   a burst of connects at a server that does not accept for a moment
//   the port range     more connections to one place than it has ports
//   descriptors        more connections than the soft limit of 1,024 that a process is started with
// "After" is what the doctor says for this task, taken from its findings and not from a list of ours.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <roost/roost.h>

#include "tools/cases/case.h"
#include "tools/cases/client.h"
#include "tools/common/format.h"
#include "tools/common/proc.h"
#include "tools/doctor/diagnosis.h"

namespace roost::cases {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using tools::format_count;
using tools::format_us;

// What a `listen(fd, 128)` gives, and what net.core.somaxconn was before Linux 5.4.
constexpr int backlog_before = 128;
// The default has 28,232 ports. A range of 1,000 shows the same without 28,232 connections.
constexpr const char* ports_before = "32768 33767";
constexpr std::size_t ports_before_count = 1'000;
constexpr std::uint64_t descriptors_before = 1'024;
constexpr std::size_t connections_asked = 1'500;  // more than these two allow

// Changes the settings of this turn's namespace as the doctor's finding says; nothing when it finds them in order. Throws when the
// doctor is not content afterwards.
void follow_doctor(const std::string& check, const doctor::Ask& ask) {
  const doctor::System system;
  const auto diagnosis = doctor::diagnose(system, ask, {check});
  for (const doctor::Change& change : diagnosis.find(check)->changes) {
    if (const auto written = system.write(change.path, change.value); !written) {
      throw Failure(fmt::format("{} = {}: {}", change.key, change.value, written.error().message()));
    }
  }
  if (doctor::diagnose(system, ask, {check}).find(check)->verdict != doctor::Verdict::ok) {
    throw Failure(check + ": the doctor is not content with its own remedy");
  }
}

void echo_all(net::Listener& listener) {
  while (auto accepted = listener.accept()) {
    go([conn = std::move(*accepted)]() mutable {
      io::Reader in(conn);
      while (const auto line = in.read_until('\n')) {
        if (!conn.write(*line)) return;
      }
    });
  }
}

net::Listener listen_or_throw(const net::ListenConfig& config = {}) {
  auto listener = net::listen("tcp4", "127.0.0.1:0", config);
  if (!listener) throw Failure("listen: " + listener.error().message());
  return std::move(*listener);
}

// ---- the listen queue ---------------------------------------------------------------------------------------------------

struct Dial {
  PlainSocket socket;
  Clock::time_point start;
  double took_us = -1;  // until it stood; negative: not yet
};

Dial dial_without_waiting(const sockaddr_in& address) {
  Dial dial{PlainSocket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), Clock::now()};
  if (!dial.socket) fail_errno("socket");
  if (::connect(dial.socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    fail_errno("connect");
  }
  return dial;
}

// Marks those that stand by now. `wait_ms` is how long to wait for the first.
void look_at(std::vector<Dial>& dials, int wait_ms) {
  std::vector<pollfd> waits;
  std::vector<Dial*> waiting;
  for (Dial& dial : dials) {
    if (dial.took_us >= 0) continue;
    waits.push_back({dial.socket.fd(), POLLOUT, 0});
    waiting.push_back(&dial);
  }
  if (waits.empty()) return;
  ::poll(waits.data(), waits.size(), wait_ms);
  for (std::size_t i = 0; i < waits.size(); ++i) {
    if ((waits[i].revents & POLLOUT) == 0) continue;
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(waiting[i]->socket.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == 0)
      waiting[i]->took_us = std::chrono::duration<double, std::micro>(Clock::now() - waiting[i]->start).count();
  }
}

Sample measure_burst(bool after, std::size_t burst) {
  set_sysctl("net.core.somaxconn", std::to_string(backlog_before));
  if (after) {
    doctor::Ask ask;
    ask.connections = burst;
    ask.rate = burst * 10;  // all within a tenth of a second
    follow_doctor("somaxconn", ask);
  }
  int gate[2];
  if (::pipe2(gate, O_CLOEXEC) != 0) fail_errno("pipe");
  const ServerProcess server({}, [&](const Helper::Tell& listening) {
    auto listener = listen_or_throw({.backlog = after ? 0 : backlog_before});
    listening(listener.local_endpoint()->port);
    auto go_ahead = net::Descriptor::adopt(gate[0]);
    std::array<std::byte, 1> byte{};
    if (!go_ahead || !go_ahead->read(byte)) return;
    echo_all(listener);
  });
  ::close(gate[0]);

  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server.port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const std::uint64_t overflows_before = tools::read_tcp_counters().listen_overflows;
  std::vector<Dial> dials;
  dials.reserve(burst);
  while (dials.size() < burst) {
    dials.push_back(dial_without_waiting(address));
    if (dials.size() % 50 == 0) look_at(dials, 0);
  }
  look_at(dials, 0);
  const auto stood_at_once = std::ranges::count_if(dials, [](const Dial& dial) { return dial.took_us >= 0; });
  // The server was held up; now it goes on. Loopback answers within the call to connect, so those that do not stand by now were
  // dropped, and come back when their SYN is sent again, after a second.
  std::this_thread::sleep_for(100ms);
  if (::write(gate[1], "g", 1) != 1) fail_errno("write");
  ::close(gate[1]);
  const auto until = Clock::now() + 10s;
  while (Clock::now() < until && std::ranges::any_of(dials, [](const Dial& dial) { return dial.took_us < 0; }))
    look_at(dials, 100);

  std::vector<double> took_us;
  std::size_t stood = 0;
  for (const Dial& dial : dials) {
    if (dial.took_us < 0) continue;
    took_us.push_back(dial.took_us);
    ::fcntl(dial.socket.fd(), F_SETFL, 0);
    const timeval longest{10, 0};
    ::setsockopt(dial.socket.fd(), SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest);
    if (echoes(dial.socket, "did you get this?\n")) ++stood;
  }
  Sample sample;
  sample.set("stood", static_cast<double>(stood));
  sample.set("stood_at_once", static_cast<double>(stood_at_once));
  sample.set("overflows", static_cast<double>(tools::read_tcp_counters().listen_overflows - overflows_before));
  sample.set("p50_us", percentile(took_us, 0.5));
  sample.set("p99_us", percentile(took_us, 0.99));
  return sample;
}

// ---- ports and descriptors ------------------------------------------------------------------------------------------------

Sample measure_open(const ServerSetup& setup) {
  const ServerProcess server(setup, [](const Helper::Tell& listening) {
    auto listener = listen_or_throw();
    listening(listener.local_endpoint()->port);
    echo_all(listener);
  });
  Sample sample;
  sample.set("stood", static_cast<double>(open_echoing(server.port(), connections_asked).size()));
  return sample;
}

Sample measure_ports(bool after) {
  set_sysctl("net.ipv4.ip_local_port_range", ports_before);
  if (after) {
    doctor::Ask ask;
    ask.role = doctor::Role::client;
    ask.connections = connections_asked;
    follow_doctor("port-range", ask);
  }
  return measure_open({});
}

Sample measure_descriptors(bool after) {
  // The doctor asks for the hard limit, which is high enough here, and says that roost raises the soft one to it.
  return measure_open({.descriptors_soft = descriptors_before, .raise_descriptor_limit = after});
}

}  // namespace

Outcome run_settings(const Setting& setting, Progress& progress) {
  Outcome outcome;
  if (!setting.own_network) {
    outcome.untried =
        "it changes sysctls, and this user may not have a network namespace of its own to do so in; run it as root";
    return outcome;
  }
  const std::size_t burst = setting.quick ? 400 : 2'000;
  const unsigned rounds = setting.quick ? 1 : 3;
  Turns queue[2];
  Turns ports[2];
  Turns descriptors[2];
  const auto turn = [&](unsigned round, std::string_view what, bool after, Turns& into,
                        const std::function<Sample()>& measure) {
    progress.turn(round, rounds, fmt::format("{}, {}", what, after ? "the doctor's setting" : "as it is"));
    into.add(must(run_turn(Network::own, measure)));
  };
  for (unsigned round = 1; round <= rounds; ++round) {
    for (const bool after : {false, true}) {
      turn(round, "a burst of connects", after, queue[after], [&] { return measure_burst(after, burst); });
    }
    for (const bool after : {false, true})
      turn(round, "few ports", after, ports[after], [&] { return measure_ports(after); });
    for (const bool after : {false, true}) {
      turn(round, "few descriptors", after, descriptors[after], [&] { return measure_descriptors(after); });
    }
  }

  outcome.method = fmt::format(
      "A burst of {} connects at a server that is held up until 0.1 s after the last; {} connections to one place; {} "
      "connections to "
      "one process. Every connection that stands has a line echoed. {} round{} in turn, medians; each turn in a "
      "network namespace of "
      "its own. \"After\" are the doctor's own recommendations.",
      format_count(burst), format_count(connections_asked), format_count(connections_asked), rounds,
      rounds == 1 ? "" : "s");
  outcome.columns = {{"asked", "asked"},
                     {"stood", "stood"},
                     {"at once", "stood_at_once"},
                     {"connect, median", "connect_p50_us"},
                     {"connect, p99", "connect_p99_us"},
                     {"ListenOverflows", "listen_overflows"}};
  const auto count = [](double value) { return Cell{format_count(value), value}; };
  const auto add = [&](const std::string& group, const std::string& label, bool after, std::size_t asked,
                       const Turns& t) {
    const Side side = after ? Side::after : Side::before;
    Row row{label, side, {count(static_cast<double>(asked)), count(t.median("stood"))}};
    const bool timed = t.has("p99_us");
    row.cells.push_back(timed ? count(t.median("stood_at_once")) : Cell{"-"});
    for (const char* name : {"p50_us", "p99_us"}) {
      row.cells.push_back(timed ? Cell{format_us(t.median(name)), t.median(name)} : Cell{"-"});
    }
    row.cells.push_back(timed ? count(t.median("overflows")) : Cell{"-"});
    outcome.rows.push_back(std::move(row));
    const double share = 100 * t.median(timed ? "stood_at_once" : "stood") / static_cast<double>(asked);
    outcome.chart.bars.push_back({group, label, side, share, fmt::format("{:.0f} %", share), "percent"});
  };
  const std::string queue_group = fmt::format("{} connects in a burst, that stood at once", format_count(burst));
  add(queue_group, fmt::format("backlog {}", backlog_before), false, burst, queue[0]);
  add(queue_group, "the doctor's somaxconn", true, burst, queue[1]);
  const std::string open_group = fmt::format("{} connections, that stood", format_count(connections_asked));
  add(open_group + " (ports)", fmt::format("{} ports", format_count(ports_before_count)), false, connections_asked,
      ports[0]);
  add(open_group + " (ports)", "the doctor's port range", true, connections_asked, ports[1]);
  add(open_group + " (descriptors)", fmt::format("soft limit {}", format_count(descriptors_before)), false,
      connections_asked, descriptors[0]);
  add(open_group + " (descriptors)", "raised to the hard limit", true, connections_asked, descriptors[1]);
  outcome.chart.title = "Connections that stood, in percent of those asked for (more is better)";

  const auto asked = static_cast<double>(connections_asked);
  outcome.claims = {
      {fmt::format("a backlog of {} drops {} of {} connects; the doctor's drops {}", backlog_before,
                   format_count(static_cast<double>(burst) - queue[0].median("stood_at_once")), format_count(burst),
                   format_count(static_cast<double>(burst) - queue[1].median("stood_at_once"))),
       queue[0].median("stood_at_once") < static_cast<double>(burst) && queue[0].median("overflows") > 0 &&
           queue[1].median("stood_at_once") == static_cast<double>(burst) && queue[1].median("overflows") == 0,
       true},
      {fmt::format("99 % of connects stand within {} instead of {}", format_us(queue[1].median("p99_us")),
                   format_us(queue[0].median("p99_us"))),
       queue[1].median("p99_us") < queue[0].median("p99_us"), false},
      {fmt::format("{} of {} connections find a port instead of {}", format_count(ports[1].median("stood")),
                   format_count(asked), format_count(ports[0].median("stood"))),
       // The server's own port may be one of them.
       ports[0].median("stood") <= ports_before_count && ports[0].median("stood") >= ports_before_count - 1 &&
           ports[1].median("stood") == asked,
       true},
      {fmt::format("{} of {} connections find a descriptor instead of {}", format_count(descriptors[1].median("stood")),
                   format_count(asked), format_count(descriptors[0].median("stood"))),
       descriptors[0].median("stood") < static_cast<double>(descriptors_before) &&
           descriptors[1].median("stood") == asked,
       true}};
  return outcome;
}

}  // namespace roost::cases
