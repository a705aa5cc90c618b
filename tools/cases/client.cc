#include "tools/cases/client.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "tools/cases/bed.h"

namespace roost::cases {

PlainSocket::PlainSocket(PlainSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

PlainSocket& PlainSocket::operator=(PlainSocket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

PlainSocket::~PlainSocket() {
  if (fd_ >= 0) ::close(fd_);
}

PlainSocket connect_to(std::uint16_t port) {
  PlainSocket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return {};
  const int on = 1;
  ::setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const timeval longest{10, 0};
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest);
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    socket = {};
    errno = error;
  }
  return socket;
}

bool echoes(const PlainSocket& socket, std::string_view line) {
  if (::send(socket.fd(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) return false;
  std::string back(line.size(), '\0');
  const ssize_t got = ::recv(socket.fd(), back.data(), back.size(), MSG_WAITALL);
  return got == static_cast<ssize_t>(line.size()) && back == line;
}

std::vector<PlainSocket> open_echoing(std::uint16_t port, std::size_t most) {
  std::vector<PlainSocket> open;
  while (open.size() < most) {
    PlainSocket one = connect_to(port);
    if (!one || !echoes(one, "connection " + std::to_string(open.size()) + "\n")) break;
    open.push_back(std::move(one));
  }
  return open;
}

ClosedLoop::ClosedLoop(std::uint16_t port, std::size_t connections, std::size_t message_bytes)
    : connections_(connections), waits_(connections), message_(message_bytes, '\0'), back_(message_bytes, '\0') {
  for (std::size_t i = 0; i < message_bytes; ++i) {
    message_[i] = static_cast<char>(i * 131 + i / 251);
    if (message_[i] == '\n') message_[i] = ' ';
  }
  message_.back() = '\n';
  for (Connection& one : connections_) {
    one.socket = connect_to(port);
    if (!one.socket) fail_errno("connect");
    ::fcntl(one.socket.fd(), F_SETFL, O_NONBLOCK);
  }
}

std::uint64_t ClosedLoop::run_for(std::chrono::duration<double> span) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(span);
  std::uint64_t echoed = 0;
  while (Clock::now() < until) {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      push(connections_[i]);
      const bool has_more = connections_[i].sent < message_.size();
      waits_[i] = {connections_[i].socket.fd(), static_cast<short>(has_more ? POLLIN | POLLOUT : POLLIN), 0};
    }
    if (::poll(waits_.data(), waits_.size(), 30'000) <= 0) throw Failure("the server does not answer");
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if ((waits_[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) echoed += pull(connections_[i]);
    }
  }
  return echoed;
}

void ClosedLoop::push(Connection& one) {
  while (one.sent < message_.size()) {
    const ssize_t n = ::send(one.socket.fd(), message_.data() + one.sent, message_.size() - one.sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) fail_errno("send");
    one.sent += static_cast<std::size_t>(n);
  }
}

std::uint64_t ClosedLoop::pull(Connection& one) {
  const ssize_t n = ::recv(one.socket.fd(), back_.data(), message_.size() - one.received, 0);
  if (n < 0 && errno == EAGAIN) return 0;
  if (n == 0) throw Failure("the server closed a connection");
  if (n < 0) fail_errno("recv");
  if (std::memcmp(back_.data(), message_.data() + one.received, static_cast<std::size_t>(n)) != 0) {
    throw Failure("a wrong echo");
  }
  one.received += static_cast<std::size_t>(n);
  if (one.received == message_.size()) one.sent = one.received = 0;
  return static_cast<std::uint64_t>(n);
}

}  // namespace roost::cases
