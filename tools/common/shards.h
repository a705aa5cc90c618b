// Spreads a job over several processes, where one may not open enough descriptors for it.
//
// A ShardGroup forks its children first of all, before any thread and before roost::run, and keeps a socket to each. The
// parent never runs the runtime: it poll()s the sockets, which carry small frames both ways (progress and results up,
// commands down), and a signalfd. What the frames mean is the user's business.
//
// Promises: no child outlives the parent (the kernel kills it with the parent's death). Every child that ends is reaped,
// and how it ended is reported exactly once. SIGINT and SIGTERM reach only the parent's handler; children ignore them,
// because a terminal sends SIGINT to all at once and it is the parent that decides when and how to stop.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <roost/error.h>

namespace roost::net {
class Descriptor;
}

namespace roost::tools {

// One message of a link. `kind` and `payload` belong to the user.
struct Frame {
  std::uint8_t kind = 0;
  std::string payload;
};

// Plain structs travel as their bytes: both ends are the same program on the same machine.
template <class T>
  requires std::is_trivially_copyable_v<T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
template <class T>
  requires std::is_trivially_copyable_v<T>
std::optional<T> value_of(std::string_view bytes) {
  if (bytes.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// The child's end.
class ShardLink {
 public:
  ShardLink(int fd, unsigned index, unsigned count) noexcept : fd_(fd), index_(index), count_(count) {}

  [[nodiscard]] unsigned index() const noexcept { return index_; }  // 0 .. count() - 1
  [[nodiscard]] unsigned count() const noexcept { return count_; }

  // Sends one frame. May block the thread for the moment that the parent needs to take what is queued: frames are small
  // and the parent does little else. False when the parent is gone.
  bool send(std::uint8_t kind, std::string_view payload) const;

  // Hands the socket over to the runtime; from then on receive() works. Once, inside roost::run. No net::Conn, so that it is not
  // among the connections that metrics count.
  Result<net::Descriptor> adopt() const;
  // Parks until a frame has come. end_of_stream when the parent is gone.
  static Result<Frame> receive(net::Descriptor& link);

  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
  unsigned index_;
  unsigned count_;
};

// How a child ended.
struct ShardExit {
  unsigned index = 0;
  pid_t pid = 0;
  int exit_status = 0;  // what its body returned; -1 when a signal killed it
  int signal = 0;       // the signal that killed it, or 0
  double cpu_s = 0;     // user and system time of all its threads

  [[nodiscard]] bool killed() const noexcept { return signal != 0; }
  [[nodiscard]] std::string to_string() const;  // "process 2 (pid 4711) was killed by signal 9 (Killed)"
};

// The parent's end. One thread, no runtime.
class ShardGroup {
 public:
  struct Handler {
    std::function<void(unsigned index, const Frame& frame)> on_frame;
    std::function<void(const ShardExit& exit)> on_exit;
    std::function<void(int signal)> on_signal;
  };

  // Forks `count` children; each runs `body` and ends with what it returns, without running the parent's destructors or
  // exit handlers. Returns in the parent only. Errors: what fork(2) or socketpair(2) report; no child is left then.
  // `more_signals` are handled as SIGINT and SIGTERM are.
  static Result<ShardGroup> start(unsigned count, const std::function<int(const ShardLink&)>& body,
                                  std::initializer_list<int> more_signals = {});

  ShardGroup(ShardGroup&&) noexcept;
  ShardGroup& operator=(ShardGroup&&) = delete;
  // Kills and reaps what still runs.
  ~ShardGroup();

  // Waits until something happened, at most for `timeout`, and calls the handler for all that did.
  void poll(std::chrono::milliseconds timeout, const Handler& handler);

  // Ends a poll() that waits, or the next one. The one call that other threads may make.
  void wake() const noexcept;

  // A child that is gone is passed over.
  void send(unsigned index, std::uint8_t kind, std::string_view payload);
  void broadcast(std::uint8_t kind, std::string_view payload);

  // Kills what still runs (SIGKILL); on_exit reports it at the next poll().
  void kill_all();

  [[nodiscard]] unsigned count() const noexcept { return static_cast<unsigned>(shards_.size()); }
  [[nodiscard]] unsigned running() const noexcept;
  [[nodiscard]] std::vector<pid_t> pids() const { return pids(0, count()); }  // of those that run
  [[nodiscard]] std::vector<pid_t> pids(unsigned first, unsigned end) const;  // likewise, of these alone; `end` is none of them
  [[nodiscard]] std::vector<bool> running_ones() const;  // by index

 private:
  struct Shard {
    pid_t pid = -1;       // -1 once reaped
    int fd = -1;          // -1 once the child closed its end
    std::string pending;  // bytes of a frame that is not complete yet
  };

  ShardGroup() = default;
  void read_frames(unsigned index, const Handler& handler);
  void reap(unsigned index, const Handler& handler);

  std::vector<Shard> shards_;
  int signal_fd_ = -1;
  int wake_fd_ = -1;
};

// Numbers in memory that all children share with the parent: one slot per child, each in a cache line of its own.
// Made before the fork. A slot is written by its child alone (and by the parent once that child is dead).
class SharedCounters {
 public:
  // Ends the process when there is no memory for some pages.
  explicit SharedCounters(unsigned slots);
  ~SharedCounters();
  SharedCounters(const SharedCounters&) = delete;
  SharedCounters& operator=(const SharedCounters&) = delete;

  // Adds to `slot` and returns the sum over all slots afterwards.
  std::uint64_t add(unsigned slot, std::int64_t difference) noexcept;
  [[nodiscard]] std::uint64_t sum() const noexcept;
  void clear(unsigned slot) noexcept;

 private:
  struct Slot;
  Slot* slots_;
  unsigned count_;
};

}  // namespace roost::tools
