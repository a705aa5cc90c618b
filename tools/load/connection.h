// One connection of the load, as a process keeps it: no fiber and no buffer, but for the moment in which something happens.
//
// Invariants
//   I1  A connection that is open is either asleep or held by exactly one fiber: the one that dialled it, the one that sends on
//       schedule, or the one that its wake-up started. Only the holder reads, changes `state` or closes.
//   I2  `state` is waiting or greeting exactly while the connection is in the client's InFlight.
//   I3  `sequence` only grows, over all connections that take this place in turn: an answer to an earlier message never fits.
// A fiber that is no holder becomes it by wake_for_caller(); where that fails, somebody else holds it or is about to, and
// Client::nudge() makes that fiber look what there is to do.
#pragma once

#include <cstdint>

#include <roost/net/conn.h>
#include <roost/net/on_demand.h>

namespace roost::load {

class Client;

class Connection final : public net::OnDemand {
 public:
  enum class State : std::uint8_t {
    absent,    // none there
    wanted,    // to be dialled in this stage's ramp
    dialing,
    greeting,  // its first message is under way
    idle,
    waiting,   // a message is under way
    thinking,  // until its read deadline
  };

  Connection() noexcept = default;

  [[nodiscard]] bool is_open() const noexcept { return state >= State::greeting; }
  [[nodiscard]] bool is_in_flight() const noexcept { return state == State::greeting || state == State::waiting; }
  // True: asleep, and no longer the caller's. False: something is there to read already.
  [[nodiscard]] bool fall_asleep() noexcept { return sleep(conn); }
  // True: it was asleep, and the caller holds it now. False: it is held, or about to be.
  [[nodiscard]] bool wake_for_caller() noexcept { return take_back(conn); }

  net::Conn conn;
  Client* client = nullptr;
  std::int64_t due_ns = 0;        // when the message under way was to be sent
  std::int64_t waits_since_ns = 0;
  std::uint32_t index = 0;
  std::uint32_t sequence = 0;     // of the last message
  std::uint32_t bytes = 0;        // of the message under way
  std::uint32_t received = 0;     // of its answer
  std::uint32_t cycle = 0;        // with an interval: the next one to send in
  std::uint32_t last_ms = 0;      // when a message last moved, since the client's begin
  std::uint16_t stage = 0;        // of the message under way, and of `cycle`
  State state = State::absent;
  bool in_run : 1 = false;        // the message under way counts for the run
  bool by_churn : 1 = false;      // it replaces one that churn closed
  bool is_churning : 1 = false;   // to be closed and replaced after the message under way
  bool is_retiring : 1 = false;   // to be closed after it
  bool is_nudged : 1 = false;     // its read deadline was set to wake whoever holds it

 private:
  void on_ready() override;
};

// A million of these, with 8 bytes of InFlight and a PollDesc of 192 bytes each, are 330 MB.
static_assert(sizeof(Connection) <= 128);

}  // namespace roost::load
