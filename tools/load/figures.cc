#include "tools/load/figures.h"

#include <algorithm>

#include "tools/common/shards.h"

namespace roost::load {
namespace {

template <class T>
void put(std::string& out, const T& value) {
  out += tools::bytes_of(value);
}

template <class T>
bool take(std::string_view& in, T& value) {
  const auto taken = tools::value_of<T>(in);
  if (!taken) return false;
  value = *taken;
  in.remove_prefix(sizeof value);
  return true;
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

std::optional<std::string_view> take_text(std::string_view& in) {
  std::uint32_t length = 0;
  if (!take(in, length) || in.size() < length) return std::nullopt;
  const std::string_view text = in.substr(0, length);
  in.remove_prefix(length);
  return text;
}

void put_times(std::string& out, const std::map<std::string, std::uint64_t>& times_of) {
  put(out, static_cast<std::uint32_t>(times_of.size()));
  for (const auto& [name, times] : times_of) {
    put_text(out, name);
    put(out, times);
  }
}

bool take_times(std::string_view& in, std::map<std::string, std::uint64_t>& times_of) {
  std::uint32_t names = 0;
  if (!take(in, names)) return false;
  for (std::uint32_t i = 0; i < names; ++i) {
    const auto name = take_text(in);
    std::uint64_t times = 0;
    if (!name || !take(in, times)) return false;
    times_of[std::string(*name)] = times;
  }
  return true;
}

}  // namespace

void Counters::merge(const Counters& other) noexcept {
  requested += other.requested;
  attempted += other.attempted;
  established += other.established;
  failed += other.failed;
  dropped += other.dropped;
  settled += other.settled;
  open += other.open;
  peak += other.peak;
  sent += other.sent;
  received += other.received;
  timeouts += other.timeouts;
  errors += other.errors;
  mismatched += other.mismatched;
  run_sent += other.run_sent;
  run_received += other.run_received;
  in_flight += other.in_flight;
  released += other.released;
  bytes_sent += other.bytes_sent;
  bytes_received += other.bytes_received;
  churn_closed += other.churn_closed;
  churn_established += other.churn_established;
  churn_failed += other.churn_failed;
  last_established_ns = std::max(last_established_ns, other.last_established_ns);
  told_ns = std::max(told_ns, other.told_ns);
}

void StageFigures::merge(const StageFigures& other) {
  counts.requested += other.counts.requested;
  counts.established += other.counts.established;
  counts.run_sent += other.counts.run_sent;
  counts.run_received += other.counts.run_received;
  counts.run_bytes_sent += other.counts.run_bytes_sent;
  counts.churn_closed += other.counts.churn_closed;
  counts.churn_established += other.counts.churn_established;
  counts.last_established_ns = std::max(counts.last_established_ns, other.counts.last_established_ns);
  if (!other.latency.empty()) latency.merge(other.latency);
  if (!other.lateness.empty()) lateness.merge(other.lateness);
}

void FaultFigures::Counts::merge(const Counts& other) noexcept {
  opened += other.opened;
  failed += other.failed;
  cut_off += other.cut_off;
  answered += other.answered;
  unanswered += other.unanswered;
  mismatched += other.mismatched;
  bytes_sent += other.bytes_sent;
  standing += other.standing;
  open += other.open;
}

void FaultFigures::merge(const FaultFigures& other) {
  counts.merge(other.counts);
  for (const auto& [name, times] : other.causes) causes[name] += times;
  if (!other.held.empty()) held.merge(other.held);
  if (!other.back.empty()) back.merge(other.back);
  if (!other.lateness.empty()) lateness.merge(other.lateness);
}

void TargetCounters::merge(const TargetCounters& other) noexcept {
  established += other.established;
  failed += other.failed;
  dropped += other.dropped;
  received += other.received;
}

void Figures::merge(const Figures& other) {
  counters.merge(other.counters);
  for (const auto& [name, times] : other.failures) failures[name] += times;
  for (std::size_t i = 0; i < kinds; ++i) {
    if (!other.histograms[i].empty()) histograms[i].merge(other.histograms[i]);
  }
  stages.resize(std::max(stages.size(), other.stages.size()));
  for (std::size_t i = 0; i < other.stages.size(); ++i) stages[i].merge(other.stages[i]);
  targets.resize(std::max(targets.size(), other.targets.size()));
  for (std::size_t i = 0; i < other.targets.size(); ++i) targets[i].merge(other.targets[i]);
  faults.resize(std::max(faults.size(), other.faults.size()));
  for (std::size_t i = 0; i < other.faults.size(); ++i) faults[i].merge(other.faults[i]);
}

std::string Figures::encode(bool all) const {
  std::string out(tools::bytes_of(counters));
  put_times(out, failures);
  const auto put_histogram = [&out](const Histogram& histogram, bool wanted) {
    put_text(out, wanted && !histogram.empty() ? histogram.encode() : std::string());
  };
  for (std::size_t i = 0; i < kinds; ++i) put_histogram(histograms[i], all || i >= recent_run);
  put(out, static_cast<std::uint32_t>(stages.size()));
  for (const StageFigures& stage : stages) {
    put(out, stage.counts);
    put_histogram(stage.latency, all);
    put_histogram(stage.lateness, all);
  }
  put(out, static_cast<std::uint32_t>(targets.size()));
  for (const TargetCounters& target : targets) put(out, target);
  put(out, static_cast<std::uint32_t>(faults.size()));
  for (const FaultFigures& fault : faults) {
    put(out, fault.counts);
    put_times(out, fault.causes);
    put_histogram(fault.held, all);
    put_histogram(fault.back, all);
    put_histogram(fault.lateness, all);
  }
  return out;
}

std::optional<Figures> Figures::decode(std::string_view bytes) {
  Figures figures;
  if (!take(bytes, figures.counters) || !take_times(bytes, figures.failures)) return std::nullopt;
  const auto take_histogram = [&bytes](Histogram& histogram) {
    const auto text = take_text(bytes);
    if (!text) return false;
    if (text->empty()) return true;
    auto decoded = Histogram::decode(*text);
    if (decoded) histogram = std::move(*decoded);
    return decoded.has_value();
  };
  for (Histogram& histogram : figures.histograms) {
    if (!take_histogram(histogram)) return std::nullopt;
  }
  std::uint32_t count = 0;
  if (!take(bytes, count)) return std::nullopt;
  for (std::uint32_t i = 0; i < count; ++i) {
    StageFigures& stage = figures.stages.emplace_back();
    if (!take(bytes, stage.counts) || !take_histogram(stage.latency) || !take_histogram(stage.lateness)) return std::nullopt;
  }
  if (!take(bytes, count)) return std::nullopt;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!take(bytes, figures.targets.emplace_back())) return std::nullopt;
  }
  if (!take(bytes, count)) return std::nullopt;
  for (std::uint32_t i = 0; i < count; ++i) {
    FaultFigures& fault = figures.faults.emplace_back();
    if (!take(bytes, fault.counts) || !take_times(bytes, fault.causes) || !take_histogram(fault.held) || !take_histogram(fault.back) ||
        !take_histogram(fault.lateness)) {
      return std::nullopt;
    }
  }
  return figures;
}

}  // namespace roost::load
