// Figures of one turn, and their medians over several: what a case computes with.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace roost::cases {

struct Spread {
  double low = 0;
  double median = 0;  // of an even number of values the mean of the two in the middle
  double high = 0;
};
// `values` must not be empty.
[[nodiscard]] Spread spread_of(std::vector<double> values);

// The smallest value such that at least `fraction` (0 to 1) of all are at most that; 0 of none.
[[nodiscard]] double percentile(std::vector<double> values, double fraction);

// What a child process reports of one turn. Figures by name; a figure that could not be measured is left out.
struct Sample {
  std::map<std::string, double> figures;
  std::map<std::string, std::vector<double>> series;

  void set(const std::string& name, double value) { figures[name] = value; }
  void set(const std::string& name, std::optional<double> value) {
    if (value) figures[name] = *value;
  }
};
[[nodiscard]] std::string encode(const Sample& sample);
// Nothing when the text is not what encode() makes.
[[nodiscard]] std::optional<Sample> decode(const std::string& text);

// The samples of one side of an experiment.
class Turns {
 public:
  void add(Sample sample) { samples_.push_back(std::move(sample)); }
  [[nodiscard]] bool has(const std::string& name) const { return !values(name).empty(); }
  // The median over the turns that have the figure; 0 when none has.
  [[nodiscard]] double median(const std::string& name) const;
  [[nodiscard]] Spread spread(const std::string& name) const;
  // Point by point the median over the turns, as long as the shortest.
  [[nodiscard]] std::vector<double> median_series(const std::string& name) const;
  [[nodiscard]] std::size_t count() const { return samples_.size(); }

 private:
  [[nodiscard]] std::vector<double> values(const std::string& name) const;
  std::vector<Sample> samples_;
};

}  // namespace roost::cases
