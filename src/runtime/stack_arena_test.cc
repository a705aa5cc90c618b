#include "runtime/stack_arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <set>
#include <vector>

#include "base/clock.h"

namespace roost::runtime {
namespace {

std::size_t resident_pages(const void* low, std::size_t bytes) {
  std::vector<unsigned char> pages(bytes / StackArena::page_bytes);
  if (::mincore(const_cast<void*>(low), bytes, pages.data()) != 0) return 0;
  std::size_t count = 0;
  for (const unsigned char page : pages) count += page & 1u;
  return count;
}

TEST(StackArena, RoundsASizeUpToItsClass) {
  EXPECT_EQ(StackArena::class_bytes(StackArena::class_for(1)), StackArena::smallest_stack_bytes);
  EXPECT_EQ(StackArena::class_bytes(StackArena::class_for(64 * 1024)), 64u * 1024);
  EXPECT_EQ(StackArena::class_bytes(StackArena::class_for(64 * 1024 + 1)), 128u * 1024);
  EXPECT_EQ(StackArena::class_for(StackArena::largest_stack_bytes + 1), -1);
}

TEST(StackArena, FreshStacksAreDistinctAndCostOnePage) {
  StackArena& arena = StackArena::instance();
  const int size_class = StackArena::class_for(64 * 1024);
  std::array<Fiber*, 100> fibers;
  ASSERT_EQ(arena.take(size_class, fibers.data(), fibers.size()), fibers.size());
  EXPECT_EQ(std::set<Fiber*>(fibers.begin(), fibers.end()).size(), fibers.size());
  for (const Fiber* fiber : fibers) {
    EXPECT_LE(resident_pages(fiber->stack_low, 60 * 1024), 1u);
    bool in_guard = true;
    EXPECT_EQ(arena.find(reinterpret_cast<std::uintptr_t>(fiber->stack_low), in_guard), fiber);
    EXPECT_FALSE(in_guard);
    EXPECT_EQ(arena.find(reinterpret_cast<std::uintptr_t>(fiber->stack_low) - 1, in_guard), fiber);
    EXPECT_TRUE(in_guard);
  }
  arena.give(size_class, fibers.data(), fibers.size());
}

TEST(StackArena, GivesTheLastFreedStackFirst) {
  StackArena& arena = StackArena::instance();
  const int size_class = StackArena::class_for(32 * 1024);
  std::array<Fiber*, 2> fibers;
  ASSERT_EQ(arena.take(size_class, fibers.data(), 2), 2u);
  arena.give(size_class, fibers.data(), 2);
  Fiber* again = nullptr;
  ASSERT_EQ(arena.take(size_class, &again, 1), 1u);
  EXPECT_EQ(again, fibers[1]);
  arena.give(size_class, &again, 1);
}

TEST(StackArena, TrimGivesThePagesOfLongFreeStacksBackAndTheyWorkAgain) {
  StackArena& arena = StackArena::instance();
  const int size_class = StackArena::class_for(128 * 1024);
  Fiber* fiber = nullptr;
  ASSERT_EQ(arena.take(size_class, &fiber, 1), 1u);
  std::memset(fiber->stack_low, 1, 64 * 1024);
  const std::byte* low = fiber->stack_low;
  arena.give(size_class, &fiber, 1);
  EXPECT_GE(resident_pages(low, 64 * 1024), 16u);
  EXPECT_GE(arena.trim(base::now_ns() + 1'000'000'000, 500'000'000), 1u);
  EXPECT_EQ(resident_pages(low, 64 * 1024), 0u);
  Fiber* again = nullptr;
  ASSERT_EQ(arena.take(size_class, &again, 1), 1u);
  EXPECT_EQ(again->stack_low, low);
  EXPECT_FALSE(again->live.load());
  arena.give(size_class, &again, 1);
}

TEST(StackArenaDeathTest, TheGuardPageStopsAnOverflow) {
  StackArena& arena = StackArena::instance();
  Fiber* fiber = nullptr;
  ASSERT_EQ(arena.take(StackArena::class_for(256 * 1024), &fiber, 1), 1u);
  EXPECT_DEATH({ *(reinterpret_cast<volatile char*>(fiber->stack_low) - 1) = 1; }, "");
  *reinterpret_cast<volatile char*>(fiber->stack_low) = 0;
  arena.give(StackArena::class_for(256 * 1024), &fiber, 1);
}

}  // namespace
}  // namespace roost::runtime
