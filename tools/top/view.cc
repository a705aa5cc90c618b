#include "tools/top/view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include <fmt/format.h>

#include "tools/common/format.h"

namespace roost::top {
namespace {

using tools::format_bytes;
using tools::format_count;

constexpr double near = 0.8;       // of a limit: said in yellow
constexpr double very_near = 0.95; // ... in red

enum class Tone { plain, bold, dim, good, warn, bad };

// Characters of a UTF-8 text: what a terminal counts as columns, for the few that are used here.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// Cut to `columns`; longer ones end in "~".
std::string fitted(std::string_view text, std::size_t columns) {
  if (width_of(text) <= columns) return std::string(text);
  if (columns == 0) return {};
  std::size_t bytes = 0;
  for (std::size_t seen = 0; bytes < text.size(); ++bytes) {
    if ((static_cast<unsigned char>(text[bytes]) & 0xc0) != 0x80 && seen++ == columns - 1) break;
  }
  return std::string(text.substr(0, bytes)) + "~";
}

// Text from elsewhere (names, paths) must not reach the terminal as commands.
std::string printable(std::string_view text) {
  std::string safe(text);
  for (char& c : safe) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return safe;
}

// A line that is built piece by piece and never grows wider than the screen.
class Line {
 public:
  Line(const ViewOptions& options) : options_(options) {}
  Line& add(std::string_view text, Tone tone = Tone::plain) {
    const std::string piece = fitted(text, options_.columns - used_);
    used_ += width_of(piece);
    if (piece.empty()) return *this;
    static constexpr std::array<const char*, 6> codes{"", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[31m"};
    if (options_.colors && tone != Tone::plain) {
      text_ += codes[static_cast<std::size_t>(tone)] + piece + "\x1b[0m";
    } else {
      text_ += piece;
    }
    return *this;
  }
  // Another fact on the same line, if it fits as a whole.
  Line& fact(std::string_view text, Tone tone = Tone::plain) {
    if (used_ + 2 + width_of(text) > options_.columns) return *this;
    return add("  ").add(text, tone);
  }
  Line& label(std::string_view text) { return add(fmt::format("{:<13}", text), Tone::dim); }
  [[nodiscard]] std::size_t used() const { return used_; }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  const ViewOptions& options_;
  std::string text_;
  std::size_t used_ = 0;
};

// "[######----]"
std::string bar(double share, std::size_t cells) {
  const auto full = static_cast<std::size_t>(std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(cells)));
  return "[" + std::string(full, '#') + std::string(cells - full, '-') + "]";
}

std::string count(double value) { return format_count(std::max(value, 0.0)); }
std::string percent(double share) { return fmt::format("{:.0f} %", 100 * share); }

class View {
 public:
  View(const Sample& before, const Sample& now, const ViewOptions& options)
      : before_(before.snapshot), now_(now.snapshot), sample_(now), options_(options), seconds_(now_.time_s - before_.time_s) {}

  std::vector<std::string> render() {
    head();
    connections();
    traffic();
    memory();
    fibers();
    limits();
    // What is left of the screen goes to the workers, which may be many, and to the fibers that wait longest.
    const std::size_t left = options_.rows == 0 ? SIZE_MAX : options_.rows > lines_.size() ? options_.rows - lines_.size() : 0;
    const std::size_t worker_rows = options_.rows == 0 ? 64 : std::max<std::size_t>(left * 2 / 5, 4);
    workers(worker_rows);
    waits(options_.rows == 0 ? 20 : options_.rows > lines_.size() ? options_.rows - lines_.size() : 0);
    if (options_.rows != 0 && lines_.size() > options_.rows) lines_.resize(options_.rows);
    return std::move(lines_);
  }

 private:
  // Of a total that only grows; a server that was started anew begins at zero.
  [[nodiscard]] double rate(double Snapshot::*total) const { return per_second(before_.*total, now_.*total); }
  [[nodiscard]] double per_second(double before, double now) const { return seconds_ > 0 && now > before ? (now - before) / seconds_ : 0; }
  [[nodiscard]] Line line(std::string_view label) const {
    Line made(options_);
    made.label(label);
    return made;
  }
  void push(Line&& made) { lines_.push_back(made.take()); }
  void blank() {
    if (options_.rows == 0 || options_.rows >= 30) lines_.emplace_back();
  }

  void head() {
    Line made(options_);
    made.add("roost top ", Tone::bold).add(options_.target, Tone::bold);
    if (!options_.trouble.empty()) {
      made.add("  ").add(printable(options_.trouble), Tone::bad);
      push(std::move(made));
      return;
    }
    if (now_.started_s > 0 && options_.now_s > now_.started_s) made.fact("up " + tools::format_seconds(options_.now_s - now_.started_s));
    if (sample_.has_fibers && sample_.fibers.processes > 1) made.fact(fmt::format("{} processes", sample_.fibers.processes));
    made.fact(fmt::format("{} worker{}", count(now_.primary_workers), now_.primary_workers == 1 ? "" : "s"));
    made.fact(fmt::format("CPU {}", percent(rate(&Snapshot::cpu_s))));
    if (options_.rows != 0) made.fact("q quits", Tone::dim);
    push(std::move(made));
  }

  void connections() {
    blank();
    Line made = line("connections");
    made.add(count(now_.connections), Tone::bold);
    if (now_.asleep > 0) made.add(fmt::format(" ({} without a fiber)", count(now_.asleep)));
    made.fact(fmt::format("accepted +{}/s", count(rate(&Snapshot::accepted))));
    if (now_.dialed > 0) made.fact(fmt::format("dialed +{}/s", count(rate(&Snapshot::dialed))));
    made.fact(fmt::format("closed {}/s", count(rate(&Snapshot::closed))));
    if (const double failed = rate(&Snapshot::io_failures); failed > 0) made.fact(fmt::format("failed calls {}/s", count(failed)));
    push(std::move(made));
  }

  void traffic() {
    Line made = line("traffic");
    if (now_.counts_messages) made.add(fmt::format("{} messages/s  ", count(rate(&Snapshot::messages))), Tone::bold);
    made.add(fmt::format("in {}/s", format_bytes(rate(&Snapshot::bytes_in))));
    made.fact(fmt::format("out {}/s", format_bytes(rate(&Snapshot::bytes_out))));
    push(std::move(made));
  }

  void memory() {
    Line made = line("memory");
    made.add(format_bytes(now_.resident_bytes), Tone::bold);
    // With a handful of connections it would say what the program itself takes.
    if (now_.connections >= 100) made.add(fmt::format(" ({} a connection)", format_bytes(now_.resident_bytes / now_.connections)));
    made.fact(fmt::format("stacks {} used, {} pooled", count(now_.stacks_in_use), count(now_.stacks_pooled)));
    made.fact(fmt::format("{} buffers", count(now_.buffers)));
    push(std::move(made));
  }

  void fibers() {
    Line made = line("fibers");
    made.add(count(now_.fibers()), Tone::bold);
    made.add(fmt::format(": {} running, {} runnable, {} parked", count(now_.fibers_running), count(now_.fibers_runnable), count(now_.fibers_parked)));
    push(std::move(made));
    Line waiting = line("");
    std::string text = "wait for";
    for (const auto& [name, number] : now_.waits) text += fmt::format("{} {} {}", text == "wait for" ? "" : ",", printable(name), count(number));
    if (!now_.waits.empty()) {
      waiting.add(text);
      push(std::move(waiting));
    }
    Line latency = line("latency");
    const double p50 = latency_quantile(before_, now_, 0.5);
    const double p99 = latency_quantile(before_, now_, 0.99);
    if (p50 < 0) {
      latency.add("no fiber was sampled yet", Tone::dim);
    } else {
      latency.add(fmt::format("woken fibers waited p50 {}, p99 {} to run", tools::format_us(1e6 * p50), tools::format_us(1e6 * p99)));
      latency.fact("(one in 1024 is timed)", Tone::dim);
    }
    push(std::move(latency));
  }

  void limits() {
    Line made = line("limits");
    const auto of_most = [](Line& to, const char* what, double now, double most) {
      const double share = now / most;
      const Tone tone = share >= very_near ? Tone::bad : share >= near ? Tone::warn : Tone::good;
      to.add(fmt::format("{} {} of {} ", what, count(now), count(most)));
      to.add(fmt::format("{} {}", bar(share, 10), percent(share)), tone);
    };
    if (now_.descriptors_max > 0 && now_.descriptors_open > 0) {
      of_most(made, "descriptors", now_.descriptors_open, now_.descriptors_max);
    } else {
      made.add("descriptors: the server's kernel does not tell", Tone::dim);
    }
    push(std::move(made));
    if (now_.served_max > 0) {
      Line one = line("");
      of_most(one, "connections", now_.served, now_.served_max);
      push(std::move(one));
    }
    const auto met = [&](double Snapshot::*total, const char* what, Tone tone) {
      if (now_.*total <= 0) return;
      Line one = line("");
      one.add(fmt::format("{}: {}", what, count(now_.*total)), rate(total) > 0 ? tone : Tone::plain);
      if (rate(total) > 0) one.add(fmt::format(" (+{}/s now)", count(rate(total))), tone);
      push(std::move(one));
    };
    met(&Snapshot::descriptors_short, "accept found no descriptor or no memory (see roost doctor)", Tone::bad);
    met(&Snapshot::limit_met, "a listener met its limit of connections", Tone::warn);
    met(&Snapshot::turned_away, "connections turned away", Tone::warn);
    met(&Snapshot::fiber_failures, "fibers not started for lack of memory", Tone::bad);
    met(&Snapshot::dial_failures, "attempts to connect that failed", Tone::warn);
    met(&Snapshot::workers_stuck, "times that a fiber kept its worker", Tone::warn);
  }

  struct Load {
    const Snapshot::Worker* worker;
    double busy;
    double switches;
    double polls;
    double steals;
  };

  void workers(std::size_t rows) {
    std::vector<Load> loads;
    for (const Snapshot::Worker& worker : now_.workers) {
      const auto earlier = std::ranges::find(before_.workers, worker.name, &Snapshot::Worker::name);
      const Snapshot::Worker& past = earlier == before_.workers.end() ? worker : *earlier;
      loads.push_back({&worker, per_second(past.cpu_s, worker.cpu_s), per_second(past.switches, worker.switches),
                       per_second(past.polls, worker.polls), per_second(past.steals, worker.steals)});
    }
    blank();
    Line header(options_);
    header.add(fmt::format("{:<7}{:>6} {:<10}{:>6}{:>11}{:>9}{:>9}{:>12}{:>8}", "worker", "busy", "", "queue", "switches/s", "polls/s",
                           "steals/s", "descriptors", "timers"),
               Tone::dim);
    push(std::move(header));
    // The busiest first where there is no room for all.
    const std::size_t shown = std::min(loads.size(), rows > 2 ? rows - 2 : 1);
    if (shown < loads.size()) std::ranges::stable_sort(loads, std::ranges::greater{}, &Load::busy);
    for (std::size_t i = 0; i < shown; ++i) {
      const Load& one = loads[i];
      Line made(options_);
      made.add(fmt::format("{:<7}", fitted(printable(one.worker->name), 7)));
      made.add(fmt::format("{:>6} ", percent(one.busy)), one.busy >= very_near ? Tone::bad : one.busy >= near ? Tone::warn : Tone::plain);
      made.add(bar(one.busy, 8));
      made.add(fmt::format("{:>6}{:>11}{:>9}{:>9}{:>12}{:>8}", count(one.worker->queue), count(one.switches), count(one.polls),
                           count(one.steals), count(one.worker->descriptors), count(one.worker->timers)));
      push(std::move(made));
    }
    if (shown < loads.size()) {
      Line rest(options_);
      rest.add(fmt::format("... and {} less busy ones", loads.size() - shown), Tone::dim);
      push(std::move(rest));
    }
    if (now_.shared_queue > 0) {
      Line made(options_);
      made.add(fmt::format("{} runnable fibers wait for any worker", count(now_.shared_queue)), Tone::warn);
      push(std::move(made));
    }
  }

  struct Wait {
    const FiberGroup* group;
    const FiberExample* example;
  };

  void waits(std::size_t rows) {
    if (!sample_.has_fibers || rows < 3) return;
    std::vector<Wait> waits;
    for (const FiberGroup& group : sample_.fibers.groups) {
      for (const FiberExample& example : group.examples) {
        if (group.state == "parked") waits.push_back({&group, &example});
      }
    }
    std::ranges::stable_sort(waits, [](const Wait& a, const Wait& b) { return a.example->waited > b.example->waited; });
    blank();
    // On a narrow screen the peer's address is worth more than a long name.
    const std::size_t name_columns = options_.columns < 100 ? 10 : 16;
    Line header(options_);
    header.add(fmt::format("{:<9} {:>8}  {:<{}} {:<{}} {}", "waits", "fiber", "for", name_columns, "name", name_columns, "where"), Tone::dim);
    push(std::move(header));
    std::size_t shown = 0;
    for (const Wait& one : waits) {
      if (++shown >= rows) break;
      // Where there is no descriptor the innermost function of the program's own says most.
      std::string where = one.example->endpoint;
      if (where.empty() && !one.group->stack.empty()) where = one.group->stack.front();
      Line made(options_);
      made.add(fmt::format("{:<9} {:>8}  {:<{}} {:<{}} {}", tools::format_span(one.example->waited), one.example->id,
                           fitted(one.group->reason, name_columns), name_columns, fitted(printable(one.example->name), name_columns),
                           name_columns, printable(where)));
      push(std::move(made));
    }
  }

  const Snapshot& before_;
  const Snapshot& now_;
  const Sample& sample_;
  const ViewOptions& options_;
  const double seconds_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> render(const Sample& before, const Sample& now, const ViewOptions& options) {
  return View(before, now, options).render();
}

}  // namespace roost::top
