#include "base/assert.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <thread>

namespace roost::base {
namespace {

class AssertDeathTest : public testing::Test {
 protected:
  AssertDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST(Assert, WhatHoldsIsQuietAndEvaluatedOnce) {
  int evaluated = 0;
  ROOST_ASSERT(++evaluated == 1, "never printed");
  EXPECT_EQ(evaluated, 1);
}

TEST_F(AssertDeathTest, NamesTheMistakeAndItsPlace) {
  EXPECT_DEATH(ROOST_ASSERT(1 + 1 == 3, "sums went wrong"), "roost: sums went wrong \\(.*assert_test\\.cc:[0-9]+\\)\n");
}

TEST_F(AssertDeathTest, PrintsTheStack) {
  EXPECT_DEATH(panic("x.cc", 7, "stack, please"), "stack, please \\(x\\.cc:7\\)\n   #0 .*\n(.*\n)*   #3 ");
}

TEST_F(AssertDeathTest, AddsWhatTheRuntimeKnows) {
  EXPECT_DEATH(
      {
        set_panic_detail([]() noexcept { write_stderr("in fiber 7 \"reader\"\n"); });
        panic("x.cc", 1, "told in full");
      },
      "told in full \\(x\\.cc:1\\)\nin fiber 7 \"reader\"\n   #0 ");
}

TEST_F(AssertDeathTest, APanicWhileOneIsToldEndsTheProcess) {
  EXPECT_DEATH(
      {
        set_panic_detail([]() noexcept { panic("y.cc", 2, "second"); });
        panic("x.cc", 1, "first");
      },
      "^roost: first \\(x\\.cc:1\\)\n$");
}

TEST_F(AssertDeathTest, ThreadsThatPanicAtOnceDoNotMixTheirTexts) {
  EXPECT_DEATH(
      {
        static std::atomic<bool> second_started{false};
        static std::thread second;
        set_panic_detail([]() noexcept {
          second = std::thread([] {
            second_started = true;
            panic("y.cc", 2, "second");
          });
          while (!second_started) std::this_thread::yield();
          write_stderr("detail of the first\n");
        });
        panic("x.cc", 1, "first");
      },
      "^roost: first \\(x\\.cc:1\\)\ndetail of the first\n   #0 ");
}

TEST(WriteStderr, KeepsErrno) {
  testing::internal::CaptureStderr();
  errno = EDOM;
  write_stderr("one ");
  write_stderr("");
  write_stderr("two\n");
  print_stack_here();
  EXPECT_EQ(errno, EDOM);
  EXPECT_EQ(testing::internal::GetCapturedStderr().substr(0, 8), "one two\n");
}

}  // namespace
}  // namespace roost::base
