#include <cstdlib>
#include <map>
#include <set>

#include "examples/example_test.h"
#include "examples/redis/client.h"

namespace roost::test {
namespace {

using redis::Client;
using redis::Reply;
using redis::Repeat;

// Enough of a Redis server for PING, SET, GET, DEL, INCR; anything else is an error reply.
class FakeRedis {
 public:
  FakeRedis() : listener_(net::listen("tcp4", "127.0.0.1:0").value()) {
    accepting_ = go([this] {
      while (auto accepted = listener_.accept()) {
        accepted_.fetch_add(1);
        conns_.push_back(std::make_unique<net::Conn>(std::move(*accepted)));
        fibers_.push_back(go([this, &conn = *conns_.back()] { serve(conn); }));
      }
    });
  }
  ~FakeRedis() {
    static_cast<void>(listener_.close());
    accepting_.join();
    close_conns();
    for (auto& fiber : fibers_) fiber.join();
  }

  [[nodiscard]] std::string address() const { return listener_.local_endpoint()->to_string(); }
  [[nodiscard]] int accepted() const { return accepted_.load(); }
  void close_conns() {
    for (auto& conn : conns_) static_cast<void>(conn->close());
  }
  void close_after_next_command() { closes_ = true; }

 private:
  void serve(net::Conn& conn) {
    io::Reader in(conn);
    while (const auto count = number(in, '*')) {
      std::vector<std::string> words(static_cast<std::size_t>(*count));
      for (std::string& word : words) {
        const auto bytes = number(in, '$');
        if (!bytes) return;
        word.resize(static_cast<std::size_t>(*bytes));
        if (!in.read_full(std::as_writable_bytes(std::span(word))) || !in.discard(2)) return;
      }
      if (closes_.exchange(false)) break;
      if (!conn.write(answer(words))) return;
    }
    static_cast<void>(conn.close());
  }
  static std::optional<int> number(io::Reader& in, char type) {
    const auto line = in.read_line();
    if (!line || line->empty() || line->front() != type) return std::nullopt;
    return std::stoi(std::string(line->substr(1)));
  }
  std::string answer(const std::vector<std::string>& words) {
    const LockGuard guard(mutex_);
    if (words[0] == "PING") return "+PONG\r\n";
    if (words[0] == "SET") {
      values_[words[1]] = words[2];
      return "+OK\r\n";
    }
    if (words[0] == "GET") {
      const auto at = values_.find(words[1]);
      if (at == values_.end()) return "$-1\r\n";
      return "$" + std::to_string(at->second.size()) + "\r\n" + at->second + "\r\n";
    }
    if (words[0] == "DEL") return values_.erase(words[1]) > 0 ? ":1\r\n" : ":0\r\n";
    if (words[0] == "INCR") {
      std::string& value = values_[words[1]];
      value = std::to_string(value.empty() ? 1 : std::stoi(value) + 1);
      return ":" + value + "\r\n";
    }
    return "-ERR unknown command\r\n";
  }

  net::Listener listener_;
  std::atomic<int> accepted_{0};
  std::atomic<bool> closes_{false};
  std::vector<std::unique_ptr<net::Conn>> conns_;
  std::vector<Handle<void>> fibers_;
  Mutex mutex_;
  std::map<std::string, std::string> values_;
  Handle<void> accepting_;
};

void expect_reply(const Result<Reply>& reply, Reply::Kind kind, std::string_view text) {
  ASSERT_TRUE(reply.has_value()) << reply.error().message();
  EXPECT_EQ(reply->kind, kind);
  EXPECT_EQ(reply->text, text);
}

TEST(RedisClient, ReadsEveryKindOfReply) {
  run([] {
    FakeRedis server;
    Client client(server.address());
    const std::string binary("a\r\nb\0c", 6);
    expect_reply(client.command({"PING"}, Repeat::harmless), Reply::Kind::status, "PONG");
    expect_reply(client.command({"SET", "key", binary}, Repeat::harmless), Reply::Kind::status, "OK");
    expect_reply(client.command({"GET", "key"}, Repeat::harmless), Reply::Kind::text, binary);
    expect_reply(client.command({"GET", "none"}, Repeat::harmless), Reply::Kind::nil, "");
    expect_reply(client.command({"INCR", "count"}, Repeat::forbidden), Reply::Kind::integer, "1");
    expect_reply(client.command({"NONE"}, Repeat::harmless), Reply::Kind::error, "ERR unknown command");
    EXPECT_EQ(server.accepted(), 1);
    EXPECT_TRUE(client.close().has_value());
  });
}

TEST(RedisClient, SharesItsConnectionsAmongManyFibers) {
  run([] {
    FakeRedis server;
    Client client(server.address(), {.max_open = 4});
    TaskGroup group;
    for (int i = 0; i < 50; ++i) {
      group.go([&] {
        for (int k = 0; k < 20; ++k) EXPECT_TRUE(client.command({"INCR", "count"}, Repeat::forbidden).has_value());
      });
    }
    EXPECT_TRUE(group.wait().has_value());
    expect_reply(client.command({"GET", "count"}, Repeat::harmless), Reply::Kind::text, "1000");
    EXPECT_LE(server.accepted(), 4);
  });
}

TEST(RedisClient, RepeatsACommandOnlyWhereThatIsHarmless) {
  run([] {
    FakeRedis server;
    Client client(server.address());
    EXPECT_TRUE(client.command({"PING"}, Repeat::harmless).has_value());
    server.close_after_next_command();
    expect_reply(client.command({"PING"}, Repeat::harmless), Reply::Kind::status, "PONG");
    EXPECT_EQ(server.accepted(), 2);
    server.close_after_next_command();
    EXPECT_FALSE(client.command({"INCR", "count"}, Repeat::forbidden).has_value());
    expect_reply(client.command({"GET", "count"}, Repeat::harmless), Reply::Kind::nil, "");
  });
}

TEST(RedisClient, RefusesWhatIsNoReply) {
  for (const std::string_view nonsense : {"HTTP/1.1 400 Bad Request\r\n", "\r\n", "$12x\r\n", "$-2\r\n", "$3\r\nabcde", "$99999999999\r\n"}) {
    run([&] {
      auto listener = net::listen("tcp4", "127.0.0.1:0").value();
      go([&listener, nonsense] {
        auto conn = listener.accept();
        std::array<std::byte, 256> room;
        if (conn && conn->read(room)) static_cast<void>(conn->write(nonsense));
      }).detach();
      Client client(listener.local_endpoint()->to_string());
      const auto reply = client.command({"PING"}, Repeat::forbidden);
      ASSERT_FALSE(reply.has_value()) << nonsense;
      EXPECT_EQ(reply.error(), std::errc::protocol_error) << nonsense;
      EXPECT_EQ(client.stats().open, 0u);
    });
  }
}

// The program, against the fake server.
TEST(RedisExample, TalksOverAtMostEightConnections) {
  std::string out;
  int status = -1;
  run([&] {
    FakeRedis server;
    blocking([&] {
      Program program({server.address(), "20", "5"});
      status = program.wait();
      out = program.out() + program.err();
    });
    EXPECT_LE(server.accepted(), 8);
  });
  EXPECT_EQ(status, 0) << out;
  EXPECT_TRUE(out.starts_with("PING: PONG\n221 commands over ")) << out;
}

TEST(RedisExample, SaysWhenThereIsNoServer) {
  Program program({"127.0.0.1:1"});
  EXPECT_EQ(program.wait(), 1);
  EXPECT_NE(program.err().find("no answer from 127.0.0.1:1"), std::string::npos) << program.err();
}

TEST(RedisExample, TellsHowItIsCalled) {
  Program asked({"--help"});
  EXPECT_EQ(asked.wait(), 0);
  EXPECT_TRUE(asked.out().starts_with("usage: redis [ADDRESS")) << asked.out();
  Program malformed({"no-port"});
  EXPECT_EQ(malformed.wait(), 2);
  EXPECT_NE(malformed.err().find("no answer from no-port: malformed address"), std::string::npos) << malformed.err();
}

// Against a real server, where there is one: redis-server in the PATH, or what REDIS_SERVER names.
TEST(RedisExample, TalksToARealServer) {
  const char* named = std::getenv("REDIS_SERVER");
  const std::string server = named != nullptr ? named : "redis-server";
  if (std::system((server + " --version > /dev/null 2>&1").c_str()) != 0) GTEST_SKIP() << "no " << server << " here";
  // A free port; the chance that somebody takes it meanwhile is small.
  std::uint16_t port = 0;
  {
    RudeServer probe([](Socket) {});
    port = static_cast<std::uint16_t>(std::stoul(probe.target().substr(probe.target().find(':') + 1)));
  }
  std::vector<std::string> words{server, "--port", std::to_string(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  ASSERT_EQ(::posix_spawnp(&pid, server.c_str(), &actions, nullptr, arguments.data(), environ), 0);
  ::posix_spawn_file_actions_destroy(&actions);

  std::string out;
  int status = -1;
  for (int attempt = 0; attempt < 100 && status != 0; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(100ms);  // until it listens
    Program program({"127.0.0.1:" + std::to_string(port), "50", "20"});
    status = program.wait();
    out = program.out() + program.err();
  }
  ::kill(pid, SIGTERM);
  ::waitpid(pid, nullptr, 0);
  EXPECT_EQ(status, 0) << out;
  EXPECT_NE(out.find("PING: PONG\n2051 commands over "), std::string::npos) << out;
}

}  // namespace
}  // namespace roost::test
