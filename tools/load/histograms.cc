#include "tools/load/histograms.h"

#include <chrono>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace roost::load {
namespace {

using nlohmann::ordered_json;

ordered_json to_json(const Histogram& histogram) {
  ordered_json buckets = ordered_json::array();
  for (std::size_t i = 0; i < Histogram::bucket_count; ++i) {
    if (histogram.bucket(i) > 0) buckets.push_back({Histogram::bucket_lowest(i), histogram.bucket(i)});
  }
  return {{"count", histogram.count()}, {"sum", histogram.sum()}, {"min", histogram.min()}, {"max", histogram.max()}, {"buckets", std::move(buckets)}};
}

}  // namespace

std::expected<void, std::string> write_histograms(const Record& record, tools::OutputFile& file) {
  const Timeline& timeline = record.timeline;
  const ordered_json head = {{"schema", 1},
                             {"unit", "us"},
                             {"buckets_per_power_of_two", Histogram::buckets_per_power_of_two},
                             {"started", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(record.started)))},
                             {"target", record.options.target_names()},
                             {"seconds", timeline.seconds().size()},
                             {"seconds_each", timeline.histogram_seconds()}};
  file.append(head.dump() + '\n');
  for (std::size_t i = 0; i < timeline.seconds().size(); i += timeline.histogram_seconds()) {
    const Second& second = timeline.seconds()[i];
    ordered_json line = {{"second", i}, {"phase", timeline.phase(i)}};
    for (const auto& [name, histogram] : {std::pair{"latency", &Second::run_latency}, {"rest_latency", &Second::rest_latency}, {"lateness", &Second::lateness}}) {
      if (!(second.*histogram).empty()) line[name] = to_json((second.*histogram).unpack());
    }
    file.append(line.dump() + '\n');
  }
  return file.write({});
}

}  // namespace roost::load
