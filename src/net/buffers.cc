#include <roost/net/buffers.h>

namespace roost::net {

Result<std::size_t> Buffers::read(std::span<std::byte> out) {
  std::size_t total = 0;
  for (const auto piece : left()) {
    const std::size_t count = std::min(piece.size(), out.size() - total);
    std::copy_n(piece.begin(), count, out.begin() + static_cast<std::ptrdiff_t>(total));
    total += count;
    if (total == out.size()) break;
  }
  drop(total);
  return total;
}

Result<std::optional<std::uint64_t>> Buffers::write_to(io::Sink& to, std::uint64_t count) {
  const std::uint64_t wanted = std::min(count, bytes());
  // The last piece that is to be written may be cut for as long as that takes.
  std::uint64_t sum = 0;
  std::size_t used = 0;
  std::span<const std::byte> whole;
  auto pieces = left();
  while (sum < wanted) {
    whole = pieces[used];
    if (sum + whole.size() > wanted) pieces[used] = whole.first(static_cast<std::size_t>(wanted - sum));
    sum += pieces[used++].size();
  }
  const auto wrote = to.write_vectored(pieces.first(used));
  if (used > 0) pieces[used - 1] = whole;
  if (!wrote) return fail(wrote.error());
  drop(*wrote);
  return *wrote;
}

void Buffers::drop(std::uint64_t count) noexcept {
  while (first_ < pieces_.size() && pieces_[first_].size() <= count) count -= pieces_[first_++].size();
  if (count > 0) pieces_[first_] = pieces_[first_].subspan(static_cast<std::size_t>(count));
  if (empty()) {
    pieces_.clear();
    first_ = 0;
  }
}

}  // namespace roost::net
