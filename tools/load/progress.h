// What the person who waits for a load sees of it, on standard error: a block of a few lines that is redrawn four times a second
// where that is a terminal, and a plain line every five seconds elsewhere.
//
// The block stands where the cursor was, below what was said before, and leaves nothing behind. It is as wide as the terminal at
// each redraw and never higher; the cursor is hidden only while a redraw is written, so whatever ends the program leaves it visible.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/load/figures.h"
#include "tools/load/heat.h"
#include "tools/load/histogram.h"
#include "tools/load/plan.h"
#include "tools/load/timeline.h"

namespace roost::load {

// A load at a moment.
struct Moment {
  std::string_view phase;          // "opening", "running", "finishing"
  std::int64_t now_ns = 0;
  std::int64_t phase_begin_ns = 0; // 0 when it is not known yet
  std::int64_t phase_end_ns = 0;   // likewise
  Counters counters = {};          // of all processes, so far
  FaultFigures::Counts attack = {};  // likewise; of all faults
};

// How much place there is, and what it can show.
struct Screen {
  unsigned columns = 80;
  unsigned rows = 24;
  bool has_unicode = true;
  bool has_colors = true;

  // Of a terminal; none where the descriptor is something else, or one that can only write on.
  static std::optional<Screen> of(int descriptor);
};

// What changed a second, over the last second or so.
struct Rates {
  double established = 0;
  double churned = 0;
  double sent = 0;
  double received = 0;
  double bytes = 0;                // both ways
};

// The lines of the block: none wider than screen.columns - 1 (escape sequences for colours take no place), at most
// screen.rows - 1 of them, the more important ones first to stay.
std::vector<std::string> live_lines(const LoadOptions& options, const Moment& moment, const Rates& rates, const Timeline& timeline,
                                    const Screen& screen);

// As many characters as values, or as fit: the last ones. On a logarithmic scale from the least to the greatest; a value of 0 is none.
std::string sparkline(const std::vector<std::uint64_t>& values, std::size_t width, bool has_unicode);

class Progress {
 public:
  // Both outlive this. Shows nothing with options.quiet.
  Progress(const LoadOptions& options, const Timeline& timeline);

  // Now, or later if it is not time yet. `recent` holds the latencies since the last call.
  void show(const Moment& moment, const Histogram& recent);
  // Takes the block away, so that something else can be written; the next show() draws it anew.
  void clear();

 private:
  void show_line(const Moment& moment);
  void draw(const Moment& moment);
  [[nodiscard]] Rates rates() const;
  std::string step_back(const Screen& screen);

  const LoadOptions& options_;
  const Timeline& timeline_;
  const bool is_terminal_;
  std::deque<Moment> past_;             // those of the last second, the oldest first
  std::int64_t shown_ns_ = 0;
  std::vector<unsigned> drawn_widths_;  // of the lines of the block that stands there now
  // Made anew once a second: that takes some milliseconds, of processors that have better to do.
  HeatMap heat_;
  std::size_t heat_seconds_ = 0;        // of the timeline, when it was made
  unsigned heat_columns_ = 0;           // of the screen, likewise
  // For lines.
  Counters last_;
  Histogram recent_;
};

}  // namespace roost::load
