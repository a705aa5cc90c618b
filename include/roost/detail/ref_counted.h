// The count behind handles that are shared by copying: channels, contexts, timers. Not for users.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace roost::detail {

struct RefCounted {
  using Last = void (*)(RefCounted*) noexcept;

  explicit RefCounted(Last when_last_goes) noexcept : last(when_last_goes) {}
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

  void retain() noexcept { references.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    // Acquire-release: the last one sees what all others did. A plain load in place of the subtraction of the last one would
    // let try_retain() revive what is being taken down.
    if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) last(this);
  }
  // For lists that hold no references. False when the last reference is gone: the object is being taken down.
  bool try_retain() noexcept {
    std::uint32_t count = references.load(std::memory_order_relaxed);
    while (count != 0) {
      if (references.compare_exchange_weak(count, count + 1, std::memory_order_acq_rel, std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  std::atomic<std::uint32_t> references{1};
  const Last last;  // called once, when the last reference is gone
};

// A reference to something RefCounted.
template <class T>
class Ref {
 public:
  constexpr Ref() noexcept = default;
  // Takes over a reference that exists.
  static Ref adopt(T* object) noexcept {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  static Ref share(T* object) noexcept {
    if (object != nullptr) object->retain();
    return adopt(object);
  }
  Ref(const Ref& other) noexcept : object_(other.object_) {
    if (object_ != nullptr) object_->retain();
  }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  constexpr ~Ref() {
    if (object_ != nullptr) object_->release();
  }

  [[nodiscard]] T* get() const noexcept { return object_; }
  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  friend bool operator==(const Ref& a, const Ref& b) noexcept { return a.object_ == b.object_; }

 private:
  T* object_ = nullptr;
};

}  // namespace roost::detail
