#include "tools/load/payload.h"

#include <algorithm>

#include <fmt/format.h>

namespace roost::load {
namespace {

constexpr char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-";
static_assert(sizeof alphabet == 64 + 1, "six bits choose a letter");

void put_hex(char* out, std::uint32_t value) noexcept {
  for (int i = 7; i >= 0; --i, value >>= 4) out[i] = "0123456789abcdef"[value & 15];
}

// Steele, Lea, Flood: SplitMix64's finaliser. Neighbouring numbers give unrelated patterns.
std::uint64_t mix(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

std::expected<Protocol, std::string> parse_protocol(std::string_view text) {
  for (const Protocol protocol : {Protocol::line, Protocol::length, Protocol::fixed}) {
    if (text == protocol_name(protocol)) return protocol;
  }
  return std::unexpected(fmt::format("`{}` is not a protocol; write line, length or fixed", text));
}

std::string_view protocol_name(Protocol protocol) noexcept {
  switch (protocol) {
    case Protocol::length:
      return "length";
    case Protocol::fixed:
      return "fixed";
    case Protocol::line:
      break;
  }
  return "line";
}

std::uint64_t message_bits(std::uint32_t connection, std::uint32_t sequence) noexcept {
  return mix((std::uint64_t{connection} << 32) + sequence + 0x9e3779b97f4a7c15);
}

Payload::Payload(std::uint32_t connection, std::uint32_t sequence, std::size_t bytes, Protocol protocol) noexcept
    : bytes_(bytes),
      prefix_bytes_(protocol == Protocol::length ? length_prefix_bytes : 0),
      ends_in_newline_(protocol == Protocol::line) {
  const std::size_t text_bytes = bytes - prefix_bytes_ - (ends_in_newline_ ? 1 : 0);
  header_skipped_ = text_bytes < header_bytes ? header_bytes - text_bytes : 0;
  put_hex(header_, connection);
  header_[8] = '.';
  put_hex(header_ + 9, sequence);
  header_[17] = ' ';
  // What is left of a short message should be the digits that differ, so the blank goes first.
  if (header_skipped_ > 0) {
    put_hex(header_ + 10, sequence);
    put_hex(header_ + 2, connection);
  }
  std::uint64_t bits = message_bits(connection, sequence);
  for (char& letter : pattern_) {
    letter = alphabet[bits & 63];
    bits >>= 6;
  }
}

std::byte Payload::at(std::size_t offset) const noexcept {
  if (offset < prefix_bytes_) {
    return static_cast<std::byte>((bytes_ - prefix_bytes_) >> (8 * (prefix_bytes_ - 1 - offset)));
  }
  if (ends_in_newline_ && offset + 1 == bytes_) return std::byte{'\n'};
  const std::size_t position = offset - prefix_bytes_ + header_skipped_;
  if (position < header_bytes) return static_cast<std::byte>(header_[position]);
  return static_cast<std::byte>(pattern_[(position - header_bytes) % pattern_bytes]);
}

void Payload::write(std::size_t offset, std::span<std::byte> out) const noexcept {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = at(offset + i);
}

bool Payload::matches(std::size_t offset, std::span<const std::byte> received) const noexcept {
  if (received.size() > bytes_ - offset) return false;
  for (std::size_t i = 0; i < received.size(); ++i) {
    if (received[i] != at(offset + i)) return false;
  }
  return true;
}

}  // namespace roost::load
