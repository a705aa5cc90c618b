#include <roost/io/multi.h>

#include <utility>

#include <roost/io/copy.h>

#include "base/assert.h"

namespace roost::io {

// ---- MultiSource

MultiSource::MultiSource(std::vector<Source*> sources) : sources_(std::move(sources)) {
  for (const Source* source : sources_) ROOST_ASSERT(source != nullptr, "a MultiSource was given a null source");
}

Result<std::size_t> MultiSource::read(std::span<std::byte> out) {
  if (out.empty()) return 0;
  for (; current_ < sources_.size(); ++current_) {
    const auto got = sources_[current_]->read(out);
    if (!got || *got > 0) return got;
  }
  return 0;
}

Result<void> MultiSource::wait_readable() {
  if (current_ == sources_.size()) return {};
  return sources_[current_]->wait_readable();
}

bool MultiSource::maybe_readable() const noexcept {
  return current_ == sources_.size() || sources_[current_]->maybe_readable();
}

Result<std::optional<std::uint64_t>> MultiSource::write_to(Sink& to, std::uint64_t count) {
  std::uint64_t total = 0;
  while (current_ < sources_.size() && total < count) {
    const auto moved = copy_n(to, *sources_[current_], count - total);
    if (!moved) return fail(moved.error());
    total += *moved;
    if (total < count) ++current_;  // it ended
  }
  return total;
}

// ---- MultiSink

MultiSink::MultiSink(std::vector<Sink*> sinks) : sinks_(std::move(sinks)) {
  for (const Sink* sink : sinks_) ROOST_ASSERT(sink != nullptr, "a MultiSink was given a null sink");
}

Result<std::size_t> MultiSink::write(std::span<const std::byte> data) {
  for (Sink* sink : sinks_) {
    const auto wrote = sink->write(data);
    if (!wrote) return wrote;
    if (*wrote != data.size()) return fail(Errc::short_write);
  }
  return data.size();
}

Result<std::size_t> MultiSink::write_vectored(std::span<const std::span<const std::byte>> pieces) {
  std::size_t size = 0;
  for (const auto piece : pieces) size += piece.size();
  for (Sink* sink : sinks_) {
    const auto wrote = sink->write_vectored(pieces);
    if (!wrote) return wrote;
    if (*wrote != size) return fail(Errc::short_write);
  }
  return size;
}

}  // namespace roost::io
