#include <gtest/gtest.h>

#include "tools/echo/options.h"

namespace roost::echo {
namespace {

TEST(EchoPlan, FewConnectionsNeedOneProcess) {
  EXPECT_EQ(processes_needed(0, 19'936), 1u);
  EXPECT_EQ(processes_needed(1, 19'936), 1u);
  EXPECT_EQ(processes_needed(19'936, 19'936), 1u);
}

TEST(EchoPlan, SeveralProcessesHaveRoomForTheUnevenHash) {
  EXPECT_EQ(processes_needed(19'937, 19'936), 2u);
  // Five would hold 100,000 if the kernel dealt evenly; the fullest of six gets 17,400 at most.
  EXPECT_EQ(processes_needed(100'000, 19'936), 6u);
  const unsigned million = processes_needed(1'000'000, 19'936);
  EXPECT_GE(million, 52u);
  EXPECT_LE(million, 54u);
}

TEST(EchoPlan, WhatIsNeededIsTheLeastThatSuffices) {
  for (const std::uint64_t connections : {100u, 5'000u, 25'000u, 100'000u, 1'000'000u}) {
    for (const std::uint64_t per_process : {960u, 4'032u, 19'936u}) {
      const unsigned needed = processes_needed(connections, per_process);
      EXPECT_TRUE(processes_suffice(needed, connections, per_process));
      if (needed > 1) {
        EXPECT_FALSE(processes_suffice(needed - 1, connections, per_process));
      }
    }
  }
}

}  // namespace
}  // namespace roost::echo
