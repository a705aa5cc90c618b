#include "tools/load/csv.h"

#include <iterator>

#include <fmt/format.h>

namespace roost::load {

std::string to_csv(const Timeline& timeline) {
  std::string csv =
      "second_s,phase,open_connections,attempted_connections,established_connections,failed_connections,dropped_connections,"
      "churned_connections,sent_messages,received_messages,timed_out_messages,lost_messages,mismatched_messages,sent_bytes,received_bytes,"
      "latency_p50_us,latency_p90_us,latency_p99_us,latency_p999_us,latency_max_us,lateness_p99_us,"
      "server_memory_bytes,server_cpu_percent,client_memory_bytes,client_cpu_percent,machine_busy_percent,"
      "server_descriptors,client_retransmits,server_retransmits,server_listen_overflows,server_listen_drops,attack_cpu_percent,errors\n";
  const auto out = std::back_inserter(csv);
  std::int64_t open = 0;
  const auto& seconds = timeline.seconds();
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    const Second& second = seconds[i];
    const Deltas& d = second.deltas;
    open += d.opened;
    fmt::format_to(out, "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},", i, timeline.phase(i), open, d.attempted, d.established, d.failed, d.dropped,
                   d.churned, d.sent, d.received, d.timeouts, d.errors, d.mismatched, d.bytes_sent, d.bytes_received);
    const Histogram latency = second.latency();
    if (latency.empty()) {
      csv += ",,,,,";
    } else {
      fmt::format_to(out, "{},{},{},{},{},", latency.percentile(0.5), latency.percentile(0.9), latency.percentile(0.99), latency.percentile(0.999),
                     latency.max());
    }
    const Histogram lateness = second.lateness.unpack();
    if (!lateness.empty()) fmt::format_to(out, "{}", lateness.percentile(0.99));
    csv += ',';
    if (const auto& usage = second.usage) {
      // No server known: its memory is never 0 otherwise.
      if (usage->server_bytes > 0) fmt::format_to(out, "{},{:.1f},", usage->server_bytes, 100 * usage->server_processors);
      else csv += ",,";
      fmt::format_to(out, "{},{:.1f},{:.1f},", usage->client_bytes, 100 * usage->client_processors, 100 * usage->machine_busy);
      if (usage->server_descriptors > 0) fmt::format_to(out, "{}", usage->server_descriptors);
      fmt::format_to(out, ",{},", usage->client_tcp.retransmitted_segments);
      if (const auto& tcp = usage->server_tcp) fmt::format_to(out, "{},{},{},", tcp->retransmitted_segments, tcp->listen_overflows, tcp->listen_drops);
      else csv += ",,,";
      fmt::format_to(out, "{:.1f},", 100 * usage->attack_processors);
    } else {
      csv += ",,,,,,,,,,,";
    }
    // Names of errors have no blank and no comma in them.
    const char* gap = "";
    for (const auto& [name, times] : d.failures) {
      fmt::format_to(out, "{}{}:{}", gap, name, times);
      gap = " ";
    }
    csv += '\n';
  }
  return csv;
}

}  // namespace roost::load
