// Two groups of runs side by side: which figures differ, by how much, and whether that is more than chance.
#pragma once

#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/compare/reports.h"
#include "tools/load/threshold.h"

namespace roost::compare {

struct CompareOptions {
  double level = 0.05;      // a difference is shown when its p is at most this
  double tolerance = 0.05;  // share of the base's median; a smaller change is neither better nor worse
  std::vector<const load::Quantity*> figures;  // none: usual_figures()
};

enum class Verdict {
  better,
  worse,
  within_tolerance,  // shown, and too small to matter
  not_shown,
  too_few,           // runs, for any difference to show
};
[[nodiscard]] std::string_view verdict_name(Verdict verdict) noexcept;  // "no difference shown"

struct Row {
  const load::Quantity* figure;
  std::vector<double> base;      // a value for each run that measured it
  std::vector<double> with;
  double base_median = 0;
  double with_median = 0;
  std::optional<double> change;  // of the median, as a share of the base's; none from 0 to something
  double u = 0;                  // rank_test.h
  double p = 1;
  Verdict verdict = Verdict::not_shown;
};

struct Comparison {
  CompareOptions options;
  std::vector<std::string> base_paths;
  std::vector<std::string> with_paths;
  std::vector<Row> rows;
  std::vector<const load::Quantity*> zero;  // figures that are 0 in every run, as failures should be
  std::vector<std::string> doubts;

  [[nodiscard]] std::vector<const Row*> of(Verdict verdict) const;
  [[nodiscard]] bool is_worse() const { return !of(Verdict::worse).empty(); }
  // Why no answer can be given for some figure, with the remedy; nothing when there is one for all. A comparison that could never
  // have come out as worse must not pass for one that did not.
  [[nodiscard]] std::optional<std::string> too_few() const;
  // "WORSE: latency.p99, server.cpu_per_message", in one line.
  [[nodiscard]] std::string verdict() const;
};

// What is compared unless asked otherwise: latencies, rates, costs and losses.
[[nodiscard]] std::vector<const load::Quantity*> usual_figures();

// Names with commas between. The reason when one is no figure of the report, or none of which more is better or worse.
tools::Parsed<std::vector<const load::Quantity*>> parse_figures(std::string_view text);

// The runs must be of the same load (check_same_load). The reason when a figure that was asked for was not measured at all.
std::expected<Comparison, std::string> compare(const std::vector<Run>& base, const std::vector<Run>& with, const CompareOptions& options);

}  // namespace roost::compare
