// What happened in each second of a load, over all its processes: a time series for charts, tables and the live view.
//
// Counts come from the frames that processes send, as differences between one frame and the next of the same process; a
// difference belongs to the second in which it was told. Processes tell at the first look in each second, so a count can stand
// in the next second by as much as they look late: 20 to 100 ms, and longer only when the processors starve them. Nothing is
// lost by that: over all seconds the differences add up to the totals, and histograms to the whole one, exactly.
//
// Memory and CPU are the parent's own readings, once a second.
//
// Histograms are kept packed, and in a bounded space: when those of a long load come to take more than histogram_bytes_max,
// neighbours are put together, so that each is of two seconds from then on, and later of four. Nothing is lost but the distinction.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/proc.h"
#include "tools/load/figures.h"
#include "tools/load/histogram.h"

namespace roost::load {

// A histogram in as many bytes as its values need: a day has 86,400 of them.
class PackedHistogram {
 public:
  void merge(const Histogram& other);
  void add_to(Histogram& sum) const;
  // Gives back the memory that merging is quick with.
  void pack();
  [[nodiscard]] Histogram unpack() const;
  [[nodiscard]] bool empty() const noexcept { return packed_.empty() && !open_; }
  // On the heap, while it is packed.
  [[nodiscard]] std::size_t packed_bytes() const noexcept { return packed_.size(); }

 private:
  std::string packed_;               // of what was merged before the last pack()
  std::unique_ptr<Histogram> open_;  // all of it, if anything was merged since
};

// Counts of one second, or of several.
struct Deltas {
  std::uint64_t attempted = 0;
  std::uint64_t established = 0;     // churn's successors included, and its failures below
  std::uint64_t failed = 0;
  std::uint64_t dropped = 0;
  std::uint64_t churned = 0;         // closed by us to be dialled anew
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t timeouts = 0;
  std::uint64_t errors = 0;
  std::uint64_t mismatched = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::int64_t opened = 0;           // by how many more are open afterwards
  std::map<std::string, std::uint64_t> failures;  // failed and dropped connections by error name

  void merge(const Deltas& other);
};

// Readings as the system gives them: CPU times only grow.
struct Readings {
  std::uint64_t server_bytes = 0;    // anonymous memory; 0 when no server is known
  std::uint64_t client_bytes = 0;
  double server_cpu_s = 0;
  double client_cpu_s = 0;
  double attack_cpu_s = 0;           // of the attackers' processes, which are not the client's
  double machine_busy_s = 0;         // of all processors
  double machine_total_s = 0;
  std::uint64_t server_descriptors = 0;           // 0: not known
  tools::TcpCounters client_tcp = {};                // of this network namespace
  std::optional<tools::TcpCounters> server_tcp = {};  // of the server's, which may be the same
};

// What a second's readings tell.
struct Usage {
  std::uint64_t server_bytes = 0;
  std::uint64_t client_bytes = 0;
  double server_processors = 0;      // that were busy with it, on average
  double client_processors = 0;
  double attack_processors = 0;
  double machine_busy = 0;           // share of all processors, 0 to 1
  std::uint64_t server_descriptors = 0;
  // Counted since the readings before.
  tools::TcpCounters client_tcp = {};
  std::optional<tools::TcpCounters> server_tcp = {};
};

struct Second {
  Deltas deltas;
  PackedHistogram run_latency;       // of the answers that came to messages of the run
  PackedHistogram rest_latency;      // of the other answers, first ones included
  PackedHistogram lateness;
  std::optional<Usage> usage;        // none when the parent was too busy to look

  static constexpr std::array histograms{&Second::run_latency, &Second::rest_latency, &Second::lateness};
  // Of all answers.
  [[nodiscard]] Histogram latency() const;
};

class Timeline {
 public:
  // Longer loads count the rest into the last second.
  static constexpr std::size_t seconds_max = 86'400;
  // At 20,000 messages a second that took 10 us to 10 ms, a second's histograms were 3.4 KB: five hours of such a load are whole.
  static constexpr std::size_t histogram_bytes_max = std::size_t{64} << 20;

  struct Mark {
    std::string name;  // of what begins here: "opening", "running"
    double at_s;
  };

  explicit Timeline(std::size_t bytes_max = histogram_bytes_max) : histogram_bytes_max_(bytes_max) {}

  // Second 0 begins here, with what the readings are now.
  void begin(std::int64_t begin_ns, const Readings& readings);
  [[nodiscard]] bool has_begun() const noexcept { return begin_ns_ != 0; }

  // The latest figures of a process.
  void add(unsigned process, const Figures& figures);

  // Whether a second has ended that has no readings yet.
  [[nodiscard]] bool wants_readings(std::int64_t now_ns) const noexcept;
  void add_readings(std::int64_t now_ns, const Readings& readings);

  void mark(std::string name, std::int64_t at_ns);

  // The last one may not be over.
  [[nodiscard]] const std::vector<Second>& seconds() const noexcept { return seconds_; }
  // How many seconds a histogram is of. It stands with the first of them: the second whose index is a multiple of this.
  [[nodiscard]] std::size_t histogram_seconds() const noexcept { return histogram_seconds_; }
  [[nodiscard]] std::size_t packed_bytes() const noexcept { return packed_bytes_; }
  [[nodiscard]] const std::vector<Mark>& marks() const noexcept { return marks_; }
  // The name of the last mark before the end of second `index`.
  [[nodiscard]] std::string_view phase(std::size_t index) const noexcept;

 private:
  struct Process {
    Counters counters;
    std::map<std::string, std::uint64_t> failures;
  };

  Second& at(std::size_t index);
  Second& histograms_at(std::size_t index);
  void pack_old();
  void halve_resolution();

  std::size_t histogram_bytes_max_;  // constant after construction
  std::int64_t begin_ns_ = 0;
  std::vector<Second> seconds_;
  std::size_t histogram_seconds_ = 1;
  std::vector<std::size_t> open_;    // seconds whose histograms may not be packed
  std::size_t packed_bytes_ = 0;     // of the histograms of all others
  std::vector<Process> processes_;   // what each told last
  std::vector<Mark> marks_;
  Readings last_;
  std::int64_t last_ns_ = 0;         // of last_
  std::size_t read_ = 0;             // seconds that readings were taken for, or passed over
};

// How many seconds a chart's point is of, so that there are at most `points_max` (0: any number) and no histogram is cut.
std::size_t seconds_each(const Timeline& timeline, std::size_t points_max);

// Seconds put together, so that there are at most `points_max`: what a chart can show.
struct Span {
  std::size_t first = 0;             // second
  std::size_t count = 0;
  Deltas deltas;
  std::int64_t open = 0;             // connections at the end
  PackedHistogram latency;           // of all answers; packed, since a chart has up to 1,800 of these
  PackedHistogram lateness;
  std::optional<Usage> usage;        // the mean of those there are; of TCP the sum
};
std::vector<Span> spans(const Timeline& timeline, std::size_t points_max);

}  // namespace roost::load
