#include "tools/load/attack.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>

#include <fmt/format.h>
#include <roost/roost.h>

#include "tools/load/clock.h"
#include "tools/load/payload.h"

namespace roost::load {
namespace {

constexpr std::size_t piece_bytes = 2048;                         // on the attacker's stack
constexpr std::size_t oversize_bytes = 128 * 1024 * 1024;         // of one attacker; then it falls silent
constexpr std::size_t endless_bytes = std::size_t{1} << 30;       // what the head of an endless message promises
constexpr int receive_buffer_bytes = 4096;                        // of one that never reads; the kernel rounds it up to its least
constexpr std::uint64_t starts_at_once = 32;                      // before others get their turn

}  // namespace

// One attacker.
class Attacker {
 public:
  struct Task {
    std::uint64_t stage;
    Fault fault;
    FaultFigures* figures;
    std::uint64_t number;      // over all connections and attackers
    std::int64_t start_ns;     // of the attack
    std::int64_t begin_ns;     // of this attacker
    std::int64_t end_ns;
  };

  Attacker(Attack& attack, const Task& task) : attack_(attack), task_(task), counts_(task.figures->counts) {}

  void run() {
    for (std::int64_t cycle = 0;; ++cycle) {
      turn_ns_ = (task_.fault.kind == FaultKind::storm ? task_.start_ns : task_.begin_ns) + cycle * task_.fault.every.count();
      if (turn_ns_ >= task_.end_ns) return;
      if (turn_ns_ > now_ns() && !sleep_until(Deadline::from_ns(turn_ns_))) return;
      task_.figures->lateness.record(to_us(now_ns() - turn_ns_));
      if (dial()) settle(live());
      if (!task_.fault.comes_again() || is_canceled_) return;
    }
  }

 private:
  // How a step, or a life, ended.
  enum class End {
    in_time,      // what was to be done is done; of a wait, its time has passed
    over,         // the attack is
    cut_off,      // by the server; `cause_` is why
    mismatched,
    unanswered,
  };

  bool dial() {
    const LoadOptions& options = attack_.options_;
    const std::size_t targets = options.targets.size();
    net::Dialer dialer;
    dialer.timeout = options.dial_timeout;
    dialer.deadline = Deadline::from_ns(task_.end_ns);
    dialer.keep_alive.enable = false;
    if (attack_.plan_.sources) dialer.local = net::Endpoint{attack_.plan_.sources->at(task_.number / targets % attack_.plan_.sources->count), 0};
    if (task_.fault.kind == FaultKind::never_read) {
      // Before it connects: the window that it offers is made from it.
      dialer.control = [](int fd, std::string_view, std::string_view) -> Result<void> {
        ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
        return {};
      };
    }
    auto conn = dialer.dial(options.targets[task_.number % targets]);
    if (!conn) {
      if (conn.error() == std::errc::operation_canceled) {
        is_canceled_ = true;
      } else if (!is_timeout(conn.error()) || now_ns() < task_.end_ns) {
        ++counts_.failed;
        ++task_.figures->causes[std::string(error_name(conn.error()))];
      }
      return false;
    }
    conn_ = std::move(*conn);
    established_ns_ = now_ns();
    ++counts_.opened;
    ++counts_.open;
    return true;
  }

  End live() {
    switch (task_.fault.kind) {
      case FaultKind::silent:
        return wait_until(task_.end_ns);
      case FaultKind::drip:
        return drip();
      case FaultKind::pieces:
        return talk_in_pieces();
      case FaultKind::oversize:
        return overfeed();
      case FaultKind::never_read:
        return send_on_and_on();
      case FaultKind::half_open:
        return vanish();
      case FaultKind::reset: {
        begin_message();
        return write_message(std::max<std::size_t>(message_bytes_ / 2, 1));
      }
      case FaultKind::storm: {
        if (const End end = exchange(); end != End::in_time) return end;
        task_.figures->back.record(to_us(now_ns() - turn_ns_));
        message_.reset();
        return wait_until(turn_ns_ + task_.fault.every.count());
      }
    }
    return End::over;
  }

  End drip() {
    const Payload endless(static_cast<std::uint32_t>(task_.number), 0, endless_bytes, attack_.options_.protocol);
    for (std::size_t sent = 0;; ++sent) {
      const std::int64_t due_ns = established_ns_ + static_cast<std::int64_t>(sent) * task_.fault.every.count();
      if (const End end = wait_until(due_ns); end != End::in_time) return end;
      task_.figures->lateness.record(to_us(now_ns() - due_ns));
      std::byte one{};
      endless.write(sent, {&one, 1});
      if (const End end = write({&one, 1}); end != End::in_time) return end;
    }
  }

  End talk_in_pieces() {
    for (;;) {
      begin_message();
      for (std::size_t sent = 0; sent < message_bytes_; ++sent) {
        std::byte one{};
        message_->write(sent, {&one, 1});
        if (const End end = write({&one, 1}); end != End::in_time) return end;
        if (sent + 1 == message_bytes_) break;
        if (const End end = wait_until(now_ns() + task_.fault.every.count()); end != End::in_time) return end;
      }
      if (const End end = await_answer(); end != End::in_time) return end;
    }
  }

  End overfeed() {
    const Payload endless(static_cast<std::uint32_t>(task_.number), 0, endless_bytes, attack_.options_.protocol);
    std::array<std::byte, piece_bytes> piece;
    for (std::size_t sent = 0; sent < oversize_bytes; sent += piece.size()) {
      endless.write(sent, piece);
      if (const End end = write(piece); end != End::in_time) return end;
      // As long as the server takes it all, nothing else makes room for the other attackers of this process.
      yield();
    }
    return wait_until(task_.end_ns);
  }

  End send_on_and_on() {
    for (;;) {
      begin_message();
      if (const End end = write_message(message_bytes_); end != End::in_time) return end;
      yield();
    }
  }

  // TCP_REPAIR takes the socket apart without a word to the peer (tcp_close() of a socket in repair).
  End vanish() {
    if (const End end = exchange(); end != End::in_time) return end;
    const int on = 1;
    const auto repaired = conn_.raw_control([&on](int fd) { static_cast<void>(::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on)); });
    if (repaired) static_cast<void>(conn_.close());
    return End::over;
  }

  // --- messages ---

  void begin_message() {
    ++sequence_;
    const auto number = static_cast<std::uint32_t>(task_.number);
    message_bytes_ = attack_.options_.stages[task_.stage].sizes.pick(message_bits(number, sequence_));
    message_.emplace(number, sequence_, message_bytes_, attack_.options_.protocol);
    received_ = 0;
  }

  End write_message(std::size_t bytes) {
    std::array<std::byte, piece_bytes> piece;
    for (std::size_t sent = 0; sent < bytes;) {
      const auto part = std::span(piece).first(std::min(piece.size(), bytes - sent));
      message_->write(sent, part);
      if (const End end = write(part); end != End::in_time) return end;
      sent += part.size();
    }
    return End::in_time;
  }

  End exchange() {
    begin_message();
    if (const End end = write_message(message_bytes_); end != End::in_time) return end;
    return await_answer();
  }

  End await_answer() {
    if (const End end = wait_until(now_ns() + attack_.options_.io_timeout.count(), true); end != End::in_time) return end;
    if (received_ < message_bytes_) return End::unanswered;
    ++counts_.answered;
    return End::in_time;
  }

  End write(std::span<const std::byte> bytes) {
    static_cast<void>(conn_.set_write_deadline(Deadline::from_ns(task_.end_ns)));
    const auto wrote = conn_.write(bytes);
    if (!wrote) return ended_by(wrote.error());
    counts_.bytes_sent += bytes.size();
    return End::in_time;
  }

  // Until then, or until the answer is there if it is waited for. Whatever comes is read, and compared if it answers something.
  End wait_until(std::int64_t until_ns, bool for_answer = false) {
    std::array<std::byte, piece_bytes> buffer;
    static_cast<void>(conn_.set_read_deadline(Deadline::from_ns(std::min(until_ns, task_.end_ns))));
    while (!for_answer || received_ < message_bytes_) {
      const auto n = conn_.read(buffer);
      if (!n && is_timeout(n.error())) return now_ns() >= task_.end_ns ? End::over : End::in_time;
      if (!n) return ended_by(n.error());
      if (*n == 0) return ended_by(Errc::end_of_stream);
      if (!message_) continue;
      if (!message_->matches(received_, std::span<const std::byte>(buffer).first(*n))) return End::mismatched;
      received_ += *n;
    }
    return End::in_time;
  }

  End ended_by(std::error_code error) {
    if (error == std::errc::operation_canceled) is_canceled_ = true;
    if (is_canceled_ || is_timeout(error)) return End::over;
    cause_ = error;
    return End::cut_off;
  }

  void settle(End end) {
    // The load was stopped: it still counts as open.
    if (is_canceled_) return;
    --counts_.open;
    if (end == End::cut_off) {
      ++counts_.cut_off;
      ++task_.figures->causes[std::string(error_name(cause_))];
      task_.figures->held.record(to_us(now_ns() - established_ns_));
    }
    if (end == End::mismatched) ++counts_.mismatched;
    if (end == End::unanswered) ++counts_.unanswered;
    if (end == End::over) ++counts_.standing;
    // No port is left in TIME_WAIT, and the server hears at once.
    if (end != End::cut_off && conn_.is_open()) static_cast<void>(conn_.set_linger(0));
    conn_ = {};
  }

  Attack& attack_;
  const Task task_;
  FaultFigures::Counts& counts_;
  net::Conn conn_;
  std::int64_t turn_ns_ = 0;
  std::int64_t established_ns_ = 0;
  std::error_code cause_;
  bool is_canceled_ = false;
  std::uint32_t sequence_ = 0;
  std::optional<Payload> message_;   // under way, if its answer is to be compared
  std::size_t message_bytes_ = 0;
  std::size_t received_ = 0;
};

void Attack::be_nice(unsigned niceness) {
  if (niceness == 0) return;
  // One that may not be nicer than it is already stays as it is; so it does where there are no such groups.
  static_cast<void>(::setpriority(PRIO_PROCESS, 0, static_cast<int>(niceness)));
  static_cast<void>(::setsid());
  if (const int fd = ::open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC); fd >= 0) {
    const std::string text = fmt::format("{}", niceness);
    static_cast<void>(!::write(fd, text.data(), text.size()));
    ::close(fd);
  }
}

// There are none while connections open.
void Attack::begin_stage(const StageBegin& begun) { figures_.counters.stages_settled = begun.stage + 1; }

void Attack::begin_run() {
  std::size_t place_of_fault = 0;
  for (std::uint64_t i = 0; i < stage_number_; ++i) place_of_fault += options_.stages[i].faults.size();
  std::uint64_t first_number = options_.connections_max();
  for (const Fault& fault : stage().faults) {
    Attacker::Task task{stage_number_, fault, &figures_.faults[place_of_fault++], first_number, window_.start_ns, window_.start_ns, window_.end_ns};
    first_number += fault.attackers;
    ++fibers_;
    go({.name = "attack"}, [this, task, &ramp = stage().ramp]() mutable {
      const std::uint64_t share = place_.of(task.fault.attackers);
      const std::uint64_t first = task.number;
      for (std::uint64_t n = 0; n < share; ++n) {
        const std::uint64_t number = place_.number_of(n);
        // They come as connections do, but for a storm, which is one from its first moment on.
        task.begin_ns = task.start_ns + (task.fault.kind == FaultKind::storm ? 0 : ramp.offset_ns(number));
        task.number = first + number;
        if (task.begin_ns >= task.end_ns) break;
        if (task.begin_ns > now_ns() && !sleep_until(Deadline::from_ns(task.begin_ns))) break;
        ++fibers_;
        const auto started = try_go({.name = "attacker"}, [this, task] {
          Attacker(*this, task).run();
          --fibers_;
        });
        if (!started) {
          --fibers_;
          ++task.figures->counts.failed;
          ++task.figures->causes[std::string(error_name(started.error()))];
        }
        if (n % starts_at_once == starts_at_once - 1) yield();
      }
      --fibers_;
    });
  }
}

}  // namespace roost::load
