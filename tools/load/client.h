// One process's share of a load: opens its connections on schedule, sends and checks messages, and tells the parent.
//
// An idle connection has no fiber (connection.h). A few fibers do what has to be done in time: one opens the connections of a
// stage, one sends its messages, one churns; an answer that arrives gets a fiber for the moment it takes to check it.
//
// Frames from the parent set the clock; all times are nanoseconds on the steady clock, which all processes of a machine
// share. The order: child `ready`; for each stage parent `begin`, child `progress` again and again (counters.stages_settled
// beyond the stage ends its ramp), parent `run`, unless the stage has no duration; child `result` after the last stage's run,
// parent `leave`. Connections stand until `leave`, so that the parent can measure memory meanwhile. `leave` at any time, or
// the parent's end, stops at once.
//
// One worker thread and no spare ones: fibers of this process never run at the same time, so counters are plain numbers.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include <roost/error.h>
#include <roost/net/conn.h>
#include <roost/net/descriptor.h>
#include <roost/net/dial.h>
#include <roost/sync/semaphore.h>

#include "tools/common/shards.h"
#include "tools/load/attack.h"
#include "tools/load/connection.h"
#include "tools/load/figures.h"
#include "tools/load/in_flight.h"
#include "tools/load/payload.h"
#include "tools/load/plan.h"
#include "tools/load/schedule.h"

namespace roost::load {

enum FrameKind : std::uint8_t {
  ready,     // child
  begin,     // parent: StageBegin
  progress,  // child: Figures::encode(false)
  run,       // parent: RunWindow, of the stage begun last
  result,    // child: Figures::encode(true)
  leave,     // parent
};

struct StageBegin {
  std::uint64_t stage = 0;
  std::int64_t begin_ns = 0;  // when its first connection is due
};

struct RunWindow {
  std::int64_t start_ns = std::numeric_limits<std::int64_t>::max();
  std::int64_t end_ns = std::numeric_limits<std::int64_t>::max();

  [[nodiscard]] bool contains(std::int64_t due_ns) const noexcept { return due_ns >= start_ns && due_ns < end_ns; }
};

class Client {
 public:
  Client(const LoadOptions& options, const Plan& plan, const tools::ShardLink& link);
  ~Client();

  // Starts the runtime, does all of it, and returns the process's exit status.
  int run_all();

 private:
  friend class Connection;

  // Buffers for the moment of a message only.
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

  // The process.
  int work();
  void listen_to_parent();
  void begin_stage(const StageBegin& begun);
  void begin_run(const RunWindow& window);
  void expire_overdue(std::int64_t now);
  void close_all();
  [[nodiscard]] std::int64_t next_progress_ns() const;
  void tell(std::uint8_t kind);
  [[nodiscard]] const Stage& stage() const noexcept { return options_.stages[stage_number_]; }
  [[nodiscard]] StageFigures& figures_of_stage() noexcept { return figures_.stages[stage_number_]; }

  // Fibers of a stage. Each ends when another stage has begun.
  void open_connections(std::uint64_t stage_number);
  void dial(Connection& c);
  void send_by_interval(std::uint64_t stage_number);
  void send_by_rate(std::uint64_t stage_number);
  void start_loops(std::uint64_t stage_number);
  void churn(std::uint64_t stage_number);
  [[nodiscard]] bool is_over(std::uint64_t stage_number) const noexcept { return leaving_ || stage_number_ != stage_number; }
  [[nodiscard]] Connection* any_idle();

  // One connection, held by the caller (I1 of connection.h), but for nudge().
  void nudge(Connection& c);
  [[nodiscard]] bool is_overdue(const Connection& c, std::int64_t now) const noexcept;
  void hold(Connection& c);
  bool advance(Connection& c);
  bool go_on(Connection& c, bool has_thought);
  bool send(Connection& c, std::int64_t due_ns, bool was_busy);
  void send_and_sleep(Connection& c, std::int64_t due_ns);
  void send_long(Connection& c, std::uint32_t sequence);
  void finish_message(Connection& c, std::int64_t now);
  void lose(Connection& c, std::error_code error);
  void replace(Connection& c);
  void release(Connection& c);
  void shut(Connection& c);
  void settle();

  [[nodiscard]] std::uint64_t number_of(const Connection& c) const noexcept { return place_.number_of(c.index); }
  [[nodiscard]] TargetCounters& target_of(const Connection& c) noexcept {
    return figures_.targets[number_of(c) % options_.targets.size()];
  }
  [[nodiscard]] std::uint32_t milliseconds_since_epoch(std::int64_t now) const noexcept {
    return static_cast<std::uint32_t>((now - epoch_ns_) / 1'000'000);
  }
  std::uint64_t random_bits() noexcept;

  const LoadOptions& options_;
  const Plan& plan_;
  const tools::ShardLink& link_;
  const Share place_;
  const std::uint64_t places_;            // connections of this process, in the stage that has most
  const std::int64_t epoch_ns_;

  Figures figures_;
  Buffers buffers_;
  InFlight in_flight_;
  std::unique_ptr<Connection[]> connections_;
  Attack attack_;
  net::Descriptor parent_;
  std::uint64_t random_;
  bool leaving_ = false;
  std::int64_t load_begin_ns_ = 0;        // when the first stage began

  // Of the stage that was begun last; none before the first.
  bool has_begun_ = false;
  std::uint64_t stage_number_ = 0;
  std::uint64_t share_ = 0;               // connections of this process
  std::int64_t begin_ns_ = 0;
  RunWindow window_;
  std::optional<IntervalSchedule> intervals_;
  std::optional<Semaphore> openings_;     // how many more may be without their first answer
  std::deque<std::int64_t> backlog_;      // with a rate: due times for which no connection was free
};

}  // namespace roost::load
