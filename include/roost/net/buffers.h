// Buffers: a list of pieces of memory that is written with as few system calls as possible, or read from.
//
//   net::Buffers message{header, body};
//   io::copy(conn, message);                  // one sendmsg for up to 1024 pieces; the list is empty afterwards
//
// The memory is borrowed: it must stay as it is until it was written or read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include <roost/error.h>
#include <roost/io/stream.h>

namespace roost::net {

class Buffers : public io::Source {
 public:
  Buffers() = default;
  Buffers(std::initializer_list<std::span<const std::byte>> pieces) : pieces_(pieces) {}

  void add(std::span<const std::byte> piece) { pieces_.push_back(piece); }
  void add(std::string_view text) { add(io::as_bytes(text)); }

  [[nodiscard]] bool empty() const noexcept { return first_ == pieces_.size(); }
  [[nodiscard]] std::size_t pieces() const noexcept { return pieces_.size() - first_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const auto piece : left()) sum += piece.size();
    return sum;
  }

  // Fills `out` from as many pieces as it takes; 0 when the list is empty. Never parks.
  Result<std::size_t> read(std::span<std::byte> out) override;
  // Writes what is in the list, in order. What was written is gone from the list; after an error all that was to be
  // written is still there, though some of it may have been sent.
  Result<std::optional<std::uint64_t>> write_to(io::Sink& to, std::uint64_t count) override;

 private:
  [[nodiscard]] std::span<std::span<const std::byte>> left() noexcept { return std::span(pieces_).subspan(first_); }
  [[nodiscard]] std::span<const std::span<const std::byte>> left() const noexcept {
    return std::span(pieces_).subspan(first_);
  }
  void drop(std::uint64_t count) noexcept;

  std::vector<std::span<const std::byte>> pieces_;
  std::size_t first_ = 0;  // pieces before it are done with
};

}  // namespace roost::net
