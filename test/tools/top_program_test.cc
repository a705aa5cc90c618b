// `roost top`, as a user runs it, against a running `roost echo` and against what is none.
#include <gmock/gmock.h>

#include <pty.h>

#include "tools/program.h"

namespace roost::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string metrics_target(Program& echo) {
  EXPECT_TRUE(echo.wait_for_output("/metrics\n")) << echo.err();
  const std::string before = "metrics on http://";
  const std::size_t at = echo.out().find(before);
  if (at == std::string::npos) return "127.0.0.1:1";
  return echo.out().substr(at + before.size(), echo.out().find("/metrics", at) - at - before.size());
}

std::vector<std::string> echo_arguments(const char* processes = "1") {
  return {"echo", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--report-interval", "0", "--processes", processes};
}

// `roost top` on a terminal of its own, whose other end is here.
class Terminal {
 public:
  explicit Terminal(const std::string& target, const char* kind = "xterm") {
    const winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
    pid_ = ::forkpty(&fd_, nullptr, nullptr, &size);
    if (pid_ == 0) {
      ::setenv("TERM", kind, 1);
      ::execl(ROOST_PROGRAM, ROOST_PROGRAM, "top", target.c_str(), "--interval", "100ms", nullptr);
      ::_exit(127);
    }
    EXPECT_GT(pid_, 0);
  }
  ~Terminal() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(fd_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(std::string_view keys) const { EXPECT_EQ(::write(fd_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size())); }
  void send_signal(int signal) const { ::kill(pid_, signal); }
  bool wait_for(std::string_view text, std::size_t from = 0) {
    return read_until([&] { return seen_.find(text, from) != std::string::npos; });
  }
  // Exit status; -1 when it did not end in time.
  int wait() {
    if (!read_until([this] { return ended_; })) return -1;
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  [[nodiscard]] const std::string& seen() const { return seen_; }

 private:
  template <class Condition>
  bool read_until(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
      if (ended_ || std::chrono::steady_clock::now() > deadline) return condition();
      pollfd ready{fd_, POLLIN, 0};
      ::poll(&ready, 1, 100);
      if (ready.revents == 0) continue;
      char part[4096];
      const ssize_t got = ::read(fd_, part, sizeof part);
      if (got <= 0) {
        ended_ = true;  // EIO: the other end is closed
      } else {
        seen_.append(part, static_cast<std::size_t>(got));
      }
    }
    return true;
  }
  pid_t pid_ = -1;
  int fd_ = -1;
  bool ended_ = false;
  std::string seen_;
};

class TopProgram : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Processes, TopProgram, testing::Values("1", "2"));

TEST_P(TopProgram, PrintsOnePictureOfARunningServer) {
  Program echo(echo_arguments(GetParam()));
  const std::string target = metrics_target(echo);
  Program top({"top", target, "--once", "--interval", "100ms"});
  EXPECT_EQ(top.wait(), 0) << top.err();
  EXPECT_THAT(top.out(), HasSubstr("roost top " + target));
  EXPECT_THAT(top.out(), ContainsRegex("descriptors [0-9,]+ of [0-9,]+"));
  EXPECT_THAT(top.out(), HasSubstr("worker "));
  EXPECT_THAT(top.out(), ContainsRegex("accept +listening on 127.0.0.1:"));
  EXPECT_THAT(top.out(), Not(HasSubstr("\x1b")));
}

TEST(TopProgramLive, FollowsTheServerSaysThatItIsGoneAndLeavesTheTerminalAsItWas) {
  Program echo(echo_arguments());
  const std::string target = metrics_target(echo);
  Terminal terminal(target);
  EXPECT_TRUE(terminal.wait_for("\x1b[?1049h"));  // the alternate screen
  EXPECT_TRUE(terminal.wait_for("connections"));
  echo.send_signal(SIGTERM);
  EXPECT_EQ(echo.wait(), 0);
  EXPECT_TRUE(terminal.wait_for("GONE at "));
  EXPECT_TRUE(terminal.wait_for("nobody listens there"));
  terminal.type("q");
  EXPECT_EQ(terminal.wait(), 0);
  EXPECT_THAT(terminal.seen(), HasSubstr("\x1b[?25h\x1b[?1049l"));  // the cursor, and the screen that was there before
}

TEST(TopProgramLive, ADumbTerminalGetsOnePictureWithoutEscapes) {
  Program echo(echo_arguments());
  Terminal terminal(metrics_target(echo), "dumb");
  EXPECT_EQ(terminal.wait(), 0);
  EXPECT_THAT(terminal.seen(), HasSubstr("connections"));
  EXPECT_THAT(terminal.seen(), Not(HasSubstr("\x1b")));
}

TEST(TopProgramLive, EndsAtControlC) {
  Program echo(echo_arguments());
  Terminal terminal(metrics_target(echo));
  EXPECT_TRUE(terminal.wait_for("connections"));
  terminal.type("\x03");
  EXPECT_EQ(terminal.wait(), 0);
  EXPECT_THAT(terminal.seen(), HasSubstr("\x1b[?1049l"));
}

void expect_refused(std::vector<std::string> arguments, const char* why) {
  Program top(std::move(arguments));
  EXPECT_EQ(top.wait(), 2);
  EXPECT_THAT(top.err(), testing::StartsWith("roost top: "));
  EXPECT_THAT(top.err(), HasSubstr(why));
  EXPECT_EQ(count_lines(top.err()), 1u) << top.err();
  EXPECT_EQ(top.out(), "");
}

// To its end: bytes left unread would turn the close into a reset, which may overtake the answer.
void read_request(const Socket& client) {
  std::string request;
  while (!request.ends_with("\r\n\r\n")) {
    const std::string byte = client.receive(1);
    if (byte.empty()) return;
    request += byte;
  }
}

TEST(TopProgramPage, IsServedForAProgramThatHasNone) {
  Program echo(echo_arguments());
  const std::string target = metrics_target(echo);
  Program top({"top", target, "--page", "127.0.0.1:0"});
  ASSERT_TRUE(top.wait_for_output(" (of " + target + ")\n")) << top.err();
  const std::string before = "page on http://127.0.0.1:";
  const auto port = static_cast<std::uint16_t>(std::stoi(top.out().substr(before.size())));
  const auto get = [port](const std::string& path) {
    const Socket client = Socket::connect(port);
    EXPECT_TRUE(client.send("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
    return client.receive(1 << 20);
  };
  EXPECT_THAT(get("/"), HasSubstr("<title>roost top"));
  EXPECT_THAT(get("/status.json"), HasSubstr("\"connections\":"));
  EXPECT_THAT(get("/fibers.json"), HasSubstr("listening on 127.0.0.1:"));
  EXPECT_THAT(get("/metrics"), HasSubstr("\nroost_echo_connections ")) << "those of the watched server";
  Program second({"top", target, "--page", "127.0.0.1:" + std::to_string(port)});
  EXPECT_EQ(second.wait(), 2);
  EXPECT_THAT(second.err(), HasSubstr("the port is in use"));
  EXPECT_EQ(count_lines(second.err()), 1u) << second.err();

  echo.send_signal(SIGTERM);
  EXPECT_EQ(echo.wait(), 0);
  EXPECT_THAT(get("/status.json"), HasSubstr("{\"error\":\"nobody listens there"));
  EXPECT_THAT(get("/metrics"), StartsWith("HTTP/1.1 502 ")) << "no figures are not the same as figures of nothing";
  EXPECT_THAT(get("/metrics"), HasSubstr(target + ": nobody listens there"));
  top.send_signal(SIGINT);
  EXPECT_EQ(top.wait(), 0);
}

TEST(TopProgramMistakes, AreOneLineEach) {
  RudeServer closes([](Socket) {});
  RudeServer stranger([](Socket client) {
    read_request(client);
    client.send("HTTP/1.1 200 OK\r\n\r\n# TYPE go_goroutines gauge\ngo_goroutines 7\n");
  });
  RudeServer lost([](Socket client) {
    read_request(client);
    client.send("HTTP/1.1 404 Not Found\r\n\r\n");
  });
  RudeServer other([](Socket client) {
    read_request(client);
    client.send("220 smtp ready\r\n");
  });
  expect_refused({"top", "nonsense"}, "`nonsense`");
  expect_refused({"top", "127.0.0.1:0"}, "port");
  expect_refused({"top", "127.0.0.1:1"}, "nobody listens there");
  expect_refused({"top", stranger.target()}, "not that of a program on roost");
  expect_refused({"top", lost.target()}, "404 Not Found");
  expect_refused({"top", other.target()}, "does not speak HTTP");
  expect_refused({"top", closes.target()}, "127.0.0.1:");
  expect_refused({"top", "127.0.0.1:1", "--interval", "1ms"}, "--interval");
  expect_refused({"top", "127.0.0.1:1", "--page", "127.0.0.1:0"}, "nobody listens there");
  expect_refused({"top", "127.0.0.1:1", "--page", "nonsense"}, "--page");
  expect_refused({"top", "127.0.0.1:1", "--page", "127.0.0.1:0", "--once"}, "--once");
  expect_refused({"top"}, "target");
}

}  // namespace
}  // namespace roost::test
