// One process's share of the honest connections of a load: opens them on schedule, sends and checks messages.
//
// An idle connection has no fiber (connection.h). A few fibers do what has to be done in time: one opens the connections of a
// stage, one sends its messages, one churns; an answer that arrives gets a fiber for the moment it takes to check it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include <roost/error.h>
#include <roost/net/conn.h>
#include <roost/net/dial.h>
#include <roost/sync/semaphore.h>

#include "tools/common/shards.h"
#include "tools/load/connection.h"
#include "tools/load/figures.h"
#include "tools/load/in_flight.h"
#include "tools/load/payload.h"
#include "tools/load/plan.h"
#include "tools/load/process.h"
#include "tools/load/schedule.h"

namespace roost::load {

class Client final : public Process {
 public:
  Client(const LoadOptions& options, const Plan& plan, const tools::ShardLink& link);
  ~Client() override;

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

  void begin_stage(const StageBegin& begun) override;
  void begin_run() override;
  void look_around(std::int64_t now) override;
  [[nodiscard]] bool is_done() const override { return in_flight_.size() == 0; }
  [[nodiscard]] std::uint64_t in_flight() const override { return in_flight_.size(); }
  void close_all() override;
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

  const Share place_;
  const std::uint64_t places_;            // connections of this process, in the stage that has most
  const std::int64_t epoch_ns_;

  Buffers buffers_;
  InFlight in_flight_;
  std::unique_ptr<Connection[]> connections_;
  std::uint64_t random_;

  // Of the stage that was begun last; none before the first.
  std::uint64_t share_ = 0;               // connections of this process
  std::int64_t begin_ns_ = 0;
  std::optional<IntervalSchedule> intervals_;
  std::optional<Semaphore> openings_;     // how many more may be without their first answer
  std::deque<std::int64_t> backlog_;      // with a rate: due times for which no connection was free
};

}  // namespace roost::load
