// Streams of gigabytes: copied inside the kernel, written as one element. CTest label: slow.
#include <sys/mman.h>

#include "conformance/pairs.h"
#include "sanitized.h"

namespace roost::test {
namespace {

// SP-01: 1 GiB in pieces of 5 MiB.
TEST(LargeStreams, AGibibyteIsSpliced) {
  constexpr std::size_t bytes = std::size_t{1} << (sanitized ? 27 : 30);
  run([] { EXPECT_TRUE(copy_through(tcp_pair(), tcp_pair(), bytes, 5 << 20)); });
}

// WV-05: more than 5 GiB as one element. Anonymous memory that is only read costs nothing.
TEST(LargeStreams, MoreThanTwoToThe32BytesAreOneElement) {
#if defined(ROOST_TSAN)
  GTEST_SKIP() << "ThreadSanitizer keeps four bytes for each byte that send() reads: 20 GB of shadow memory";
#endif
  constexpr std::size_t bytes = (std::size_t{5} << 30) + 12'345;
  void* zeros = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(zeros, MAP_FAILED);
  run([&] {
    auto [client, server] = tcp_pair();
    auto sending = go([&conn = client, zeros] {
      const std::array<std::span<const std::byte>, 2> pieces{io::as_bytes("<"),
                                                             std::span(static_cast<const std::byte*>(zeros), bytes)};
      const auto wrote = conn.write_vectored(pieces);
      static_cast<void>(conn.close_write());
      return wrote;
    });
    std::vector<std::byte> buffer(4 << 20);
    std::size_t total = 0;
    for (auto got = server.read(buffer); got && *got > 0; got = server.read(buffer)) total += *got;
    EXPECT_EQ(total, bytes + 1);
    EXPECT_EQ(sending.join().value_or(0), bytes + 1);
  });
  ::munmap(zeros, bytes);
}

}  // namespace
}  // namespace roost::test
