// ObjectPool<T>: objects that are dear to make and can be used again, such as buffers, parsers, compressors.
//
//   roost::ObjectPool<Parser> parsers([] { return Parser(options); });
//   Parser parser = parsers.get();
//   ...
//   parsers.put(std::move(parser));
//
// What was put back last on a worker is taken first there, while it is still in the cache. A worker that has none takes one from
// another before it makes one. No more than `kept_max` objects are kept for each worker; the rest is destroyed. An object is
// never in two hands. Neither call parks, but the function that makes objects may.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <roost/detail/spin_lock.h>

namespace roost {

namespace detail {
// Which of `count` shards the calling worker (or thread) should use.
[[nodiscard]] std::size_t pool_shard(std::size_t count) noexcept;
}  // namespace detail

template <class T>
class ObjectPool {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "pooled objects are moved under a lock: T's move constructor and destructor must be noexcept");

  explicit ObjectPool(std::function<T()> make = [] { return T(); }, std::size_t kept_max = 64)
      : make_(std::move(make)), kept_max_(kept_max) {}
  ObjectPool(const ObjectPool&) = delete;
  ObjectPool& operator=(const ObjectPool&) = delete;

  [[nodiscard]] T get() {
    const std::size_t own = detail::pool_shard(shard_count);
    for (std::size_t i = 0; i < shard_count; ++i) {
      Shard& shard = shards_[(own + i) % shard_count];
      if (i > 0 && shard.size.load(std::memory_order_relaxed) == 0) continue;
      base::SpinGuard guard(shard.lock);
      if (shard.kept.empty()) continue;
      T object = std::move(shard.kept.back());
      shard.kept.pop_back();
      shard.size.store(shard.kept.size(), std::memory_order_relaxed);
      return object;
    }
    return make_();
  }

  void put(T object) {
    Shard& shard = shards_[detail::pool_shard(shard_count)];
    base::SpinGuard guard(shard.lock);
    if (shard.kept.size() >= kept_max_) return;
    if (shard.kept.capacity() == 0) shard.kept.reserve(kept_max_);  // once
    shard.kept.push_back(std::move(object));
    shard.size.store(shard.kept.size(), std::memory_order_relaxed);
  }

 private:
  static constexpr std::size_t shard_count = 16;

  struct alignas(64) Shard {
    base::SpinLock lock;  // leaf
    std::atomic<std::size_t> size{0};  // kept.size(), stored under the lock
    std::vector<T> kept ROOST_GUARDED_BY(lock);
  };

  const std::function<T()> make_;
  const std::size_t kept_max_;
  std::array<Shard, shard_count> shards_;
};

}  // namespace roost
