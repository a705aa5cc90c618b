// StackArena: where fiber stacks come from.
//
// Stacks are carved out of large reserved regions that are never unmapped. Each has a guard page below it: by
// MADV_GUARD_INSTALL (Linux 6.13), which splits no mapping, so that a million guarded stacks need no sysctl; on older
// kernels by mprotect, for a third of vm.max_map_count stacks, and after that by a canary that park() checks (has_canaries()).
// Pages are committed by the kernel on first touch. Free stacks are kept hot, last in first out; trim() gives the pages
// of those that were long unused back.
//
// The control block (Fiber) of a stack lies at its top. Neighbouring stacks place it at different offsets within
// their page, because the tops of all stacks would otherwise compete for the same cache sets (colour_of).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include <roost/detail/function_ref.h>

#include "base/spin_lock.h"
#include "runtime/fiber.h"

namespace roost::runtime {

class StackArena {
 public:
  static constexpr std::size_t page_bytes = 4096;
  static constexpr std::size_t smallest_stack_bytes = 16 * 1024;
  static constexpr std::size_t largest_stack_bytes = std::size_t{1} << 30;
  static constexpr int class_count = 17;  // 16 KiB, 32 KiB, ..., 1 GiB

  // The process's arena. It outlives every runtime: control blocks stay valid for late wake-ups.
  static StackArena& instance() noexcept;

  // The class whose stacks hold at least `bytes`; -1 when that is more than largest_stack_bytes.
  [[nodiscard]] static int class_for(std::size_t bytes) noexcept;
  [[nodiscard]] static std::size_t class_bytes(int size_class) noexcept { return smallest_stack_bytes << size_class; }

  // Takes up to `count` free stacks; carves new ones where there are none. Returns how many: fewer only when the address
  // space or the kernel's limits are used up.
  std::size_t take(int size_class, Fiber** out, std::size_t count) noexcept;
  void give(int size_class, Fiber* const* fibers, std::size_t count) noexcept;

  // Gives the pages of stacks that lay free for longer than `idle_ns` back to the kernel. Returns how many stacks.
  std::size_t trim(std::int64_t now_ns, std::int64_t idle_ns) noexcept;

  // Calls `visit` for every control block, live or not. Fibers may start and end meanwhile.
  void for_each(FunctionRef<void(Fiber&)> visit) noexcept;

  // The stack whose guard page or usable range holds `address`; null when none does. Async-signal-safe.
  [[nodiscard]] Fiber* find(std::uintptr_t address, bool& in_guard) noexcept;

  [[nodiscard]] std::uint64_t carved_total() const noexcept { return carved_total_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool has_canaries() const noexcept { return canaries_.load(std::memory_order_relaxed); }
  // False: the lowest words of a canary-guarded stack were written to.
  [[nodiscard]] static bool canary_intact(const Fiber& fiber) noexcept;

 private:
  friend struct DebugDescriptionOffsets;
  StackArena() noexcept;

  struct Region {
    std::byte* base;
    std::size_t bytes;
    int size_class;
    std::atomic<std::uint32_t> carved;  // slots [0, carved) exist
  };
  struct FreeStack {
    Fiber* fiber;
    std::int64_t since_ns;
  };
  struct SizeClass {
    base::SpinLock lock;
    std::vector<FreeStack> hot ROOST_GUARDED_BY(lock);   // oldest first; used from the back
    std::vector<Fiber*> cold ROOST_GUARDED_BY(lock);     // pages given back
    Region* open ROOST_GUARDED_BY(lock) = nullptr;       // the region that is being carved
  };

  static constexpr std::size_t region_bytes_min = std::size_t{64} << 20;
  static constexpr std::size_t regions_max = 65'536;  // 4 TiB of 64 MiB regions

  Fiber* carve(int size_class) noexcept;
  Region* open_region(int size_class) noexcept;
  bool install_guard(std::byte* page) noexcept;
  // Offsets of control blocks within their page: `colours` steps of 128 bytes. Tops at one offset would all map to
  // the same sets of L1 (64 sets of 64 bytes are one page), eight ways deep.
  static constexpr std::size_t colours = 8;
  static constexpr std::size_t colour_step = 128;
  static Fiber* control_block(std::byte* slot, int size_class, std::size_t index) noexcept;

  SizeClass classes_[class_count];
  std::atomic<Region*> regions_[regions_max] = {};  // append only
  std::atomic<std::size_t> region_count_{0};
  std::atomic<std::uint64_t> carved_total_{0};
  std::atomic<int> guard_kind_{0};                  // 0 MADV_GUARD_INSTALL, 1 mprotect, 2 canary
  std::atomic<std::uint32_t> protected_guards_{0};  // by mprotect
  std::atomic<bool> canaries_{false};
};

}  // namespace roost::runtime
