// A small Redis client: commands and replies (RESP 2), over a pool of connections.
//
//   Client redis("127.0.0.1:6379", {.max_open = 8});
//   auto reply = redis.command({"GET", "key"}, Repeat::harmless);
//
// Safe from any number of fibers at once: each command borrows a connection for as long as it takes.
#pragma once

#include <charconv>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include <roost/pool/conn_pool.h>
#include <roost/roost.h>

namespace redis {

struct Reply {
  enum class Kind { status, error, integer, text, nil };
  Kind kind = Kind::nil;
  std::string text;  // for an integer its digits
};

// One connection, and what it needs to speak RESP.
class Connection {
 public:
  static roost::Result<Connection> dial(std::string_view address, roost::Deadline deadline) {
    auto conn = roost::net::Dialer{.deadline = deadline}.dial("tcp", address);
    if (!conn) return roost::fail(conn.error());
    return Connection(std::move(*conn));
  }

  roost::Result<Reply> command(std::initializer_list<std::string_view> words, roost::Deadline deadline) {
    if (auto set = parts_->conn.set_deadline(deadline); !set) return roost::fail(set.error());
    roost::io::Writer& out = parts_->out;
    // The writer's errors are sticky: the flush reports the first of them.
    static_cast<void>(out.write("*" + std::to_string(words.size()) + "\r\n"));
    for (const std::string_view word : words) {
      static_cast<void>(out.write("$" + std::to_string(word.size()) + "\r\n"));
      static_cast<void>(out.write(word));
      static_cast<void>(out.write("\r\n"));
    }
    if (auto flushed = out.flush(); !flushed) return roost::fail(flushed.error());
    return read_reply();
  }

  // Asked by the pool: nothing is left over from the last reply, and the server has not closed it.
  [[nodiscard]] bool is_reusable() const { return parts_->in.buffered() == 0 && roost::pool::is_quiet(parts_->conn); }

 private:
  static constexpr std::size_t reply_bytes_max = 16 * 1024 * 1024;

  // On the heap, because reader and writer refer to the connection, and a Connection is moved.
  struct Parts {
    explicit Parts(roost::net::Conn from) : conn(std::move(from)) {}
    roost::net::Conn conn;
    roost::io::Reader in{conn};
    roost::io::Writer out{conn};
  };

  explicit Connection(roost::net::Conn conn) : parts_(std::make_unique<Parts>(std::move(conn))) {}

  roost::Result<Reply> read_reply() {
    const auto line = parts_->in.read_line();
    if (!line) return roost::fail(line.error());
    if (line->empty()) return roost::fail(std::errc::protocol_error);
    const char type = line->front();
    const std::string_view rest = line->substr(1);
    switch (type) {
      case '+': return Reply{Reply::Kind::status, std::string(rest)};
      case '-': return Reply{Reply::Kind::error, std::string(rest)};
      case ':': return Reply{Reply::Kind::integer, std::string(rest)};
      case '$': return read_text(rest);
      default: return roost::fail(std::errc::protocol_error);  // arrays: no command of ours is answered by one
    }
  }

  roost::Result<Reply> read_text(std::string_view length) {
    std::int64_t bytes = 0;
    const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bytes);
    if (error != std::errc() || end != length.data() + length.size() || bytes < -1 ||
        bytes > static_cast<std::int64_t>(reply_bytes_max)) {
      return roost::fail(std::errc::protocol_error);
    }
    if (bytes == -1) return Reply{};
    Reply reply{Reply::Kind::text, std::string(static_cast<std::size_t>(bytes) + 2, '\0')};
    if (auto got = parts_->in.read_full(std::as_writable_bytes(std::span(reply.text))); !got) return roost::fail(got.error());
    if (!reply.text.ends_with("\r\n")) return roost::fail(std::errc::protocol_error);
    reply.text.resize(reply.text.size() - 2);
    return reply;
  }

  std::unique_ptr<Parts> parts_;
};

// Whether a command may be sent twice: GET may, INCR may not.
enum class Repeat { harmless, forbidden };

class Client {
 public:
  explicit Client(std::string address, const roost::pool::PoolOptions& options = {})
      : pool_([address = std::move(address)](roost::Deadline deadline) { return Connection::dial(address, deadline); },
              options) {}

  // Errors: those of the pool, of the connection, and protocol_error. What the server answers with -ERR is a Reply.
  roost::Result<Reply> command(std::initializer_list<std::string_view> words, Repeat repeat,
                               roost::Deadline deadline = roost::Deadline::none()) {
    for (bool fresh = false;; fresh = true) {
      auto lease = pool_.acquire({.deadline = deadline, .fresh = fresh});
      if (!lease) return roost::fail(lease.error());
      auto reply = lease->check((*lease)->command(words, deadline));
      // The server may have closed an idle connection at the very moment at which it was taken.
      const bool may_have_been_dead = !reply && lease->is_reused() && !roost::is_timeout(reply.error());
      if (!may_have_been_dead || repeat == Repeat::forbidden || roost::this_fiber::is_canceled()) return reply;
    }
  }

  roost::Result<void> close(roost::Deadline deadline = roost::Deadline::none()) { return pool_.close(deadline); }
  [[nodiscard]] roost::pool::PoolStats stats() const { return pool_.stats(); }

 private:
  roost::pool::ConnPool<Connection> pool_;
};

}  // namespace redis
