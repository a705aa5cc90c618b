// One process's share of a load: opens its connections on schedule, each with a fiber of its own, sends and checks
// messages, and tells the parent.
//
// Frames from the parent set the clock; all times are nanoseconds on the steady clock, which all processes of a machine
// share. The order: child `ready`, parent `begin`, child `progress` again and again (counters.settled == requested ends
// the ramp), parent `run`, child `result`, parent `leave`. Connections stand until `leave`, so that the parent can
// measure memory meanwhile. `leave` at any time, or the parent's end, stops at once.
//
// One worker thread and no spare ones: fibers of this process never run at the same time, so counters are plain numbers.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <system_error>
#include <vector>

#include <roost/error.h>
#include <roost/net/conn.h>
#include <roost/net/dial.h>

#include "tools/common/shards.h"
#include "tools/load/figures.h"
#include "tools/load/payload.h"
#include "tools/load/plan.h"

namespace roost::load {

enum FrameKind : std::uint8_t {
  ready,     // child
  begin,     // parent: int64_t, when the first connection is due
  progress,  // child: Figures::encode(false)
  run,       // parent: RunWindow
  result,    // child: Figures::encode(true)
  leave,     // parent
};

struct RunWindow {
  std::int64_t start_ns = std::numeric_limits<std::int64_t>::max();
  std::int64_t end_ns = std::numeric_limits<std::int64_t>::max();
};

class Client {
 public:
  Client(const LoadOptions& options, const Plan& plan, const tools::ShardLink& link);
  ~Client();

  // Starts the runtime, does all of it, and returns the process's exit status.
  int run_all();

 private:
  // Buffers for the moment of a message only: an idle connection holds none.
  class Buffers {
   public:
    explicit Buffers(std::size_t bytes) : bytes_(bytes) {}
    struct Lease {
      Buffers& owner;
      std::unique_ptr<std::byte[]> memory;
      ~Lease() { owner.free_.push_back(std::move(memory)); }
      [[nodiscard]] std::span<std::byte> span() const noexcept { return {memory.get(), owner.bytes_}; }
    };
    Lease borrow();

   private:
    const std::size_t bytes_;
    std::vector<std::unique_ptr<std::byte[]>> free_;
  };

  int work();
  void listen_to_parent();
  void open_connections();
  void drive(net::Conn conn, std::uint64_t number);
  std::error_code greet(net::Conn& conn, std::uint64_t number);
  std::error_code ping_on_schedule(net::Conn& conn, std::uint64_t number, std::uint32_t sequence);
  std::error_code ping_in_a_loop(net::Conn& conn, std::uint64_t number, std::uint32_t sequence);
  std::error_code stand(net::Conn& conn, Deadline until);
  std::error_code exchange(net::Conn& conn, std::uint64_t number, std::uint32_t sequence);
  std::error_code send(net::Conn& conn, const Payload& payload);
  std::error_code receive(net::Conn& conn, const Payload& payload);
  void count_loss(std::error_code error);
  void count_broken(std::error_code error);
  void count_answer(std::int64_t due_ns, std::int64_t sent_ns, std::int64_t answered_ns);
  [[nodiscard]] std::int64_t next_progress_ns() const;
  void tell(std::uint8_t kind);

  const LoadOptions& options_;
  const Stage& stage_ = options_.stages.front();
  const Plan& plan_;
  const tools::ShardLink& link_;
  const std::uint64_t share_;       // connections of this process

  Figures figures_;
  Buffers buffers_;
  net::Conn parent_;
  std::int64_t begin_ns_ = 0;       // 0 until the parent has said
  RunWindow window_;                // ends at the end of time until the parent has said
  bool leaving_ = false;
  std::uint64_t next_ = 0;          // the next connection to open, counted in this process
  std::vector<net::Conn*> waiting_; // active connections of a closed loop that wait for the run to start
};

}  // namespace roost::load
