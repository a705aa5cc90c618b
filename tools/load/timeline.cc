#include "tools/load/timeline.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace roost::load {
namespace {

constexpr std::int64_t second_ns = 1'000'000'000;
constexpr std::size_t open_seconds = 4;  // frames rarely come later than that

// Of a count that only grows; a process that died may be counted down by what it can no longer tell.
std::uint64_t grown(std::uint64_t now, std::uint64_t before) { return now > before ? now - before : 0; }

void add(tools::TcpCounters& sum, const tools::TcpCounters& more) {
  sum.retransmitted_segments += more.retransmitted_segments;
  sum.listen_overflows += more.listen_overflows;
  sum.listen_drops += more.listen_drops;
}

std::size_t packed_bytes_of(const Second& second) {
  std::size_t sum = 0;
  for (const auto histogram : Second::histograms) sum += (second.*histogram).packed_bytes();
  return sum;
}

// Says how many bytes that takes.
std::size_t pack(Second& second) {
  for (const auto histogram : Second::histograms) (second.*histogram).pack();
  return packed_bytes_of(second);
}

Deltas difference(const Counters& now, const Counters& before) {
  Deltas d;
  d.attempted = grown(now.attempted, before.attempted);
  d.established = grown(now.established + now.churn_established, before.established + before.churn_established);
  d.failed = grown(now.failed + now.churn_failed, before.failed + before.churn_failed);
  d.dropped = grown(now.dropped, before.dropped);
  d.churned = grown(now.churn_closed, before.churn_closed);
  d.sent = grown(now.sent, before.sent);
  d.received = grown(now.received, before.received);
  d.timeouts = grown(now.timeouts, before.timeouts);
  d.errors = grown(now.errors, before.errors);
  d.mismatched = grown(now.mismatched, before.mismatched);
  d.bytes_sent = grown(now.bytes_sent, before.bytes_sent);
  d.bytes_received = grown(now.bytes_received, before.bytes_received);
  d.opened = static_cast<std::int64_t>(now.open) - static_cast<std::int64_t>(before.open);
  return d;
}

}  // namespace

void PackedHistogram::merge(const Histogram& other) {
  if (other.empty()) return;
  if (!open_) open_ = std::make_unique<Histogram>(unpack());
  open_->merge(other);
}

void PackedHistogram::pack() {
  if (!open_) return;
  packed_ = open_->encode();
  packed_.shrink_to_fit();
  open_.reset();
}

void PackedHistogram::add_to(Histogram& sum) const {
  if (open_) {
    sum.merge(*open_);
  } else if (!packed_.empty()) {
    sum.merge(unpack());
  }
}

Histogram PackedHistogram::unpack() const {
  if (open_) return *open_;
  if (packed_.empty()) return {};
  return Histogram::decode(packed_).value_or(Histogram());
}

Histogram Second::latency() const {
  Histogram sum = run_latency.unpack();
  rest_latency.add_to(sum);
  return sum;
}

void Deltas::merge(const Deltas& other) {
  attempted += other.attempted;
  established += other.established;
  failed += other.failed;
  dropped += other.dropped;
  churned += other.churned;
  sent += other.sent;
  received += other.received;
  timeouts += other.timeouts;
  errors += other.errors;
  mismatched += other.mismatched;
  bytes_sent += other.bytes_sent;
  bytes_received += other.bytes_received;
  opened += other.opened;
  for (const auto& [name, times] : other.failures) failures[name] += times;
}

void Timeline::begin(std::int64_t begin_ns, const Readings& readings) {
  begin_ns_ = begin_ns;
  last_ = readings;
  last_ns_ = begin_ns;
}

Second& Timeline::at(std::size_t index) {
  index = std::min(index, seconds_max - 1);
  if (index >= seconds_.size()) {
    seconds_.resize(index + 1);
    pack_old();
  }
  return seconds_[index];
}

Second& Timeline::histograms_at(std::size_t index) {
  at(index);
  index = std::min(index, seconds_max - 1);
  index -= index % histogram_seconds_;
  if (std::ranges::find(open_, index) == open_.end()) {
    packed_bytes_ -= packed_bytes_of(seconds_[index]);
    open_.push_back(index);
  }
  return seconds_[index];
}

void Timeline::pack_old() {
  std::erase_if(open_, [this](std::size_t index) {
    if (index + histogram_seconds_ + open_seconds > seconds_.size()) return false;
    packed_bytes_ += pack(seconds_[index]);
    return true;
  });
  while (packed_bytes_ > histogram_bytes_max_ && histogram_seconds_ < seconds_.size()) halve_resolution();
}

void Timeline::halve_resolution() {
  open_.clear();
  packed_bytes_ = 0;
  for (std::size_t index = 0; index < seconds_.size(); index += 2 * histogram_seconds_) {
    Second& first = seconds_[index];
    if (const std::size_t next = index + histogram_seconds_; next < seconds_.size()) {
      for (const auto histogram : Second::histograms) {
        if ((seconds_[next].*histogram).empty()) continue;
        (first.*histogram).merge((seconds_[next].*histogram).unpack());
        seconds_[next].*histogram = {};
      }
    }
    packed_bytes_ += pack(first);
  }
  histogram_seconds_ *= 2;
}

void Timeline::add(unsigned process, const Figures& figures) {
  if (begin_ns_ == 0) return;
  if (process >= processes_.size()) processes_.resize(process + 1);
  Process& before = processes_[process];
  // The middle of the time that this is about. A process that was starved for long counted it at the end of that.
  const std::int64_t told_ns = figures.counters.told_ns;
  const std::int64_t since_ns = std::max({before.counters.told_ns, begin_ns_, told_ns - second_ns});
  const std::int64_t middle_ns = std::max<std::int64_t>(since_ns + (told_ns - since_ns) / 2 - begin_ns_, 0);

  Deltas deltas = difference(figures.counters, before.counters);
  for (const auto& [name, times] : figures.failures) {
    if (const std::uint64_t more = grown(times, before.failures[name]); more > 0) deltas.failures[name] = more;
  }
  const auto index = static_cast<std::size_t>(middle_ns / second_ns);
  at(index).deltas.merge(deltas);
  Second& second = histograms_at(index);
  second.run_latency.merge(figures.histograms[Figures::recent_run]);
  second.rest_latency.merge(figures.histograms[Figures::recent_rest]);
  second.lateness.merge(figures.histograms[Figures::recent_lateness]);
  before = {figures.counters, figures.failures};
}

bool Timeline::wants_readings(std::int64_t now_ns) const noexcept {
  return begin_ns_ != 0 && now_ns >= begin_ns_ + static_cast<std::int64_t>(read_ + 1) * second_ns && read_ < seconds_max;
}

void Timeline::add_readings(std::int64_t now_ns, const Readings& readings) {
  if (!wants_readings(now_ns)) return;
  const auto over = static_cast<std::size_t>((now_ns - begin_ns_) / second_ns);  // as many seconds are over
  const double passed_s = static_cast<double>(now_ns - last_ns_) / 1e9;
  const auto busy = [passed_s](double now, double before) { return passed_s > 0 ? std::max(now - before, 0.0) / passed_s : 0; };
  Usage usage;
  usage.server_bytes = readings.server_bytes;
  usage.client_bytes = readings.client_bytes;
  usage.server_processors = busy(readings.server_cpu_s, last_.server_cpu_s);
  usage.client_processors = busy(readings.client_cpu_s, last_.client_cpu_s);
  usage.attack_processors = busy(readings.attack_cpu_s, last_.attack_cpu_s);
  const double total_s = readings.machine_total_s - last_.machine_total_s;
  usage.machine_busy = total_s > 0 ? std::clamp((readings.machine_busy_s - last_.machine_busy_s) / total_s, 0.0, 1.0) : 0;
  usage.server_descriptors = readings.server_descriptors;
  usage.client_tcp = readings.client_tcp.since(last_.client_tcp);
  if (readings.server_tcp && last_.server_tcp) usage.server_tcp = readings.server_tcp->since(*last_.server_tcp);
  at(over - 1).usage = usage;
  read_ = over;
  last_ = readings;
  last_ns_ = now_ns;
}

void Timeline::mark(std::string name, std::int64_t at_ns) {
  marks_.push_back({std::move(name), std::max(static_cast<double>(at_ns - begin_ns_) / 1e9, 0.0)});
}

std::string_view Timeline::phase(std::size_t index) const noexcept {
  std::string_view name;
  for (const Mark& mark : marks_) {
    if (mark.at_s < static_cast<double>(index + 1)) name = mark.name;
  }
  return name;
}

std::size_t seconds_each(const Timeline& timeline, std::size_t points_max) {
  const auto divided = [](std::size_t count, std::size_t by) { return (count + by - 1) / by; };
  const std::size_t each = points_max == 0 ? 1 : std::max<std::size_t>(divided(timeline.seconds().size(), points_max), 1);
  return divided(each, timeline.histogram_seconds()) * timeline.histogram_seconds();
}

std::vector<Span> spans(const Timeline& timeline, std::size_t points_max) {
  const auto& seconds = timeline.seconds();
  const std::size_t each = seconds_each(timeline, points_max);
  std::vector<Span> all;
  std::int64_t open = 0;
  for (std::size_t first = 0; first < seconds.size(); first += each) {
    Span span;
    span.first = first;
    span.count = std::min(each, seconds.size() - first);
    Histogram latency;
    Histogram lateness;
    Usage sum;
    unsigned read = 0;
    for (std::size_t i = first; i < first + span.count; ++i) {
      span.deltas.merge(seconds[i].deltas);
      seconds[i].run_latency.add_to(latency);
      seconds[i].rest_latency.add_to(latency);
      seconds[i].lateness.add_to(lateness);
      if (const auto& usage = seconds[i].usage) {
        ++read;
        sum.server_bytes += usage->server_bytes;
        sum.client_bytes += usage->client_bytes;
        sum.server_processors += usage->server_processors;
        sum.client_processors += usage->client_processors;
        sum.attack_processors += usage->attack_processors;
        sum.machine_busy += usage->machine_busy;
        sum.server_descriptors += usage->server_descriptors;
        add(sum.client_tcp, usage->client_tcp);
        if (usage->server_tcp) {
          if (!sum.server_tcp) sum.server_tcp.emplace();
          add(*sum.server_tcp, *usage->server_tcp);
        }
      }
    }
    if (read > 0) {
      span.usage = Usage{sum.server_bytes / read, sum.client_bytes / read, sum.server_processors / read, sum.client_processors / read,
                         sum.attack_processors / read, sum.machine_busy / read, sum.server_descriptors / read, sum.client_tcp, sum.server_tcp};
    }
    open += span.deltas.opened;
    span.open = open;
    span.latency.merge(latency);
    span.lateness.merge(lateness);
    span.latency.pack();
    span.lateness.pack();
    all.push_back(std::move(span));
  }
  return all;
}

}  // namespace roost::load
