// The bytes of a message: "0000002a.00000007 kQz...\n", connection and sequence number in front and a pattern made from
// both behind, so that an answer that belongs to another connection or another message differs, whatever its length.
// Nothing is stored: sender and checker compute the same bytes, from any offset on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

namespace roost::load {

// How a message and its answer are told apart from the next.
enum class Protocol : std::uint8_t {
  line,    // ends with its only newline
  length,  // begins with the number of bytes that follow, 4 bytes, the highest first
  fixed,   // as many bytes as were sent
};

// Of Protocol::length.
inline constexpr std::uint64_t length_prefix_bytes = 4;

std::expected<Protocol, std::string> parse_protocol(std::string_view text);
[[nodiscard]] std::string_view protocol_name(Protocol protocol) noexcept;

// 64 bits that belong to one message of one connection and look random.
[[nodiscard]] std::uint64_t message_bits(std::uint32_t connection, std::uint32_t sequence) noexcept;

class Payload {
 public:
  // `bytes` is the length of the message, its framing included; at least 1, or 5 with Protocol::length. Messages that have no
  // room for 18 bytes of text carry only the end of the two numbers.
  Payload(std::uint32_t connection, std::uint32_t sequence, std::size_t bytes, Protocol protocol = Protocol::line) noexcept;

  // The part of the message that begins at `offset` and fills `out`; offset + out.size() is at most the length.
  void write(std::size_t offset, std::span<std::byte> out) const noexcept;
  // Whether `received` is the part of the message that begins at `offset`. False when it is longer than that part.
  [[nodiscard]] bool matches(std::size_t offset, std::span<const std::byte> received) const noexcept;

 private:
  [[nodiscard]] std::byte at(std::size_t offset) const noexcept;

  static constexpr std::size_t header_bytes = 18;
  static constexpr std::size_t pattern_bytes = 10;
  char header_[header_bytes];
  char pattern_[pattern_bytes];
  std::size_t bytes_;
  std::size_t prefix_bytes_;
  bool ends_in_newline_;
  std::size_t header_skipped_;  // of a message too short for all of it
};

}  // namespace roost::load
