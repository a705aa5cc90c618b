#include "tools/load/figures.h"

#include <algorithm>

#include "tools/common/shards.h"

namespace roost::load {
namespace {

void put_text(std::string& out, std::string_view text) {
  out += tools::bytes_of(static_cast<std::uint32_t>(text.size()));
  out += text;
}

std::optional<std::string_view> take_text(std::string_view& in) {
  const auto length = tools::value_of<std::uint32_t>(in);
  if (!length || in.size() - sizeof *length < *length) return std::nullopt;
  const std::string_view text = in.substr(sizeof *length, *length);
  in.remove_prefix(sizeof *length + *length);
  return text;
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
  last_established_ns = std::max(last_established_ns, other.last_established_ns);
}

void Figures::merge(const Figures& other) {
  counters.merge(other.counters);
  for (const auto& [name, times] : other.failures) failures[name] += times;
  for (std::size_t i = 0; i < kinds; ++i) {
    if (!other.histograms[i].empty()) histograms[i].merge(other.histograms[i]);
  }
}

std::string Figures::encode(bool all) const {
  std::string out(tools::bytes_of(counters));
  out += tools::bytes_of(static_cast<std::uint32_t>(failures.size()));
  for (const auto& [name, times] : failures) {
    put_text(out, name);
    out += tools::bytes_of(times);
  }
  for (std::size_t i = 0; i < kinds; ++i) {
    put_text(out, all || i == recent ? histograms[i].encode() : std::string());
  }
  return out;
}

std::optional<Figures> Figures::decode(std::string_view bytes) {
  Figures figures;
  const auto counters = tools::value_of<Counters>(bytes);
  if (!counters) return std::nullopt;
  figures.counters = *counters;
  bytes.remove_prefix(sizeof *counters);
  const auto names = tools::value_of<std::uint32_t>(bytes);
  if (!names) return std::nullopt;
  bytes.remove_prefix(sizeof *names);
  for (std::uint32_t i = 0; i < *names; ++i) {
    const auto name = take_text(bytes);
    const auto times = name ? tools::value_of<std::uint64_t>(bytes) : std::nullopt;
    if (!times) return std::nullopt;
    bytes.remove_prefix(sizeof *times);
    figures.failures[std::string(*name)] = *times;
  }
  for (Histogram& histogram : figures.histograms) {
    const auto text = take_text(bytes);
    if (!text) return std::nullopt;
    if (text->empty()) continue;
    auto decoded = Histogram::decode(*text);
    if (!decoded) return std::nullopt;
    histogram = std::move(*decoded);
  }
  return figures;
}

}  // namespace roost::load
