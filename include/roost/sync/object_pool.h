// ObjectPool<T>: objects that are dear to make and can be used again, such as buffers, parsers, compressors.
//
//   roost::ObjectPool<Parser> parsers([] { return Parser(options); });
//   Parser parser = parsers.get();
//   ...
//   parsers.put(std::move(parser));
//
// What was put back last on a worker is taken first there, while it is still in the cache. A worker that has none takes one from
// another before it makes one. No more than `kept_max` objects are kept for each worker; the rest is destroyed. An object is
// never in two hands. Neither call parks, but the function that makes objects may. Any fiber or plain thread may call.
//
// An object comes back as it was put: resetting it is for whoever puts or gets it. The pool does not count what is out, so an
// object may be kept for good, or one that came from elsewhere be put. For connections, of which there may only be so many, and
// which die, take a pool::ConnPool.
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

  //   make        makes an object where none is kept; may be called by several at once. What it throws leaves get().
  //   kept_max    objects kept for each of 16 shards, which the workers (and plain threads, by their number) share out among
  //               themselves. The first put() on a shard takes memory for so many at once. 0 keeps none.
  explicit ObjectPool(std::function<T()> make = [] { return T(); }, std::size_t kept_max = 64)
      : make_(std::move(make)), kept_max_(kept_max) {}
  ObjectPool(const ObjectPool&) = delete;
  ObjectPool& operator=(const ObjectPool&) = delete;

  // An object that was put, or a new one. Looks at every shard before it makes one.
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

  // Keeps the object for a later get(), or destroys it if there are kept_max here already.
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
