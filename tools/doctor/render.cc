#include "tools/doctor/render.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tools/doctor/spread.h"

namespace roost::doctor {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t columns_min = 50;
constexpr std::size_t columns_max = 110;  // longer lines are hard to read, however wide the terminal is

std::size_t width_of(std::string_view text) {
  // One column for each code point: the report uses no wide or combining characters.
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string padded(std::string_view text, std::size_t width) {
  const auto have = width_of(text);
  return std::string(text) + std::string(have < width ? width - have : 0, ' ');
}

// Breaks `text` at spaces so that it fits `width`; a longer word stays whole, because it is a command or a path.
std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> lines(1);
  for (const auto word : split(text, " ")) {
    if (!lines.back().empty() && width_of(lines.back()) + 1 + width_of(word) > width) lines.emplace_back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

enum class Ink { plain, strong, faint, good, warn, bad, unsure, code };

class Page {
 public:
  explicit Page(const Look& look) : look_(look), columns_(std::clamp(look.columns, columns_min, columns_max)) {}

  [[nodiscard]] std::size_t columns() const { return columns_; }
  [[nodiscard]] std::string take() { return std::move(text_); }

  [[nodiscard]] std::string ink(Ink ink, std::string_view text) const {
    if (!look_.color || ink == Ink::plain || text.empty()) return std::string(text);
    constexpr std::string_view codes[] = {"", "1", "2", "32", "33", "31;1", "36", "36"};
    return fmt::format("\x1b[{}m{}\x1b[0m", codes[static_cast<std::size_t>(ink)], text);
  }
  [[nodiscard]] std::string_view mark(Verdict verdict) const {
    switch (verdict) {
      case Verdict::ok:
        return look_.utf8 ? "✓" : "+";
      case Verdict::unknown:
        return "?";
      case Verdict::advice:
        return look_.utf8 ? "▲" : "!";
      case Verdict::too_low:
        return look_.utf8 ? "✗" : "X";
    }
    return "";
  }
  [[nodiscard]] static Ink ink_of(Verdict verdict) {
    switch (verdict) {
      case Verdict::ok:
        return Ink::good;
      case Verdict::unknown:
        return Ink::unsure;
      case Verdict::advice:
        return Ink::warn;
      case Verdict::too_low:
        return Ink::bad;
    }
    return Ink::plain;
  }
  [[nodiscard]] std::string bar(double share, std::size_t width) const {
    const auto full = static_cast<std::size_t>(std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(width)));
    std::string text;
    for (std::size_t i = 0; i < std::max<std::size_t>(full, share > 0 ? 1 : 0); ++i) text += look_.utf8 ? "█" : "#";
    return text;
  }
  [[nodiscard]] std::string_view dot() const { return look_.utf8 ? " · " : ", "; }

  void line(std::string_view text = {}) {
    text_ += text;
    while (!text_.empty() && text_.back() == ' ') text_.pop_back();
    text_ += '\n';
  }
  void title(std::string_view text) {
    line();
    line(ink(Ink::strong, text));
  }
  // Verbatim, however long: a command that was broken in two cannot be pasted.
  void code(std::size_t indent, std::string_view label, std::size_t label_width, std::string_view text) {
    bool first = true;
    for (const auto given : lines_of(text)) {
      line(std::string(indent, ' ') + ink(Ink::faint, padded(first ? label : "", label_width)) + ink(Ink::code, given));
      first = false;
    }
  }
  // "  label  text text text", following lines under the text.
  void field(std::size_t indent, std::string_view label, std::size_t label_width, std::string_view text, Ink how) {
    bool first = true;
    for (const auto given : lines_of(text)) {
      for (const auto& row : wrap(given, columns_ - indent - label_width)) {
        line(std::string(indent, ' ') + ink(Ink::faint, padded(first ? label : "", label_width)) + ink(how, row));
        first = false;
      }
    }
  }

 private:
  const Look look_;
  const std::size_t columns_;
  std::string text_;
};

std::size_t count_of(const Diagnosis& d, Verdict verdict) {
  return static_cast<std::size_t>(
      std::ranges::count_if(d.judged, [&](const Judged& entry) { return entry.finding.verdict == verdict; }));
}

void render_finding(Page& page, const Judged& entry) {
  const auto& [check, finding] = entry;
  page.line();
  page.line(fmt::format("  {} {}  {}", page.ink(Page::ink_of(finding.verdict), page.mark(finding.verdict)),
                        page.ink(Ink::strong, check->id), page.ink(Ink::faint, check->subject)));
  constexpr std::size_t indent = 4;
  constexpr std::size_t label = 6;
  page.field(indent, "now", label, finding.value, Ink::plain);
  page.field(indent, "need", label, finding.need, Ink::plain);
  page.field(indent, "", label, finding.because, Ink::faint);
  page.field(indent, "what", label, check->reason, Ink::plain);
  page.field(indent, "else", label, finding.effect, Ink::plain);
  page.code(indent, "mend", label, finding.mend_now);
  if (finding.keep.size() == 1 && !finding.keep[0].line.contains('\n')) {
    const auto& [file, line] = finding.keep[0];
    const auto where = "  in " + file;
    if (indent + label + width_of(line) + width_of(where) <= page.columns()) {
      page.line(std::string(indent, ' ') + page.ink(Ink::faint, padded("keep", label)) + page.ink(Ink::code, line) +
                page.ink(Ink::faint, where));
      return;
    }
  }
  std::string_view file;
  for (const auto& keep : finding.keep) {
    // One file name above all lines that belong into it.
    if (keep.file != file) page.field(indent, "keep", label, keep.file + ":", Ink::faint);
    file = keep.file;
    page.code(indent, "", label, keep.line);
  }
}

void render_findings(Page& page, const Diagnosis& d, Verdict verdict, std::string_view title) {
  const auto count = count_of(d, verdict);
  if (count == 0) return;
  page.title(fmt::format("{} ({})", title, count));
  for (const auto& entry : d.judged) {
    if (entry.finding.verdict == verdict) render_finding(page, entry);
  }
}

void render_memory(Page& page, const Diagnosis& d) {
  const auto& f = d.forecast;
  const double n = static_cast<double>(d.ask.connections);
  page.title(fmt::format("Memory for {} connections", with_commas(d.ask.connections)));
  const auto row = [&](std::string_view what, double each) {
    page.line(fmt::format("  {:<34}{:>8} B each {:>10}", what,
                          with_commas(static_cast<std::uint64_t>(std::lround(each))), size_text(each * n)));
  };
  if (d.ask.serves()) {
    row("kernel, the server's end", f.kernel_bytes_server_end);
    row(d.ask.handler == Handler::fiber ? "user space, a fiber each" : "user space, handler on demand",
        f.user_bytes_server_end);
  }
  if (d.ask.dials()) {
    row("kernel, the client's end", f.kernel_bytes_client_end);
    row("user space, the load generator", f.user_bytes_client_end);
  }
  const double total = f.bytes_per_connection() * n;
  row("together", f.bytes_per_connection());
  const auto extra = [&](std::string_view what, double bytes, std::string_view note) {
    page.line(page.ink(Ink::faint, fmt::format("  {:<51}{:>10}{}", what, "+" + size_text(bytes), note)));
  };
  extra("while every tenth has a message waiting", f.burst_bytes, "");
  if (f.hostile_bytes > 0) {
    extra("if one peer in a hundred never reads", f.hostile_bytes, f.hostile_bounded_by_tcp_mem ? "  (tcp_mem)" : "");
  }
  if (f.available_bytes) {
    const double available = static_cast<double>(*f.available_bytes);
    page.line();
    page.line(fmt::format("  {}{}",
                          page.ink(total > available * memory_usable_share ? Ink::bad : Ink::good,
                                   padded(page.bar(total / available, 30), 31)),
                          fmt::format("{:.0f} % of {} available", total / available * 100, size_text(available))));
  }
  if (!f.from_this_machine) {
    page.field(2, "", 0,
               "The kernel's share is that of Linux 6.18: this machine's slab sizes are readable by root only.",
               Ink::faint);
  }
}

void render_limits(Page& page, const Diagnosis& d) {
  if (!d.limits.empty()) {
    page.title("What bounds the number of connections");
    const auto most = std::ranges::max(d.limits, {}, [](const Limit& limit) {
                        return limit.connections == unlimited ? 0 : limit.connections;
                      }).connections;
    for (const auto& limit : d.limits) {
      if (limit.connections >= std::uint64_t{1} << 53) continue;  // "no limit", as a number
      const bool short_of = limit.connections < d.ask.connections;
      page.line(fmt::format(
          "  {:<20}{:>15}  {}", limit.check_id, with_commas(limit.connections),
          page.ink(short_of ? Ink::bad : Ink::good,
                   page.bar(static_cast<double>(limit.connections) / static_cast<double>(most), page.columns() - 42))));
    }
  }
  if (d.connections_per_process && !d.by_processes.empty()) {
    const auto limit = *d.connections_per_process + descriptors_reserved;
    page.title(d.connections_per_process == unlimited
                   ? std::string("By processes")
                   : fmt::format("By processes{} ({} descriptors each)", d.ask.role == Role::both ? " at each end" : "",
                                 with_commas(limit)));
    for (const auto& row : d.by_processes) {
      const bool enough = row.connections >= d.ask.connections;
      page.line(fmt::format(
          "  {:>5} process{:<2} {:>13}  {}  {}", with_commas(row.processes), row.processes == 1 ? "" : "es",
          with_commas(row.connections),
          page.ink(enough ? Ink::good : Ink::bad, enough ? page.mark(Verdict::ok) : page.mark(Verdict::too_low)),
          page.ink(Ink::faint, fmt::format("lowest limit: {}", row.lowest))));
    }
  }
}

void render_in_order(Page& page, const Diagnosis& d, bool details) {
  const auto count = count_of(d, Verdict::ok);
  if (count == 0) return;
  page.title(fmt::format("In order ({})", count));
  if (details) {
    for (const auto& entry : d.judged) {
      if (entry.finding.verdict == Verdict::ok) render_finding(page, entry);
    }
    return;
  }
  std::optional<Group> group;
  for (const auto& [check, finding] : d.judged) {
    if (finding.verdict != Verdict::ok) continue;
    if (group != check->group) page.line("  " + page.ink(Ink::faint, to_string(check->group)));
    group = check->group;
    const auto value = finding.value + (finding.need.empty() ? "" : fmt::format(" (need {})", finding.need));
    std::string text = fmt::format("  {} {}", page.ink(Ink::good, page.mark(Verdict::ok)), padded(check->id, 21));
    // The reason follows where the line has room for it.
    const auto room = page.columns() - 25;
    constexpr std::size_t value_width = 34;
    if (page.columns() >= 100 && !finding.because.empty() && width_of(value) + 2 <= value_width &&
        value_width + width_of(finding.because) <= room) {
      page.line(text + padded(value, value_width) + page.ink(Ink::faint, finding.because));
      continue;
    }
    bool first = true;
    for (const auto& row : wrap(value, room)) {
      page.line((first ? text : std::string(25, ' ')) + row);
      first = false;
    }
  }
}

std::string ask_text(const Diagnosis& d, std::string_view dot) {
  std::string text = with_commas(d.ask.connections) + " connections";
  text += dot;
  text += d.ask.role == Role::both ? "server and client" : to_string(d.ask.role);
  if (d.ask.serves()) {
    text += dot;
    text += d.ask.handler == Handler::fiber ? "a fiber each" : "handlers on demand";
  }
  return text;
}

std::string machine_text(const Diagnosis& d, std::string_view dot) {
  std::string text = "Linux " + d.kernel;
  text += fmt::format("{}{} CPU{}", dot, d.cpus, d.cpus == 1 ? "" : "s");
  if (d.memory_total_bytes) text += fmt::format("{}{}", dot, size_text(static_cast<double>(*d.memory_total_bytes)));
  return text;
}

// Which settings --apply would change, and which it leaves to the user.
struct Actions {
  std::size_t changes = 0;
  std::vector<std::string_view> left;
};

Actions actions_of(const Diagnosis& d) {
  Actions actions;
  for (const auto& [check, finding] : d.judged) {
    if (finding.verdict == Verdict::ok || finding.changes.empty()) continue;
    if (finding.needs_consent)
      actions.left.push_back(check->id);
    else
      actions.changes += finding.changes.size();
  }
  return actions;
}

}  // namespace

Look look_of(int fd) {
  Look look;
  const bool terminal = ::isatty(fd) == 1;
  winsize size{};
  if (terminal && ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    look.columns = size.ws_col;
  } else if (const char* columns = std::getenv("COLUMNS")) {
    look.columns = parse_number(columns).value_or(80);
  }
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  look.color =
      terminal && (no_color == nullptr || *no_color == '\0') && (term == nullptr || std::string_view(term) != "dumb");
  std::string_view locale;
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') {
      locale = value;
      break;
    }
  }
  look.utf8 =
      locale.contains("UTF-8") || locale.contains("utf8") || locale.contains("UTF8") || locale.contains("utf-8");
  return look;
}

std::string render_text(const Diagnosis& d, const Look& look) {
  Page page(look);
  page.line(page.ink(Ink::strong, "roost doctor"));
  page.field(2, "", 0, ask_text(d, page.dot()), Ink::plain);
  page.field(2, "", 0, machine_text(d, page.dot()), Ink::faint);
  page.line();

  const auto verdict = d.fit ? Verdict::ok : Verdict::too_low;
  const auto conclusion = fmt::format("{} for {} connections{}.", d.fit ? "Fit" : "Not fit",
                                      with_commas(d.ask.connections), d.partial ? ", by the checks you chose" : "");
  page.line(fmt::format("  {} {}", page.ink(Page::ink_of(verdict), page.mark(verdict)),
                        page.ink(Page::ink_of(verdict), conclusion)));
  if (!d.partial) {
    for (const auto& row : wrap(d.headline(), page.columns() - 4)) page.line("    " + page.ink(Ink::strong, row));
  }
  if (!d.partial && d.ask.processes == 0 && d.processes_needed.value_or(1) > 1) {
    page.field(4, "", 0,
               fmt::format("A process opens at most {} descriptors, so roost spreads over {} processes{}.",
                           with_commas(*d.connections_per_process + descriptors_reserved),
                           with_commas(*d.processes_needed), d.ask.role == Role::both ? " at each end" : ""),
               Ink::plain);
  }

  render_findings(page, d, Verdict::too_low, "Too low");
  render_findings(page, d, Verdict::advice, "Advice");
  render_findings(page, d, Verdict::unknown, "Could not tell");
  if (!d.partial) {
    render_limits(page, d);
    render_memory(page, d);
  }
  render_in_order(page, d, look.details);

  const auto actions = actions_of(d);
  if (actions.changes != 0 || !actions.left.empty()) page.line();
  if (actions.changes != 0) {
    page.field(0, "", 0,
               fmt::format("`roost doctor --apply` changes {} setting{} (--dry-run shows, --undo takes back); "
                           "`--write sysctl.d` prints a file that keeps them.",
                           actions.changes, actions.changes == 1 ? "" : "s"),
               Ink::faint);
  }
  if (!actions.left.empty()) {
    page.field(0, "", 0,
               fmt::format("Left to you, since it has a price: --apply --only {}", fmt::join(actions.left, ",")),
               Ink::faint);
  }
  return page.take();
}

std::string render_json(const Diagnosis& d) {
  Json json;
  json["schema"] = "roost.doctor/1";
  json["asked"] = {{"connections", d.ask.connections},
                   {"role", to_string(d.ask.role)},
                   {"handler", d.ask.handler == Handler::fiber ? "fiber" : "on-demand"},
                   {"rate", d.ask.rate}};
  json["asked"]["processes"] = d.ask.processes == 0 ? Json("auto") : Json(d.ask.processes);
  json["asked"]["sources"] = d.ask.sources == 0 ? Json("auto") : Json(d.ask.sources);
  json["asked"]["targets"] = d.ask.targets;
  json["machine"] = {{"kernel", d.kernel}, {"cpus", d.cpus}};
  json["machine"]["memory_total_bytes"] = d.memory_total_bytes ? Json(*d.memory_total_bytes) : Json();
  json["fit"] = d.fit;
  json["headline"] = d.headline();
  json["connections_max"] = d.capacity ? Json(*d.capacity) : Json();
  json["lowest_limit"] = d.capacity ? Json(d.lowest_limit) : Json();
  json["limits"] = Json::array();
  for (const auto& limit : d.limits) {
    json["limits"].push_back({{"id", limit.check_id}, {"connections_max", limit.connections}});
  }
  json["processes"]["connections_each"] = d.connections_per_process ? Json(*d.connections_per_process) : Json();
  json["processes"]["needed"] = d.processes_needed ? Json(*d.processes_needed) : Json();
  json["processes"]["rows"] = Json::array();
  for (const auto& row : d.by_processes) {
    json["processes"]["rows"].push_back(
        {{"processes", row.processes}, {"connections_max", row.connections}, {"lowest_limit", row.lowest}});
  }

  const auto& f = d.forecast;
  const double n = static_cast<double>(d.ask.connections);
  auto& memory = json["memory"];
  memory["slab_sizes_from_this_machine"] = f.from_this_machine;
  memory["kernel_bytes_per_connection"] = std::lround(f.kernel_bytes_per_connection);
  memory["user_bytes_per_connection"] = std::lround(f.user_bytes_per_connection);
  memory["kernel_bytes"] = std::llround(f.kernel_bytes_per_connection * n);
  memory["user_bytes"] = std::llround(f.user_bytes_per_connection * n);
  memory["total_bytes"] = std::llround(f.bytes_per_connection() * n);
  memory["burst_bytes"] = std::llround(f.burst_bytes);
  memory["hostile_bytes"] = std::llround(f.hostile_bytes);
  memory["available_bytes"] = f.available_bytes ? Json(*f.available_bytes) : Json();
  memory["slabs"] = Json::array();
  for (const auto& slab : f.slabs) {
    memory["slabs"].push_back({{"cache", slab.cache},
                               {"object_bytes", slab.object_bytes},
                               {"resident_bytes", slab.resident_bytes},
                               {"per_server_end", slab.per_server_end},
                               {"per_client_end", slab.per_client_end},
                               {"from_this_machine", slab.measured}});
  }

  json["checks"] = Json::array();
  for (const auto& [check, finding] : d.judged) {
    Json entry{{"id", check->id},
               {"subject", check->subject},
               {"group", to_string(check->group)},
               {"verdict", to_string(finding.verdict)},
               {"value", finding.value},
               {"need", finding.need},
               {"formula", check->formula},
               {"because", finding.because},
               {"reason", check->reason},
               {"effect", finding.effect},
               {"mend_now", finding.mend_now},
               {"needs_consent", finding.needs_consent}};
    entry["connections_max"] = finding.capacity ? Json(*finding.capacity) : Json();
    entry["keep"] = Json::array();
    for (const auto& keep : finding.keep) entry["keep"].push_back({{"file", keep.file}, {"line", keep.line}});
    entry["docs"] = fmt::format("docs/doctor.md#{}", check->id);
    json["checks"].push_back(std::move(entry));
  }
  return json.dump(2) + "\n";
}

std::string render_sysctl_file(const Diagnosis& d) {
  constexpr std::size_t width = 96;
  std::string text = fmt::format(
      "# Settings for {} connections ({}), by `roost doctor --write sysctl.d`.\n"
      "# Save as /etc/sysctl.d/90-roost.conf, load with: sysctl --system\n"
      "# Machine: {}\n",
      with_commas(d.ask.connections), to_string(d.ask.role), machine_text(d, ", "));
  std::size_t written = 0;
  const auto comment = [&](std::string_view sentence) {
    for (const auto& row : wrap(sentence, width)) text += "# " + row + "\n";
  };
  for (const auto& [check, finding] : d.judged) {
    if (finding.verdict == Verdict::ok || finding.changes.empty()) continue;
    bool any = false;
    for (const auto& change : finding.changes) any = any || !change.key.empty();
    if (!any) continue;
    text += "\n";
    comment(fmt::format("{}: {}", check->id, check->reason));
    comment(finding.effect);
    comment(fmt::format("Was {}{}.", finding.value, finding.need.empty() ? "" : "; need " + finding.need));
    if (finding.needs_consent) comment("This one has a price; take the mark away if you want it.");
    for (const auto& change : finding.changes) {
      if (change.key.empty()) continue;
      text += fmt::format("{}{} = {}\n", finding.needs_consent ? "#" : "", change.key, change.value);
      ++written;
    }
  }
  if (written == 0) text += "\n# Nothing to change: every setting that sysctl can reach is in order.\n";
  return text;
}

std::string render_systemd_file(const Diagnosis& d) {
  const auto processes = std::max<std::uint64_t>(d.ask.processes, 1);
  const auto share = fullest_share(d.ask.connections, processes, d.ask.serves()) + descriptors_reserved;
  const auto unit = d.ask.unit.empty() ? std::string("roost.service") : d.ask.unit;
  return fmt::format(
      "# A drop-in for {0}, by `roost doctor --write systemd`.\n"
      "# Save as /etc/systemd/system/{0}.d/limits.conf, load with: systemctl daemon-reload\n"
      "[Service]\n"
      "# The fullest of {2} process{3} that share {1} connections, + {4}. A number, never infinity; above fs.nr_open "
      "the unit does not start.\n"
      "LimitNOFILE={5}:{5}\n",
      unit, with_commas(d.ask.connections), processes, processes == 1 ? "" : "es", descriptors_reserved, share);
}

std::string render_text(const std::vector<Applied>& applied, std::string_view title, const Look& look) {
  Page page(look);
  page.line(page.ink(Ink::strong, title));
  if (applied.empty()) page.line("  Nothing to change.");
  std::size_t width = 0;
  std::size_t before_width = 0;
  for (const auto& one : applied) {
    width = std::max(width, width_of(one.setting));
    before_width = std::max(before_width, width_of(one.before));
  }
  for (const auto& one : applied) {
    const bool good = one.outcome == Outcome::changed || one.outcome == Outcome::unchanged;
    const auto how = one.outcome == Outcome::refused ? Ink::bad : good ? Ink::good : Ink::warn;
    const auto arrow = look.utf8 ? "→" : "->";
    const auto target = one.outcome == Outcome::changed ? one.after : one.wanted;
    page.line(fmt::format("  {}  {} {} {}  {}", padded(one.setting, width), padded(one.before, before_width), arrow,
                          target, page.ink(how, to_string(one.outcome))));
    if (!one.why.empty()) page.line(std::string(width + 4, ' ') + page.ink(Ink::faint, one.why));
  }
  return page.take();
}

std::string render_json(const std::vector<Applied>& applied) {
  Json json{{"schema", "roost.doctor-changes/1"}, {"changes", Json::array()}};
  for (const auto& one : applied) {
    json["changes"].push_back({{"check", one.check_id},
                               {"setting", one.setting},
                               {"before", one.before},
                               {"wanted", one.wanted},
                               {"after", one.after},
                               {"outcome", to_string(one.outcome)},
                               {"why", one.why}});
  }
  return json.dump(2) + "\n";
}

std::string render_text(const std::vector<FolkloreNow>& folklore, const Look& look) {
  Page page(look);
  const auto section = [&](std::string_view title, bool from_the_article) {
    page.line(page.ink(Ink::strong, title));
    for (const auto& [entry, value] : folklore) {
      if (entry->from_the_article != from_the_article) continue;
      page.line();
      const auto ink = entry->worth == Worth::helps     ? Ink::good
                       : entry->worth == Worth::depends ? Ink::unsure
                       : entry->worth == Worth::harmful ? Ink::bad
                                                        : Ink::warn;
      page.line(fmt::format("  {} {}", page.ink(ink, padded(to_string(entry->worth), 10)),
                            page.ink(Ink::strong, entry->advice)));
      if (!value.empty()) page.field(13, "here  ", 6, value, Ink::plain);
      page.field(13, "", 0, entry->comment, Ink::plain);
    }
  };
  section("The article's settings", true);
  page.line();
  section("Other advice that is often copied", false);
  return page.take();
}

std::string render_json(const std::vector<FolkloreNow>& folklore) {
  Json json{{"schema", "roost.doctor-folklore/1"}, {"folklore", Json::array()}};
  for (const auto& [entry, value] : folklore) {
    json["folklore"].push_back({{"advice", entry->advice},
                                {"worth", to_string(entry->worth)},
                                {"here", value},
                                {"comment", entry->comment},
                                {"from_the_article", entry->from_the_article}});
  }
  return json.dump(2) + "\n";
}

}  // namespace roost::doctor
