#include "tools/common/proc.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace roost::tools {
namespace {

TEST(Proc, ThisProcessUsesMemoryAndItsTreeIncludesChildren) {
  int hold[2];
  ASSERT_EQ(::pipe(hold), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    ::close(hold[1]);
    (void)!::read(hold[0], &byte, 1);  // until the parent lets go
    ::_exit(0);
  }
  const auto tree = process_tree(::getpid());
  ASSERT_GE(tree.size(), 2u);
  EXPECT_EQ(tree.front(), ::getpid());
  EXPECT_NE(std::find(tree.begin(), tree.end(), child), tree.end());

  const ProcessUsage usage = read_usage(tree);
  EXPECT_GE(usage.processes, 2u);
  EXPECT_GT(usage.memory_bytes, 100'000u);

  ::close(hold[0]);
  ::close(hold[1]);
  ::waitpid(child, nullptr, 0);
  const auto after = process_tree(child);
  EXPECT_TRUE(after.empty());
  EXPECT_EQ(read_usage({child}).processes, 0u);
}

TEST(Proc, MemoryThatIsTouchedShows) {
  const std::uint64_t before = read_usage({::getpid()}).memory_bytes;
  const std::uint64_t anonymous_before = read_anonymous_bytes({::getpid()});
  constexpr std::size_t size = 32 << 20;
  auto* block = static_cast<volatile char*>(::malloc(size));
  for (std::size_t i = 0; i < size; i += 4096) block[i] = 1;
  EXPECT_GT(read_usage({::getpid()}).memory_bytes, before + size / 2);
  EXPECT_GT(read_anonymous_bytes({::getpid()}), anonymous_before + size / 2);
  ::free(const_cast<char*>(block));
}

TEST(Proc, TcpIsCountedByTheNamesOfItsColumns) {
  const TcpCounters counters = parse_tcp_counters(
      "Ip: Forwarding RetransSegs\nIp: 1 99\nTcp: RtoAlgorithm MaxConn RetransSegs InErrs\nTcp: 1 -1 17 0\n",
      "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 4 5\nIpExt: InNoRoutes\nIpExt: 7\n");
  EXPECT_EQ(counters, (TcpCounters{.retransmitted_segments = 17, .listen_overflows = 4, .listen_drops = 5}));
  EXPECT_EQ(counters.since({.retransmitted_segments = 10, .listen_overflows = 4, .listen_drops = 9}), (TcpCounters{.retransmitted_segments = 7}))
      << "what was reset meanwhile counts nothing";
  EXPECT_EQ(parse_tcp_counters("", "TcpExt: A\n"), TcpCounters{});
  EXPECT_TRUE(share_network_namespace(::getpid()));
}

TEST(Proc, PacketsDroppedFromTheBacklogAreSummedOverProcessors) {
  EXPECT_EQ(parse_backlog_drops("17968462 0000000a 00000519 00000000\n17d65237 00000010 00000579 00000000\n"), 26u);
  EXPECT_EQ(parse_backlog_drops("17968462 00d017f5"), 0xd017f5u) << "without an end of line";
  EXPECT_EQ(parse_backlog_drops(""), 0u);
  EXPECT_EQ(parse_backlog_drops("nonsense\n\n"), 0u);
}

TEST(Proc, DescriptorsAreCounted) {
  const auto before = count_descriptors({::getpid()});
  if (!before) GTEST_SKIP() << "this kernel does not tell by the size of /proc/self/fd";
  const int one = ::dup(0);
  EXPECT_EQ(count_descriptors({::getpid()}), *before + 1);
  ::close(one);
  EXPECT_EQ(count_descriptors({-1}), std::nullopt);
}

TEST(Proc, TheMachineHasMemoryProcessorsPortsAndDescriptors) {
  EXPECT_GT(read_kernel_memory().slab_bytes, 0u);
  EXPECT_GT(read_available_bytes(), 0u);
  const MachineCpu cpu = read_machine_cpu();
  EXPECT_GT(cpu.busy_s, 0);
  EXPECT_GT(cpu.total_s, cpu.busy_s);
  EXPECT_GE(processor_count(), 1u);
  EXPECT_GT(descriptor_limit(), 0u);
  EXPECT_GT(descriptors_free_on_machine(), 0u);
  const PortRange ports = local_port_range();
  EXPECT_GT(ports.count(), 0u);
  EXPECT_LE(ports.last, 65535u);
}

}  // namespace
}  // namespace roost::tools
