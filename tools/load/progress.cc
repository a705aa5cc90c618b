#include "tools/load/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>
#include <roost/time/deadline.h>

#include "tools/common/format.h"
#include "tools/load/clock.h"

namespace roost::load {
namespace {

using tools::format_bytes;
using tools::format_count;

constexpr std::int64_t second_ns = 1'000'000'000;
constexpr std::int64_t redraw_ns = second_ns / 4;
constexpr std::int64_t line_ns = 5 * second_ns;
constexpr std::size_t label_width = 14;

double seconds(std::int64_t ns) { return static_cast<double>(ns) / 1e9; }
std::string format_us(std::uint64_t us) { return tools::format_us(static_cast<double>(us)); }

double rate(std::uint64_t now, std::uint64_t before, double over_s) {
  return now > before && over_s > 0 ? static_cast<double>(now - before) / over_s : 0;
}

bool environment_says(const char* name, std::string_view text) {
  const char* value = std::getenv(name);
  return value != nullptr && std::string_view(value).find(text) != std::string_view::npos;
}

// The first of these that is set decides, by the rules of setlocale(3).
bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    return environment_says(name, "UTF-8") || environment_says(name, "utf8");
  }
  return false;
}

// Columns that a line takes: bytes, but for colours and for what continues a character of several bytes.
unsigned width_of(std::string_view line) {
  unsigned width = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b') {
      i = std::min(line.find('m', i), line.size());
    } else if ((static_cast<unsigned char>(line[i]) & 0xc0) != 0x80) {
      ++width;
    }
  }
  return width;
}

// The beginning of a line, at most so many columns of it, colours ended.
std::string cut(std::string_view line, unsigned columns) {
  if (width_of(line) <= columns) return std::string(line);
  std::string out;
  unsigned width = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b') {
      const std::size_t end = std::min(line.find('m', i), line.size() - 1);
      out += line.substr(i, end - i + 1);
      i = end;
      continue;
    }
    if ((static_cast<unsigned char>(line[i]) & 0xc0) != 0x80 && width++ == columns) break;
    out += line[i];
  }
  return out + (line.find('\x1b') == std::string_view::npos ? "" : "\x1b[0m");
}

std::string bar(double share, std::size_t width, bool has_unicode) {
  const auto full = static_cast<std::size_t>(std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(width)));
  std::string text;
  for (std::size_t i = 0; i < width; ++i) text += has_unicode ? (i < full ? "█" : "░") : (i < full ? "#" : ".");
  return text;
}

// Values behind their label, as many as there is place for; the first always.
class Line {
 public:
  Line(const Screen& screen, std::string_view label) : screen_(screen) { text_ = paint("2", fmt::format("{:<{}}", label, label_width)); }

  Line& add(std::string_view value, std::string_view color = {}) {
    const std::string gap = is_first_ ? "" : "   ";
    if (is_first_ || width_of(text_) + gap.size() + width_of(value) < screen_.columns) text_ += gap + paint(color, value);
    is_first_ = false;
    return *this;
  }
  [[nodiscard]] std::string text() const { return cut(text_, screen_.columns - 1); }

 private:
  [[nodiscard]] std::string paint(std::string_view color, std::string_view value) const {
    if (color.empty() || !screen_.has_colors) return std::string(value);
    return fmt::format("\x1b[{}m{}\x1b[0m", color, value);
  }

  const Screen& screen_;
  std::string text_;
  bool is_first_ = true;
};

// Of the last second; the one that is going on counts with the one before.
template <class HistogramOf>
Histogram recent(const Timeline& timeline, HistogramOf histogram_of) {
  const auto& all = timeline.seconds();
  Histogram sum;
  for (std::size_t back = 1; back <= 2 * timeline.histogram_seconds() && back <= all.size(); ++back) sum.merge(histogram_of(all[all.size() - back]));
  return sum;
}

const Usage* recent_usage(const Timeline& timeline) {
  const auto& all = timeline.seconds();
  for (std::size_t back = 1; back <= 5 && back <= all.size(); ++back) {
    if (const auto& usage = all[all.size() - back].usage) return &*usage;
  }
  return nullptr;
}

}  // namespace

std::optional<Screen> Screen::of(int descriptor) {
  if (::isatty(descriptor) == 0 || std::getenv("TERM") == nullptr || environment_says("TERM", "dumb")) return std::nullopt;
  Screen screen{.has_unicode = locale_is_utf8(), .has_colors = std::getenv("NO_COLOR") == nullptr};
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 && size.ws_row > 1) {
    screen.columns = size.ws_col;
    screen.rows = size.ws_row;
  }
  return screen;
}

std::string sparkline(const std::vector<std::uint64_t>& values, std::size_t width, bool has_unicode) {
  static constexpr std::array<std::string_view, 8> blocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array<std::string_view, 8> letters{"_", ".", "-", "~", "=", "*", "#", "@"};
  const std::size_t first = values.size() - std::min(width, values.size());
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  for (std::size_t i = first; i < values.size(); ++i) {
    if (values[i] == 0) continue;
    least = least == 0 ? values[i] : std::min(least, values[i]);
    most = std::max(most, values[i]);
  }
  // Small changes stay small: the scale spans a factor of ten at least.
  const double lowest = std::log(std::max(static_cast<double>(least), 1.0));
  const double span = std::max(std::log(std::max(static_cast<double>(most), 1.0)) - lowest, std::log(10.0));
  std::string text;
  for (std::size_t i = first; i < values.size(); ++i) {
    if (values[i] == 0) {
      text += ' ';
      continue;
    }
    const double height = (std::log(static_cast<double>(values[i])) - lowest) / span;
    const auto level = static_cast<std::size_t>(std::lround(std::clamp(height, 0.0, 1.0) * 7));
    text += has_unicode ? blocks[level] : letters[level];
  }
  return text;
}

std::vector<std::string> live_lines(const LoadOptions& options, const Moment& moment, const Rates& rates, const Timeline& timeline,
                                    const Screen& screen) {
  const Counters& c = moment.counters;
  const auto& all = timeline.seconds();
  const std::string red = "31;1";

  std::string phase(moment.phase);
  if (moment.phase_begin_ns != 0 && moment.now_ns >= moment.phase_begin_ns) {
    const double passed = seconds(moment.now_ns - moment.phase_begin_ns);
    phase += moment.phase_end_ns > moment.phase_begin_ns
                 ? fmt::format("  {} of {}", tools::format_seconds(std::min(passed, seconds(moment.phase_end_ns - moment.phase_begin_ns))),
                               tools::format_seconds(seconds(moment.phase_end_ns - moment.phase_begin_ns)))
                 : fmt::format("  {}", tools::format_seconds(passed));
  }

  // In the order of their importance; what there is no place for falls off at the end.
  std::vector<std::string> lines;
  lines.push_back(Line(screen, "target").add(phase, "1").add(options.target_names()).text());

  const std::uint64_t wanted = options.connections_max();
  const std::string count = fmt::format("{}/{}", format_count(c.open), format_count(wanted));
  const std::string grows = rates.established > 0 ? fmt::format("+{}/s", format_count(rates.established)) : std::string();
  const std::size_t taken = label_width + count.size() + grows.size() + 8;
  const std::size_t place = screen.columns > taken ? screen.columns - taken : 0;
  Line connections(screen, "connections");
  if (place >= 8) connections.add(bar(wanted == 0 ? 0 : static_cast<double>(c.open) / static_cast<double>(wanted), std::min<std::size_t>(place, 60), screen.has_unicode));
  connections.add(count, "1");
  if (!grows.empty()) connections.add(grows);
  if (rates.churned > 0) connections.add(fmt::format("{}/s renewed", format_count(rates.churned)));
  lines.push_back(connections.text());

  Line messages(screen, "messages");
  messages.add(fmt::format("{}/s", format_count(rates.received)), "1").add(fmt::format("{} sent/s", format_count(rates.sent)));
  if (rates.bytes > 0) messages.add(fmt::format("{}/s both ways", format_bytes(rates.bytes)));
  lines.push_back(messages.add(fmt::format("{} in all", format_count(c.received))).text());

  const Histogram latency = recent(timeline, [](const Second& second) { return second.latency(); });
  if (latency.empty()) {
    lines.push_back(Line(screen, "latency").add("no answers in the last second").text());
  } else {
    lines.push_back(Line(screen, "latency")
                        .add("p50 " + format_us(latency.percentile(0.5)))
                        .add("p99 " + format_us(latency.percentile(0.99)), "1")
                        .add("p99.9 " + format_us(latency.percentile(0.999)))
                        .add("max " + format_us(latency.max()))
                        .text());
  }

  std::vector<std::uint64_t> p99;
  const std::size_t width = screen.columns > label_width + 30 ? screen.columns - label_width - 30 : 10;
  for (std::size_t i = all.size() - std::min(width, all.size()); i < all.size(); ++i) p99.push_back(all[i].latency().percentile(0.99));
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  for (const std::uint64_t value : p99) {
    if (value == 0) continue;
    least = least == 0 ? value : std::min(least, value);
    most = std::max(most, value);
  }
  Line spark(screen, "p99 a second");
  if (most > 0) spark.add(sparkline(p99, width, screen.has_unicode), "36").add(fmt::format("{} to {}", format_us(least), format_us(most)));

  if (most > 0) lines.push_back(spark.text());

  const std::uint64_t bad = c.failed + c.churn_failed + c.dropped + c.lost_messages();
  Line errors(screen, "errors");
  if (bad == 0) {
    errors.add("none");
  } else {
    if (c.failed + c.churn_failed > 0) errors.add(fmt::format("{} failed", format_count(c.failed + c.churn_failed)), red);
    if (c.dropped > 0) errors.add(fmt::format("{} dropped", format_count(c.dropped)), red);
    if (c.timeouts > 0) errors.add(fmt::format("{} timed out", format_count(c.timeouts)), red);
    if (c.errors > 0) errors.add(fmt::format("{} messages lost", format_count(c.errors)), red);
    if (c.mismatched > 0) errors.add(fmt::format("{} mismatched", format_count(c.mismatched)), red);
    std::map<std::string, std::uint64_t> kinds;
    for (const Second& second : all) {
      for (const auto& [name, times] : second.deltas.failures) kinds[name] += times;
    }
    std::vector<std::pair<std::string, std::uint64_t>> most_first(kinds.begin(), kinds.end());
    std::ranges::sort(most_first, std::greater(), [](const auto& kind) { return kind.second; });
    for (const auto& [name, times] : most_first) errors.add(fmt::format("{} x {}", format_count(times), name));
  }
  lines.push_back(errors.text());
  if (const FaultFigures::Counts& attack = moment.attack; attack.opened + attack.failed > 0) {
    Line line(screen, "attack");
    line.add(fmt::format("{} open", format_count(attack.open)), "33").add(fmt::format("{} cut off", format_count(attack.cut_off)));
    if (attack.failed > 0) line.add(fmt::format("{} could not connect", format_count(attack.failed)));
    if (attack.mismatched > 0) line.add(fmt::format("{} answers mismatched", format_count(attack.mismatched)), red);
    if (const Usage* usage = recent_usage(timeline)) line.add(fmt::format("CPU {:.0f} %", 100 * usage->attack_processors));
    lines.push_back(line.text());
  }

  if (const Usage* usage = recent_usage(timeline)) {
    const auto memory = [&](std::uint64_t bytes) {
      std::string text = fmt::format("memory {}", format_bytes(static_cast<double>(bytes)));
      if (c.open >= 1000) text += fmt::format(" ({} a connection)", format_bytes(static_cast<double>(bytes) / static_cast<double>(c.open)));
      return text;
    };
    const auto processors = [](double busy) { return fmt::format("CPU {:.0f} %", 100 * busy); };
    if (options.server_pid != 0) lines.push_back(Line(screen, "server").add(processors(usage->server_processors)).add(memory(usage->server_bytes)).text());
    std::string late;
    if (!all.empty() && options.has_open_loop()) {
      const Histogram lateness = recent(timeline, [](const Second& second) { return second.lateness.unpack(); });
      if (!lateness.empty()) late = fmt::format("late by p99 {}", format_us(lateness.percentile(0.99)));
    }
    Line client(screen, "client");
    client.add(processors(usage->client_processors)).add(memory(usage->client_bytes));
    if (!late.empty()) client.add(late);
    lines.push_back(client.text());
    lines.push_back(Line(screen, "machine").add(fmt::format("{:.0f} % of its processors busy", 100 * usage->machine_busy)).text());
  }

  if (lines.size() + 1 > screen.rows) lines.resize(screen.rows > 1 ? screen.rows - 1 : 1);
  return lines;
}

Progress::Progress(const LoadOptions& options, const Timeline& timeline)
    : options_(options),
      timeline_(timeline),
      is_terminal_(Screen::of(STDERR_FILENO).has_value()),
      shown_ns_(now_ns()) {}

Rates Progress::rates() const {
  if (past_.size() < 2) return {};
  const Counters& now = past_.back().counters;
  const Counters& before = past_.front().counters;
  const double over_s = seconds(past_.back().now_ns - past_.front().now_ns);
  Rates rates;
  rates.established = rate(now.established, before.established, over_s);
  rates.churned = rate(now.churn_closed, before.churn_closed, over_s);
  rates.sent = rate(now.sent, before.sent, over_s);
  rates.received = rate(now.received, before.received, over_s);
  rates.bytes = rate(now.bytes_sent + now.bytes_received, before.bytes_sent + before.bytes_received, over_s);
  return rates;
}

void Progress::show(const Moment& moment, const Histogram& recent) {
  if (options_.quiet) return;
  if (!is_terminal_) {
    recent_.merge(recent);
    if (moment.now_ns - shown_ns_ >= line_ns) show_line(moment);
    return;
  }
  if (!past_.empty() && moment.now_ns - shown_ns_ < redraw_ns) return;
  past_.push_back(moment);
  // One that is a second old stays, as what the others are compared with.
  while (past_.size() > 2 && moment.now_ns - past_[1].now_ns >= second_ns) past_.pop_front();
  draw(moment);
  shown_ns_ = moment.now_ns;
}

void Progress::show_line(const Moment& moment) {
  const Counters& c = moment.counters;
  const double since = seconds(moment.now_ns - shown_ns_);
  std::string line = fmt::format("{:<9} {}/{} connections", moment.phase, format_count(c.open), format_count(options_.connections_max()));
  if (c.established != last_.established) line += fmt::format(" (+{}/s)", format_count(rate(c.established, last_.established, since)));
  if (c.failed + c.dropped > 0) line += fmt::format("  {} FAILED", format_count(c.failed + c.dropped));
  line += fmt::format("  {} messages ({}/s)", format_count(c.received), format_count(rate(c.received, last_.received, since)));
  if (!recent_.empty()) line += fmt::format("  p99 {}", format_us(recent_.percentile(0.99)));
  if (moment.attack.opened > 0) line += fmt::format("  attack: {} open, {} cut off", format_count(moment.attack.open), format_count(moment.attack.cut_off));
  if (c.lost_messages() > 0) line += fmt::format("  {} LOST", format_count(c.lost_messages()));
  fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
  last_ = c;
  shown_ns_ = moment.now_ns;
  recent_.clear();
}

// To the beginning of the block that stands there, which is none any more.
std::string Progress::step_back(const Screen& screen) {
  // A terminal that has become narrower since has folded the lines it shows.
  unsigned rows = 0;
  for (const unsigned width : drawn_widths_) rows += std::max((width + screen.columns - 1) / screen.columns, 1u);
  rows = std::min(rows, screen.rows - 1);
  drawn_widths_.clear();
  return rows > 0 ? fmt::format("\r\x1b[{}A", rows) : "\r";
}

void Progress::draw(const Moment& moment) {
  const Screen screen = Screen::of(STDERR_FILENO).value_or(Screen{});
  std::string out = "\x1b[?25l" + step_back(screen);
  std::vector<std::string> lines = live_lines(options_, moment, rates(), timeline_, screen);
  if (heat_seconds_ != timeline_.seconds().size() || heat_columns_ != screen.columns) {
    heat_ = recent_heat_map(timeline_, heat_columns(screen));
    heat_seconds_ = timeline_.seconds().size();
    heat_columns_ = screen.columns;
  }
  // All of the map, or none of it.
  if (const auto map = heat_lines(heat_, screen); lines.size() + map.size() < screen.rows) lines.insert(lines.end(), map.begin(), map.end());
  for (const std::string& line : lines) {
    out += line + "\x1b[K\n";
    drawn_widths_.push_back(width_of(line));
  }
  out += "\x1b[J\x1b[?25h";
  std::fputs(out.c_str(), stderr);
  std::fflush(stderr);
}

void Progress::clear() {
  if (drawn_widths_.empty()) return;
  fmt::print(stderr, "{}\x1b[J", step_back(Screen::of(STDERR_FILENO).value_or(Screen{})));
  std::fflush(stderr);
}

}  // namespace roost::load
