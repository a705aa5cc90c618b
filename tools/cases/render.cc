#include "tools/cases/render.h"

#include <langinfo.h>
#include <locale.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include <fmt/format.h>

#include "tools/common/format.h"

namespace roost::cases {
namespace {

constexpr std::size_t bar_width = 44;

std::string padded(std::string_view text, std::size_t width, bool to_the_right) {
  const std::string blanks(width > width_of(text) ? width - width_of(text) : 0, ' ');
  return to_the_right ? blanks + std::string(text) : std::string(text) + blanks;
}

std::string colored(std::string text, Side side, const TextStyle& style) {
  if (!style.color) return text;
  const char* code = side == Side::before ? "31" : side == Side::between ? "33" : "32";
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

std::string bold(std::string text, const TextStyle& style) {
  return style.color ? fmt::format("\x1b[1m{}\x1b[0m", text) : text;
}

}  // namespace

TextStyle TextStyle::of_terminal() {
  TextStyle style;
  if (const locale_t locale = ::newlocale(LC_CTYPE_MASK, "", nullptr); locale != nullptr) {
    style.unicode = std::string_view(::nl_langinfo_l(CODESET, locale)) == "UTF-8";
    ::freelocale(locale);
  }
  const char* no_color = std::getenv("NO_COLOR");
  style.color = ::isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0');
  return style;
}

std::string bar_text(double value, double most, std::size_t width, bool unicode) {
  if (!(value > 0) || !(most > 0)) return "";
  const double columns = std::min(value / most, 1.0) * static_cast<double>(width);
  if (!unicode) return std::string(std::max<std::size_t>(1, static_cast<std::size_t>(std::lround(columns))), '#');
  static constexpr const char* eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto parts = std::max<std::size_t>(1, static_cast<std::size_t>(std::lround(columns * 8)));
  std::string bar;
  for (std::size_t i = 0; i < parts / 8; ++i) bar += "█";
  return bar + eighths[parts % 8];
}

std::size_t width_of(std::string_view text) {
  // Bytes that go on with a character of UTF-8 take no column of their own.
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string wrapped(std::string_view text, std::size_t width, std::string_view indent) {
  std::string out;
  std::string line;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (!line.empty() && width_of(line) + 1 + width_of(word) > width) {
      out += fmt::format("{}{}\n", indent, line);
      line.clear();
    }
    if (!line.empty()) line += ' ';
    line += word;
  }
  if (!line.empty()) out += fmt::format("{}{}\n", indent, line);
  return out;
}

std::string table_text(const Outcome& outcome, std::string_view indent) {
  // A title of several words takes two lines where that makes its column narrower.
  std::vector<std::string> upper(outcome.columns.size());
  std::vector<std::string> lower(outcome.columns.size());
  std::vector<std::size_t> widths(outcome.columns.size(), 0);
  std::size_t label_width = 0;
  for (const Row& row : outcome.rows) label_width = std::max(label_width, width_of(row.label));
  for (std::size_t i = 0; i < outcome.columns.size(); ++i) {
    const std::string& title = outcome.columns[i].title;
    std::size_t split = title.find(' ', title.size() / 2);
    if (split == std::string::npos) split = title.rfind(' ');
    upper[i] = split == std::string::npos ? "" : title.substr(0, split);
    lower[i] = split == std::string::npos ? title : title.substr(split + 1);
    widths[i] = std::max(width_of(upper[i]), width_of(lower[i]));
    for (const Row& row : outcome.rows) {
      if (i < row.cells.size()) widths[i] = std::max(widths[i], width_of(row.cells[i].text));
    }
  }
  std::string out;
  for (const auto* titles : {&upper, &lower}) {
    std::string line(label_width, ' ');
    for (std::size_t i = 0; i < titles->size(); ++i) line += "  " + padded((*titles)[i], widths[i], true);
    line.erase(line.find_last_not_of(' ') + 1);
    out += fmt::format("{}{}\n", indent, line);
  }
  for (const Row& row : outcome.rows) {
    std::string line = padded(row.label, label_width, false);
    for (std::size_t i = 0; i < row.cells.size() && i < widths.size(); ++i)
      line += "  " + padded(row.cells[i].text, widths[i], true);
    out += fmt::format("{}{}\n", indent, line);
  }
  return out;
}

std::string chart_text(const Chart& chart, const TextStyle& style, std::string_view indent) {
  std::size_t label_width = 0;
  for (const Bar& bar : chart.bars) label_width = std::max(label_width, width_of(bar.label));
  std::string out = fmt::format("{}{}\n", indent, chart.title);
  for (std::size_t i = 0; i < chart.bars.size(); ++i) {
    const Bar& bar = chart.bars[i];
    double most = 0;
    for (const Bar& other : chart.bars) {
      if (other.group == bar.group) most = std::max(most, other.value);
    }
    const bool begins = i == 0 || chart.bars[i - 1].group != bar.group;
    if (begins && !bar.group.empty()) out += fmt::format("{}  {}\n", indent, bar.group);
    const std::string drawn = bar_text(bar.value, most, bar_width, style.unicode);
    out += fmt::format("{}    {}  {}{}{}\n", indent, padded(bar.label, label_width, false),
                       colored(drawn, bar.side, style), drawn.empty() ? "" : " ", bar.text);
  }
  return out;
}

std::string to_text(const Outcome& outcome, const TextStyle& style) {
  constexpr std::string_view indent = "   ";
  std::string out = bold(fmt::format("{}  {}", outcome.number, outcome.title), style) + "\n";
  if (outcome.verdict() == Verdict::untried)
    return out + wrapped("could not be tried: " + outcome.untried, style.width, indent);
  out += wrapped(outcome.method, style.width, indent) + "\n";
  out += table_text(outcome, indent) + "\n";
  out += chart_text(outcome.chart, style, indent) + "\n";
  for (const Claim& claim : outcome.claims) {
    const bool ignored = !claim.holds && outcome.quick && !claim.counted;
    const char* mark = claim.holds ? (style.unicode ? "✓" : "yes") : ignored ? "-  " : (style.unicode ? "✗" : "NO ");
    out += fmt::format("{}{} {}{}\n", indent, colored(mark, claim.holds ? Side::after : Side::before, style),
                       claim.text, ignored ? " (too quick to tell)" : "");
  }
  return out;
}

std::string summary_text(std::span<const Outcome> outcomes) {
  std::size_t shown = 0;
  std::size_t untried = 0;
  double seconds = 0;
  for (const Outcome& outcome : outcomes) {
    shown += outcome.verdict() == Verdict::shown;
    untried += outcome.verdict() == Verdict::untried;
    seconds += outcome.seconds;
  }
  std::string text = fmt::format("{} of {} case{} shown", shown, outcomes.size(), outcomes.size() == 1 ? "" : "s");
  if (untried > 0) text += fmt::format(", {} could not be tried", untried);
  return fmt::format("{}; {}\n", text, tools::format_seconds(seconds));
}

}  // namespace roost::cases
