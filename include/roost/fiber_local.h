// FiberLocal<T>: a variable of which each fiber has its own. What thread_local is to threads.
//
//   roost::FiberLocal<RequestId> request_id;             // usually static or global
//   *request_id = next_id();                             // this fiber's
//
// The value is made on the first use in a fiber, as a copy of the initial value, and destroyed when the fiber ends (in the fiber,
// before it counts as ended, so its destructor may park); values of the variables that were made last go first. Plain threads
// have their own values, too. A new fiber starts with the initial value, not with that of the fiber that started it. The first
// use of any FiberLocal in a fiber allocates its table, the first use of each its value; a use after that is two look-ups.
// References stay valid until the fiber ends.
//
// When a FiberLocal is destroyed, values that fibers still have of it live on, out of reach, until those fibers end.
#pragma once

#include <cstdint>
#include <utility>

namespace roost {

namespace detail {

// Which variable: an index that is used again, and a generation that is not.
struct LocalKey {
  std::uint32_t index;
  std::uint64_t generation;
};
[[nodiscard]] LocalKey new_local_key();
void free_local_key(LocalKey key) noexcept;
// The calling fiber's value, or null.
[[nodiscard]] void* find_local(LocalKey key) noexcept;
// Stores a value in place of the one there; null `value` takes it away.
void store_local(LocalKey key, void* value, void (*destroy)(void*) noexcept);

}  // namespace detail

template <class T>
class FiberLocal {
 public:
  FiberLocal() : FiberLocal(T()) {}
  explicit FiberLocal(T initial) : initial_(std::move(initial)), key_(detail::new_local_key()) {}
  ~FiberLocal() { detail::free_local_key(key_); }
  FiberLocal(const FiberLocal&) = delete;
  FiberLocal& operator=(const FiberLocal&) = delete;

  [[nodiscard]] T& get() {
    if (void* value = detail::find_local(key_)) [[likely]] return *static_cast<T*>(value);
    auto* value = new T(initial_);
    detail::store_local(key_, value, [](void* old) noexcept { delete static_cast<T*>(old); });
    return *value;
  }
  T& operator*() { return get(); }
  T* operator->() { return &get(); }
  void set(T value) { get() = std::move(value); }
  // True once this fiber has used it.
  [[nodiscard]] bool has_value() const noexcept { return detail::find_local(key_) != nullptr; }
  // Destroys this fiber's value; the next use starts from the initial one again.
  void reset() {
    if (has_value()) detail::store_local(key_, nullptr, nullptr);
  }

 private:
  const T initial_;
  const detail::LocalKey key_;
};

// The name that goes with thread_local.
template <class T>
using fiber_local = FiberLocal<T>;

}  // namespace roost
