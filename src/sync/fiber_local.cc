#include <roost/fiber_local.h>

#include <memory>
#include <mutex>
#include <vector>

#include "runtime/parking.h"

namespace roost::detail {
namespace {

// Hands out indices, used ones first, so that tables stay short.
class KeyRegistry {
 public:
  static KeyRegistry& instance() {
    static auto* registry = new KeyRegistry;  // never destroyed: variables with static lifetime give their keys back late
    return *registry;
  }
  LocalKey take() {
    std::lock_guard lock(mutex_);
    std::uint32_t index = next_;
    if (free_.empty()) {
      ++next_;
      free_.reserve(next_);  // so that give() cannot fail
    } else {
      index = free_.back();
      free_.pop_back();
    }
    return {.index = index, .generation = ++generation_};
  }
  void give(LocalKey key) noexcept {
    std::lock_guard lock(mutex_);
    free_.push_back(key.index);
  }

 private:
  std::mutex mutex_;  // never held across a park; guards all below
  std::vector<std::uint32_t> free_;
  std::uint32_t next_ = 0;
  std::uint64_t generation_ = 0;
};

// The values of one fiber or thread. Touched by it alone.
class LocalTable {
 public:
  LocalTable() = default;
  LocalTable(const LocalTable&) = delete;
  LocalTable& operator=(const LocalTable&) = delete;
  ~LocalTable() {
    // A destructor may use other variables and so make values anew; after a few rounds such a chain is cut off.
    for (int round = 0; round < rounds_max && !slots_.empty(); ++round) {
      std::vector<Slot> old;
      old.swap(slots_);
      while (!old.empty()) {  // the one made last goes first
        destroy(old.back());
        old.pop_back();
      }
    }
  }

  [[nodiscard]] void* find(LocalKey key) const noexcept {
    if (key.index >= slots_.size()) return nullptr;
    const Slot& slot = slots_[key.index];
    return slot.generation == key.generation ? slot.value : nullptr;
  }
  void store(LocalKey key, void* value, void (*destroy_value)(void*) noexcept) {
    if (key.index >= slots_.size()) slots_.resize(key.index + 1);
    // The old value's destructor may use the table, so the new one is in place first.
    Slot old = std::exchange(slots_[key.index], Slot{.value = value, .destroy = destroy_value, .generation = key.generation});
    destroy(old);
  }

 private:
  static constexpr int rounds_max = 4;

  struct Slot {
    void* value = nullptr;
    void (*destroy)(void*) noexcept = nullptr;
    std::uint64_t generation = 0;
  };
  static void destroy(const Slot& slot) noexcept {
    if (slot.value != nullptr) slot.destroy(slot.value);
  }

  std::vector<Slot> slots_;
};

// A plain thread's. Only for threads that run no fibers, so that its address cannot be kept across a park.
[[gnu::noinline]] std::unique_ptr<LocalTable>& thread_table() noexcept {
  thread_local std::unique_ptr<LocalTable> table;
  return table;
}

void free_table(void* table) noexcept { delete static_cast<LocalTable*>(table); }

LocalTable* table_here() noexcept {
  const Fiber* self = runtime::current_fiber();
  return self != nullptr ? static_cast<LocalTable*>(self->locals) : thread_table().get();
}

}  // namespace

LocalKey new_local_key() { return KeyRegistry::instance().take(); }
void free_local_key(LocalKey key) noexcept { KeyRegistry::instance().give(key); }

void* find_local(LocalKey key) noexcept {
  const LocalTable* table = table_here();
  return table == nullptr ? nullptr : table->find(key);
}

void store_local(LocalKey key, void* value, void (*destroy)(void*) noexcept) {
  LocalTable* table = table_here();
  if (table == nullptr) {
    table = new LocalTable;
    if (Fiber* self = runtime::current_fiber()) {
      self->locals = table;
      self->locals_free = &free_table;
    } else {
      thread_table().reset(table);
    }
  }
  table->store(key, value, destroy);
}

}  // namespace roost::detail
