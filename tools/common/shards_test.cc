#include "tools/common/shards.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <set>
#include <thread>

namespace roost::tools {
namespace {

using namespace std::chrono_literals;

// Plain blocking receive for children that run no runtime: waits for one frame, whatever it says.
void await_frame(const ShardLink& link) {
  char bytes[64];
  (void)!::recv(link.fd(), bytes, sizeof bytes, 0);
}

// Runs the group to its end and keeps what it reported.
struct Record {
  std::map<unsigned, std::vector<std::string>> frames;
  std::map<unsigned, ShardExit> exits;
  std::vector<int> signals;

  ShardGroup::Handler handler() {
    return {.on_frame = [this](unsigned index, const Frame& frame) { frames[index].push_back(frame.payload); },
            .on_exit = [this](const ShardExit& exit) { EXPECT_TRUE(exits.emplace(exit.index, exit).second); },
            .on_signal = [this](int signal) { signals.push_back(signal); }};
  }
  template <class Condition>
  void poll_until(ShardGroup& group, Condition condition) {
    for (int i = 0; i < 2000 && !condition(); ++i) group.poll(5ms, handler());
    EXPECT_TRUE(condition()) << "nothing came within ten seconds";
  }
};

TEST(Shards, FurtherSignalsAreTheParentsAlone) {
  auto group = ShardGroup::start(1, [](const ShardLink& link) {
    ::raise(SIGQUIT);  // would end it
    link.send(1, "alive");
    await_frame(link);
    return 0;
  }, {SIGQUIT});
  ASSERT_TRUE(group);
  Record record;
  record.poll_until(*group, [&] { return !record.frames[0].empty(); });
  ::raise(SIGQUIT);
  record.poll_until(*group, [&] { return !record.signals.empty(); });
  EXPECT_EQ(record.signals, std::vector<int>{SIGQUIT});
  group->broadcast(1, {});
  record.poll_until(*group, [&] { return record.exits.size() == 1; });
  EXPECT_EQ(record.exits[0].exit_status, 0);
}

TEST(Shards, AnotherThreadEndsAWait) {
  auto group = ShardGroup::start(1, [](const ShardLink& link) {
    await_frame(link);
    return 0;
  });
  ASSERT_TRUE(group);
  Record record;
  group->wake();  // one that comes before the wait is kept
  const auto began = std::chrono::steady_clock::now();
  group->poll(60s, record.handler());
  std::thread other([&] { group->wake(); });
  group->poll(60s, record.handler());
  other.join();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 60s);
}

TEST(Shards, FramesOfAllSizesArriveWholeAndInOrder) {
  auto group = ShardGroup::start(3, [](const ShardLink& link) {
    link.send(1, "");
    link.send(2, std::string(300'000, static_cast<char>('a' + link.index())));
    link.send(3, bytes_of(std::uint64_t{link.index() * 1000 + link.count()}));
    return static_cast<int>(link.index());
  });
  ASSERT_TRUE(group);
  Record record;
  record.poll_until(*group, [&] { return record.exits.size() == 3; });
  for (unsigned i = 0; i < 3; ++i) {
    ASSERT_EQ(record.frames[i].size(), 3u);
    EXPECT_EQ(record.frames[i][0], "");
    EXPECT_EQ(record.frames[i][1], std::string(300'000, static_cast<char>('a' + i)));
    EXPECT_EQ(value_of<std::uint64_t>(record.frames[i][2]), i * 1000 + 3);
    EXPECT_EQ(record.exits[i].exit_status, static_cast<int>(i));
    EXPECT_FALSE(record.exits[i].killed());
  }
  EXPECT_EQ(group->running(), 0u);
}

TEST(Shards, AChildThatIsKilledIsReportedAndTheOthersGoOn) {
  auto group = ShardGroup::start(2, [](const ShardLink& link) {
    await_frame(link);
    link.send(1, "alive");
    return 0;
  });
  ASSERT_TRUE(group);
  const pid_t victim = group->pids()[0];
  ::kill(victim, SIGKILL);
  Record record;
  record.poll_until(*group, [&] { return record.exits.contains(0); });
  EXPECT_TRUE(record.exits[0].killed());
  EXPECT_EQ(record.exits[0].pid, victim);
  EXPECT_NE(record.exits[0].to_string().find("killed by signal 9"), std::string::npos);
  EXPECT_EQ(group->running(), 1u);

  group->send(0, 1, "to the dead: passed over");
  group->send(1, 1, "go on");
  record.poll_until(*group, [&] { return record.exits.contains(1); });
  EXPECT_EQ(record.frames[1], std::vector<std::string>{"alive"});
  EXPECT_EQ(record.exits[1].exit_status, 0);
}

TEST(Shards, AStopSignalReachesTheParentAndNotTheChildren) {
  auto group = ShardGroup::start(1, [](const ShardLink& link) {
    ::raise(SIGINT);
    ::raise(SIGTERM);
    link.send(1, "still here");
    await_frame(link);
    return 7;
  });
  ASSERT_TRUE(group);
  ::raise(SIGTERM);
  Record record;
  record.poll_until(*group, [&] { return !record.signals.empty() && !record.frames[0].empty(); });
  EXPECT_EQ(record.signals, std::vector<int>{SIGTERM});
  group->broadcast(1, "leave");
  record.poll_until(*group, [&] { return record.exits.contains(0); });
  EXPECT_EQ(record.exits[0].exit_status, 7);
}

TEST(Shards, ChildrenEndWithTheGroup) {
  std::vector<pid_t> pids;
  {
    auto group = ShardGroup::start(2, [](const ShardLink&) {
      for (;;) ::pause();
      return 0;
    });
    ASSERT_TRUE(group);
    pids = group->pids();
  }
  for (const pid_t pid : pids) EXPECT_EQ(::kill(pid, 0), -1);
}

TEST(Shards, CountersAreSharedAndADeadChildsShareCanBeCleared) {
  SharedCounters counters(2);
  auto group = ShardGroup::start(2, [&](const ShardLink& link) {
    counters.add(link.index(), 10 + link.index());
    counters.add(link.index(), -1);
    return 0;
  });
  ASSERT_TRUE(group);
  Record record;
  record.poll_until(*group, [&] { return record.exits.size() == 2; });
  EXPECT_EQ(counters.sum(), 19u);
  counters.clear(1);
  EXPECT_EQ(counters.sum(), 9u);
}

}  // namespace
}  // namespace roost::tools
