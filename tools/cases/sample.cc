#include "tools/cases/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace roost::cases {

Spread spread_of(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {values.front(), median, values.back()};
}

double percentile(std::vector<double> values, double fraction) {
  if (values.empty()) return 0;
  const auto rank =
      static_cast<std::size_t>(std::ceil(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(values.size())));
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(rank == 0 ? 0 : rank - 1);
  std::ranges::nth_element(values, at);
  return *at;
}

std::string encode(const Sample& sample) {
  return nlohmann::json{{"figures", sample.figures}, {"series", sample.series}}.dump();
}

std::optional<Sample> decode(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("figures") || !json.contains("series")) return std::nullopt;
  try {
    return Sample{json["figures"].get<std::map<std::string, double>>(),
                  json["series"].get<std::map<std::string, std::vector<double>>>()};
  } catch (const nlohmann::json::exception&) {  // a figure that is no number
    return std::nullopt;
  }
}

std::vector<double> Turns::values(const std::string& name) const {
  std::vector<double> found;
  for (const Sample& sample : samples_) {
    if (const auto at = sample.figures.find(name); at != sample.figures.end()) found.push_back(at->second);
  }
  return found;
}

double Turns::median(const std::string& name) const { return spread(name).median; }

Spread Turns::spread(const std::string& name) const {
  const auto found = values(name);
  return found.empty() ? Spread{} : spread_of(found);
}

std::vector<double> Turns::median_series(const std::string& name) const {
  std::vector<const std::vector<double>*> all;
  std::size_t length = std::numeric_limits<std::size_t>::max();
  for (const Sample& sample : samples_) {
    const auto at = sample.series.find(name);
    if (at == sample.series.end()) continue;
    all.push_back(&at->second);
    length = std::min(length, at->second.size());
  }
  std::vector<double> medians;
  if (all.empty()) return medians;
  for (std::size_t i = 0; i < length; ++i) {
    std::vector<double> point;
    for (const auto* one : all) point.push_back((*one)[i]);
    medians.push_back(spread_of(point).median);
  }
  return medians;
}

}  // namespace roost::cases
