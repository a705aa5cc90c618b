#include "tools/load/client.h"

#include <algorithm>
#include <string>
#include <utility>

#include <roost/roost.h>

#include "tools/load/clock.h"

namespace roost::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using State = Connection::State;

// Connections are opened on a grid of this width, several at a time: with 51 processes 20,000 a second are one every 2.5 ms in
// each, and a wake-up for each alone would cost more than the dial's system calls.
constexpr std::int64_t opening_grid_ns_of_process = 200'000;

// Answers are read in pieces of at most this size and compared piece by piece, so that long messages need no long buffers.
constexpr std::size_t piece_bytes_max = 64 * 1024;

// A message up to this length goes out in one call that does not wait: a connection on which nothing is under way has that
// much room in its send queue. A longer one gets a fiber to write it, while its answer may already be read.
constexpr std::size_t written_at_once_max = 4096;

// A fiber that is behind its schedule gives way after so many messages or dials, so that answers are read meanwhile.
constexpr std::uint64_t steps_at_once = 32;

// Of a burst: each dial that waits for its server's answer holds a stack.
constexpr std::uint64_t dials_at_once_max = 4096;

// With a rate: due messages kept for connections that become free. Beyond it they are not sent, which the report shows.
constexpr std::size_t backlog_max = 1'000'000;

// What roost and the kernel have no error for. Compared by identity, reported by name.
enum class LoadError { none, mismatch, unexpected_data };

class LoadErrorCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "load"; }
  [[nodiscard]] std::string message(int value) const override {
    return value == static_cast<int>(LoadError::mismatch) ? "mismatched" : "unexpected_data";
  }
};
std::error_code make_error_code(LoadError error) {
  static const LoadErrorCategory category;
  return {static_cast<int>(error), category};
}

std::string failure_name(std::error_code error) {
  if (error.category() == make_error_code(LoadError::none).category()) return error.message();
  return std::string(error_name(error));
}

// How many connections of a process may be without their first answer. A quarter of a second of the schedule: a server that
// takes longer to accept and answer slows the schedule down, which the report shows as a lower rate. Without that bound the
// kernel would go on connecting by itself, and thousands of connections would time out in the server's accept queue. A burst
// is meant to come all at once, whatever the server makes of it.
std::int64_t openings_for(const Ramp& ramp, std::uint64_t processes, std::uint64_t share) {
  if (ramp.shape == Ramp::Shape::burst) return static_cast<std::int64_t>(std::clamp<std::uint64_t>(share, 1, dials_at_once_max));
  return static_cast<std::int64_t>(std::clamp(ramp.rate / static_cast<double>(processes) / 4, 16.0, 256.0));
}

}  // namespace

void Connection::on_ready() { client->hold(*this); }

Client::Client(const LoadOptions& options, const Plan& plan, const tools::ShardLink& link)
    : Process(options, plan, link),
      place_{link.index(), plan.processes},
      places_(place_.of(options.connections_max())),
      epoch_ns_(now_ns()),
      // One byte more than a message: a read that could hold more and got less tells the runtime that the socket is drained,
      // and spares it the call that would have said so.
      buffers_(std::min<std::size_t>(options.message_bytes_max() + 1, piece_bytes_max)),
      in_flight_(places_),
      connections_(std::make_unique<Connection[]>(places_)),
      random_(message_bits(static_cast<std::uint32_t>(link.index()), 0)) {
  for (std::uint32_t i = 0; i < places_; ++i) {
    connections_[i].client = this;
    connections_[i].index = i;
  }
}

Client::~Client() = default;

Client::Buffers::Lease Client::Buffers::borrow() {
  if (free_.empty()) return Lease{*this, std::make_unique_for_overwrite<std::byte[]>(bytes_)};
  auto memory = std::move(free_.back());
  free_.pop_back();
  return Lease{*this, std::move(memory)};
}

// Marsaglia's xorshift64*: which connection is next need not be unpredictable.
std::uint64_t Client::random_bits() noexcept {
  random_ ^= random_ >> 12;
  random_ ^= random_ << 25;
  random_ ^= random_ >> 27;
  return random_ * 0x2545f4914f6cdd1d;
}

// --- stages ----------------------------------------------------------------------------------------------------------

void Client::begin_stage(const StageBegin& begun) {
  begin_ns_ = begun.begin_ns;
  backlog_.clear();
  share_ = place_.of(stage().connections);
  openings_.emplace(openings_for(stage().ramp, plan_.processes, share_));
  intervals_.emplace(begin_ns_, stage().interval, stage().connections, place_, schedule_grid(plan_.processes));

  std::uint64_t wanted = 0;
  for (std::uint32_t i = 0; i < places_; ++i) {
    Connection& c = connections_[i];
    if (i < share_) {
      c.is_retiring = false;
      if (c.state == State::absent) {
        c.state = State::wanted;
        ++wanted;
      }
    } else if (c.is_open()) {
      // One that is held, or has a message under way, is let go as soon as that is over.
      c.is_retiring = true;
      if (c.is_in_flight()) continue;
      if (c.wake_for_caller()) {
        release(c);
      } else {
        nudge(c);
      }
    }
  }
  figures_.counters.requested += wanted;
  figures_of_stage().counts.requested = wanted;
  const std::uint64_t number = stage_number_;
  go({.name = "opener"}, [this, number] { open_connections(number); });
  if (stage().messages == MessageSchedule::interval && share_ > 0) go({.name = "sender"}, [this, number] { send_by_interval(number); });
  if (wanted == 0) figures_.counters.stages_settled = number + 1;
}

void Client::begin_run() {
  if (share_ == 0) return;
  const std::uint64_t number = stage_number_;
  if (stage().messages == MessageSchedule::rate) go({.name = "sender"}, [this, number] { send_by_rate(number); });
  if (stage().messages == MessageSchedule::closed_loop) go({.name = "starter"}, [this, number] { start_loops(number); });
  if (stage().churn.amount > 0) go({.name = "churn"}, [this, number] { churn(number); });
}

// Those whose answer has not come in time.
void Client::look_around(std::int64_t now) {
  for (auto index = in_flight_.oldest(); index && is_overdue(connections_[*index], now);) {
    Connection& c = connections_[*index];
    index = in_flight_.after(*index);
    if (c.wake_for_caller()) {
      lose(c, Errc::deadline_exceeded);
    } else {
      nudge(c);
    }
  }
}

void Client::close_all() {
  for (std::uint32_t i = 0; i < places_; ++i) {
    Connection& c = connections_[i];
    if (c.is_open() && c.wake_for_caller()) c.conn.close();
  }
}

// --- opening ---------------------------------------------------------------------------------------------------------

void Client::open_connections(std::uint64_t stage_number) {
  const std::int64_t grid = opening_grid_ns_of_process * static_cast<std::int64_t>(plan_.processes - 1);
  std::uint64_t n = 0;
  for (std::uint32_t i = 0; i < share_ && !is_over(stage_number); ++i) {
    Connection& c = connections_[i];
    if (c.state != State::wanted) continue;
    std::int64_t offset = stage().ramp.offset_ns(place_.number_of(n++));
    if (grid > 0) offset = (offset + grid - 1) / grid * grid;
    if (begin_ns_ + offset > now_ns() && !sleep_until(Deadline::from_ns(begin_ns_ + offset))) return;
    if (!openings_->acquire() || is_over(stage_number)) return;
    c.state = State::dialing;
    c.by_churn = false;
    auto started = try_go({.name = "dial"}, [this, &c] { dial(c); });
    if (n % steps_at_once == 0) yield();
    if (started) continue;
    // No memory for a stack.
    ++figures_.counters.failed;
    ++figures_.failures[failure_name(started.error())];
    c.state = State::absent;
    settle();
  }
}

// Counted as settled: it has failed, or its first message is answered or lost.
void Client::settle() {
  Counters& counters = figures_.counters;
  ++counters.settled;
  openings_->release();
  if (counters.settled == counters.requested) counters.stages_settled = stage_number_ + 1;
}

void Client::dial(Connection& c) {
  Counters& counters = figures_.counters;
  const std::uint64_t number = number_of(c);
  const std::size_t targets = options_.targets.size();
  net::Dialer dialer;
  dialer.timeout = options_.dial_timeout;
  dialer.keep_alive.enable = false;  // the pings tell; and a million keep-alive timers are the kernel's, not the test's
  // A message that goes out in one call is not held back by Nagle's algorithm.
  dialer.no_delay = options_.message_bytes_max() > written_at_once_max;
  // Targets in turn, and addresses in turn for each target.
  if (plan_.sources) dialer.local = net::Endpoint{plan_.sources->at(number / targets), 0};

  if (!c.by_churn) ++counters.attempted;
  const std::int64_t started_ns = now_ns();
  auto conn = dialer.dial(options_.targets[number % targets]);
  if (!conn) {
    c.state = State::absent;
    if (conn.error() == std::errc::operation_canceled) return;
    ++figures_.failures[failure_name(conn.error())];
    ++target_of(c).failed;
    if (c.by_churn) {
      ++counters.churn_failed;
    } else {
      ++counters.failed;
      settle();
    }
    return;
  }
  if (leaving_) return;
  const std::int64_t established_ns = now_ns();
  figures_.histograms[Figures::connect].record(to_us(established_ns - started_ns));
  StageFigures::Counts& stage_counts = figures_of_stage().counts;
  if (c.by_churn) {
    ++counters.churn_established;
    ++stage_counts.churn_established;
  } else {
    ++counters.established;
    ++stage_counts.established;
    ++target_of(c).established;
    counters.last_established_ns = stage_counts.last_established_ns = established_ns;
  }
  ++counters.open;
  counters.peak = std::max(counters.peak, counters.open);
  c.conn = std::move(*conn);
  c.stage = static_cast<std::uint16_t>(stage_number_);
  c.cycle = intervals_->first_cycle_after(c.index, established_ns);
  c.is_retiring = c.index >= share_;
  c.is_churning = c.is_nudged = false;
  // The first message goes out at once: it proves that the server has really taken the connection, which for the kernel
  // stands before the server has seen it.
  c.state = State::greeting;
  send_and_sleep(c, established_ns);
}

// --- schedules -------------------------------------------------------------------------------------------------------

void Client::send_by_interval(std::uint64_t stage_number) {
  const IntervalSchedule schedule = *intervals_;
  IntervalSchedule::Point point = schedule.first_after(now_ns());
  for (std::uint64_t steps = 1; !is_over(stage_number); point = schedule.next(point), ++steps) {
    if (steps % steps_at_once == 0) yield();
    const std::int64_t due_ns = schedule.due_ns(point);
    if (now_ns() < due_ns && !sleep_until(Deadline::from_ns(due_ns))) return;
    if (is_over(stage_number) || due_ns >= window_.end_ns) return;
    Connection& c = connections_[point.index];
    // One that waits for an answer sends this message when it has it: go_on(), which may have been here before.
    if (c.state != State::idle || (c.stage == stage_number && c.cycle > point.cycle)) continue;
    c.stage = static_cast<std::uint16_t>(stage_number);
    c.cycle = point.cycle + 1;
    // During the ramp pings only keep connections alive: one that has had a message in the last two intervals can wait, and
    // leaves the processors to the opening of the others.
    if (due_ns < window_.start_ns) {
      const std::int64_t quiet_ns = std::int64_t{milliseconds_since_epoch(due_ns) - c.last_ms} * 1'000'000;
      if (quiet_ns < 2 * schedule.interval_ns()) continue;
    }
    if (c.wake_for_caller()) {
      send_and_sleep(c, due_ns);
    } else {
      c.cycle = point.cycle;  // its holder sends it: go_on()
      nudge(c);
    }
  }
}

void Client::send_by_rate(std::uint64_t stage_number) {
  const RateSchedule schedule(window_.start_ns, stage().message_rate, place_);
  for (std::uint64_t n = 0; !is_over(stage_number); ++n) {
    if (n % steps_at_once == steps_at_once - 1) yield();
    const std::int64_t due_ns = schedule.due_ns(n);
    if (due_ns >= window_.end_ns) return;
    if (now_ns() < due_ns && (!sleep_until(Deadline::from_ns(due_ns)) || is_over(stage_number))) return;
    Connection* c = any_idle();
    if (c != nullptr && c->wake_for_caller()) {
      send_and_sleep(*c, due_ns);
      continue;
    }
    if (backlog_.size() < backlog_max) backlog_.push_back(due_ns);
    if (c != nullptr) nudge(*c);
  }
}

void Client::start_loops(std::uint64_t stage_number) {
  if (!sleep_until(Deadline::from_ns(window_.start_ns))) return;
  for (std::uint32_t i = 0; i < share_ && !is_over(stage_number); ++i) {
    Connection& c = connections_[i];
    if (c.state != State::idle || !is_active(number_of(c), stage().connections, stage().active)) continue;
    if (c.wake_for_caller()) {
      hold(c);
    } else {
      nudge(c);
    }
    if (i % steps_at_once == steps_at_once - 1) yield();
  }
}

void Client::churn(std::uint64_t stage_number) {
  const RateSchedule schedule(window_.start_ns, stage().churn.per_second(stage().connections), place_);
  for (std::uint64_t n = 0;; ++n) {
    const std::int64_t due_ns = schedule.due_ns(n);
    if (due_ns >= window_.end_ns || !sleep_until(Deadline::from_ns(due_ns)) || is_over(stage_number)) return;
    // Any of those that stand, by chance; one that is busy goes when its answer is there.
    Connection& c = connections_[random_bits() % share_];
    if (!c.is_open() || c.is_retiring) continue;
    if (!c.is_in_flight() && c.wake_for_caller()) {
      replace(c);
      continue;
    }
    c.is_churning = true;
    if (!c.is_in_flight()) nudge(c);
  }
}

// Closes a connection that is held and dials another in its place.
void Client::replace(Connection& c) {
  shut(c);
  ++figures_.counters.churn_closed;
  ++figures_of_stage().counts.churn_closed;
  c.is_churning = false;
  c.by_churn = true;
  c.state = State::dialing;
  if (try_go({.name = "dial"}, [this, &c] { dial(c); })) return;
  ++figures_.counters.churn_failed;
  c.state = State::absent;
}

// An open connection on which nothing is under way, by chance.
Connection* Client::any_idle() {
  if (share_ == 0 || figures_.counters.open <= in_flight_.size()) return nullptr;
  std::uint64_t i = random_bits() % share_;
  for (std::uint64_t tries = 0; tries < share_; ++tries, i = i + 1 == share_ ? 0 : i + 1) {
    // A few throws, so that neighbours of busy ones are not chosen more often; then one after the other.
    if (tries < 8) i = random_bits() % share_;
    if (connections_[i].state == State::idle) return &connections_[i];
  }
  return nullptr;
}

// --- one connection --------------------------------------------------------------------------------------------------

// Until it sleeps again or is closed.
void Client::hold(Connection& c) {
  do {
    if (!advance(c)) return;
  } while (!c.fall_asleep());
}

// Does what can be done now. False: it is closed.
bool Client::advance(Connection& c) {
  for (;;) {
    if (c.is_nudged) {
      c.is_nudged = false;
      c.conn.set_read_deadline(c.state == State::thinking ? Deadline::from_ns(c.due_ns) : Deadline::none());
      if (c.is_in_flight() && is_overdue(c, now_ns())) {
        lose(c, Errc::deadline_exceeded);
        return false;
      }
    }
    const bool has_thought = c.state == State::thinking && now_ns() >= c.due_ns;
    if (has_thought || (c.state == State::thinking && (c.is_retiring || c.is_churning))) {
      c.conn.set_read_deadline(Deadline::none());
      c.state = State::idle;
    }
    if (c.state == State::idle && !go_on(c, has_thought)) return false;
    if (!c.conn.maybe_readable()) return true;

    // It parks where the poller told of bytes that have been read already; nudge() wakes it then.
    const auto buffer = buffers_.borrow();
    const auto n = c.conn.read(buffer.span());
    if (!n && is_timeout(n.error()) && (c.is_nudged || c.state == State::thinking)) continue;
    if (!n || *n == 0) {
      lose(c, !n ? n.error() : Errc::end_of_stream);
      return false;
    }
    if (!c.is_in_flight()) {
      ++figures_.counters.mismatched;
      lose(c, make_error_code(LoadError::unexpected_data));
      return false;
    }
    const Payload payload(static_cast<std::uint32_t>(number_of(c)), c.sequence, c.bytes, options_.protocol);
    if (!payload.matches(c.received, buffer.span().first(*n))) {
      lose(c, make_error_code(LoadError::mismatch));
      return false;
    }
    c.received += static_cast<std::uint32_t>(*n);
    if (c.received == c.bytes) finish_message(c, now_ns());
  }
}

// Makes whoever holds a connection, or is about to, look at it anew.
void Client::nudge(Connection& c) {
  c.is_nudged = true;
  c.conn.set_read_deadline(Deadline::from_ns(1));  // long ago
}

bool Client::is_overdue(const Connection& c, std::int64_t now) const noexcept {
  return c.waits_since_ns <= now - options_.io_timeout.count();
}

// An idle connection that is held: sends what its schedule owes by now. False: it is closed.
bool Client::go_on(Connection& c, bool has_thought) {
  if (c.is_retiring) {
    release(c);
    return false;
  }
  if (c.is_churning) {
    replace(c);
    return false;
  }
  const std::int64_t now = now_ns();
  switch (stage().messages) {
    case MessageSchedule::interval: {
      // Without a cycle of this stage it waits for the sender to come by.
      if (c.stage != stage_number_) return true;
      const std::int64_t due_ns = intervals_->due_ns({c.cycle, c.index});
      if (due_ns > now || due_ns >= window_.end_ns) return true;
      if (due_ns < window_.start_ns) {  // of the ramp: only the next one matters
        c.cycle = intervals_->first_cycle_after(c.index, now);
        return true;
      }
      ++c.cycle;
      return send(c, due_ns, true);
    }
    case MessageSchedule::rate: {
      if (backlog_.empty()) return true;
      const std::int64_t due_ns = backlog_.front();
      backlog_.pop_front();
      return send(c, due_ns, true);
    }
    case MessageSchedule::closed_loop:
      break;
  }
  if (!window_.contains(now) || !is_active(number_of(c), stage().connections, stage().active)) return true;
  c.stage = static_cast<std::uint16_t>(stage_number_);
  if (has_thought || stage().think.is_none()) return send(c, now, false);
  c.state = State::thinking;
  c.due_ns = now + stage().think.pick_ns(random_bits());
  c.conn.set_read_deadline(Deadline::from_ns(c.due_ns));
  return true;
}

// A connection that is held and has nothing under way.
void Client::send_and_sleep(Connection& c, std::int64_t due_ns) {
  if (send(c, due_ns, false) && !c.fall_asleep()) hold(c);
}

// Sends a message that was due at `due_ns` on a connection that is held. `was_busy`: it could not go out before, because the answer
// to the one before was not there, for which the generator is not to blame. False: it is closed.
bool Client::send(Connection& c, std::int64_t due_ns, bool was_busy) {
  const std::int64_t now = now_ns();
  ++c.sequence;
  const auto number = static_cast<std::uint32_t>(number_of(c));
  c.bytes = static_cast<std::uint32_t>(stage().sizes.pick(message_bits(number, c.sequence)));
  c.received = 0;
  c.due_ns = due_ns;
  c.waits_since_ns = now;
  if (c.state != State::greeting) {
    c.state = State::waiting;
    c.stage = static_cast<std::uint16_t>(stage_number_);
    c.in_run = window_.contains(due_ns);
    if (c.in_run) {
      ++figures_.counters.run_sent;
      ++figures_of_stage().counts.run_sent;
      figures_of_stage().counts.run_bytes_sent += c.bytes;
      if (!stage().is_closed_loop()) {
        const std::uint64_t late_us = was_busy ? 0 : to_us(now - due_ns);
        figures_.histograms[Figures::lateness].record(late_us);
        figures_.histograms[Figures::recent_lateness].record(late_us);
        figures_of_stage().lateness.record(late_us);
      }
    }
  }
  in_flight_.add(c.index);
  ++figures_.counters.sent;
  figures_.counters.bytes_sent += c.bytes;

  if (c.bytes > written_at_once_max) {
    go({.name = "writer"}, [this, &c, sequence = c.sequence] { send_long(c, sequence); });
    return true;
  }
  const Payload payload(number, c.sequence, c.bytes, options_.protocol);
  const auto buffer = buffers_.borrow();
  const auto message = buffer.span().first(c.bytes);
  payload.write(0, message);
  c.conn.set_write_deadline_after(options_.io_timeout);
  if (const auto wrote = c.conn.write(std::span<const std::byte>(message)); !wrote) {
    lose(c, wrote.error());
    return false;
  }
  return true;
}

// On a fiber of its own, which does not hold the connection: the answer may come meanwhile, and the next message begin.
void Client::send_long(Connection& c, std::uint32_t sequence) {
  const auto is_still_it = [&c, sequence] { return c.is_in_flight() && c.sequence == sequence; };
  const std::size_t bytes = c.bytes;
  const Payload payload(static_cast<std::uint32_t>(number_of(c)), sequence, bytes, options_.protocol);
  const auto buffer = buffers_.borrow();
  for (std::size_t sent = 0; sent < bytes && is_still_it();) {
    const auto piece = buffer.span().first(std::min(buffer.span().size(), bytes - sent));
    payload.write(sent, piece);
    c.conn.set_write_deadline_after(options_.io_timeout);
    if (const auto wrote = c.conn.write(std::span<const std::byte>(piece)); !wrote) {
      // If it cannot be woken its reader is about to learn of the same end.
      if (is_still_it() && c.wake_for_caller()) lose(c, wrote.error());
      return;
    }
    sent += piece.size();
  }
  if (!is_still_it()) return;
  // The wait for the answer begins anew.
  in_flight_.remove(c.index);
  c.waits_since_ns = now_ns();
  in_flight_.add(c.index);
}

void Client::finish_message(Connection& c, std::int64_t now) {
  Counters& counters = figures_.counters;
  in_flight_.remove(c.index);
  ++counters.received;
  counters.bytes_received += c.bytes;
  ++target_of(c).received;
  c.last_ms = milliseconds_since_epoch(now);
  const std::uint64_t latency_us = to_us(now - c.due_ns);
  const bool greeted = c.state == State::greeting;
  c.state = State::idle;
  figures_.histograms[!greeted && c.in_run ? Figures::recent_run : Figures::recent_rest].record(latency_us);
  if (greeted) {
    figures_.histograms[Figures::first_echo].record(latency_us);
    if (!c.by_churn) settle();
  } else if (c.in_run) {
    ++counters.run_received;
    figures_.histograms[Figures::run].record(latency_us);
    figures_.histograms[Figures::service].record(to_us(now - c.waits_since_ns));
    StageFigures& of_stage = figures_.stages[c.stage];
    ++of_stage.counts.run_received;
    of_stage.latency.record(latency_us);
  } else {
    figures_.histograms[Figures::ramp].record(latency_us);
  }
}

// Ends a connection that should have stood.
void Client::lose(Connection& c, std::error_code error) {
  Counters& counters = figures_.counters;
  const bool canceled = error == std::errc::operation_canceled;  // the load is over
  const bool was_greeting = c.state == State::greeting;
  if (c.is_in_flight()) {
    in_flight_.remove(c.index);
    if (error == make_error_code(LoadError::mismatch)) {
      ++counters.mismatched;
    } else if (is_timeout(error)) {
      ++counters.timeouts;
    } else if (!canceled) {
      ++counters.errors;
    }
  }
  shut(c);
  if (!canceled) {
    ++counters.dropped;
    ++target_of(c).dropped;
    ++figures_.failures[failure_name(error)];
  }
  if (was_greeting && !c.by_churn) settle();
}

void Client::release(Connection& c) {
  shut(c);
  ++figures_.counters.released;
}

void Client::shut(Connection& c) {
  c.state = State::absent;
  --figures_.counters.open;
  c.conn.close();
}

}  // namespace roost::load
