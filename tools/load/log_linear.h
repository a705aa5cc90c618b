// Log-linear buckets: values below 2^bits have a bucket each, and from there on each power of two is cut into 2^(bits - 1) of equal
// width. Buckets of fewer bits are unions of those of more.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace roost::load {

template <unsigned bits>
struct LogLinear {
  static constexpr std::size_t per_power_of_two = std::size_t{1} << (bits - 1);

  [[nodiscard]] static constexpr std::size_t index_of(std::uint64_t value) noexcept {
    if (value < (1u << bits)) return value;
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - bits;
    return (std::size_t{shift} << (bits - 1)) + (value >> shift);
  }
  [[nodiscard]] static constexpr std::uint64_t lowest(std::size_t index) noexcept {
    if (index < (1u << bits)) return index;
    const std::size_t shift = (index >> (bits - 1)) - 1;
    return std::uint64_t{index - (shift << (bits - 1))} << shift;
  }
};

}  // namespace roost::load
