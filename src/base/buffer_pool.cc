#include "base/buffer_pool.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/assert.h"
#include "base/sanitizer.h"
#include "base/spin_lock.h"

#ifdef ROOST_ASAN
#include <sanitizer/asan_interface.h>
#endif

// Keeps the compiler from looking through a call that reads a thread-local: were it inlined into code that parks between
// two such calls, the address of the first thread's variable could be used on the second.
#if defined(__clang__)
#define ROOST_OPAQUE [[gnu::noinline]]
#else
#define ROOST_OPAQUE [[gnu::noinline, gnu::noipa]]
#endif

namespace roost::base {
namespace {

struct SizeClass {
  std::size_t bytes;
  std::uint32_t cached_max;  // in each thread's cache
  std::uint32_t depot_max;
};
// A cache holds what stays within a core's L2 cache, since a colder buffer is hardly better than a fresh one; of the
// largest, two. The depot holds 1 MiB of each class, several times that many batches.
constexpr SizeClass size_classes[] = {
    {4 * 1024, 16, 256}, {8 * 1024, 8, 128},  {16 * 1024, 4, 64},
    {32 * 1024, 4, 32},  {64 * 1024, 2, 16}, {128 * 1024, 2, 8},
};
constexpr std::size_t class_count = std::size(size_classes);
constexpr std::uint32_t cached_most = 16;
constexpr std::uint32_t depot_most = 256;

constexpr bool classes_are_consistent() {
  for (std::size_t i = 0; i < class_count; ++i) {
    const SizeClass& row = size_classes[i];
    if (row.bytes != buffer_class_bytes_min << i) return false;
    if (row.cached_max < 2 || row.cached_max > cached_most) return false;  // half of it is a batch
    if (row.depot_max < row.cached_max || row.depot_max > depot_most) return false;
  }
  return size_classes[class_count - 1].bytes == buffer_class_bytes_max;
}
static_assert(classes_are_consistent());

constexpr std::size_t sum_of(std::uint32_t SizeClass::*count) {
  std::size_t bytes = 0;
  for (const SizeClass& row : size_classes) bytes += row.bytes * row.*count;
  return bytes;
}

// class_count where the size is not pooled. (Sizes below the least class would waste most of a buffer of it.)
std::size_t class_of(std::size_t bytes) noexcept {
  if (bytes - buffer_class_bytes_min > buffer_class_bytes_max - buffer_class_bytes_min) return class_count;
  return static_cast<std::size_t>(std::bit_width(bytes - 1)) - std::bit_width(buffer_class_bytes_min - 1);
}

// A buffer that is not lent is poison: AddressSanitizer reports who still touches it.
void poison([[maybe_unused]] std::byte* buffer, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef ROOST_ASAN
  ASAN_POISON_MEMORY_REGION(buffer, bytes);
#endif
}
void unpoison([[maybe_unused]] std::byte* buffer, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef ROOST_ASAN
  ASAN_UNPOISON_MEMORY_REGION(buffer, bytes);
#endif
}

std::byte* allocate(std::size_t size_class) noexcept {
  // On a cache line of its own: two threads may fill neighbouring buffers.
  return static_cast<std::byte*>(std::aligned_alloc(64, size_classes[size_class].bytes));
}
void deallocate(std::byte* buffer, std::size_t size_class) noexcept {
  unpoison(buffer, size_classes[size_class].bytes);
  std::free(buffer);
}

// One thread's buffers.
struct Cache {
  struct Slots {
    std::atomic<std::uint32_t> count{0};  // written by the owner alone; read for statistics
    std::byte* buffers[cached_most];      // the owner's; the one given back last is at the end
  };
  std::array<Slots, class_count> slots;
  std::atomic<std::int64_t> borrowed{0};  // borrowed minus given back here; written by the owner alone, may be negative

  Cache* next = nullptr;  // guarded by Depot::lock
  Cache* previous = nullptr;
};

// The owner's way to change its counter: no locked instruction, since nobody else writes.
template <class T>
void add(std::atomic<T>& counter, T span) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + span, std::memory_order_relaxed);
}

// What the threads share. Constant-initialized and trivial to destroy: usable before main and after it.
struct Depot {
  SpinLock lock;  // leaf; held for a batch of pointers, never across malloc or free
  std::uint32_t count[class_count] ROOST_GUARDED_BY(lock) = {};
  std::byte* buffers[class_count][depot_most] ROOST_GUARDED_BY(lock) = {};
  Cache* caches ROOST_GUARDED_BY(lock) = nullptr;
  std::int64_t borrowed_by_ended_threads ROOST_GUARDED_BY(lock) = 0;

  // Moves up to `wanted` buffers out and returns how many.
  std::uint32_t take(std::size_t size_class, std::byte** out, std::uint32_t wanted) noexcept {
    const SpinGuard guard(lock);
    std::uint32_t& left = count[size_class];
    const std::uint32_t taken = std::min(wanted, left);
    std::copy_n(buffers[size_class] + (left - taken), taken, out);
    left -= taken;
    return taken;
  }
  // Moves up to `offered` buffers in and returns how many found room.
  std::uint32_t put(std::size_t size_class, std::byte* const* in, std::uint32_t offered) noexcept {
    const SpinGuard guard(lock);
    std::uint32_t& held = count[size_class];
    const std::uint32_t taken = std::min(offered, size_classes[size_class].depot_max - held);
    std::copy_n(in, taken, buffers[size_class] + held);
    held += taken;
    return taken;
  }
};
constinit Depot depot;

// A bare pointer, without constructor and destructor, so that reading it is one instruction; a pthread key sees to the
// end of the thread. Read in opaque functions alone, none of which parks.
constinit thread_local Cache* cache_of_thread [[gnu::tls_model("initial-exec")]] = nullptr;

void put_or_free(std::size_t size_class, std::byte* const* buffers, std::uint32_t count) noexcept {
  for (std::uint32_t i = depot.put(size_class, buffers, count); i < count; ++i) deallocate(buffers[i], size_class);
}

ROOST_OPAQUE void end_thread(void* ending) noexcept {
  const std::unique_ptr<Cache> cache(static_cast<Cache*>(ending));
  cache_of_thread = nullptr;  // another key's destructor may borrow after this: it gets a new cache, and we are called again
  for (std::size_t i = 0; i < class_count; ++i) put_or_free(i, cache->slots[i].buffers, cache->slots[i].count);
  const SpinGuard guard(depot.lock);
  depot.borrowed_by_ended_threads += cache->borrowed.load(std::memory_order_relaxed);
  (cache->previous != nullptr ? cache->previous->next : depot.caches) = cache->next;
  if (cache->next != nullptr) cache->next->previous = cache->previous;
}

// The first borrowing or giving back of a thread. Null when there is no memory.
ROOST_OPAQUE Cache* begin_thread() noexcept {
  static const pthread_key_t key = [] {
    pthread_key_t made;
    ROOST_ASSERT(::pthread_key_create(&made, end_thread) == 0, "out of pthread keys (PTHREAD_KEYS_MAX)");
    return made;
  }();
  std::unique_ptr<Cache> cache(new (std::nothrow) Cache);
  if (cache == nullptr || ::pthread_setspecific(key, cache.get()) != 0) return nullptr;
  const SpinGuard guard(depot.lock);
  cache->next = depot.caches;
  if (cache->next != nullptr) cache->next->previous = cache.get();
  depot.caches = cache.get();
  cache_of_thread = cache.get();
  return cache.release();
}

// The buffer of a class given back last, or from the depot a batch of half a cache's worth, or one from malloc.
std::byte* take_cached(Cache& cache, std::size_t size_class) noexcept {
  Cache::Slots& slots = cache.slots[size_class];
  std::uint32_t count = slots.count.load(std::memory_order_relaxed);
  if (count == 0) count = depot.take(size_class, slots.buffers, size_classes[size_class].cached_max / 2);
  if (count == 0) return allocate(size_class);
  slots.count.store(count - 1, std::memory_order_relaxed);
  return slots.buffers[count - 1];
}

// Everything borrow() can meet. Apart, so that borrow() itself needs no stack frame to speak of.
ROOST_OPAQUE std::byte* borrow_slow(std::size_t bytes) noexcept {
  Cache* cache = cache_of_thread;
  if (cache == nullptr) cache = begin_thread();
  if (cache == nullptr) return nullptr;
  const std::size_t size_class = class_of(bytes);
  std::byte* buffer = size_class == class_count
                          ? static_cast<std::byte*>(std::malloc(std::max<std::size_t>(bytes, 1)))
                          : take_cached(*cache, size_class);
  if (buffer == nullptr) return nullptr;
  if (size_class != class_count) unpoison(buffer, size_classes[size_class].bytes);
  add<std::int64_t>(cache->borrowed, 1);
  return buffer;
}

ROOST_OPAQUE void give_back_slow(std::byte* buffer, std::size_t bytes) noexcept {
  if (buffer == nullptr) return;
  Cache* cache = cache_of_thread;
  if (cache == nullptr) cache = begin_thread();
  ROOST_ASSERT(cache != nullptr, "no memory for a thread's buffer cache");
  add<std::int64_t>(cache->borrowed, -1);
  const std::size_t size_class = class_of(bytes);
  if (size_class == class_count) {
    std::free(buffer);
    return;
  }
  Cache::Slots& slots = cache->slots[size_class];
  std::uint32_t count = slots.count.load(std::memory_order_relaxed);
  if (count == size_classes[size_class].cached_max) {
    // The older half goes to the depot, so that neither borrowing nor giving back is at a bound next.
    const std::uint32_t batch = count / 2;
    put_or_free(size_class, slots.buffers, batch);
    std::copy(slots.buffers + batch, slots.buffers + count, slots.buffers);
    count -= batch;
  }
  poison(buffer, size_classes[size_class].bytes);
  slots.buffers[count] = buffer;
  slots.count.store(count + 1, std::memory_order_relaxed);
}

}  // namespace

const std::size_t buffer_depot_bytes_max = sum_of(&SizeClass::depot_max);
const std::size_t buffer_cache_bytes_max = sum_of(&SizeClass::cached_max);

ROOST_OPAQUE std::byte* borrow(std::size_t bytes) noexcept {
  Cache* cache = cache_of_thread;
  const std::size_t size_class = class_of(bytes);
  if (cache == nullptr || size_class == class_count) [[unlikely]] return borrow_slow(bytes);
  Cache::Slots& slots = cache->slots[size_class];
  const std::uint32_t count = slots.count.load(std::memory_order_relaxed);
  if (count == 0) [[unlikely]] return borrow_slow(bytes);

  slots.count.store(count - 1, std::memory_order_relaxed);
  add<std::int64_t>(cache->borrowed, 1);
  std::byte* buffer = slots.buffers[count - 1];
  unpoison(buffer, size_classes[size_class].bytes);
  return buffer;
}

ROOST_OPAQUE void give_back(std::byte* buffer, std::size_t bytes) noexcept {
  Cache* cache = cache_of_thread;
  const std::size_t size_class = class_of(bytes);
  if (buffer == nullptr || cache == nullptr || size_class == class_count) [[unlikely]] return give_back_slow(buffer, bytes);
  Cache::Slots& slots = cache->slots[size_class];
  const std::uint32_t count = slots.count.load(std::memory_order_relaxed);
  if (count == size_classes[size_class].cached_max) [[unlikely]] return give_back_slow(buffer, bytes);

  poison(buffer, size_classes[size_class].bytes);
  slots.buffers[count] = buffer;
  slots.count.store(count + 1, std::memory_order_relaxed);
  add<std::int64_t>(cache->borrowed, -1);
}

std::uint64_t buffers_borrowed() noexcept {
  const SpinGuard guard(depot.lock);
  std::int64_t sum = depot.borrowed_by_ended_threads;
  for (const Cache* cache = depot.caches; cache != nullptr; cache = cache->next) {
    sum += cache->borrowed.load(std::memory_order_relaxed);
  }
  // A buffer that moves to a thread already counted can look given back before it looks borrowed.
  return static_cast<std::uint64_t>(std::max<std::int64_t>(sum, 0));
}

std::size_t buffer_bytes_ready() noexcept {
  const SpinGuard guard(depot.lock);
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < class_count; ++i) {
    std::size_t count = depot.count[i];
    for (const Cache* cache = depot.caches; cache != nullptr; cache = cache->next) {
      count += cache->slots[i].count.load(std::memory_order_relaxed);
    }
    bytes += count * size_classes[i].bytes;
  }
  return bytes;
}

}  // namespace roost::base
