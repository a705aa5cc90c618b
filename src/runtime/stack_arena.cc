#include "runtime/stack_arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <new>
#include <system_error>

#include "base/clock.h"
#include "runtime/debug_description.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102  // include/uapi/asm-generic/mman-common.h, since Linux 6.13
#endif

namespace roost::runtime {
namespace {

constexpr std::size_t canary_words = 8;

// How many stacks mprotect may guard: each page splits a mapping in two more. The last third of what the kernel allows is left to
// the rest of the program, and to the regions of further stacks, as without mappings not even malloc goes on.
std::uint32_t protected_guards_max() noexcept {
  constexpr std::uint32_t kernel_default = 65'530;
  char text[24] = {};
  const int fd = ::open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return kernel_default / 3;
  const ssize_t bytes = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  std::uint32_t count = 0;
  if (bytes <= 0 || std::from_chars(text, text + bytes, count).ec != std::errc()) count = kernel_default;
  return count / 3;
}

}  // namespace

StackArena::StackArena() noexcept { describe_to_debuggers(regions_, &region_count_); }

StackArena& StackArena::instance() noexcept {
  static auto* arena = new StackArena;  // never destroyed: see the header
  return *arena;
}

int StackArena::class_for(std::size_t bytes) noexcept {
  if (bytes > largest_stack_bytes) return -1;
  const std::size_t rounded = std::bit_ceil(std::max(bytes, smallest_stack_bytes));
  return std::countr_zero(rounded) - std::countr_zero(smallest_stack_bytes);
}

std::size_t StackArena::take(int size_class, Fiber** out, std::size_t count) noexcept {
  SizeClass& own = classes_[size_class];
  base::SpinGuard guard(own.lock);
  std::size_t taken = 0;
  while (taken < count && !own.hot.empty()) {
    out[taken++] = own.hot.back().fiber;
    own.hot.pop_back();
  }
  while (taken < count && !own.cold.empty()) {
    // Its page was given back; the block is zero and is built anew.
    Fiber* fiber = own.cold.back();
    own.cold.pop_back();
    std::byte* low = reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(fiber) & ~(class_bytes(size_class) - 1));
    ::new (fiber) Fiber;
    fiber->size_class = static_cast<std::uint8_t>(size_class);
    fiber->stack_low = low + page_bytes;
    fiber->stack_top = reinterpret_cast<std::byte*>(fiber);
    out[taken++] = fiber;
  }
  while (taken < count) {
    Fiber* fiber = carve(size_class);
    if (fiber == nullptr) break;
    out[taken++] = fiber;
  }
  return taken;
}

void StackArena::give(int size_class, Fiber* const* fibers, std::size_t count) noexcept {
  SizeClass& own = classes_[size_class];
  const std::int64_t now = base::coarse_now_ns();
  base::SpinGuard guard(own.lock);
  for (std::size_t i = 0; i < count; ++i) own.hot.push_back({fibers[i], now});
}

Fiber* StackArena::control_block(std::byte* slot, int size_class, std::size_t index) noexcept {
  const std::size_t offset = sizeof(Fiber) + (index % colours) * colour_step;
  return reinterpret_cast<Fiber*>(slot + class_bytes(size_class) - offset);
}

Fiber* StackArena::carve(int size_class) noexcept ROOST_NO_THREAD_SAFETY_ANALYSIS {
  SizeClass& own = classes_[size_class];
  const std::size_t bytes = class_bytes(size_class);
  if (own.open == nullptr || (own.open->carved.load(std::memory_order_relaxed) + 1) * bytes > own.open->bytes) {
    own.open = open_region(size_class);
    if (own.open == nullptr) return nullptr;
  }
  const std::uint32_t index = own.open->carved.load(std::memory_order_relaxed);
  std::byte* slot = own.open->base + index * bytes;
  if (!install_guard(slot)) return nullptr;
  Fiber* fiber = ::new (control_block(slot, size_class, index)) Fiber;
  fiber->size_class = static_cast<std::uint8_t>(size_class);
  fiber->stack_low = slot + page_bytes;
  fiber->stack_top = reinterpret_cast<std::byte*>(fiber);
  // Release pairs with the acquire in for_each() and find(): the block is built.
  own.open->carved.store(index + 1, std::memory_order_release);
  carved_total_.fetch_add(1, std::memory_order_relaxed);
  return fiber;
}

StackArena::Region* StackArena::open_region(int size_class) noexcept {
  const std::size_t stack = class_bytes(size_class);
  const std::size_t bytes = std::max(region_bytes_min, stack);
  const std::size_t slot = region_count_.fetch_add(1, std::memory_order_relaxed);
  if (slot >= regions_max) return nullptr;
  // Twice the alignment, cut to size: take() finds a stack's low end by masking its control block's address.
  void* raw = ::mmap(nullptr, bytes + stack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const auto address = reinterpret_cast<std::uintptr_t>(raw);
  const std::uintptr_t aligned = (address + stack - 1) & ~(stack - 1);
  if (aligned > address) ::munmap(raw, aligned - address);
  if (const std::size_t rest = address + stack - aligned; rest > 0) {
    ::munmap(reinterpret_cast<void*>(aligned + bytes), rest);
  }
  auto* base = reinterpret_cast<std::byte*>(aligned);
  // One huge page would commit 32 stacks of 64 KiB at the first touch.
  ::madvise(base, bytes, MADV_NOHUGEPAGE);
  auto* region = new (std::nothrow) Region{base, bytes, size_class, {0}};
  if (region == nullptr) return nullptr;
  // Release pairs with the acquire in for_each() and find().
  regions_[slot].store(region, std::memory_order_release);
  return region;
}

bool StackArena::install_guard(std::byte* page) noexcept {
  if (guard_kind_.load(std::memory_order_relaxed) == 0) {
    if (::madvise(page, page_bytes, MADV_GUARD_INSTALL) == 0) return true;
    guard_kind_.store(1, std::memory_order_relaxed);
  }
  if (guard_kind_.load(std::memory_order_relaxed) == 1) {
    static const std::uint32_t guards_max = protected_guards_max();
    const bool allowed = protected_guards_.fetch_add(1, std::memory_order_relaxed) < guards_max;
    if (allowed && ::mprotect(page, page_bytes, PROT_NONE) == 0) return true;
    guard_kind_.store(2, std::memory_order_relaxed);
    canaries_.store(true, std::memory_order_relaxed);
  }
  return true;
}

bool StackArena::canary_intact(const Fiber& fiber) noexcept {
  // Never written: reading an untouched page commits nothing, and a stack that reached its very end has left a mark.
  const auto* words = reinterpret_cast<const volatile std::uint64_t*>(fiber.stack_low);
  for (std::size_t i = 0; i < canary_words; ++i) {
    if (words[i] != 0) return false;
  }
  return true;
}

std::size_t StackArena::trim(std::int64_t now_ns, std::int64_t idle_ns) noexcept {
  std::size_t trimmed = 0;
  for (int size_class = 0; size_class < class_count; ++size_class) {
    SizeClass& own = classes_[size_class];
    // The oldest lie in front. They are taken out first: giving pages back takes microseconds, too long for a spin lock.
    std::vector<FreeStack> stale;
    {
      base::SpinGuard guard(own.lock);
      auto end = own.hot.begin();
      while (end != own.hot.end() && end->since_ns + idle_ns <= now_ns) ++end;
      stale.assign(own.hot.begin(), end);
      own.hot.erase(own.hot.begin(), end);
    }
    for (const FreeStack& stack : stale) {
      ::madvise(stack.fiber->stack_low, class_bytes(size_class) - page_bytes, MADV_DONTNEED);
    }
    base::SpinGuard guard(own.lock);
    for (const FreeStack& stack : stale) own.cold.push_back(stack.fiber);
    trimmed += stale.size();
  }
  return trimmed;
}

void StackArena::for_each(FunctionRef<void(Fiber&)> visit) noexcept {
  const std::size_t count = std::min(region_count_.load(std::memory_order_acquire), regions_max);
  for (std::size_t i = 0; i < count; ++i) {
    const Region* region = regions_[i].load(std::memory_order_acquire);
    if (region == nullptr) continue;
    const std::uint32_t carved = region->carved.load(std::memory_order_acquire);
    const std::size_t bytes = class_bytes(region->size_class);
    for (std::uint32_t slot = 0; slot < carved; ++slot) {
      visit(*control_block(region->base + slot * bytes, region->size_class, slot));
    }
  }
}

Fiber* StackArena::find(std::uintptr_t address, bool& in_guard) noexcept {
  const std::size_t count = std::min(region_count_.load(std::memory_order_acquire), regions_max);
  for (std::size_t i = 0; i < count; ++i) {
    const Region* region = regions_[i].load(std::memory_order_acquire);
    if (region == nullptr) continue;
    const auto base = reinterpret_cast<std::uintptr_t>(region->base);
    if (address < base || address >= base + region->bytes) continue;
    const std::size_t bytes = class_bytes(region->size_class);
    const std::size_t slot = (address - base) / bytes;
    if (slot >= region->carved.load(std::memory_order_acquire)) return nullptr;
    in_guard = (address - base) % bytes < page_bytes;
    return control_block(region->base + slot * bytes, region->size_class, slot);
  }
  return nullptr;
}

}  // namespace roost::runtime
