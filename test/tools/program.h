// Runs the built program `roost` as a user would, and plain blocking sockets to talk to it: for the tests of the tools.
//
// Everything has a time limit and ends its processes: a test that fails leaves nothing behind.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

extern char** environ;

namespace roost::test {

using namespace std::chrono_literals;

inline constexpr auto patience = 60s;  // far longer than anything takes; a hang ends as a failure

// The program, started; its output is collected while one waits for it.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) {
    int out[2];
    int err[2];
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(err, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    arguments.insert(arguments.begin(), ROOST_PROGRAM);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    EXPECT_EQ(::posix_spawn(&pid_, ROOST_PROGRAM, &actions, nullptr, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    ::close(err[1]);
    out_ = out[0];
    err_ = err[0];
  }
  ~Program() {
    if (pid_ > 0 && !status_) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(out_);
    ::close(err_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Its processes, in the order in which they were started. Empty where this kernel does not list them.
  [[nodiscard]] std::vector<pid_t> children() const {
    std::ifstream list("/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) + "/children");
    return {std::istream_iterator<pid_t>(list), std::istream_iterator<pid_t>()};
  }
  void send_signal(int signal) const { ::kill(pid_, signal); }

  // Exit status, or 128 + signal; -1 when it did not end in time.
  int wait() {
    if (status_) return *status_;
    if (!read_until([this] { return out_ended_ && err_ended_; })) return -1;
    int status = 0;
    ::waitpid(pid_, &status, 0);
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return *status_;
  }

  // Waits until standard output (or error) contains `text`.
  bool wait_for_output(std::string_view text) {
    return read_until([&] { return out_text_.find(text) != std::string::npos; });
  }
  bool wait_for_error(std::string_view text) {
    return read_until([&] { return err_text_.find(text) != std::string::npos; });
  }

  [[nodiscard]] const std::string& out() const { return out_text_; }
  [[nodiscard]] const std::string& err() const { return err_text_; }

 private:
  template <class Condition>
  bool read_until(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
      if ((out_ended_ && err_ended_) || std::chrono::steady_clock::now() > deadline) return condition();
      pollfd descriptors[2] = {{out_ended_ ? -1 : out_, POLLIN, 0}, {err_ended_ ? -1 : err_, POLLIN, 0}};
      ::poll(descriptors, 2, 100);
      if (descriptors[0].revents != 0) take(out_, out_text_, out_ended_);
      if (descriptors[1].revents != 0) take(err_, err_text_, err_ended_);
    }
    return true;
  }
  static void take(int fd, std::string& text, bool& ended) {
    char chunk[4096];
    const ssize_t n = ::read(fd, chunk, sizeof chunk);
    if (n > 0) text.append(chunk, static_cast<std::size_t>(n));
    if (n == 0) ended = true;
  }

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  bool out_ended_ = false;
  bool err_ended_ = false;
  std::string out_text_;
  std::string err_text_;
  std::optional<int> status_;
};

inline std::size_t count_lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

// A plain blocking socket, each call limited by `patience`.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) { limit(); }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }

  static Socket connect(std::uint16_t port) {
    Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = loopback(port);
    EXPECT_EQ(::connect(socket.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
    return socket;
  }

  bool send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  // Exactly `bytes`, or fewer when the peer ended.
  [[nodiscard]] std::string receive(std::size_t bytes) const {
    std::string text(bytes, '\0');
    std::size_t got = 0;
    while (got < bytes) {
      const ssize_t n = ::recv(fd_, text.data() + got, bytes - got, 0);
      if (n <= 0) break;
      got += static_cast<std::size_t>(n);
    }
    text.resize(got);
    return text;
  }
  [[nodiscard]] bool has_ended() const {  // waits for the peer's end
    char byte = 0;
    return ::recv(fd_, &byte, 1, 0) <= 0 && errno != EAGAIN;
  }
  void end_sending() const { ::shutdown(fd_, SHUT_WR); }
  [[nodiscard]] int fd() const { return fd_; }

  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

 private:
  void limit() const {
    const timeval limit{std::chrono::seconds(patience).count(), 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  int fd_ = -1;
};

// A server that misbehaves: calls `behave` for each connection, on a thread of its own.
class RudeServer {
 public:
  explicit RudeServer(std::function<void(Socket)> behave) : behave_(std::move(behave)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Socket::loopback(0);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), length), 0);
    EXPECT_EQ(::listen(listener_, 128), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (;;) {
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        behave_(Socket(fd));
      }
    });
  }
  ~RudeServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  [[nodiscard]] std::string target() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  std::function<void(Socket)> behave_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

// `roost echo` on a free port.
class EchoServer {
 public:
  explicit EchoServer(std::vector<std::string> more = {}) : program_(arguments(std::move(more))) {
    EXPECT_TRUE(program_.wait_for_output("listening on ")) << program_.err();
    EXPECT_TRUE(program_.wait_for_output("\n"));
    const std::string& out = program_.out();
    const std::size_t begin = out.find("listening on ") + 13;
    target_ = out.substr(begin, out.find(' ', begin) - begin);
    const std::size_t colon = target_.rfind(':');
    if (colon != std::string::npos) port_ = static_cast<std::uint16_t>(std::stoul(target_.substr(colon + 1)));
  }

  [[nodiscard]] Program& program() { return program_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] const std::string& target() const { return target_; }
  int stop(int signal = SIGTERM) {
    program_.send_signal(signal);
    return program_.wait();
  }

 private:
  static std::vector<std::string> arguments(std::vector<std::string> more) {
    more.insert(more.begin(), {"echo", "--listen", "127.0.0.1:0"});
    return more;
  }
  Program program_;
  std::string target_;
  std::uint16_t port_ = 0;
};

}  // namespace roost::test
