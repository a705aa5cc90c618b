#include "runtime/run_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace roost::runtime {
namespace {

std::vector<std::unique_ptr<Fiber>> make_fibers(std::size_t count) {
  std::vector<std::unique_ptr<Fiber>> fibers;
  for (std::size_t i = 0; i < count; ++i) {
    fibers.push_back(std::make_unique<Fiber>());
    fibers.back()->id = i;
  }
  return fibers;
}

TEST(RunQueue, GivesFibersBackInOrderAndRefusesWhenFull) {
  RunQueue queue;
  const auto fibers = make_fibers(RunQueue::capacity + 1);
  for (std::size_t i = 0; i < RunQueue::capacity; ++i) EXPECT_TRUE(queue.push(fibers[i].get()));
  EXPECT_FALSE(queue.push(fibers.back().get()));
  EXPECT_EQ(queue.size(), RunQueue::capacity);
  for (std::size_t i = 0; i < RunQueue::capacity; ++i) EXPECT_EQ(queue.pop(), fibers[i].get());
  EXPECT_EQ(queue.pop(), nullptr);
}

TEST(RunQueue, AThiefTakesTheOlderHalf) {
  RunQueue queue;
  const auto fibers = make_fibers(7);
  for (const auto& fiber : fibers) ASSERT_TRUE(queue.push(fiber.get()));
  std::array<Fiber*, RunQueue::capacity / 2> taken;
  EXPECT_EQ(queue.steal(taken), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(taken[i], fibers[i].get());
  EXPECT_EQ(queue.pop(), fibers[4].get());
}

// NP-07: local queue operations and stealing lose and duplicate nothing.
TEST(RunQueue, OwnerAndThievesNeverLoseOrDuplicateAFiber) {
  RunQueue queue;
  constexpr std::size_t count = 20'000;
  const auto fibers = make_fibers(count);
  std::vector<std::atomic<int>> seen(count);
  std::atomic<bool> done{false};
  const auto thieve = [&] {
    std::array<Fiber*, RunQueue::capacity / 2> taken;
    while (!done.load() || !queue.empty()) {
      const std::uint32_t stolen = queue.steal(taken);
      for (std::uint32_t i = 0; i < stolen; ++i) seen[taken[i]->id].fetch_add(1);
      if (stolen == 0) std::this_thread::yield();
    }
  };
  std::thread first(thieve);
  std::thread second(thieve);
  for (std::size_t i = 0; i < count; ++i) {
    while (!queue.push(fibers[i].get())) {
      if (Fiber* fiber = queue.pop()) seen[fiber->id].fetch_add(1);
    }
    if (i % 3 == 0) {
      if (Fiber* fiber = queue.pop()) seen[fiber->id].fetch_add(1);
    }
  }
  done.store(true);
  first.join();
  second.join();
  for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(seen[i].load(), 1) << "fiber " << i;
}

}  // namespace
}  // namespace roost::runtime
