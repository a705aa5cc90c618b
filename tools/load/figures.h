// What a load process counts, in a form that adds up exactly over processes and travels as bytes.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/load/histogram.h"

namespace roost::load {

// All counts are of one process or a sum; they only grow, but for `open` and `in_flight`.
struct Counters {
  std::uint64_t requested = 0;    // connections this process is to open, by the stages begun so far
  std::uint64_t attempted = 0;    // dials begun
  std::uint64_t established = 0;
  std::uint64_t failed = 0;       // dials that failed
  std::uint64_t dropped = 0;      // established and broken before the end
  std::uint64_t settled = 0;      // connections that failed, or whose first message is answered or lost
  std::uint64_t released = 0;     // closed by us because a later stage holds fewer
  std::uint64_t open = 0;
  std::uint64_t peak = 0;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t timeouts = 0;     // messages not sent or not answered within the I/O time-out
  std::uint64_t errors = 0;       // messages lost to an error or to the end of their connection
  std::uint64_t mismatched = 0;   // messages whose answer was something else
  std::uint64_t run_sent = 0;     // those of the above that were due in the run, after the ramp
  std::uint64_t run_received = 0;
  std::uint64_t in_flight = 0;    // messages sent and waited for
  std::uint64_t bytes_sent = 0;   // of whole messages
  std::uint64_t bytes_received = 0;
  // Churn is counted apart: a connection closed for it is neither dropped nor released, its successor not established.
  std::uint64_t churn_closed = 0;
  std::uint64_t churn_established = 0;
  std::uint64_t churn_failed = 0; // dials
  std::uint64_t stages_settled = 0;      // stages whose connections have all settled; of one process, a sum has none
  std::int64_t last_established_ns = 0;  // steady clock; merging takes the latest
  std::int64_t told_ns = 0;              // when these were told to the parent; likewise

  [[nodiscard]] std::uint64_t lost_messages() const noexcept { return timeouts + errors + mismatched; }
  void merge(const Counters& other) noexcept;
};

// What belongs to one stage of several.
struct StageFigures {
  struct Counts {
    std::uint64_t requested = 0;      // connections that were to be opened for it
    std::uint64_t established = 0;
    std::uint64_t run_sent = 0;
    std::uint64_t run_received = 0;
    std::uint64_t run_bytes_sent = 0;
    std::uint64_t churn_closed = 0;
    std::uint64_t churn_established = 0;
    std::int64_t last_established_ns = 0;
  } counts;
  Histogram latency;
  Histogram lateness;

  void merge(const StageFigures& other);
};

// What the attackers of one fault of one stage did, and what became of them.
struct FaultFigures {
  struct Counts {
    std::uint64_t opened = 0;         // connections that stood; several of an attacker that comes again
    std::uint64_t failed = 0;         // dials
    std::uint64_t cut_off = 0;        // by the server
    std::uint64_t answered = 0;       // messages, of the faults that wait for an answer
    std::uint64_t unanswered = 0;     // within the I/O time-out
    std::uint64_t mismatched = 0;     // answers that were something else
    std::uint64_t bytes_sent = 0;
    std::uint64_t standing = 0;       // there to the end of the attack; half-open ones: those that vanished
    std::uint64_t open = 0;           // now

    void merge(const Counts& other) noexcept;
  } counts;
  std::map<std::string, std::uint64_t> causes;  // of failed and cut off ones, by error name
  Histogram held;                     // from established to cut off
  Histogram back;                     // of a storm: from its moment to the answer
  Histogram lateness;                 // of the attackers themselves: when they dialled or dripped, against when that was due

  void merge(const FaultFigures& other);
};

// What belongs to one target of several.
struct TargetCounters {
  std::uint64_t established = 0;
  std::uint64_t failed = 0;
  std::uint64_t dropped = 0;
  std::uint64_t received = 0;

  void merge(const TargetCounters& other) noexcept;
};

struct Figures {
  enum Kind : std::size_t {
    connect,      // dial begun to connection established
    first_echo,   // the first message of each connection, sent as soon as it stands
    ramp,         // scheduled messages due while connections were still being opened
    run,          // messages of the run: the latency that counts
    service,      // the same messages from their actual sending (a long one: from its last byte) to the answer
    lateness,     // of the run: how long after its due time the generator sent a message
    // Since the last progress frame. The first two together are all answers that came.
    recent_run,   // of `run`
    recent_rest,  // of `first_echo` and `ramp`
    recent_lateness,
    kinds,
  };

  Counters counters;
  std::map<std::string, std::uint64_t> failures;  // failed and dropped connections by error name
  std::array<Histogram, kinds> histograms;
  std::vector<StageFigures> stages;      // as many as the load has
  std::vector<TargetCounters> targets;   // likewise
  std::vector<FaultFigures> faults;      // those of the first stage, then those of the second, ...

  void merge(const Figures& other);

  // With `all` everything; else what a progress frame needs: counters, failures, what is recent, and counts of stages and faults.
  [[nodiscard]] std::string encode(bool all) const;
  [[nodiscard]] static std::optional<Figures> decode(std::string_view bytes);
};

}  // namespace roost::load
