#include "examples/example_test.h"

namespace roost::test {
namespace {

TEST(Proxy, CarriesBothWaysAndPassesTheEndOfEachDirectionOn) {
  constexpr std::size_t bytes = 300'000;
  std::atomic<bool> request_whole{false};
  // Reads the request to its end, and answers only then.
  RudeServer target([&](Socket client) {
    request_whole = client.receive(bytes + 1) == std::string(bytes, 'q');
    client.send(std::string(bytes, 'a'));
  });
  ExampleServer proxy({"127.0.0.1:0", target.target()});
  auto client = proxy.connect();
  EXPECT_TRUE(client.send(std::string(bytes, 'q')));
  client.end_sending();
  EXPECT_EQ(client.receive(bytes + 1), std::string(bytes, 'a'));
  EXPECT_TRUE(request_whole);
}

TEST(Proxy, EndsAConnectionWhoseTargetDoesNotAnswerAndGoesOn) {
  std::string target;
  {
    RudeServer gone([](Socket) {});
    target = gone.target();
  }
  ExampleServer proxy({"127.0.0.1:0", target});
  for (int i = 0; i < 2; ++i) {
    auto client = proxy.connect();
    EXPECT_TRUE(client.has_ended());
  }
  EXPECT_TRUE(proxy.program().wait_for_error("ECONNREFUSED"));
}

TEST(Proxy, TellsHowItIsCalled) {
  Program proxy({"only-one"});
  EXPECT_EQ(proxy.wait(), 2);
  EXPECT_NE(proxy.err().find("usage: proxy LISTEN TARGET"), std::string::npos);
}

}  // namespace
}  // namespace roost::test
