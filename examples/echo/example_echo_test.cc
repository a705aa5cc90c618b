#include "examples/example_test.h"

namespace roost::test {
namespace {

TEST(Echo, SendsEveryLineBackAndEndsWithItsClient) {
  ExampleServer server({"127.0.0.1:0"});
  auto one = server.connect();
  auto two = server.connect();
  EXPECT_TRUE(one.send("first\nsec"));
  EXPECT_EQ(one.receive(6), "first\n");
  EXPECT_TRUE(two.send("other\n"));
  EXPECT_EQ(two.receive(6), "other\n");
  EXPECT_TRUE(one.send("ond\n"));
  EXPECT_EQ(one.receive(7), "second\n");
  one.end_sending();
  EXPECT_TRUE(one.has_ended());
  EXPECT_TRUE(two.send("still here\n"));
  EXPECT_EQ(two.receive(11), "still here\n");
}

}  // namespace
}  // namespace roost::test
