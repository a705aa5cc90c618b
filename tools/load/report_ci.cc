#include "tools/load/report_ci.h"

#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tools/common/format.h"
#include "tools/common/markup.h"

namespace roost::load {
namespace {

using tools::markdown_text;

// What a glance should find; the whole report is elsewhere.
constexpr const char* shown[] = {"established", "connection_rate", "message_rate", "latency.p50", "latency.p99", "latency.p999",
                                 "latency.max", "connect_latency.p99", "server.cpu_per_message", "server.bytes_per_connection"};

}  // namespace

std::string to_junit(const Record& record) {
  std::vector<tools::JunitCase> cases;
  for (const Check& check : record.checks()) {
    cases.push_back({check.name, check.holds() ? std::nullopt : std::optional(check.failure)});
  }
  return tools::to_junit("roost load", cases, record.duration_s);
}

std::string to_markdown(const Record& record) {
  const nlohmann::ordered_json report = to_json(record);
  std::string text = fmt::format("### roost load {}: {}\n\n", markdown_text(record.options.target_names()), markdown_text(verdict(record)));
  text += "| figure | value |\n| --- | ---: |\n";
  for (const char* name : shown) {
    const Quantity& quantity = *find_quantity(name).value();
    if (const auto value = quantity.value_in(report)) text += fmt::format("| {} | {} |\n", markdown_text(name), markdown_text(quantity.show(*value)));
  }
  text += "\n| must hold | |\n| --- | --- |\n";
  for (const Check& check : record.checks()) {
    text += fmt::format("| {} | {} |\n", markdown_text(check.name), check.holds() ? "holds" : "**fails**: " + markdown_text(check.failure));
  }
  if (record.generator_was_late()) text += "\nLATE: the latencies include a delay of the generator's own.\n";
  return text + '\n';
}

}  // namespace roost::load
