// The steady path allocates nothing: reads, writes, deadlines, datagrams, memory pipes, channels. Counted by operator new and malloc.
#include <algorithm>
#include <cstdlib>
#include <new>

#include <roost/sync/chan.h>
#include <roost/sync/select.h>

#include "conformance/conn_suite.h"
#include "counted_allocations.h"
#include "sanitized.h"

using roost::test::allocations;

#if defined(__GLIBC__) && !defined(ROOST_ASAN) && !defined(ROOST_TSAN)
// What asks the C library itself is counted, too. A sanitizer has an allocator of its own.
extern "C" void* __libc_malloc(std::size_t bytes) noexcept;
extern "C" void* __libc_calloc(std::size_t count, std::size_t bytes) noexcept;
extern "C" void* __libc_realloc(void* memory, std::size_t bytes) noexcept;
extern "C" void* malloc(std::size_t bytes) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(bytes);
}
extern "C" void* calloc(std::size_t count, std::size_t bytes) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, bytes);
}
extern "C" void* realloc(void* memory, std::size_t bytes) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(memory, bytes);
}
#endif

namespace roost::test {
namespace {

ROOST_SUITE(SteadyPath);

constexpr int rounds = 500;

// What grows once (a heap of timers, the watchdog's notes, a pool) may do so in the middle of any window, so the best of a
// few counts: what allocates at every round does so in all of them.
template <class F>
std::uint64_t allocations_of(F&& round) {
  std::uint64_t least = ~std::uint64_t{0};
  for (int window = 0; window < 5 && least > 0; ++window) {
    const std::uint64_t before = allocations.load();
    for (int i = 0; i < rounds; ++i) round();
    least = std::min(least, allocations.load() - before);
  }
  return least;
}

// What the others rely on: that an allocation would have been counted.
TEST(SteadyPathCount, SeesBothWaysToAllocate) {
  std::unique_ptr<int> made;
  EXPECT_GE(allocations_of([&] { made = std::make_unique<int>(1); }), static_cast<std::uint64_t>(rounds));
#if defined(__GLIBC__)
  if (sanitized) return;
  EXPECT_GE(allocations_of([] {
              char* volatile copy = ::strdup("text");  // volatile: Clang leaves both calls out otherwise
              std::free(copy);
            }),
            static_cast<std::uint64_t>(rounds));
#endif
}

ROOST_CASE(SteadyPath, EchoesAllocateNothing) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    auto echoing = go([&conn = server] { echo(conn); });
    std::array<std::byte, 512> message{};
    EXPECT_EQ(allocations_of([&, &conn = client] {
                static_cast<void>(conn.set_read_deadline(Deadline::after(1h)));
                static_cast<void>(conn.set_write_deadline_after(1h));
                static_cast<void>(conn.write(message));
                for (std::size_t at = 0; at < message.size();) {
                  const auto got = conn.read(std::span(message).subspan(at));
                  if (!got || *got == 0) break;
                  at += *got;
                }
              }),
              0u);
    ASSERT_OK(client.close());
    echoing.join();
  }
}

// Deadlines that pass, too.
ROOST_CASE(SteadyPath, TimeOutsAllocateNothing) {
  auto [client, server] = tcp_pair();
  std::array<std::byte, 8> out;
  EXPECT_EQ(allocations_of([&, &conn = client] {
              static_cast<void>(conn.set_read_deadline(Deadline::after(10us)));
              static_cast<void>(conn.read(out));
            }),
            0u);
}

ROOST_CASE(SteadyPath, VectoredWritesAllocateNothing) {
  auto [client, server] = tcp_pair();
  const std::vector<std::byte> bytes(300);
  std::vector<std::span<const std::byte>> pieces;
  for (std::size_t i = 0; i < bytes.size(); ++i) pieces.push_back(std::span(bytes).subspan(i, 1));
  std::array<std::byte, 300> out;
  EXPECT_EQ(allocations_of([&, &from = client, &to = server] {
              static_cast<void>(from.write_vectored(pieces));
              for (std::size_t at = 0; at < out.size();) at += to.read(std::span(out).subspan(at)).value_or(out.size());
            }),
            0u);
}

// UD-09
ROOST_CASE(SteadyPath, DatagramsAllocateNothing) {
  for (const auto& [network, address] :
       {std::pair<std::string, std::string>{"udp4", "127.0.0.1:0"}, {"udp6", "[::1]:0"}, {"unixgram", ""}}) {
    auto socket = must(net::listen_packet(network, address));
    const net::Address self = must(socket.local_address());
    std::array<std::byte, 64> out;
    net::Address from;
    EXPECT_EQ(allocations_of([&] {
                static_cast<void>(socket.write_to("value", self));
                const auto got = socket.read_from(out);
                if (got) from = got->from;
              }),
              0u);
    EXPECT_EQ(from, self);
    std::array<std::array<std::byte, 32>, 8> memory;
    std::array<net::PacketSlot, 8> slots;
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i].buffer = memory[i];
    const std::array<net::PacketOut, 2> two{net::PacketOut{io::as_bytes("a"), self}, net::PacketOut{io::as_bytes("b"), self}};
    EXPECT_EQ(allocations_of([&] {
                static_cast<void>(socket.write_batch(two));
                for (std::size_t got = 0; got < 2;) got += socket.read_batch(slots).value_or(2);
              }),
              0u);
  }
}

ROOST_CASE(SteadyPath, MemoryPipesAllocateNothing) {
  for (const std::size_t buffer_bytes : {std::size_t{0}, net::pipe_buffer_bytes}) {
    auto [one, two] = net::pipe(buffer_bytes);
    auto echoing = go([&end = two] { echo(end); });
    std::array<std::byte, 100> message{};
    EXPECT_EQ(allocations_of([&, &end = one] {
                static_cast<void>(end.set_read_deadline(Deadline::after(1h)));
                static_cast<void>(end.write(message));
                for (std::size_t at = 0; at < message.size();) {
                  at += end.read(std::span(message).subspan(at)).value_or(message.size());
                }
              }),
              0u);
    ASSERT_OK(one.close());
    echoing.join();
  }
}

// Hand to hand, through a buffer, and by a select that waits, with a deadline each.
ROOST_CASE(SteadyPath, ChannelsAllocateNothing) {
  for (const int capacity : {0, 1}) {
    const Chan<int> there(capacity);
    const Chan<int> back(capacity);
    const Chan<int> never;
    auto echoing = go([=] {
      for (const int value : there) {
        if (!back.send(value)) return;
      }
    });
    int sum = 0;
    EXPECT_EQ(allocations_of([&] {
                static_cast<void>(there.send(1, Deadline::after(1h)));
                sum += back.receive(Deadline::after(1h)).value_or(0);
                static_cast<void>(there.send(1));
                static_cast<void>(select(on_receive(back, [&](Result<int> value) { sum += value.value_or(0); }),
                                         on_receive(never), on_timeout(1h)));
                static_cast<void>(there.try_receive());
              }),
              0u);
    EXPECT_GE(sum, 2 * rounds);
    there.close();
    echoing.join();
  }
}

ROOST_CASE(SteadyPath, SplicesAllocateNothing) {
  auto in = tcp_pair();
  auto out = tcp_pair();
  std::array<std::byte, 64> bytes{};
  EXPECT_EQ(allocations_of([&] {
              static_cast<void>(in.client.write(bytes));
              static_cast<void>(io::copy_n(out.client, in.server, bytes.size()));
              for (std::size_t at = 0; at < bytes.size();) {
                at += out.server.read(std::span(bytes).subspan(at)).value_or(bytes.size());
              }
            }),
            0u);
}

}  // namespace
}  // namespace roost::test
