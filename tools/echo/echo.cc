#include "tools/echo/echo.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <roost/roost.h>

#include "tools/common/command.h"
#include "tools/common/format.h"
#include "tools/common/listen.h"
#include "tools/common/parse.h"
#include "tools/common/proc.h"
#include "tools/common/shards.h"
#include "tools/echo/fibers.h"
#include "tools/echo/metrics.h"
#include "tools/echo/options.h"
#include "tools/echo/server.h"
#include "tools/top/page.h"

namespace roost::echo {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using tools::format_bytes;
using tools::format_count;

constexpr milliseconds progress_interval{1'000};  // how often a process of several tells the parent its figures

enum FrameKind : std::uint8_t {
  listening,  // child: uint16_t port
  failed,     // child: text; it could not start
  progress,   // child: Totals
  figures,    // child: its metrics as text
  fibers,     // child: what they are doing, as JSON
  stop,       // parent
  tell_fibers,  // parent
};

RuntimeOptions runtime_options(const EchoOptions& options) {
  RuntimeOptions runtime;
  runtime.workers = options.workers;
  runtime.dump_on_sigquit = options.processes == 1;  // of several the parent collects what all have to tell
  // Closing a million connections takes the kernel longer than the default grants.
  runtime.shutdown_grace = std::chrono::seconds(30);
  if (options.processes > tools::processor_count()) {
    // Several processes share a processor: a worker that waits for its turn would look stuck, spare ones would make the
    // crowd larger, and looking for stuck ones costs a wake-up each time.
    runtime.spare_workers_max = 0;
    runtime.stuck_after = std::chrono::seconds(2);
    runtime.stuck_report_after = milliseconds(0);
  }
  return runtime;
}

// The first of these on standard output is what scripts wait for: from then on every process accepts.
void announce(const EchoOptions& options, const net::Endpoint& endpoint, unsigned processes) {
  fmt::print("listening on {} (pid {}, {} process{}, {} a process)\n", endpoint.to_string(), ::getpid(), processes,
             processes == 1 ? "" : "es",
             options.workers == 0 ? "a worker per processor" : fmt::format("{} worker{}", options.workers, options.workers == 1 ? "" : "s"));
  std::fflush(stdout);
}

void announce_metrics(const net::Endpoint& endpoint) {
  fmt::print("metrics on http://{}/metrics\n", endpoint.to_string());
  std::fflush(stdout);
}

// Prints what changed since the last line, every interval.
class Reporter {
 public:
  explicit Reporter(nanoseconds interval) : interval_(interval), next_(interval.count() > 0 ? Deadline::after(interval) : Deadline::none()) {}

  [[nodiscard]] Deadline next() const noexcept { return next_; }
  [[nodiscard]] bool is_due() const noexcept { return next_.has_passed(); }

  void print(const Totals& totals, const std::vector<pid_t>& processes) {
    const auto now = Deadline::Clock::now();
    const double seconds = std::max(std::chrono::duration<double>(now - last_time_).count(), 1e-3);
    const tools::ProcessUsage usage = tools::read_usage(processes);
    const auto rate = [seconds](std::uint64_t current, std::uint64_t before) {
      return current > before ? static_cast<double>(current - before) / seconds : 0.0;
    };
    char clock[16];
    const std::time_t wall = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&wall, &local);
    std::strftime(clock, sizeof clock, "%H:%M:%S", &local);

    std::string line = fmt::format("{}  connections {} (+{}/s)  fibers {}  messages {}/s  memory {}", clock,
                                   format_count(totals.open), format_count(rate(totals.accepted, last_.accepted)),
                                   format_count(totals.fibers), format_count(rate(totals.messages, last_.messages)),
                                   format_bytes(static_cast<double>(usage.memory_bytes)));
    if (totals.open >= 100) {
      line += fmt::format(" ({} a connection)", format_bytes(static_cast<double>(usage.memory_bytes) / static_cast<double>(totals.open)));
    }
    line += fmt::format("  CPU {:.0f} %", 100 * std::max(0.0, usage.cpu_s - last_cpu_s_) / seconds);
    if (totals.refused > last_.refused) {
      line += fmt::format("  turned away {} (over --max-connections)", format_count(totals.refused - last_.refused));
    }
    if (totals.exhausted > last_.exhausted) line += "  OUT OF DESCRIPTORS: see roost doctor";
    fmt::print("{}\n", line);
    std::fflush(stdout);

    last_ = totals;
    last_time_ = now;
    last_cpu_s_ = usage.cpu_s;
    // On schedule and not an interval after now, so that lines do not drift; a missed one is left out.
    while (next_.has_passed()) next_ = Deadline::from_ns(next_.ns() + interval_.count());
  }

  void print_final(const Totals& totals) const {
    std::string line = fmt::format("stopped after {}: served {} connections, {} messages ({})",
                                   tools::format_span(Deadline::Clock::now() - start_), format_count(totals.accepted),
                                   format_count(totals.messages), format_bytes(static_cast<double>(totals.bytes)));
    if (totals.timed_out > 0) line += fmt::format("; {} timed out", format_count(totals.timed_out));
    if (totals.failed > 0) line += fmt::format("; {} failed", format_count(totals.failed));
    if (totals.refused > 0) line += fmt::format("; {} turned away", format_count(totals.refused));
    fmt::print("{}\n", line);
    std::fflush(stdout);
  }

 private:
  const nanoseconds interval_;
  const Deadline::Clock::time_point start_ = Deadline::Clock::now();
  Deadline next_;
  Totals last_;
  Deadline::Clock::time_point last_time_ = start_;
  double last_cpu_s_ = 0;
};

int run_alone(const EchoOptions& options) {
  tools::SharedCounters connections_open(1);
  Server server(options, connections_open, 0);
  std::optional<Reporter> reporter;
  const int status = run(runtime_options(options), [&]() -> int {
    SignalSet signals{SIGINT, SIGTERM};
    const auto endpoint = server.start(false);
    if (!endpoint) {
      tools::print_error("echo", tools::listen_error(options.listen, endpoint.error(), "--listen"));
      return 2;
    }
    std::optional<metrics::Exporter> exporter;
    if (options.metrics) {
      const auto totals = collect_totals([&] { return server.totals(); }, options.max_connections);
      auto served = metrics::serve(options.metrics->to_string(), {.collectables = {totals}, .pages = top::pages([totals] {
                                     return blocking([&totals] {
                                       auto all = metrics::runtime()->Collect();
                                       metrics::merge(all, totals->Collect());
                                       return all;
                                     });
                                   })});
      if (!served) {
        tools::print_error("echo", tools::listen_error(*options.metrics, served.error(), "--metrics"));
        return 2;
      }
      exporter = std::move(*served);
    }
    announce(options, *endpoint, 1);
    if (exporter) announce_metrics(exporter->endpoint());
    reporter.emplace(options.report_interval);
    const std::vector<pid_t> self{::getpid()};
    for (;;) {
      const auto signal = signals.wait(reporter->next());
      if (signal || !is_timeout(signal.error())) break;
      reporter->print(server.totals(), self);
    }
    server.stop();
    return 0;
  });
  if (status == 0) reporter->print_final(server.totals());
  return status;
}

// A child: serves until the parent says stop, or is gone.
int run_shard(const EchoOptions& options, const tools::ShardLink& link, tools::SharedCounters& connections_open) {
  Server server(options, connections_open, link.index());
  const int status = run(runtime_options(options), [&]() -> int {
    const auto endpoint = server.start(true);
    if (!endpoint) {
      link.send(failed, tools::listen_error(options.listen, endpoint.error(), "--listen"));
      return 2;
    }
    auto parent = link.adopt();
    if (!parent) return 2;
    if (options.metrics) link.send(figures, child_metrics());  // before anybody is told where to ask
    link.send(listening, {});
    // By a channel and not by a read with a deadline: a server's metrics shall not count time-outs that are none of its clients'.
    const Chan<std::uint8_t> commands(1);
    auto listening_to_parent = go({.name = "parent"}, [&parent, commands] {
      while (const auto frame = tools::ShardLink::receive(*parent)) {
        if (!commands.send(frame->kind)) return;
      }
      commands.close();
    });
    for (;;) {
      const auto command = commands.receive(Deadline::after(progress_interval));
      if (command && *command == tell_fibers) {
        if (!link.send(fibers, metrics::to_json(collect_fibers({.examples_max = fiber_examples_max})))) break;
        continue;
      }
      if (command || !is_timeout(command.error())) break;
      if (!link.send(progress, tools::bytes_of(server.totals()))) break;
      if (options.metrics && !link.send(figures, child_metrics())) break;
    }
    server.stop();
    listening_to_parent.cancel();
    listening_to_parent.join();
    link.send(progress, tools::bytes_of(server.totals()));
    // The link stays open until the runtime has ended every connection: its end tells the parent that all is done.
    (void)parent->release();
    return 0;
  });
  return status;
}

int run_sharded(EchoOptions options) {
  // SO_REUSEPORT would let a second server of the same user slip in beside the first without an error.
  auto endpoint = tools::claim_port(options.listen, "--listen");
  if (!endpoint) {
    tools::print_error("echo", endpoint.error());
    return 2;
  }
  options.listen = *endpoint;

  tools::SharedCounters connections_open(options.processes);
  auto group = tools::ShardGroup::start(options.processes, [&](const tools::ShardLink& link) {
    return run_shard(options, link, connections_open);
  }, {SIGQUIT});
  if (!group) {
    tools::print_error("echo", fmt::format("--processes {}: {}; try fewer", options.processes, group.error().message()));
    return 2;
  }

  SharedFibers shared_fibers(options.processes, [&group] { group->wake(); });
  std::optional<SharedMetrics> shared_metrics;
  if (options.metrics) shared_metrics.emplace(options.processes, options.max_connections);
  std::vector<Totals> totals(options.processes);
  unsigned ready = 0;
  bool stopping = false;
  Deadline patient_until;
  int status = 0;
  const auto sum = [&] {
    Totals all;
    for (const Totals& one : totals) all += one;
    return all;
  };
  const tools::ShardGroup::Handler handler{
      .on_frame =
          [&](unsigned index, const tools::Frame& frame) {
            if (frame.kind == listening) ++ready;
            if (frame.kind == progress) {
              totals[index] = tools::value_of<Totals>(frame.payload).value_or(totals[index]);
              if (shared_metrics) shared_metrics->set_totals(sum());
            }
            if (frame.kind == figures && shared_metrics) shared_metrics->set(index, frame.payload);
            if (frame.kind == fibers) shared_fibers.set_answer(index, frame.payload);
            if (frame.kind == failed && status == 0) {
              tools::print_error("echo", frame.payload);
              status = 2;
            }
          },
      .on_exit =
          [&](const tools::ShardExit& exit) {
            connections_open.clear(exit.index);
            totals[exit.index].open = totals[exit.index].fibers = 0;
            if (shared_metrics) shared_metrics->set(exit.index, "");
            shared_fibers.set_gone(exit.index);
            if (exit.exit_status == 0 || status == 2) return;
            tools::print_error("echo", fmt::format("{}; its connections are lost, the other processes go on", exit.to_string()));
            status = 1;
          },
      .on_signal =
          [&](int signal) {
            if (signal == SIGQUIT) {
              shared_fibers.wish_to_print();
              return;
            }
            // Asked again: at once. Not within a moment: timeout(1) signals a process and its group.
            if (stopping && patient_until.has_passed()) group->kill_all();
            if (!stopping) patient_until = Deadline::after(300ms);
            stopping = true;
            group->broadcast(stop, {});
          }};

  while (ready < options.processes && status == 0 && !stopping && group->running() == options.processes) {
    group->poll(milliseconds(100), handler);
  }
  if (status == 2) return 2;
  Reporter reporter(options.report_interval);
  if (ready == options.processes && options.metrics) {
    const auto served = shared_metrics->start(*options.metrics, [&shared_fibers] { return shared_fibers.ask(); });
    if (!served) {
      tools::print_error("echo", tools::listen_error(*options.metrics, served.error(), "--metrics"));
      return 2;
    }
    announce(options, options.listen, options.processes);
    announce_metrics(*served);
  } else if (ready == options.processes) {
    announce(options, options.listen, options.processes);
  }
  while (group->running() > 0) {
    if (shared_fibers.take_wish(group->running_ones())) group->broadcast(tell_fibers, {});
    const Deadline next = std::min(reporter.next(), shared_fibers.next_look());
    const auto wait = std::chrono::ceil<milliseconds>(std::min<nanoseconds>(next.remaining(), std::chrono::seconds(1)));
    group->poll(std::max(wait, milliseconds(0)), handler);
    shared_fibers.look_at_clock();
    if (reporter.is_due() && !stopping) {
      std::vector<pid_t> pids = group->pids();
      pids.push_back(::getpid());
      reporter.print(sum(), pids);
    }
  }
  shared_fibers.stop();
  reporter.print_final(sum());
  return status;
}

// What the options ask for together; the reason why not otherwise.
std::expected<EchoOptions, std::string> checked(EchoOptions options) {
  if (options.buffer_bytes < 16 || options.buffer_bytes > 1024 * 1024) {
    return std::unexpected(fmt::format("--buffer {}: a buffer has 16 bytes to 1MiB", options.buffer_bytes));
  }
  if (options.read_timeout.count() == 0) options.read_timeout = nanoseconds::max();
  const std::uint64_t limit = tools::descriptor_limit();
  const std::uint64_t per_process = limit > descriptors_reserved ? limit - descriptors_reserved : 1;
  if (options.processes == 0) options.processes = processes_needed(options.max_connections, per_process);
  if (!processes_suffice(options.processes, options.max_connections, per_process)) {
    return std::unexpected(fmt::format(
        "--max-connections {}: {} process{} may open {} descriptors each; use --processes auto, or raise the limit (ulimit -Hn)",
        options.max_connections, options.processes, options.processes == 1 ? "" : "es", limit));
  }
  if (const std::uint64_t free = tools::descriptors_free_on_machine(); options.max_connections > free) {
    return std::unexpected(fmt::format("--max-connections {}: the machine has {} descriptors left; raise fs.file-max: sysctl -w fs.file-max={}",
                                       options.max_connections, free, options.max_connections * 3));
  }
  if (options.workers == 0 && options.processes > 1) options.workers = 1;
  return options;
}

tools::Parsed<unsigned> parse_workers(std::string_view text) {
  const auto count = tools::parse_count(text);
  if (!count || *count > 1024) {
    return std::unexpected(fmt::format("`{}` is not a number of threads; write 1 to 1024, or 0 for one a processor", text));
  }
  return static_cast<unsigned>(*count);
}

tools::Parsed<std::optional<std::chrono::seconds>> parse_keep_alive(std::string_view text) {
  if (text == "off") return std::chrono::seconds(0);
  const auto idle = tools::parse_duration(text);
  // tcp(7): TCP_KEEPIDLE counts seconds, and at most 32767 of them.
  if (!idle || *idle < 1s || *idle > 32767s || *idle % 1s != 0s) {
    return std::unexpected(fmt::format("`{}` is no time for keep-alive; write whole seconds from 1s to 9h, or off", text));
  }
  return std::chrono::duration_cast<std::chrono::seconds>(*idle);
}

tools::Parsed<EchoUnit> parse_unit(std::string_view text) {
  if (text == "line") return EchoUnit::line;
  if (text == "bytes") return EchoUnit::bytes;
  return std::unexpected(fmt::format("`{}` is not a protocol; write line or bytes", text));
}

tools::Parsed<HandlerKind> parse_handler(std::string_view text) {
  if (text == "fiber") return HandlerKind::fiber;
  if (text == "on-demand") return HandlerKind::on_demand;
  return std::unexpected(fmt::format("`{}` is not a handler; write fiber or on-demand", text));
}

}  // namespace

void add_echo_command(CLI::App& app, int& exit_status) {
  struct Command {
    EchoOptions options;
  };
  auto command = std::make_shared<Command>();
  EchoOptions& options = command->options;

  CLI::App& echo = *app.add_subcommand("echo", "A line echo server, a fiber a connection");
  using tools::add_parsed_option;
  add_parsed_option(echo, "--listen", options.listen, &tools::parse_listen_address, "HOST:PORT", "127.0.0.1:8080",
                    "Where to listen; port 0 takes a free one");
  add_parsed_option(echo, "--workers", options.workers, &parse_workers, "N", "",
                    "Threads of each process [one a processor; 1 where there are several processes]");
  add_parsed_option(echo, "--processes", options.processes, &tools::parse_processes, "N|auto", "1",
                    "Processes that share the port; auto: as many as --max-connections need descriptors for");
  add_parsed_option(echo, "--max-connections", options.max_connections, &tools::parse_count, "N", "",
                    "Connections at once, of all processes together; further ones are closed at once [as many as descriptors allow]");
  add_parsed_option(echo, "--read-timeout", options.read_timeout, &tools::parse_duration, "D", "5m",
                    "A connection whose next line is not complete after so long is closed; 0: never");
  add_parsed_option(echo, "--keep-alive", options.keep_alive, &parse_keep_alive, "D|off", "",
                    "Silence after which the kernel probes a client [off, as the read timeout ends dead ones; 15s without one]");
  add_parsed_option(echo, "--buffer", options.buffer_bytes, &tools::parse_size, "SIZE", "4KiB",
                    "Bytes read and written at once, 16 to 1MiB; lines may be longer");
  add_parsed_option(echo, "--metrics", options.metrics, &tools::parse_metrics_address, "HOST:PORT", "",
                    "Answer Prometheus here, GET /metrics; of several processes the sum [nowhere]");
  add_parsed_option(echo, "--report-interval", options.report_interval, &tools::parse_duration, "D", "5s",
                    "Time between report lines; 0: none");
  add_parsed_option(echo, "--handler", options.handler, &parse_handler, "fiber|on-demand", "fiber",
                    "fiber: one for the life of a connection; on-demand: one while it has something to say, no stack in between");
  add_parsed_option(echo, "--protocol", options.unit, &parse_unit, "line|bytes", "line",
                    "line: echo each line when it is complete; bytes: echo at once whatever has come");

  echo.callback([command, &exit_status] {
    const auto plan = checked(command->options);
    if (!plan) {
      tools::print_error("echo", plan.error());
      exit_status = 2;
      return;
    }
    exit_status = plan->processes == 1 ? run_alone(*plan) : run_sharded(*plan);
  });
}

}  // namespace roost::echo
