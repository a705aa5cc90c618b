// Buffers lent for as long as bytes are in them.
//
// A connection that waits holds no buffer: its fiber borrows one when bytes are there and gives it back when it is empty.
// Borrowing is therefore as frequent as reading, and must cost a few nanoseconds.
//
// Each thread keeps a few buffers of each size class, used last in first out, so that the one just given back, still in
// the cache, is lent next. Behind the threads stands one depot under a lock, with which they exchange buffers in batches:
// fibers move between threads, so one thread may do all the borrowing and another all the giving back. What exceeds the
// bounds of both is freed. When a thread ends, its buffers go to the depot.
//
// Never parks. From any thread, by fibers and by others; a buffer may be given back on another thread than it came from.
// Both functions find their thread's cache by themselves at each call: no thread-local address survives a park.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace roost::base {

inline constexpr std::size_t buffer_class_bytes_min = 4 * 1024;
inline constexpr std::size_t buffer_class_bytes_max = 128 * 1024;

// At least `bytes` bytes, aligned as by malloc, with any content. Sizes from buffer_class_bytes_min to buffer_class_bytes_max
// are rounded up to a power of two and pooled; others come straight from malloc. Null when there is no memory.
[[nodiscard]] std::byte* borrow(std::size_t bytes) noexcept;

// Takes back what borrow(bytes) lent, with the same `bytes`. Null is fine.
void give_back(std::byte* buffer, std::size_t bytes) noexcept;

// How many buffers are lent at this moment, of any size; exact while no thread borrows or gives back.
[[nodiscard]] std::uint64_t buffers_borrowed() noexcept;

// Bytes that the depot and all threads' caches hold ready. Bounded by buffer_depot_bytes_max and, for each thread,
// buffer_cache_bytes_max.
[[nodiscard]] std::size_t buffer_bytes_ready() noexcept;
extern const std::size_t buffer_depot_bytes_max;
extern const std::size_t buffer_cache_bytes_max;

// A borrowed buffer with an owner.
class Buffer {
 public:
  Buffer() noexcept = default;
  explicit Buffer(std::size_t bytes) noexcept : data_(borrow(bytes)), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer() { reset(); }

  void reset() noexcept {
    if (data_ != nullptr) give_back(std::exchange(data_, nullptr), bytes_);
  }
  [[nodiscard]] std::byte* data() const noexcept { return data_; }  // null: nothing borrowed, or no memory
  [[nodiscard]] std::size_t size() const noexcept { return data_ != nullptr ? bytes_ : 0; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace roost::base
