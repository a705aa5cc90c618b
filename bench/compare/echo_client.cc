// The client of the side-by-side benchmark: what does one echoed line cost the server, and one connection?
//
// It opens all connections, has one line echoed on each, then keeps the active ones busy in a closed loop: an
// active connection sends a line, waits for the echo, compares it byte by byte, sends the next. It prints one line
// of JSON: CPU of the server a message, resident memory of the server a connection, and how the echoes fared.
// A line carries its connection's number and its own sequence number, so that an echo that belongs
// to another connection or another round is a mismatch and not a success.
//
// What would make the numbers wrong: server and client on one core (pin them apart), other work on
// either core, and comparing over different runs. Latency is the round trip of a closed loop, which a stalled
// server shortens by receiving less; it is printed to explain a run, never as a server's quality.
//
// One thread, one level-triggered epoll, no roost. Exit status: 0 all echoed; 1 an error or a mismatch (the JSON
// still comes); 2 usage or set-up error.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/server_probe.h"
#include "peers/bare_net.h"

namespace {

constexpr int events_per_wait = 512;
constexpr std::size_t opening_max = 256;         // connections on their way at once; below any sane backlog
constexpr std::size_t ports_per_source = 10'000;  // of Linux's 28,232 ephemeral ones; the next source serves the rest
constexpr std::int64_t silence_max_ns = 5'000'000'000;  // no echo at all for so long: the server hangs
constexpr std::int64_t settle_ns = 200'000'000;  // quiet before memory is read, so that pools can shrink
constexpr std::size_t line_bytes_min = 32;       // room for the two numbers
constexpr std::size_t line_bytes_limit = 16'384;

[[noreturn]] void stop(int status, std::string_view what, std::string_view value, std::string_view remedy) {
  std::fprintf(stderr, "echo_client: %.*s %.*s: %.*s\n", static_cast<int>(what.size()), what.data(),
               static_cast<int>(value.size()), value.data(), static_cast<int>(remedy.size()), remedy.data());
  std::exit(status);
}

std::int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

void sleep_ns(std::int64_t duration) {
  const timespec span{duration / 1'000'000'000, duration % 1'000'000'000};
  ::nanosleep(&span, nullptr);
}

double own_cpu_s() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

// A histogram of nanoseconds: each power of two is cut in 32, so a value read back is at most 3 % off.
class Histogram {
 public:
  void record(std::int64_t value_ns) {
    const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(value_ns, 0));
    ++counts_[slot_of(value)];
    ++total_;
    max_ = std::max(max_, value);
  }

  [[nodiscard]] double quantile_us(double quantile) const {
    if (total_ == 0) return 0;
    const auto rank = static_cast<std::uint64_t>(quantile * static_cast<double>(total_ - 1)) + 1;
    std::uint64_t seen = 0;
    for (std::size_t slot = 0; slot < counts_.size(); ++slot) {
      seen += counts_[slot];
      if (seen >= rank) return static_cast<double>(std::min(upper_end(slot), max_)) / 1e3;
    }
    return max_us();
  }
  [[nodiscard]] double max_us() const { return static_cast<double>(max_) / 1e3; }

 private:
  static constexpr unsigned cut_bits = 5;
  static constexpr std::uint64_t cuts = 1U << cut_bits;

  static std::size_t slot_of(std::uint64_t value) {
    if (value < cuts) return static_cast<std::size_t>(value);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - cut_bits - 1;
    return static_cast<std::size_t>((shift + 1) * cuts + ((value >> shift) - cuts));
  }
  static std::uint64_t upper_end(std::size_t slot) {
    if (slot < cuts) return slot;
    const auto shift = slot / cuts - 1;
    return ((cuts + slot % cuts + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - cut_bits + 1) * cuts> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t max_ = 0;
};

struct Options {
  std::string target_text = "127.0.0.1:8080";
  bench::Address target;
  std::size_t connections = 100;
  std::optional<std::size_t> active;  // all
  std::size_t line_bytes = 64;
  double seconds = 4;
  double warm_up_s = 0.3;
  double count_syscalls_s = 0;  // how long to count system calls, after the measured time
  pid_t server_pid = 0;
};

enum class State : std::uint8_t { unopened, connecting, awaiting_echo, idle, closed };

struct Connection {
  int fd = -1;
  State state = State::unopened;
  std::uint32_t received_bytes = 0;  // of the echo under way
  std::uint64_t sequence = 0;
  std::int64_t sent_at_ns = 0;
};

class EchoClient {
 public:
  EchoClient(const Options& options, roost::tools::ServerProbe& server)
      : options_(options),
        active_count_(options.active.value_or(options.connections)),
        server_(server),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        connections_(options.connections),
        lines_(options.connections * options.line_bytes),
        scratch_(options.line_bytes + 1) {  // one byte more, so that a surplus byte is noticed
    if (epoll_ < 0) stop(2, "cannot open", "epoll", std::strerror(errno));
    for (std::size_t index = 0; index < connections_.size(); ++index) draw_line(index);
  }

  int run() {
    const auto memory_before = server_.memory();
    if (!memory_before) {
      stop(2, "cannot read the memory of process", std::to_string(server_.pid()), "is it running, and yours?");
    }

    const std::int64_t open_start = now_ns();
    open_all();
    const double open_s = seconds_since(open_start);
    if (failed() > 0) return report_failed_open();

    sleep_ns(settle_ns);
    const auto memory_open = server_.memory();

    start_active();
    pump_for(options_.warm_up_s);

    latency_ = {};
    messages_ = 0;
    const auto cpu_start = server_.cpu();
    const auto switches_start = server_.switches();
    const double client_cpu_start = own_cpu_s();
    const std::int64_t start = now_ns();
    pump_for(options_.seconds);
    const double duration_s = seconds_since(start);
    const auto cpu_end = server_.cpu();
    const std::uint64_t messages = messages_;
    const double client_cpu_s = own_cpu_s() - client_cpu_start;
    const auto switches_end = server_.switches();
    const Histogram latency = latency_;

    drain();
    const auto syscalls_per_message = count_syscalls();
    const auto memory_end = server_.memory();
    if (!cpu_start || !cpu_end || !memory_open || !memory_end) note_failure(errors_, "the server process is gone");
    const auto cpu = [&](double roost::tools::CpuReading::*field) {
      return cpu_start && cpu_end ? (*cpu_end).*field - (*cpu_start).*field : 0.0;
    };
    const double cpu_s = cpu(&roost::tools::CpuReading::total_s);
    const auto open = memory_open.value_or(roost::tools::MemoryReading{});
    const auto end = memory_end.value_or(roost::tools::MemoryReading{});
    const auto per_connection = [&](std::uint64_t now, std::uint64_t before) {
      return (static_cast<double>(now) - static_cast<double>(before)) / static_cast<double>(connections_.size());
    };
    const auto per_message = [&](double value) {
      return messages == 0 ? 0.0 : value / static_cast<double>(messages);
    };
    if (messages == 0) note_failure(errors_, "no message was echoed in the measured time");

    print_head();
    std::printf(
        ",\"duration_s\":%.6f,\"messages\":%llu,\"messages_per_s\":%.1f,\"open_s\":%.3f"
        ",\"latency_us\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}"
        ",\"client\":{\"cpu_s\":%.6f,\"busy\":%.4f}",
        duration_s, static_cast<unsigned long long>(messages), static_cast<double>(messages) / duration_s, open_s,
        latency.quantile_us(0.5), latency.quantile_us(0.9), latency.quantile_us(0.99), latency.quantile_us(0.999),
        latency.max_us(), client_cpu_s, client_cpu_s / duration_s);
    std::printf(
        ",\"server\":{\"pid\":%d,\"cpu_source\":\"%s\",\"cpu_s\":%.9f,\"user_s\":%.2f,\"system_s\":%.2f,\"busy\":%.4f"
        ",\"cpu_us_per_message\":%.4f,\"voluntary_switches\":%llu,\"involuntary_switches\":%llu"
        ",\"voluntary_switches_per_message\":%.5f",
        server_.pid(), roost::tools::ServerProbe::cpu_source, cpu_s, cpu(&roost::tools::CpuReading::user_s),
        cpu(&roost::tools::CpuReading::system_s), cpu_s / duration_s, per_message(cpu_s * 1e6),
        static_cast<unsigned long long>(switches_end.voluntary - switches_start.voluntary),
        static_cast<unsigned long long>(switches_end.involuntary - switches_start.involuntary),
        per_message(static_cast<double>(switches_end.voluntary - switches_start.voluntary)));
    if (syscalls_per_message) {
      std::printf(",\"syscalls_per_message\":%.4f", *syscalls_per_message);
    } else {
      std::printf(",\"syscalls_per_message\":null");
    }
    std::printf(",\"memory_source\":\"smaps_rollup\"");
    print_memory("before", *memory_before);
    print_memory("open", open);
    print_memory("end", end);
    std::printf(
        ",\"rss_bytes_per_connection\":%.1f,\"pss_bytes_per_connection\":%.1f,\"anonymous_bytes_per_connection\":%.1f"
        ",\"rss_bytes_per_connection_end\":%.1f}}\n",
        per_connection(open.rss_bytes, memory_before->rss_bytes),
        per_connection(open.pss_bytes, memory_before->pss_bytes),
        per_connection(open.anonymous_bytes, memory_before->anonymous_bytes),
        per_connection(end.rss_bytes, memory_before->rss_bytes));
    close_all();
    return failed() == 0 ? 0 : 1;
  }

 private:
  static double seconds_since(std::int64_t start) { return static_cast<double>(now_ns() - start) / 1e9; }

  [[nodiscard]] std::uint64_t failed() const { return errors_ + mismatches_ + timeouts_; }

  [[nodiscard]] char* line_of(std::size_t index) { return lines_.data() + index * options_.line_bytes; }

  static void put_hex(char* out, std::uint64_t value, std::size_t digits) {
    for (std::size_t i = digits; i-- > 0; value >>= 4) out[i] = "0123456789abcdef"[value & 15];
  }

  // "NNNNNNNN SSSSSSSSSSSSSSSS text\n": connection, sequence, and text that depends on the connection.
  void draw_line(std::size_t index) {
    char* line = line_of(index);
    put_hex(line, index, 8);
    line[8] = ' ';
    put_hex(line + 9, 0, 16);
    line[25] = ' ';
    for (std::size_t i = 26; i + 1 < options_.line_bytes; ++i) {
      line[i] = static_cast<char>('a' + (index * 7 + i * 3) % 26);
    }
    line[options_.line_bytes - 1] = '\n';
  }

  void note_failure(std::uint64_t& counter, std::string_view what) {
    ++counter;
    if (first_failure_.empty()) first_failure_ = what;
  }

  void fail(std::size_t index, std::uint64_t& counter, std::string_view what) {
    note_failure(counter, "connection " + std::to_string(index) + ": " + std::string(what));
    Connection& conn = connections_[index];
    if (conn.state == State::awaiting_echo) --awaiting_;
    if (conn.fd >= 0) ::close(conn.fd);
    conn.fd = -1;
    conn.state = State::closed;
  }

  // Opens every connection and has one line echoed on each; at most opening_max are under way at once,
  // so the server's backlog never overflows and no SYN waits for its retransmission.
  void open_all() {
    std::size_t next = 0;
    opened_ = 0;
    last_progress_ns_ = now_ns();
    while (opened_ < connections_.size() && failed() == 0) {
      while (next < connections_.size() && next - opened_ < opening_max && failed() == 0) start_connect(next++);
      wait_once(100, &EchoClient::opened);
      if (now_ns() - last_progress_ns_ > silence_max_ns) {
        note_failure(timeouts_, "no connection was opened and echoed for 5 s; " + std::to_string(opened_) + " stand");
      }
    }
  }

  void opened() { ++opened_; }

  void start_connect(std::size_t index) {
    Connection& conn = connections_[index];
    conn.fd = ::socket(options_.target.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn.fd < 0) return fail(index, errors_, std::string("socket: ") + std::strerror(errno));
    const int on = 1;
    ::setsockopt(conn.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    bind_source(index, conn.fd);
    if (::connect(conn.fd, options_.target.get(), options_.target.length) != 0 && errno != EINPROGRESS) {
      return fail(index, errors_, std::string("connect: ") + std::strerror(errno));
    }
    conn.state = State::connecting;
    epoll_event event{};
    event.events = EPOLLOUT;
    event.data.u64 = index;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, conn.fd, &event) != 0) {
      fail(index, errors_, std::string("epoll_ctl: ") + std::strerror(errno));
    }
  }

  // A loopback target is dialled from 127.0.0.1, 127.0.0.2 and so on; elsewhere the kernel chooses.
  void bind_source(std::size_t index, int fd) const {
    if (options_.target.family() != AF_INET) return;
    const auto& target = reinterpret_cast<const sockaddr_in&>(options_.target.storage);
    if (ntohl(target.sin_addr.s_addr) >> 24 != 127) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);  // connect chooses the port
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr = htonl(0x7f000001U + static_cast<std::uint32_t>(index / ports_per_source));
    ::bind(fd, reinterpret_cast<const sockaddr*>(&source), sizeof source);  // failing, connect still finds one
  }

  void finish_connect(std::size_t index) {
    Connection& conn = connections_[index];
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(conn.fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) return fail(index, errors_, std::string("connect: ") + std::strerror(error));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = index;
    if (::epoll_ctl(epoll_, EPOLL_CTL_MOD, conn.fd, &event) != 0) {
      return fail(index, errors_, std::string("epoll_ctl: ") + std::strerror(errno));
    }
    send_next(index);
  }

  void send_next(std::size_t index) {
    Connection& conn = connections_[index];
    if (conn.fd < 0) return;
    char* line = line_of(index);
    put_hex(line + 9, ++conn.sequence, 16);
    conn.received_bytes = 0;
    conn.sent_at_ns = now_ns();
    conn.state = State::awaiting_echo;
    ++awaiting_;
    std::string_view rest(line, options_.line_bytes);
    while (!rest.empty()) {
      const ssize_t sent = ::send(conn.fd, rest.data(), rest.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        rest.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN) {
        // The last line was echoed in full, so the socket is empty and this is memory pressure: wait for it here.
        pollfd writable{.fd = conn.fd, .events = POLLOUT, .revents = 0};
        if (::poll(&writable, 1, 5'000) == 0) return fail(index, timeouts_, "send: no room for 5 s");
      } else if (errno != EINTR) {
        return fail(index, errors_, std::string("send: ") + std::strerror(errno));
      }
    }
  }

  // True when the whole echo has arrived and is right.
  bool receive(std::size_t index) {
    Connection& conn = connections_[index];
    const std::size_t missing = conn.state == State::awaiting_echo ? options_.line_bytes - conn.received_bytes : 0;
    const ssize_t got = ::recv(conn.fd, scratch_.data(), missing + 1, 0);
    if (got < 0) {
      if (errno != EAGAIN && errno != EINTR) fail(index, errors_, std::string("recv: ") + std::strerror(errno));
      return false;
    }
    if (got == 0) {
      fail(index, errors_, "the server closed it");
      return false;
    }
    const auto size = static_cast<std::size_t>(got);
    if (size > missing) {
      fail(index, mismatches_, "bytes after its echo");
      return false;
    }
    if (std::memcmp(scratch_.data(), line_of(index) + conn.received_bytes, size) != 0) {
      fail(index, mismatches_, "the echo differs from line " + std::to_string(conn.sequence));
      return false;
    }
    conn.received_bytes += static_cast<std::uint32_t>(size);
    if (size < missing) return false;
    conn.state = State::idle;
    --awaiting_;
    return true;
  }

  // One epoll_wait; calls `echoed` for each whole echo.
  void wait_once(int timeout_ms, void (EchoClient::*echoed)()) {
    const int count = ::epoll_wait(epoll_, events_.data(), events_per_wait, timeout_ms);
    if (count < 0 && errno != EINTR) stop(1, "epoll_wait", "failed", std::strerror(errno));
    for (int i = 0; i < count; ++i) {
      const auto index = static_cast<std::size_t>(events_[static_cast<std::size_t>(i)].data.u64);
      Connection& conn = connections_[index];
      if (conn.state == State::connecting) {
        finish_connect(index);
      } else if (conn.fd >= 0 && receive(index)) {
        last_progress_ns_ = now_ns();
        latency_.record(last_progress_ns_ - conn.sent_at_ns);
        ++messages_;
        if (echoed != nullptr) (this->*echoed)();
        if (pumping_) send_next(index);
      }
    }
  }

  // Spread evenly, so that the active ones lie among the waiting ones as they do in a real service.
  void start_active() {
    for (std::size_t i = 0; i < active_count_; ++i) send_next(i * connections_.size() / active_count_);
  }

  // From quiet to quiet, so that calls and messages are those of the same echoes.
  std::optional<double> count_syscalls() {
    if (options_.count_syscalls_s <= 0) return std::nullopt;
    const roost::tools::SyscallCounter counter(server_);
    messages_ = 0;
    const auto calls_start = counter.read();
    start_active();
    pump_for(options_.count_syscalls_s);
    drain();
    const auto calls_end = counter.read();
    if (!calls_start || !calls_end || messages_ == 0) return std::nullopt;
    return static_cast<double>(*calls_end - *calls_start) / static_cast<double>(messages_);
  }

  void pump_for(double seconds) {
    const std::int64_t start = now_ns();
    const std::int64_t end = start + static_cast<std::int64_t>(seconds * 1e9);
    last_progress_ns_ = start;
    pumping_ = true;
    for (std::int64_t now = start; now < end && awaiting_ > 0; now = now_ns()) {
      wait_once(100, nullptr);
      if (now - last_progress_ns_ > silence_max_ns) {
        note_failure(timeouts_, "no echo on any connection for 5 s");
        break;
      }
    }
    pumping_ = false;
  }

  // Takes the echoes still on their way; what has not come 5 s after the last one never will.
  void drain() {
    last_progress_ns_ = now_ns();
    while (awaiting_ > 0 && now_ns() - last_progress_ns_ < silence_max_ns) wait_once(100, nullptr);
    for (std::size_t index = 0; index < connections_.size(); ++index) {
      if (connections_[index].state == State::awaiting_echo) fail(index, timeouts_, "its echo did not come in 5 s");
    }
  }

  // A reset leaves no TIME_WAIT behind, which would eat the ports of the runs that follow.
  void close_all() {
    const linger reset{.l_onoff = 1, .l_linger = 0};
    for (Connection& conn : connections_) {
      if (conn.fd < 0) continue;
      ::setsockopt(conn.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      ::close(conn.fd);
      conn.fd = -1;
    }
  }

  static void print_memory(const char* when, const roost::tools::MemoryReading& memory) {
    std::printf(",\"memory_%s\":{\"rss_bytes\":%llu,\"pss_bytes\":%llu,\"anonymous_bytes\":%llu}", when,
                static_cast<unsigned long long>(memory.rss_bytes), static_cast<unsigned long long>(memory.pss_bytes),
                static_cast<unsigned long long>(memory.anonymous_bytes));
  }

  void print_head() const {
    std::printf("{\"target\":\"%s\",\"connections\":%zu,\"active\":%zu,\"size\":%zu,\"opened\":%zu"
                ",\"errors\":%llu,\"mismatches\":%llu,\"timeouts\":%llu,\"first_failure\":",
                options_.target_text.c_str(), connections_.size(), active_count_, options_.line_bytes, opened_,
                static_cast<unsigned long long>(errors_), static_cast<unsigned long long>(mismatches_),
                static_cast<unsigned long long>(timeouts_));
    // The texts are this file's and strerror's: no quotes and no control characters among them.
    if (first_failure_.empty()) {
      std::printf("null");
    } else {
      std::printf("\"%s\"", first_failure_.c_str());
    }
  }

  int report_failed_open() {
    print_head();
    std::printf("}\n");
    close_all();
    return 1;
  }

  const Options options_;
  const std::size_t active_count_;
  roost::tools::ServerProbe& server_;  // not owned
  const int epoll_;

  std::vector<Connection> connections_;
  std::vector<char> lines_;  // the line each connection sent last, one after the other
  std::vector<char> scratch_;
  std::array<epoll_event, events_per_wait> events_{};

  bool pumping_ = false;               // an echo is answered by the next line
  std::size_t opened_ = 0;             // connections whose first line was echoed
  std::size_t awaiting_ = 0;           // connections in State::awaiting_echo
  std::int64_t last_progress_ns_ = 0;  // when the last whole echo came
  std::uint64_t messages_ = 0;
  Histogram latency_;

  std::uint64_t errors_ = 0;
  std::uint64_t mismatches_ = 0;
  std::uint64_t timeouts_ = 0;
  std::string first_failure_;
};

template <class Number>
Number number_of(std::string_view option, std::string_view text, Number least, Number most, std::string_view remedy) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !(value >= least && value <= most)) {
    stop(2, std::string("bad value for ") + std::string(option) + ",", text, remedy);
  }
  return value;
}

constexpr const char* usage =
    "usage: echo_client --server-pid PID [options]\n"
    "  --target HOST:PORT     the server (default 127.0.0.1:8080)\n"
    "  --server-pid PID       its process, for CPU and memory\n"
    "  --connections N        connections to open (default 100)\n"
    "  --active A             of which A send (default: all)\n"
    "  --size BYTES           of a line, its newline included (default 64)\n"
    "  --seconds D            measured time (default 4)\n"
    "  --warm-up D            seconds of the same traffic before it (default 0.3)\n"
    "  --count-syscalls D     seconds of the same traffic after it, with the system calls counted (default 0: not)";

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help") {
      std::puts(usage);
      std::exit(0);
    }
    const bool known = option == "--target" || option == "--server-pid" || option == "--connections" ||
                       option == "--active" || option == "--size" || option == "--seconds" || option == "--warm-up" ||
                       option == "--count-syscalls";
    if (!known) stop(2, "unknown option", option, "see echo_client --help");
    if (i + 1 == argc) stop(2, "no value for", option, "see echo_client --help");
    const std::string_view value = argv[++i];
    if (option == "--target") {
      options.target_text = value;
    } else if (option == "--server-pid") {
      options.server_pid = number_of<pid_t>(option, value, 1, 1 << 22, "give a process id");
    } else if (option == "--connections") {
      options.connections = number_of<std::size_t>(option, value, 1, 1'000'000, "give 1 to 1000000");
    } else if (option == "--active") {
      options.active = number_of<std::size_t>(option, value, 1, 1'000'000, "give 1 to 1000000");
    } else if (option == "--size") {
      options.line_bytes =
          number_of<std::size_t>(option, value, line_bytes_min, line_bytes_limit, "give 32 to 16384 bytes");
    } else if (option == "--seconds") {
      options.seconds = number_of<double>(option, value, 0.1, 600, "give 0.1 to 600 seconds");
    } else if (option == "--warm-up") {
      options.warm_up_s = number_of<double>(option, value, 0, 60, "give 0 to 60 seconds");
    } else {
      options.count_syscalls_s = number_of<double>(option, value, 0, 60, "give 0 to 60 seconds");
    }
  }
  const auto target = bench::parse_address(options.target_text);
  if (!target) {
    stop(2, "malformed address", options.target_text, "give HOST:PORT with a numeric host, as in 127.0.0.1:8080");
  }
  options.target = *target;
  if (options.server_pid == 0) {
    stop(2, "no", "--server-pid", "give the server's process id; CPU and memory are read from it");
  }
  if (options.active && *options.active > options.connections) {
    stop(2, "--active", std::to_string(*options.active), "must not exceed --connections");
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  const auto descriptors = bench::raise_descriptor_limit();
  if (options.connections + 64 > descriptors) {
    stop(2, "--connections", std::to_string(options.connections),
         "needs more than the " + std::to_string(descriptors) + " descriptors allowed; lower it or raise ulimit -n");
  }
  roost::tools::ServerProbe server(options.server_pid);
  // On the heap: its histogram and event array are large for a stack frame.
  return std::make_unique<EchoClient>(options, server)->run();
}
