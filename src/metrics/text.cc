// Prometheus's text format: written by prometheus-cpp, read back here; and sums over processes.
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include <roost/metrics.h>

namespace roost::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

bool is_name_start(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || letter == '_' || letter == ':';
}

std::string_view take_name(std::string_view& text) {
  std::size_t size = 0;
  while (size < text.size() && (is_name_start(text[size]) || (size > 0 && text[size] >= '0' && text[size] <= '9'))) ++size;
  const std::string_view name = text.substr(0, size);
  text.remove_prefix(size);
  return name;
}

bool take(std::string_view& text, std::string_view wanted) {
  if (!text.starts_with(wanted)) return false;
  text.remove_prefix(wanted.size());
  return true;
}

std::optional<double> to_number(std::string_view text) {
  if (text == "+Inf" || text == "Inf") return std::numeric_limits<double>::infinity();
  if (text == "-Inf") return -std::numeric_limits<double>::infinity();
  if (text == "NaN" || text == "Nan") return std::numeric_limits<double>::quiet_NaN();
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "\\" and "\n"; in labels `\"`, too.
std::optional<std::string> unescaped(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      plain += text[i];
      continue;
    }
    if (++i == text.size()) return std::nullopt;
    if (text[i] == 'n') {
      plain += '\n';
    } else if (text[i] == '\\' || text[i] == '"') {
      plain += text[i];
    } else {
      return std::nullopt;
    }
  }
  return plain;
}

struct Line {
  std::string_view name;
  Labels labels;
  double value = 0;
};

std::optional<Line> parse_sample(std::string_view text) {
  Line line;
  line.name = take_name(text);
  if (line.name.empty()) return std::nullopt;
  if (take(text, "{")) {
    while (!take(text, "}")) {
      const std::string_view name = take_name(text);
      if (name.empty() || !take(text, "=\"")) return std::nullopt;
      std::size_t size = 0;
      while (size < text.size() && text[size] != '"') size += text[size] == '\\' ? 2 : 1;
      if (size >= text.size()) return std::nullopt;
      const auto value = unescaped(text.substr(0, size));
      if (!value) return std::nullopt;
      line.labels.push_back({std::string(name), *value});
      text.remove_prefix(size + 1);
      if (!take(text, ",") && !text.starts_with('}')) return std::nullopt;
    }
  }
  if (!take(text, " ")) return std::nullopt;
  const std::string_view number = text.substr(0, text.find(' '));  // a time stamp may follow
  const auto value = to_number(number);
  if (!value) return std::nullopt;
  line.value = *value;
  return line;
}

std::optional<MetricType> type_of(std::string_view text) {
  if (text == "counter") return MetricType::Counter;
  if (text == "gauge") return MetricType::Gauge;
  if (text == "histogram") return MetricType::Histogram;
  if (text == "untyped") return MetricType::Untyped;
  return std::nullopt;
}

ClientMetric& metric_with(MetricFamily& family, const Labels& labels) {
  for (ClientMetric& metric : family.metric) {
    if (metric.label == labels) return metric;
  }
  family.metric.emplace_back().label = labels;
  return family.metric.back();
}

bool add_to_histogram(MetricFamily& family, Line line) {
  const std::string_view part = line.name.substr(family.name.size());
  if (part == "_bucket") {
    const auto bound = std::find_if(line.labels.begin(), line.labels.end(), [](const auto& label) { return label.name == "le"; });
    if (bound == line.labels.end()) return false;
    const auto upper = to_number(bound->value);
    if (!upper) return false;
    line.labels.erase(bound);
    metric_with(family, line.labels).histogram.bucket.push_back({static_cast<std::uint64_t>(line.value), *upper});
  } else if (part == "_sum") {
    metric_with(family, line.labels).histogram.sample_sum = line.value;
  } else if (part == "_count") {
    metric_with(family, line.labels).histogram.sample_count = static_cast<std::uint64_t>(line.value);
  } else {
    return false;
  }
  return true;
}

bool add_sample(MetricFamily& family, Line line) {
  if (family.type == MetricType::Histogram) return line.name.starts_with(family.name) && add_to_histogram(family, std::move(line));
  if (line.name != family.name) return false;
  ClientMetric& metric = metric_with(family, line.labels);
  switch (family.type) {
    case MetricType::Counter: metric.counter.value = line.value; return true;
    case MetricType::Gauge: metric.gauge.value = line.value; return true;
    case MetricType::Untyped: metric.untyped.value = line.value; return true;
    default: return false;
  }
}

double combine(const std::string& name, double a, double b) {
  if (name == "process_start_time_seconds") return std::min(a, b);
  return a + b;
}

// Cumulative counts of bounds that one of them lacks stand at the next lower bound's.
void add_buckets(std::vector<ClientMetric::Bucket>& into, const std::vector<ClientMetric::Bucket>& from) {
  const auto at = [](const std::vector<ClientMetric::Bucket>& buckets, double bound) {
    std::uint64_t count = 0;
    for (const auto& bucket : buckets) {
      if (bucket.upper_bound <= bound) count = std::max(count, bucket.cumulative_count);
    }
    return count;
  };
  std::map<double, std::uint64_t> sums;
  for (const auto* buckets : {&std::as_const(into), &from}) {
    for (const auto& bucket : *buckets) sums[bucket.upper_bound] = 0;
  }
  for (auto& [bound, count] : sums) count = at(into, bound) + at(from, bound);
  into.clear();
  for (const auto& [bound, count] : sums) into.push_back({count, bound});
}

}  // namespace

std::string to_text(const Families& families) {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return std::move(out).str();
}

Result<Families> parse_text(std::string_view text) {
  Families families;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty()) continue;
    if (take(line, "# ")) {
      const bool is_help = take(line, "HELP ");
      if (!is_help && !take(line, "TYPE ")) continue;  // a comment
      const std::string_view name = take_name(line);
      if (name.empty() || !take(line, " ")) return fail(std::errc::invalid_argument);
      if (families.empty() || families.back().name != name) families.push_back({std::string(name), "", MetricType::Untyped, {}});
      if (is_help) {
        const auto help = unescaped(line);
        if (!help) return fail(std::errc::invalid_argument);
        families.back().help = *help;
      } else {
        const auto type = type_of(line);
        if (!type) return fail(std::errc::invalid_argument);
        families.back().type = *type;
      }
      continue;
    }
    auto sample = parse_sample(line);
    if (!sample || families.empty() || !add_sample(families.back(), std::move(*sample))) {
      return fail(std::errc::invalid_argument);
    }
  }
  return families;
}

void merge(Families& into, const Families& from) {
  for (const MetricFamily& family : from) {
    const auto known = std::find_if(into.begin(), into.end(), [&](const MetricFamily& one) { return one.name == family.name; });
    if (known == into.end()) {
      into.push_back(family);
      continue;
    }
    if (known->type != family.type) continue;  // a name has one meaning
    for (const ClientMetric& metric : family.metric) {
      const std::size_t before = known->metric.size();
      ClientMetric& sum = metric_with(*known, metric.label);
      if (known->metric.size() != before) {
        sum = metric;
        continue;
      }
      sum.counter.value = combine(family.name, sum.counter.value, metric.counter.value);
      sum.gauge.value = combine(family.name, sum.gauge.value, metric.gauge.value);
      sum.untyped.value = combine(family.name, sum.untyped.value, metric.untyped.value);
      if (family.type == MetricType::Histogram) {
        sum.histogram.sample_count += metric.histogram.sample_count;
        sum.histogram.sample_sum += metric.histogram.sample_sum;
        add_buckets(sum.histogram.bucket, metric.histogram.bucket);
      }
    }
  }
}

}  // namespace roost::metrics
