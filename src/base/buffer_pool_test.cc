#include "base/buffer_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace roost::base {
namespace {

constexpr std::size_t sizes[] = {0,         1,          16,         4'095,       4'096,      4'097,    8'192,
                                 20'000,    32'768,     65'536,     131'072,     131'073,    1'048'576};

std::vector<std::byte*> borrow_many(std::size_t count, std::size_t bytes) {
  std::vector<std::byte*> all;
  for (std::size_t i = 0; i < count; ++i) all.push_back(borrow(bytes));
  return all;
}
void give_back_all(const std::vector<std::byte*>& all, std::size_t bytes) {
  for (std::byte* buffer : all) give_back(buffer, bytes);
}

TEST(BufferPool, LendsAtLeastWhatWasAskedForAndEachBufferOnce) {
  for (const std::size_t bytes : sizes) {
    const auto all = borrow_many(40, bytes);
    EXPECT_EQ(std::set(all.begin(), all.end()).size(), all.size());
    for (std::byte* buffer : all) std::memset(buffer, 0xab, bytes);
    give_back_all(all, bytes);
  }
}

TEST(BufferPool, LendsTheBufferGivenBackLast) {
  for (const std::size_t bytes : {std::size_t{4'096}, std::size_t{5'000}, std::size_t{131'072}}) {
    std::byte* first = borrow(bytes);
    std::byte* second = borrow(bytes);
    give_back(first, bytes);
    give_back(second, bytes);
    EXPECT_EQ(borrow(bytes), second);
    EXPECT_EQ(borrow(bytes), first);
    give_back(first, bytes);
    give_back(second, bytes);
  }
}

TEST(BufferPool, CountsWhatIsLent) {
  const auto before = buffers_borrowed();
  for (const std::size_t bytes : sizes) {
    std::byte* buffer = borrow(bytes);
    EXPECT_EQ(buffers_borrowed(), before + 1) << bytes;
    give_back(buffer, bytes);
    EXPECT_EQ(buffers_borrowed(), before) << bytes;
  }
  give_back(nullptr, 4'096);
  EXPECT_EQ(buffers_borrowed(), before);
}

TEST(BufferPool, CountsAcrossThreadsThatBorrowAndOthersThatGiveBack) {
  const auto before = buffers_borrowed();
  std::vector<std::byte*> all;
  std::thread([&] { all = borrow_many(100, 4'096); }).join();
  EXPECT_EQ(buffers_borrowed(), before + 100);
  std::thread([&] { give_back_all(all, 4'096); }).join();
  EXPECT_EQ(buffers_borrowed(), before);
}

TEST(BufferPool, KeepsNoMoreReadyThanItsBounds) {
  for (const std::size_t bytes : sizes) {
    give_back_all(borrow_many(1'000, std::min<std::size_t>(bytes, 131'072)), std::min<std::size_t>(bytes, 131'072));
    EXPECT_LE(buffer_bytes_ready(), buffer_depot_bytes_max + buffer_cache_bytes_max);
  }
}

TEST(BufferPool, AnEndingThreadHandsItsBuffersOn) {
  constexpr std::size_t bytes = 16'384;
  give_back_all(borrow_many(1'000, bytes), bytes);  // fill the depot, so that nothing comes from malloc
  const auto ready = buffer_bytes_ready();
  std::thread([] {
    give_back_all(borrow_many(2, bytes), bytes);
    EXPECT_GT(buffer_bytes_ready(), 0u);
  }).join();
  EXPECT_EQ(buffer_bytes_ready(), ready);
}

TEST(BufferPool, WorksInAnotherThreadLocalsDestructor) {
  static pthread_key_t key;
  ASSERT_EQ(::pthread_key_create(&key, [](void* buffer) {
              give_back(static_cast<std::byte*>(buffer), 4'096);
              give_back(borrow(8'192), 8'192);
            }),
            0);
  const auto before = buffers_borrowed();
  std::thread([] { ::pthread_setspecific(key, borrow(4'096)); }).join();
  EXPECT_EQ(buffers_borrowed(), before);
  ::pthread_key_delete(key);
}

TEST(BufferPool, BuffersTravelFromOneThreadToAnotherWithoutPilingUp) {
  // One side borrows, the other gives back: the batches must come round again through the depot.
  constexpr int rounds = 20'000;
  constexpr std::size_t in_flight_max = 64;
  const auto before = buffers_borrowed();
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::byte*> in_flight;
  std::set<std::byte*> distinct;
  std::thread taker([&] {
    for (int i = 0; i < rounds; ++i) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return !in_flight.empty(); });
      std::byte* buffer = in_flight.back();
      in_flight.pop_back();
      lock.unlock();
      changed.notify_one();
      EXPECT_EQ(std::to_integer<int>(buffer[4'095]), 0x5a);
      give_back(buffer, 4'096);
    }
  });
  for (int i = 0; i < rounds; ++i) {
    std::byte* buffer = borrow(4'096);
    buffer[4'095] = std::byte{0x5a};
    distinct.insert(buffer);
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return in_flight.size() < in_flight_max; });
    in_flight.push_back(buffer);
    lock.unlock();
    changed.notify_one();
  }
  taker.join();
  EXPECT_EQ(buffers_borrowed(), before);
  EXPECT_LE(distinct.size(), 1'000u);
}

TEST(BufferPool, ThreadsThatExchangeAtRandomNeverShareABuffer) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  constexpr int threads_count = 4;
  const auto before = buffers_borrowed();
  std::mutex mutex;
  std::vector<std::pair<std::byte*, std::size_t>> market;
  std::atomic<int> shared{0};
  std::vector<std::thread> threads;
  for (int id = 0; id < threads_count; ++id) {
    threads.emplace_back([&, id] {
      std::mt19937 random(seed + static_cast<unsigned>(id));
      std::vector<std::pair<std::byte*, std::size_t>> mine;
      for (int i = 0; i < 20'000; ++i) {
        if (random() % 2 == 0 || mine.empty()) {
          const std::size_t bytes = std::size_t{4'096} << random() % 4;
          mine.emplace_back(borrow(bytes), bytes);
          std::memset(mine.back().first, id, 64);
        } else {
          std::swap(mine[random() % mine.size()], mine.back());
          auto [buffer, bytes] = mine.back();
          mine.pop_back();
          if (std::any_of(buffer, buffer + 64, [&](std::byte b) { return b != std::byte(id); })) ++shared;
          const std::lock_guard lock(mutex);
          if (random() % 8 == 0) {
            market.emplace_back(buffer, bytes);
            continue;
          }
          if (random() % 2 == 0 && !market.empty()) {  // give back another thread's instead
            std::swap(market.back().first, buffer);
            std::swap(market.back().second, bytes);
          }
          give_back(buffer, bytes);
        }
      }
      for (auto [buffer, bytes] : mine) give_back(buffer, bytes);
    });
  }
  for (auto& thread : threads) thread.join();
  for (auto [buffer, bytes] : market) give_back(buffer, bytes);
  EXPECT_EQ(shared, 0);
  EXPECT_EQ(buffers_borrowed(), before);
}

TEST(Buffer, GivesBackWhenItsOwnerEnds) {
  const auto before = buffers_borrowed();
  {
    Buffer buffer(4'096);
    ASSERT_NE(buffer.data(), nullptr);
    EXPECT_EQ(buffer.size(), 4'096u);
    Buffer moved(std::move(buffer));
    Buffer assigned;
    assigned = std::move(moved);
    EXPECT_EQ(buffers_borrowed(), before + 1);
    assigned.reset();
    EXPECT_EQ(buffers_borrowed(), before);
    EXPECT_EQ(assigned.size(), 0u);
    assigned = Buffer(8'192);
  }
  EXPECT_EQ(buffers_borrowed(), before);
}

}  // namespace
}  // namespace roost::base
