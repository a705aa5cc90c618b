#include "tools/load/client.h"

#include <algorithm>
#include <string>
#include <utility>

#include <roost/roost.h>

namespace roost::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr milliseconds tick_min{20};
constexpr milliseconds tick_max{100};

// How often the main fiber looks around: less often where many processes share the machine, since each look costs a
// wake-up. 51 processes at 100 ms are 510 wake-ups a second, about 0.5 % of one processor.
milliseconds tick_for(unsigned processes) { return std::clamp(processes * milliseconds(2), tick_min, tick_max); }
constexpr int ticks_per_progress = 5;
constexpr std::int64_t second_ns = 1'000'000'000;

// Answers are read in pieces of at most this size and compared piece by piece, so that long messages need no long buffers.
constexpr std::size_t piece_bytes_max = 64 * 1024;

// The stack of a connection's fiber: small, because a process has many and each runs only the few functions below.
constexpr std::size_t connection_stack_bytes = 16 * 1024;

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

std::int64_t now_ns() { return Deadline::at(Deadline::Clock::now()).ns(); }

std::uint64_t to_us(std::int64_t ns) { return ns <= 0 ? 0 : static_cast<std::uint64_t>(ns / 1000); }

// Fibers that open connections: each waits until its connection has had its first answer before it opens the next, so this
// is how many may be without one. A quarter of a second of the schedule: a server that takes longer to accept and answer
// slows the schedule down, which the report shows as a lower rate. Without that bound the kernel would go on connecting
// by itself, and thousands of connections would time out in the server's accept queue.
std::size_t openers(double rate_of_process) {
  return static_cast<std::size_t>(std::clamp(rate_of_process / 4, 16.0, 256.0));
}

}  // namespace

Client::Client(const LoadOptions& options, const Plan& plan, const tools::ShardLink& link)
    : options_(options),
      plan_(plan),
      link_(link),
      share_(plan.connections_of(link.index(), options.stages.front().connections)),
      // One byte more than a message: a read that could hold more and got less tells the runtime that the socket is drained,
      // and spares it the call that would have said so.
      buffers_(std::min<std::size_t>(options.message_bytes_max() + 1, piece_bytes_max)) {
  figures_.counters.requested = share_;
}

Client::~Client() = default;

Client::Buffers::Lease Client::Buffers::borrow() {
  if (free_.empty()) return Lease{*this, std::make_unique_for_overwrite<std::byte[]>(bytes_)};
  auto memory = std::move(free_.back());
  free_.pop_back();
  return Lease{*this, std::move(memory)};
}

int Client::run_all() {
  RuntimeOptions runtime;
  runtime.workers = 1;
  runtime.spare_workers_max = 0;
  // Several processes share a processor: a worker that waits for its turn would look stuck, and looking for one that is
  // costs a wake-up each time.
  runtime.stuck_after = std::chrono::seconds(2);
  runtime.stuck_report_after = milliseconds(0);
  // Closing a million connections takes the kernel longer than the default grants.
  runtime.shutdown_grace = std::chrono::seconds(60);
  return roost::run(runtime, [this] { return work(); });
}

int Client::work() {
  const milliseconds tick = tick_for(plan_.processes);
  auto parent = link_.adopt();
  if (!parent) return 2;
  parent_ = std::move(*parent);
  go({.name = "parent"}, [this] { listen_to_parent(); });
  link_.send(ready, {});
  while (begin_ns_ == 0 && !leaving_) sleep_for(tick);

  const double rate_of_process = stage_.ramp.rate / plan_.processes;
  for (std::size_t i = 0; i < openers(rate_of_process); ++i) go({.name = "opener"}, [this] { open_connections(); });

  // The run is over when its end has passed and every message that was due has its answer or its time-out. A fiber whose
  // timer fires late is not counted as in flight yet, hence the two quiet looks in a row.
  std::int64_t due_ns = now_ns();
  int quiet = 0;
  bool told_ramp_end = false;
  while (!leaving_ && quiet < 2) {
    const bool ramp_ended = figures_.counters.settled == share_;
    if (now_ns() >= due_ns || (ramp_ended && !told_ramp_end)) {
      tell(progress);
      told_ramp_end = ramp_ended;
      due_ns = next_progress_ns();
    }
    sleep_for(tick);
    const bool over = now_ns() - nanoseconds(2 * tick).count() > window_.end_ns;  // which may be the end of time
    quiet = over && figures_.counters.in_flight == 0 ? quiet + 1 : 0;
  }
  tell(result);
  while (!leaving_) sleep_for(tick);
  (void)parent_.release();  // the link itself stays open until the process ends
  return 0;                 // cancels the fibers that still wait; their connections close
}

void Client::listen_to_parent() {
  while (auto frame = tools::ShardLink::receive(parent_)) {
    if (frame->kind == begin) begin_ns_ = tools::value_of<std::int64_t>(frame->payload).value_or(now_ns());
    if (frame->kind == run) {
      window_ = tools::value_of<RunWindow>(frame->payload).value_or(window_);
      // Moving the deadline of a call that waits wakes it in time.
      for (net::Conn* conn : waiting_) conn->set_read_deadline(Deadline::from_ns(window_.start_ns));
      waiting_.clear();
    }
    if (frame->kind == leave) break;
  }
  leaving_ = true;
}

void Client::open_connections() {
  net::Dialer dialer;
  dialer.timeout = options_.dial_timeout;
  dialer.keep_alive.enable = false;  // the pings tell; and a million keep-alive timers are the kernel's, not the test's
  while (next_ < share_ && !leaving_) {
    const std::uint64_t number = next_++ * plan_.processes + link_.index();
    const auto offset_ns = static_cast<std::int64_t>(static_cast<double>(number) / stage_.ramp.rate * 1e9);
    if (!sleep_until(Deadline::from_ns(begin_ns_ + offset_ns)) || leaving_) return;

    if (plan_.sources) dialer.local = net::Endpoint{plan_.sources->at(number), 0};
    Counters& counters = figures_.counters;
    ++counters.attempted;
    const std::int64_t started_ns = now_ns();
    auto conn = dialer.dial(options_.targets[number % options_.targets.size()]);
    if (!conn) {
      if (conn.error() == std::errc::operation_canceled) return;
      ++counters.failed;
      ++counters.settled;
      ++figures_.failures[failure_name(conn.error())];
      continue;
    }
    counters.last_established_ns = now_ns();
    figures_.histograms[Figures::connect].record(to_us(counters.last_established_ns - started_ns));
    ++counters.established;
    ++counters.open;
    counters.peak = std::max(counters.peak, counters.open);

    std::error_code lost = greet(*conn, number);
    if (lost == std::errc::operation_canceled) return;
    ++counters.settled;
    if (!lost) {
      auto started = try_go({.name = "connection", .stack_bytes = connection_stack_bytes},
                            [this, number, moved = std::move(*conn)]() mutable { drive(std::move(moved), number); });
      if (!started) lost = started.error();
    }
    if (lost) count_broken(lost);
  }
}

// The first message goes out at once: it proves that the server has really taken the connection, which for the kernel stands
// before the server has seen it.
std::error_code Client::greet(net::Conn& conn, std::uint64_t number) {
  const std::int64_t sent_ns = now_ns();
  if (auto lost = exchange(conn, number, 0); lost) return lost;
  const std::uint64_t took_us = to_us(now_ns() - sent_ns);
  figures_.histograms[Figures::first_echo].record(took_us);
  figures_.histograms[Figures::recent].record(took_us);
  return {};
}

void Client::count_broken(std::error_code error) {
  --figures_.counters.open;
  // Canceled: the load is over. Everything else broke a connection that should have stood.
  if (error == std::errc::operation_canceled) return;
  ++figures_.counters.dropped;
  ++figures_.failures[failure_name(error)];
}

// The life of one connection, from its first answer on.
void Client::drive(net::Conn conn, std::uint64_t number) {
  std::error_code end;
  if (!stage_.is_closed_loop()) {
    end = ping_on_schedule(conn, number, 1);
  } else if (is_active(number, stage_.connections, stage_.active)) {
    end = ping_in_a_loop(conn, number, 1);
  } else {
    end = stand(conn, Deadline::none());
  }
  conn.close();
  count_broken(end);
}

std::error_code Client::ping_on_schedule(net::Conn& conn, std::uint64_t number, std::uint32_t sequence) {
  const std::int64_t phase = phase_ns(number, stage_.connections, stage_.interval);
  std::int64_t last_ns = now_ns();
  for (std::int64_t due_ns = first_due_ns(begin_ns_, phase, stage_.interval, now_ns()); due_ns < window_.end_ns;
       due_ns += stage_.interval.count()) {
    if (auto broken = stand(conn, Deadline::from_ns(due_ns)); broken) return broken;
    if (due_ns >= window_.end_ns) break;  // the end was set while it waited
    // During the ramp pings only keep connections alive: one that has just had its first answer can wait for its next turn, and
    // leaves the processors to the opening of the others.
    const bool in_run = due_ns >= window_.start_ns;
    if (!in_run && due_ns - last_ns < stage_.interval.count()) continue;
    last_ns = due_ns;
    const std::int64_t sent_ns = now_ns();
    figures_.counters.run_sent += in_run;
    if (auto lost = exchange(conn, number, sequence++); lost) return lost;
    count_answer(due_ns, sent_ns, now_ns());
  }
  return stand(conn, Deadline::none());
}

std::error_code Client::ping_in_a_loop(net::Conn& conn, std::uint64_t number, std::uint32_t sequence) {
  Deadline start = Deadline::from_ns(window_.start_ns);  // the end of time, as long as nobody knows
  if (start.is_none()) waiting_.push_back(&conn);
  if (auto broken = stand(conn, start); broken) {
    std::erase(waiting_, &conn);
    return broken;
  }
  for (; now_ns() < window_.end_ns; ++sequence) {
    const std::int64_t sent_ns = now_ns();
    ++figures_.counters.run_sent;
    if (auto lost = exchange(conn, number, sequence); lost) return lost;
    count_answer(sent_ns, sent_ns, now_ns());
  }
  return stand(conn, Deadline::none());
}

// Waits on a connection on which nothing should happen. No error when `until` has come (or was moved, and has come).
std::error_code Client::stand(net::Conn& conn, Deadline until) {
  conn.set_read_deadline(until);
  for (;;) {
    if (auto readable = conn.wait_readable(); !readable) {
      return is_timeout(readable.error()) ? std::error_code() : readable.error();
    }
    std::byte byte{};
    const auto n = conn.read(std::span(&byte, 1));
    if (!n) return is_timeout(n.error()) ? std::error_code() : n.error();
    if (*n == 0) return Errc::end_of_stream;
    ++figures_.counters.mismatched;
    return make_error_code(LoadError::unexpected_data);
  }
}

// Sends one message and waits for its answer.
std::error_code Client::exchange(net::Conn& conn, std::uint64_t number, std::uint32_t sequence) {
  const Payload payload(static_cast<std::uint32_t>(number), sequence, stage_.sizes.lowest());
  ++figures_.counters.in_flight;
  std::error_code error = send(conn, payload);
  if (!error) error = receive(conn, payload);
  --figures_.counters.in_flight;
  if (error) {
    count_loss(error);
  } else {
    ++figures_.counters.received;
  }
  return error;
}

std::error_code Client::send(net::Conn& conn, const Payload& payload) {
  ++figures_.counters.sent;
  conn.set_write_deadline_after(options_.io_timeout);
  const auto buffer = buffers_.borrow();
  for (std::size_t sent = 0; sent < stage_.sizes.lowest();) {
    const auto piece = buffer.span().first(std::min(buffer.span().size(), stage_.sizes.lowest() - sent));
    payload.write(sent, piece);
    const auto wrote = conn.write(std::span<const std::byte>(piece));
    if (!wrote) return wrote.error();
    sent += piece.size();
  }
  return {};
}

std::error_code Client::receive(net::Conn& conn, const Payload& payload) {
  conn.set_read_deadline_after(options_.io_timeout);
  for (std::size_t received = 0; received < stage_.sizes.lowest();) {
    if (auto readable = conn.wait_readable(); !readable) return readable.error();
    const auto buffer = buffers_.borrow();
    const auto n = conn.read(buffer.span());
    if (!n) return n.error();
    if (*n == 0) return Errc::end_of_stream;
    if (!payload.matches(received, buffer.span().first(*n))) return make_error_code(LoadError::mismatch);
    received += *n;
  }
  return {};
}

void Client::count_loss(std::error_code error) {
  if (error == make_error_code(LoadError::mismatch)) {
    ++figures_.counters.mismatched;
  } else if (is_timeout(error)) {
    ++figures_.counters.timeouts;
  } else if (error != std::errc::operation_canceled) {
    ++figures_.counters.errors;
  }
}

void Client::count_answer(std::int64_t due_ns, std::int64_t sent_ns, std::int64_t answered_ns) {
  const std::uint64_t latency_us = to_us(answered_ns - due_ns);
  figures_.histograms[Figures::recent].record(latency_us);
  if (due_ns < window_.start_ns) {
    figures_.histograms[Figures::ramp].record(latency_us);
    return;
  }
  ++figures_.counters.run_received;
  figures_.histograms[Figures::run].record(latency_us);
  figures_.histograms[Figures::lateness].record(to_us(sent_ns - due_ns));
  figures_.histograms[Figures::recent_lateness].record(to_us(sent_ns - due_ns));
}

// Also at the first look in each second of the load, so that the parent can tell the seconds apart.
std::int64_t Client::next_progress_ns() const {
  const std::int64_t now = now_ns();
  const std::int64_t into_second = std::max<std::int64_t>(now - begin_ns_, 0) % second_ns;
  return std::min(now + nanoseconds(ticks_per_progress * tick_for(plan_.processes)).count(), now - into_second + second_ns);
}

void Client::tell(std::uint8_t kind) {
  figures_.counters.told_ns = now_ns();
  link_.send(kind, figures_.encode(kind == result));
  for (const Figures::Kind recent : {Figures::recent, Figures::recent_lateness}) figures_.histograms[recent].clear();
}

}  // namespace roost::load
