#include "examples/example_test.h"

namespace roost::test {
namespace {

TEST(Workers, PrintsTheFactorsInTheOrderOfTheNumbers) {
  for (const char* count : {"1", "4", "100"}) {
    Program workers({count, "91", "1", "97", "999999000001", "1001", "1024"});
    EXPECT_EQ(workers.wait(), 0) << workers.err();
    EXPECT_EQ(workers.out(), "91: 7 13\n1: 1\n97: 97\n999999000001: 999999000001\n1001: 7 11 13\n1024: 2 2 2 2 2 2 2 2 2 2\n");
  }
}

TEST(Workers, TellsWhatIsNotANumber) {
  Program workers({"4", "91", "ninety"});
  EXPECT_EQ(workers.wait(), 2);
  EXPECT_EQ(workers.err(), "workers: 'ninety' is not a number from 1 to 18446744073709551615\n");
}

}  // namespace
}  // namespace roost::test
