#include "tools/compare/comparison.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "tools/compare/rank_test.h"

namespace roost::compare {
namespace {

using load::Quantity;

constexpr std::array usual{"latency.p50",
                           "latency.p99",
                           "latency.p999",
                           "connect_latency.p99",
                           "first_echo.p99",
                           "connection_rate",
                           "message_rate",
                           "server.cpu_per_message",
                           "client.cpu_per_message",
                           "server.bytes_per_connection",
                           "client.bytes_per_connection",
                           "kernel.slab_bytes_per_connection",
                           "failed",
                           "dropped",
                           "timeouts",
                           "errors",
                           "mismatched",
                           "retransmits",
                           "listen_overflows",
                           "listen_drops",
                           "backlog_drops"};

// Of everything else less is better, and of these neither.
constexpr std::array more_is_better{"established", "received", "connection_rate", "message_rate"};
constexpr std::array has_no_better{"peak", "sent", "duration", "attack.opened", "attack.cut_off"};

bool is_among(const auto& names, const Quantity& quantity) { return std::ranges::find(names, quantity.name) != names.end(); }

std::vector<double> values_of(const Quantity& figure, const std::vector<Run>& runs) {
  std::vector<double> values;
  for (const Run& run : runs) {
    if (const auto value = figure.value_in(run.report)) values.push_back(*value);
  }
  return values;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Verdict judge(const Row& row, const CompareOptions& options) {
  if (row.base.empty() || row.with.empty() || least_p(row.base.size(), row.with.size()) > options.level) return Verdict::too_few;
  if (row.p > options.level) return Verdict::not_shown;
  if (row.change && std::abs(*row.change) <= options.tolerance) return Verdict::within_tolerance;
  const bool is_more = row.with_median > row.base_median;
  return is_more == is_among(more_is_better, *row.figure) ? Verdict::better : Verdict::worse;
}

std::vector<std::string> paths_of(const std::vector<Run>& runs) {
  std::vector<std::string> paths;
  for (const Run& run : runs) paths.push_back(run.path);
  return paths;
}

std::string names_of(const std::vector<const Row*>& rows) {
  std::string names;
  for (const Row* row : rows) names += (names.empty() ? "" : ", ") + row->figure->name;
  return names;
}

}  // namespace

std::string_view verdict_name(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::better:
      return "better";
    case Verdict::worse:
      return "worse";
    case Verdict::within_tolerance:
      return "differs within tolerance";
    case Verdict::not_shown:
      return "no difference shown";
    case Verdict::too_few:
      return "too few runs to tell";
  }
  return "";
}

std::vector<const Row*> Comparison::of(Verdict verdict) const {
  std::vector<const Row*> found;
  for (const Row& row : rows) {
    if (row.verdict == verdict) found.push_back(&row);
  }
  return found;
}

std::optional<std::string> Comparison::too_few() const {
  const std::vector<const Row*> few = of(Verdict::too_few);
  if (few.empty()) return std::nullopt;
  if (least_p(base_paths.size(), with_paths.size()) > options.level) {
    const std::size_t needed = runs_needed(options.level);
    return fmt::format("{} and {} runs are too few to tell at --level {:.3g}%; {}", base_paths.size(), with_paths.size(), 100 * options.level,
                       needed == 0 ? fmt::format("even {} of each would be: choose a higher level", runs_max) : fmt::format("make {} or more of each", needed));
  }
  const Row& row = *few.front();
  return fmt::format("{} was measured in {} of {} runs of the base and in {} of {} of the new: too few to tell; make all runs with the same options",
                     row.figure->name, row.base.size(), base_paths.size(), row.with.size(), with_paths.size());
}

std::string Comparison::verdict() const {
  if (is_worse()) return "WORSE: " + names_of(of(Verdict::worse));
  if (!of(Verdict::too_few).empty()) return "too few runs to tell";
  if (const auto better = of(Verdict::better); !better.empty()) return "better, and nothing worse: " + names_of(better);
  return "no figure is worse";
}

std::vector<const Quantity*> usual_figures() {
  std::vector<const Quantity*> figures;
  for (const char* name : usual) figures.push_back(load::find_quantity(name).value());
  return figures;
}

tools::Parsed<std::vector<const Quantity*>> parse_figures(std::string_view text) {
  std::vector<const Quantity*> figures;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    std::string_view name = text.substr(at, end - at);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    const auto figure = load::find_quantity(name);
    if (!figure) return std::unexpected(figure.error());
    if (is_among(has_no_better, **figure)) {
      return std::unexpected(fmt::format("`{}` is neither better nor worse when it is more; leave it out", name));
    }
    if (std::ranges::find(figures, *figure) == figures.end()) figures.push_back(*figure);
    at = end + 1;
  }
  return figures;
}

std::expected<Comparison, std::string> compare(const std::vector<Run>& base, const std::vector<Run>& with, const CompareOptions& options) {
  Comparison comparison{options, paths_of(base), paths_of(with), {}, {}, doubts(base, with)};
  const bool is_asked_for = !options.figures.empty();
  for (const Quantity* figure : is_asked_for ? options.figures : usual_figures()) {
    Row row{.figure = figure, .base = values_of(*figure, base), .with = values_of(*figure, with), .change = {}};
    if (row.base.empty() && row.with.empty()) {
      if (!is_asked_for) continue;
      return std::unexpected(fmt::format("--figures {}: no run measured it; leave it out, or see docs/load.md for what it takes", figure->name));
    }
    const auto is_zero = [](double value) { return value == 0; };
    // Not with too few runs: even this would tell nothing then.
    if (least_p(row.base.size(), row.with.size()) <= options.level && std::ranges::all_of(row.base, is_zero) &&
        std::ranges::all_of(row.with, is_zero)) {
      comparison.zero.push_back(figure);
      continue;
    }
    row.base_median = median(row.base);
    row.with_median = median(row.with);
    if (row.base_median != 0) {
      row.change = (row.with_median - row.base_median) / std::abs(row.base_median);
    } else if (row.with_median == 0) {
      row.change = 0;
    }
    if (!row.base.empty() && !row.with.empty()) {
      const RankTest test = rank_test(row.base, row.with);
      row.u = test.u;
      row.p = test.p;
    }
    row.verdict = judge(row, options);
    comparison.rows.push_back(std::move(row));
  }
  return comparison;
}

}  // namespace roost::compare
