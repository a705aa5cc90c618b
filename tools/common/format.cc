#include "tools/common/format.h"

#include <array>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace roost::tools {
namespace {

// Three significant digits at most, and no more than one behind the point: 4.1, 41.3, 413.
std::string short_number(double value) {
  return value < 99.95 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value);
}

}  // namespace

std::string format_count(std::uint64_t value) {
  const std::string digits = fmt::format("{}", value);
  std::string grouped;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && (digits.size() - i) % 3 == 0) grouped += ',';
    grouped += digits[i];
  }
  return grouped;
}

std::string format_count(double value) {
  if (!(value >= 0)) value = 0;  // a rate over no time at all
  if (value < 9.95 && value != std::floor(value)) return fmt::format("{:.1f}", value);
  return format_count(static_cast<std::uint64_t>(std::llround(value)));
}

std::string format_bytes(double bytes) {
  static constexpr std::array units{"KB", "MB", "GB", "TB"};
  if (bytes < 1000) return fmt::format("{:.0f} B", bytes);
  std::size_t unit = 0;
  double value = bytes / 1000;
  while (value >= 999.5 && unit + 1 < units.size()) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{} {}", short_number(value), units[unit]);
}

std::string format_us(double microseconds) {
  if (microseconds < 1000) return fmt::format("{:.0f} us", microseconds);
  if (microseconds < 9.95e3) return fmt::format("{:.2f} ms", microseconds / 1e3);
  if (microseconds < 1e6) return fmt::format("{} ms", short_number(microseconds / 1e3));
  return fmt::format("{} s", short_number(microseconds / 1e6));
}

std::string format_seconds(double seconds) {
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} m {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} m", whole / 3600, whole % 3600 / 60);
}

std::string format_option(std::chrono::nanoseconds span) {
  static constexpr std::array<std::pair<std::int64_t, std::string_view>, 5> units{
      {{3'600'000'000'000, "h"}, {60'000'000'000, "m"}, {1'000'000'000, "s"}, {1'000'000, "ms"}, {1'000, "us"}}};
  const std::int64_t ns = span.count();
  for (const auto& [size, name] : units) {
    if (ns >= size && ns % size == 0) return fmt::format("{}{}", ns / size, name);
  }
  return ns == 0 ? "0" : fmt::format("{}ns", ns);
}

}  // namespace roost::tools
