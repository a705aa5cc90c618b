// Clients on plain sockets and one thread, so that what they cost is the same for every server they measure.
//
// What goes wrong is thrown as Failure (bed.h): a client that cannot connect, or gets a wrong answer, has measured nothing.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace roost::cases {

// A blocking socket, closed by its destructor. Calls wait ten seconds at most.
class PlainSocket {
 public:
  PlainSocket() = default;
  explicit PlainSocket(int fd) noexcept : fd_(fd) {}
  PlainSocket(PlainSocket&& other) noexcept;
  PlainSocket& operator=(PlainSocket&& other) noexcept;
  ~PlainSocket();

  [[nodiscard]] int fd() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Connects to 127.0.0.1:port; empty, and errno says why, when it fails.
[[nodiscard]] PlainSocket connect_to(std::uint16_t port);
// Sends `line` and waits until as many bytes have come back. False when they did not, or were others.
[[nodiscard]] bool echoes(const PlainSocket& socket, std::string_view line);

// Opens connections one after another, each with one line echoed, until there are `most` or one fails.
[[nodiscard]] std::vector<PlainSocket> open_echoing(std::uint16_t port, std::size_t most);

// Some connections with one message under way on each: as soon as its echo is complete, and compared byte by byte, the next
// one is sent. A message ends with a newline, for servers that echo lines.
class ClosedLoop {
 public:
  ClosedLoop(std::uint16_t port, std::size_t connections, std::size_t message_bytes);

  // Returns how many bytes came back in the time. May be called again.
  std::uint64_t run_for(std::chrono::duration<double> span);

 private:
  struct Connection {
    PlainSocket socket;
    std::size_t sent = 0;  // of the message under way
    std::size_t received = 0;
  };
  void push(Connection& one);
  std::uint64_t pull(Connection& one);

  std::vector<Connection> connections_;
  std::vector<pollfd> waits_;
  std::string message_;
  std::string back_;
};

}  // namespace roost::cases
