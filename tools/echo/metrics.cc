#include "tools/echo/metrics.h"

#include <utility>

#include <fmt/format.h>
#include <roost/roost.h>

#include "tools/top/page.h"

namespace roost::echo {
namespace {

metrics::Families families_of(const Totals& totals, std::uint64_t connections_max) {
  metrics::Families families;
  const auto add = [&](const char* name, const char* help, bool is_counter, std::uint64_t value, const char* reason = nullptr) {
    if (families.empty() || families.back().name != name) {
      families.push_back({name, help, is_counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge, {}});
    }
    auto& metric = families.back().metric.emplace_back();
    if (reason != nullptr) metric.label.push_back({"reason", reason});
    (is_counter ? metric.counter.value : metric.gauge.value) = static_cast<double>(value);
  };
  const std::uint64_t ended = totals.accepted > totals.open ? totals.accepted - totals.open : 0;
  const std::uint64_t failed = totals.timed_out + totals.failed;
  add("roost_echo_connections", "Connections that are served now.", false, totals.open);
  if (connections_max > 0) add("roost_echo_connections_max", "Connections that may be served at once, with --max-connections.", false, connections_max);
  add("roost_echo_connections_accepted_total", "Connections that were served, ever.", true, totals.accepted);
  const char* closed = "roost_echo_connections_closed_total";
  const char* closed_help = "Connections that ended, by reason.";
  add(closed, closed_help, true, ended > failed ? ended - failed : 0, "orderly");
  add(closed, closed_help, true, totals.timed_out, "timed_out");
  add(closed, closed_help, true, totals.failed, "failed");
  add("roost_echo_connections_refused_total", "Connections closed at once: over the limit, or no memory.", true, totals.refused);
  add("roost_echo_accept_exhausted_total", "Times that accept found no descriptor or no memory.", true, totals.exhausted);
  add("roost_echo_messages_total", "Lines echoed.", true, totals.messages);
  add("roost_echo_message_bytes_total", "Bytes of lines echoed.", true, totals.bytes);
  return families;
}

}  // namespace

std::shared_ptr<prometheus::Collectable> collect_totals(std::function<Totals()> totals, std::uint64_t connections_max) {
  return tools::collectable_of([totals = std::move(totals), connections_max] { return families_of(totals(), connections_max); });
}

std::string child_metrics() {
  return blocking([] { return metrics::to_text(metrics::runtime()->Collect()); });
}

Result<net::Endpoint> SharedMetrics::start(const net::Endpoint& address, std::function<FiberDump()> fibers) {
  return thread_.start(address, {.with_runtime = false,
                                 .collectables = {tools::collectable_of([this] { return sum(); })},
                                 .pages = top::pages([this] { return blocking([this] { return sum(); }); }),
                                 .fibers = std::move(fibers)});
}

void SharedMetrics::set(unsigned process, std::string text) {
  const std::lock_guard lock(mutex_);
  texts_[process] = std::move(text);
}

void SharedMetrics::set_totals(const Totals& totals) {
  const std::lock_guard lock(mutex_);
  totals_ = totals;
}

metrics::Families SharedMetrics::sum() const {
  std::vector<std::string> texts;
  metrics::Families all;
  {
    const std::lock_guard lock(mutex_);
    texts = texts_;
    all = families_of(totals_, connections_max_);
  }
  for (std::size_t process = 0; process < texts.size(); ++process) {
    auto one = metrics::parse_text(texts[process]);
    if (!one) continue;
    // Each process has a worker 0: added up they would hide that one process is busy and the others are not.
    for (auto& family : *one) {
      for (auto& metric : family.metric) {
        for (auto& label : metric.label) {
          if (label.name == "worker") label.value = fmt::format("{}.{}", process, label.value);
        }
      }
    }
    metrics::merge(all, *one);
  }
  return all;
}

}  // namespace roost::echo
