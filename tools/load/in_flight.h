// Which connections of a process wait for an answer, longest first: what a time-out is looked for in. Adding, removing and
// asking for the oldest take constant time, and nothing is allocated after construction.
//
// Not a timer for each: all have the same time-out, so they end in the order in which they began, and a timer that was armed
// for every message would wake the process once more for each of them long after its answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace roost::load {

class InFlight {
 public:
  explicit InFlight(std::size_t connections) : links_(connections) {}

  // Makes `index` the youngest. It must not be in.
  void add(std::uint32_t index) noexcept {
    links_[index] = {.previous = youngest_, .next = nobody};
    (youngest_ == nobody ? oldest_ : links_[youngest_].next) = index;
    youngest_ = index;
    ++size_;
  }
  // `index` must be in.
  void remove(std::uint32_t index) noexcept {
    const Links links = links_[index];
    (links.previous == nobody ? oldest_ : links_[links.previous].next) = links.next;
    (links.next == nobody ? youngest_ : links_[links.next].previous) = links.previous;
    --size_;
  }
  [[nodiscard]] std::optional<std::uint32_t> oldest() const noexcept { return some(oldest_); }
  // The next younger one.
  [[nodiscard]] std::optional<std::uint32_t> after(std::uint32_t index) const noexcept { return some(links_[index].next); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::uint32_t nobody = std::numeric_limits<std::uint32_t>::max();
  struct Links {
    std::uint32_t previous = nobody;
    std::uint32_t next = nobody;
  };
  static std::optional<std::uint32_t> some(std::uint32_t index) noexcept {
    return index == nobody ? std::nullopt : std::optional(index);
  }

  std::vector<Links> links_;
  std::uint32_t oldest_ = nobody;
  std::uint32_t youngest_ = nobody;
  std::size_t size_ = 0;
};

}  // namespace roost::load
