#include "examples/example_test.h"

namespace roost::test {
namespace {

// Connects, gives a name, and waits until the room has answered.
Socket join(const ExampleServer& server, const std::string& name, const std::string& others) {
  auto socket = server.connect();
  EXPECT_TRUE(socket.send(name + "\n"));
  const std::string wanted = "* here: " + others + "\n";
  EXPECT_EQ(socket.receive(wanted.size()), wanted);
  return socket;
}
std::string receive(const Socket& socket, std::string_view wanted) { return socket.receive(wanted.size()); }

TEST(Chat, TellsEveryoneWhatTheOthersSay) {
  ExampleServer server({"127.0.0.1:0"});
  const auto anna = join(server, "Anna", "nobody");
  const auto bert = join(server, "Bert", "Anna");
  EXPECT_EQ(receive(anna, "* Bert has come\n"), "* Bert has come\n");

  EXPECT_TRUE(anna.send("hello\r\n"));
  EXPECT_EQ(receive(bert, "Anna: hello\n"), "Anna: hello\n");
  EXPECT_TRUE(bert.send("good day\n"));
  EXPECT_EQ(receive(anna, "Bert: good day\n"), "Bert: good day\n");

  bert.end_sending();
  EXPECT_EQ(receive(anna, "* Bert has left\n"), "* Bert has left\n");
  EXPECT_TRUE(bert.has_ended());
}

TEST(Chat, ShowsAClientOutThatDoesNotRead) {
  ExampleServer server({"127.0.0.1:0"});
  const auto reader = join(server, "Reader", "nobody");
  const auto lazy = join(server, "Lazy", "Reader");
  EXPECT_EQ(receive(reader, "* Lazy has come\n"), "* Lazy has come\n");
  const auto talker = server.connect();
  EXPECT_TRUE(talker.send("Talker\n"));
  EXPECT_EQ(receive(reader, "* Talker has come\n"), "* Talker has come\n");
  // More than the kernel's buffers of a connection hold. `reader` keeps up, in turn with the talker.
  const std::string line(1000, 'x');
  bool gone = false;
  for (int i = 0; i < 100'000 && !gone; ++i) {
    ASSERT_TRUE(talker.send(line + "\n"));
    const std::string got = receive(reader, "* Lazy has left\n");
    gone = got == "* Lazy has left\n";
    const std::string whole = "Talker: " + line + "\n";
    if (!gone && got + reader.receive(whole.size() - got.size()) != whole) FAIL() << "a line was lost";
  }
  EXPECT_TRUE(gone);
}

TEST(Chat, TellsHowItIsCalled) {
  Program asked({"--help"});
  EXPECT_EQ(asked.wait(), 0);
  EXPECT_TRUE(asked.out().starts_with("usage: chat [ADDRESS]")) << asked.out();
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--port"}, {"127.0.0.1:0", "more"}}) {
    Program wrong(arguments);
    EXPECT_EQ(wrong.wait(), 2);
    EXPECT_TRUE(wrong.err().starts_with("usage: chat [ADDRESS]")) << wrong.err();
  }
  Program malformed({"127.0.0.1"});
  EXPECT_EQ(malformed.wait(), 2);
  EXPECT_TRUE(malformed.err().starts_with("listen tcp 127.0.0.1: ")) << malformed.err();
}

}  // namespace
}  // namespace roost::test
