// The text of a message: "0000002a.00000007 kQz...\n", connection and sequence number in front and a pattern made from
// both behind, so that an answer that belongs to another connection or another message differs, whatever its length.
// Nothing is stored: sender and checker compute the same bytes, from any offset on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace roost::load {

class Payload {
 public:
  // `bytes` is the length of the message, its newline included; at least 1. Messages shorter than 19 bytes carry only the
  // end of the two numbers.
  Payload(std::uint32_t connection, std::uint32_t sequence, std::size_t bytes) noexcept;

  // The part of the text that begins at `offset` and fills `out`; offset + out.size() is at most the length.
  void write(std::size_t offset, std::span<std::byte> out) const noexcept;
  // Whether `received` is the part of the text that begins at `offset`. False when it is longer than that part.
  [[nodiscard]] bool matches(std::size_t offset, std::span<const std::byte> received) const noexcept;

 private:
  [[nodiscard]] std::byte at(std::size_t offset) const noexcept;

  static constexpr std::size_t header_bytes = 18;
  static constexpr std::size_t pattern_bytes = 10;
  char header_[header_bytes];
  char pattern_[pattern_bytes];
  std::size_t bytes_;
  std::size_t header_skipped_;  // of a message too short for all of it
};

}  // namespace roost::load
