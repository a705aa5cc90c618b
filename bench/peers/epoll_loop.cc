// A line echo server on one bare epoll loop: the yardstick for what the kernel alone costs.
//
// One thread, edge-triggered, no fibers, no time-outs, no metrics: everything a server does for its users
// beyond the echo is left out, so what roost costs above this loop is the price of roost's comfort. The loop
// is meant to be as quick as plain recv and send allow, and still right for partial lines, partial
// writes, pipelined lines, half close and descriptor exhaustion.
//
// The short-read rule: under edge triggering a read that returns less than was asked for has drained the
// stream socket (epoll(7), question 9), so the call that would only say EAGAIN is left out. It saves one system
// call in three. Data and FIN can arrive as one edge, after which no other comes; so once RDHUP,
// HUP or ERR was seen a short read proves nothing, and reading goes on until the end or an error.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "peers/bare_net.h"

namespace {

constexpr std::size_t read_bytes = 64 * 1024;
constexpr std::size_t line_bytes_max = 16 * 1024 * 1024;  // a longer line ends its connection
constexpr int events_per_wait = 512;
constexpr int reads_per_turn = 16;         // then the next connection's turn: one firehose starves nobody
constexpr int accept_retry_ms = 100;       // pause while accept fails for want of a resource
constexpr int listen_backlog = 65'535;     // the kernel caps it at net.core.somaxconn

[[noreturn]] void stop(int status, const char* what, std::string_view value, const char* remedy) {
  std::fprintf(stderr, "epoll_loop: %s %.*s: %s\n", what, static_cast<int>(value.size()), value.data(), remedy);
  std::exit(status);
}

struct Connection {
  int fd;
  bool readable = false;  // an edge came that reading has not used up
  bool hung_up = false;   // RDHUP, HUP or ERR was seen; never cleared
  bool queued = false;    // it is in EchoLoop::again_
  std::string partial;    // the start of a line whose end has not arrived
  std::string unsent;     // whole lines that the socket did not take; nothing is read while it is filled
};

class EchoLoop {
 public:
  EchoLoop(int epoll, int listener) : epoll_(epoll), listener_(listener), buffer_(read_bytes) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.ptr = nullptr;  // no connection: the listener
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) {
      stop(2, "cannot poll", "the listener", std::strerror(errno));
    }
  }

  [[noreturn]] void run() {
    std::array<epoll_event, events_per_wait> events;
    std::vector<Connection*> turn;
    for (;;) {
      const int timeout_ms = !again_.empty() ? 0 : accept_stalled_ ? accept_retry_ms : -1;
      const int count = ::epoll_wait(epoll_, events.data(), events_per_wait, timeout_ms);
      if (count < 0 && errno != EINTR) stop(1, "epoll_wait", "failed", std::strerror(errno));
      // One event a descriptor and wait, and serve() closes none but its own, so no pointer here is stale.
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        auto* conn = static_cast<Connection*>(event.data.ptr);
        if (conn == nullptr) {
          accept_all();
          continue;
        }
        if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) conn->hung_up = conn->readable = true;
        if ((event.events & EPOLLIN) != 0) conn->readable = true;
        serve(conn);
      }
      if (!again_.empty()) {
        turn.swap(again_);
        for (Connection* conn : turn) conn->queued = false;
        // A connection appears once in `turn` and only its own serve() can close it.
        for (Connection* conn : turn) serve(conn);
        turn.clear();
      }
      if (accept_stalled_) accept_all();
    }
  }

 private:
  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EAGAIN) {
          accept_stalled_ = false;
          return;
        }
        // The edge is used up while the backlog is not, so the loop itself has to come back.
        if (!accept_stalled_) std::fprintf(stderr, "epoll_loop: accept: %s; retrying\n", std::strerror(errno));
        accept_stalled_ = true;
        return;
      }
      auto* conn = new Connection{.fd = fd, .partial = {}, .unsent = {}};
      epoll_event event{};
      event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
      event.data.ptr = conn;
      if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
        std::fprintf(stderr, "epoll_loop: epoll_ctl: %s\n", std::strerror(errno));
        close(conn);
      }
    }
  }

  // Echoes what has arrived until the socket is drained, the peer stops taking, or the turn is over.
  void serve(Connection* conn) {
    if (!conn->unsent.empty() && !flush(conn)) return close(conn);
    for (int reads = 0; conn->readable && conn->unsent.empty(); ++reads) {
      if (reads == reads_per_turn) {
        if (!conn->queued) again_.push_back(conn);
        conn->queued = true;
        return;
      }
      const ssize_t got = ::recv(conn->fd, buffer_.data(), buffer_.size(), 0);
      if (got == 0) return close(conn);
      if (got < 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return close(conn);
        conn->readable = false;
        return;
      }
      const auto size = static_cast<std::size_t>(got);
      if (size < buffer_.size() && !conn->hung_up) conn->readable = false;
      if (!echo(conn, {buffer_.data(), size})) return close(conn);
    }
  }

  // Sends every whole line among the held partial line and `bytes`; keeps the rest. False: close.
  bool echo(Connection* conn, std::string_view bytes) {
    // The last newline bounds all whole lines, so one search and one send serve a pipelined batch.
    const void* last = ::memrchr(bytes.data(), '\n', bytes.size());
    if (last == nullptr) {
      conn->partial.append(bytes);
      return conn->partial.size() <= line_bytes_max;
    }
    const auto whole = static_cast<std::size_t>(static_cast<const char*>(last) - bytes.data()) + 1;
    if (conn->partial.empty()) {
      const ssize_t sent = send_some(conn->fd, bytes.substr(0, whole));
      if (sent < 0) return false;
      if (static_cast<std::size_t>(sent) < whole) {
        conn->unsent.assign(bytes.substr(static_cast<std::size_t>(sent), whole - static_cast<std::size_t>(sent)));
      }
    } else {
      conn->partial.append(bytes.substr(0, whole));
      conn->unsent.swap(conn->partial);
      if (!flush(conn)) return false;
    }
    if (whole < bytes.size()) conn->partial.assign(bytes.substr(whole));
    return true;
  }

  // Sends what is held; an OUT edge brings serve() back for the remainder. False: close.
  static bool flush(Connection* conn) {
    const ssize_t sent = send_some(conn->fd, conn->unsent);
    if (sent < 0) return false;
    if (static_cast<std::size_t>(sent) == conn->unsent.size()) {
      std::string().swap(conn->unsent);  // gives the memory back: an idle connection holds none
    } else {
      conn->unsent.erase(0, static_cast<std::size_t>(sent));
    }
    return true;
  }

  // Bytes taken, 0 when the socket is full, -1 when it failed.
  static ssize_t send_some(int fd, std::string_view bytes) {
    for (;;) {
      const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) return sent;
      if (errno == EAGAIN) return 0;
      if (errno != EINTR) return -1;
    }
  }

  void close(Connection* conn) {
    if (conn->queued) std::erase(again_, conn);
    ::close(conn->fd);
    delete conn;
  }

  const int epoll_;
  const int listener_;
  std::vector<char> buffer_;         // one for all: nothing stays in it between two calls
  std::vector<Connection*> again_;   // readable still when their turn ended; not owned
  bool accept_stalled_ = false;      // accept failed with connections left in the backlog
};

int listen_on(const bench::Address& address, std::string_view text) {
  const int fd = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) stop(2, "cannot listen on", text, std::strerror(errno));
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // Accepted sockets inherit it, which spares one call for each connection.
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::bind(fd, address.get(), address.length) != 0 || ::listen(fd, listen_backlog) != 0) {
    stop(2, "cannot listen on", text,
         errno == EADDRINUSE ? "the port is in use; choose another" : std::strerror(errno));
  }
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  std::string_view listen_text = "127.0.0.1:8080";
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help") {
      std::puts("usage: epoll_loop [--listen HOST:PORT]   (default 127.0.0.1:8080)");
      return 0;
    }
    if (option != "--listen") stop(2, "unknown option", option, "the only one is --listen HOST:PORT");
    if (i + 1 == argc) stop(2, "no value for", option, "give --listen HOST:PORT");
    listen_text = argv[++i];
  }
  const auto address = bench::parse_address(listen_text);
  if (!address) stop(2, "malformed address", listen_text, "give HOST:PORT with a numeric host, as in 127.0.0.1:8080");

  bench::raise_descriptor_limit();
  const int listener = listen_on(*address, listen_text);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) stop(2, "cannot open", "epoll", std::strerror(errno));
  std::printf("epoll_loop: listening on %.*s\n", static_cast<int>(listen_text.size()), listen_text.data());
  std::fflush(stdout);
  EchoLoop(epoll, listener).run();
}
