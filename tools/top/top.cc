#include "tools/top/top.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <roost/roost.h>

#include "tools/common/command.h"
#include "tools/common/format.h"
#include "tools/common/parse.h"
#include "tools/top/fetch.h"
#include "tools/top/page.h"
#include "tools/top/screen.h"
#include "tools/top/view.h"

namespace roost::top {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr nanoseconds answer_timeout = 10s;  // a server with very many fibers takes a while to look at them

struct TopOptions {
  std::string target;
  net::Endpoint endpoint;
  nanoseconds interval = 2s;
  std::string page;  // where to serve the web page; empty: nowhere
  bool once = false;
};

double wall_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// A terminal that can be drawn on: a dumb one (an editor's, a log's) shows escape sequences as they are.
bool is_drawable() {
  const char* terminal = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) != 0 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

// Colours are for terminals that have them and people who want them (https://no-color.org).
bool wants_colors() {
  const char* refused = std::getenv("NO_COLOR");
  return (refused == nullptr || *refused == '\0') && is_drawable();
}

int give_up(const TopOptions& options, const std::string& why) {
  tools::print_error("top", fmt::format("{}: {}", options.target, why));
  return 2;
}

// One picture on standard output. Rates want two samples.
int print_once(const TopOptions& options) {
  auto before = fetch(options.endpoint, answer_timeout);
  if (!before) return give_up(options, before.error());
  if (!sleep_for(std::min<nanoseconds>(options.interval, 1s))) return 1;
  const auto now = fetch(options.endpoint, answer_timeout);
  if (!now) return give_up(options, now.error());
  const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  const ViewOptions view{.columns = terminal ? screen_size().columns : 160,
                         .colors = wants_colors(),
                         .target = options.target,
                         .now_s = wall_s(),
                         .trouble = ""};
  for (const std::string& line : render(*before, *now, view)) fmt::print("{}\n", line);
  return 0;
}

struct Quit {};
struct Resized {};
using Answer = std::expected<Sample, std::string>;
using Event = std::variant<Answer, Resized, Quit>;

// Asks on schedule, until the runtime stops.
void poll_server(const TopOptions& options, const Chan<Event>& events) {
  Deadline next = Deadline::after(options.interval);
  for (;;) {
    if (!sleep_until(next)) return;
    if (!events.send(Event(fetch(options.endpoint, answer_timeout)))) return;
    // From the end of a slow answer, so that a server that is slow is not asked all the time.
    while (next.has_passed()) next = Deadline::from_ns(next.ns() + options.interval.count());
  }
}

void read_keys(int fd, const Chan<Event>& events) {
  auto terminal = net::Descriptor::adopt(fd);
  if (!terminal) return;
  for (;;) {
    std::byte key{};
    const auto got = terminal->read({&key, 1});
    if (!got || *got == 0) return;
    const auto letter = static_cast<char>(key);
    if (letter == 'q' || letter == 'Q') {
      (void)events.send(Event(Quit{}));
      return;
    }
  }
}

void watch_signals(SignalSet& signals, const Chan<Event>& events) {
  while (const auto signal = signals.wait()) {
    if (!events.send(*signal == SIGWINCH ? Event(Resized{}) : Event(Quit{}))) return;
  }
}

// Until somebody quits.
int run_live(const TopOptions& options) {
  auto first = fetch(options.endpoint, answer_timeout);
  if (!first) return give_up(options, first.error());
  const Chan<Event> events(16);
  SignalSet signals{SIGINT, SIGTERM, SIGHUP, SIGWINCH};
  Screen screen;
  std::vector<Handle<void>> helpers;
  helpers.push_back(go({.name = "poll"}, [&] { poll_server(options, events); }));
  helpers.push_back(go({.name = "signals"}, [&] { watch_signals(signals, events); }));
  if (screen.keys_fd() >= 0) helpers.push_back(go({.name = "keys"}, [&, fd = screen.keys_fd()] { read_keys(fd, events); }));

  Sample before = *first;
  Sample now = std::move(*first);
  std::string trouble;
  const bool colors = wants_colors();
  const auto draw = [&] {
    const ScreenSize size = screen_size();
    screen.draw(render(before, now,
                       {.columns = size.columns, .rows = size.rows, .colors = colors, .target = options.target, .now_s = wall_s(), .trouble = trouble}));
  };
  draw();
  while (auto event = events.receive()) {
    if (std::holds_alternative<Quit>(*event)) break;
    if (auto* answer = std::get_if<Answer>(&*event)) {
      if (*answer) {
        before = std::move(now);
        now = std::move(**answer);
        trouble.clear();
      } else {
        char clock[16];
        const std::time_t wall = std::time(nullptr);
        std::tm local{};
        ::localtime_r(&wall, &local);
        std::strftime(clock, sizeof clock, "%H:%M:%S", &local);
        // The figures below it stay; they are of the last time that it answered.
        trouble = fmt::format("GONE at {}: {}; asking again every {}", clock, answer->error(), tools::format_option(options.interval));
        before = now;
      }
    }
    draw();
  }
  for (auto& helper : helpers) helper.cancel();
  for (auto& helper : helpers) helper.join();
  return 0;
}

// The web page of a program that has none of its own, until a signal comes.
int serve_page(const TopOptions& options) {
  if (const auto first = fetch_snapshot(options.endpoint, answer_timeout); !first) return give_up(options, first.error());
  SignalSet signals{SIGINT, SIGTERM};
  const auto endpoint = options.endpoint;
  auto pages = pages_of([endpoint] { return fetch_snapshot(endpoint, answer_timeout); });
  // The watched server's, so that the page's link to it leads somewhere; and when the server is gone, so are the figures.
  pages.push_back({.path = "/metrics", .content_type = "text/plain; version=0.0.4; charset=utf-8", .body = [endpoint, target = options.target] {
                     auto text = http_get(endpoint, "/metrics", answer_timeout);
                     if (!text) text = std::unexpected(target + ": " + text.error());
                     return text;
                   }});
  const auto exporter = metrics::serve(options.page, {.with_runtime = false, .pages = std::move(pages), .fibers = [endpoint] {
                                                        const auto json = http_get(endpoint, "/fibers.json", answer_timeout);
                                                        return json ? metrics::parse_fibers(*json).value_or(FiberDump{}) : FiberDump{};
                                                      }});
  if (!exporter) {
    tools::print_error("top", exporter.error() == std::errc::address_in_use
                                  ? fmt::format("--page {}: the port is in use; choose another, or stop what listens there", options.page)
                                  : fmt::format("--page {}: {}; name an address of this machine", options.page, exporter.error().message()));
    return 2;
  }
  fmt::print("page on http://{}/ (of {})\n", exporter->endpoint().to_string(), options.target);
  std::fflush(stdout);
  static_cast<void>(signals.wait());
  return 0;
}

}  // namespace

void add_top_command(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<TopOptions>();
  CLI::App& top = *app.add_subcommand("top", "A live view of a running server, from its metrics endpoint");
  top.add_option("target", options->target, "Where its metrics are served, HOST:PORT")->required()->type_name("HOST:PORT");
  tools::add_parsed_option(top, "--interval", options->interval, &tools::parse_duration, "D", "2s", "Time between looks, 100ms or more");
  top.add_flag("--once", options->once, "Print one picture and end; also when standard output is no terminal, or a dumb one");
  top.add_option("--page", options->page, "Serve the same as a web page there, until Ctrl-C, and show nothing here")->type_name("HOST:PORT");
  top.footer("Keys: q quits. `roost echo --metrics HOST:PORT` serves its web page by itself: http://HOST:PORT/; that of another\n"
             "program is served by --page.\n"
             "Exit status: 0; 2 when nothing to watch answers there.");
  top.callback([options, &exit_status] {
    const auto endpoint = tools::resolve_host_port(options->target);
    if (!endpoint) {
      tools::print_error("top", endpoint.error());
      exit_status = 2;
      return;
    }
    options->endpoint = *endpoint;
    if (options->interval < 100ms || options->interval > 24h) {
      tools::print_error("top", fmt::format("--interval {}: write 100ms to 24h", tools::format_option(options->interval)));
      exit_status = 2;
      return;
    }
    if (!options->page.empty()) {
      if (const auto page = tools::parse_listen_address(options->page); !page) {
        tools::print_error("top", "--page: " + page.error());
        exit_status = 2;
        return;
      }
      if (options->once) {
        tools::print_error("top", "--once: with --page there is no picture to print; leave one of the two out");
        exit_status = 2;
        return;
      }
    }
    RuntimeOptions runtime;
    runtime.workers = 1;
    const bool live = !options->once && is_drawable();
    exit_status = run(runtime, [&] { return !options->page.empty() ? serve_page(*options) : live ? run_live(*options) : print_once(*options); });
  });
}

}  // namespace roost::top
