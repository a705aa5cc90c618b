// Guards of stacks on kernels before 6.13, which do not know MADV_GUARD_INSTALL. Each test runs in a process of its own, in which
// the kernel plays one of them: a seccomp filter refuses that advice as they do.
#include <gtest/gtest.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include <roost/go.h>
#include <roost/runtime.h>

#include "runtime/parking.h"
#include "runtime/stack_arena.h"
#include "sanitized.h"

namespace roost::runtime {
namespace {

void become_an_older_kernel() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 102 /* MADV_GUARD_INSTALL */, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{std::size(code), code};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    std::perror("seccomp");
    std::_Exit(99);
  }
}

int max_map_count() {
  int count = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> count;
  return count;
}

// Where fibers of one worker wait.
class Gate {
 public:
  void wait() {
    waiting_.push_back(current_fiber());
    while (!open_) park(WaitReason::condition);
  }
  void open() {
    open_ = true;
    for (Fiber* fiber : waiting_) unpark(fiber);
  }
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }

 private:
  std::vector<Fiber*> waiting_;
  bool open_ = false;
};

// Starts so many fibers, and returns when all wait.
std::vector<Handle<void>> waiting_fibers(int count, Gate& gate) {
  std::vector<Handle<void>> fibers;
  fibers.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    fibers.push_back(go([&gate] { gate.wait(); }));
    while (gate.waiting() < fibers.size()) yield();
  }
  return fibers;
}

RuntimeOptions one_worker() {
  RuntimeOptions options;
  options.workers = 1;
  options.spare_workers_max = 0;
  return options;
}

// Goes down until less than `left` bytes of its stack are free.
void descend_until(std::size_t left) {
  volatile char frame[64];
  frame[0] = 1;
  const auto* low = current_fiber()->stack_low;
  if (reinterpret_cast<const volatile std::byte*>(frame) > low + left) descend_until(left);
  frame[1] = frame[0];
}

class StackGuardDeathTest : public testing::Test {
 protected:
  void SetUp() override {
    if (test::sanitized) GTEST_SKIP() << "a sanitizer reports overflows itself, and its shadow takes the mappings";
    GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process that has started no stack yet
  }
};

TEST_F(StackGuardDeathTest, AnOverflowIsStoppedByAProtectedPage) {
  EXPECT_DEATH(
      {
        become_an_older_kernel();
        run([] { go(SpawnOptions{.name = "endless"}, [] { descend_until(0); }).join(); });
      },
      "\\(endless\\) overflowed its 64 KiB stack");
}

// A protected page makes two more mappings, and there are 65,530 at most by default. Where guards took them all, at 32,000 stacks,
// there was no mapping left for further stacks, nor for malloc.
TEST_F(StackGuardDeathTest, ThereMayBeMoreFibersThanMappings) {
  if (max_map_count() > 100'000) GTEST_SKIP() << "vm.max_map_count is " << max_map_count() << ": this would take too many fibers";
  EXPECT_EXIT(
      {
        become_an_older_kernel();
        run(one_worker(), [] {
          Gate gate;
          auto fibers = waiting_fibers(max_map_count(), gate);
          gate.open();
          for (auto& fiber : fibers) fiber.join();
          std::fprintf(stderr, "%zu fibers ended", fibers.size());
        });
        std::_Exit(0);
      },
      testing::ExitedWithCode(0), std::to_string(max_map_count()) + " fibers ended");
}

TEST_F(StackGuardDeathTest, AnOverflowOfAStackWithoutGuardIsSeenWhenItsFiberParks) {
  if (max_map_count() > 100'000) GTEST_SKIP() << "vm.max_map_count is " << max_map_count() << ": this would take too many fibers";
  EXPECT_DEATH(
      {
        become_an_older_kernel();
        run(one_worker(), [] {
          Gate gate;
          auto fibers = waiting_fibers(max_map_count(), gate);
          go(SpawnOptions{.name = "deep"}, [&gate] {
            descend_until(0);
            gate.wait();
          }).join();
        });
      },
      "a fiber overflowed its stack");
}

}  // namespace
}  // namespace roost::runtime
