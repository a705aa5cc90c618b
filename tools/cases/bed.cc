#include "tools/cases/bed.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <sstream>
#include <string_view>

#include <fmt/format.h>

#include "tools/common/proc.h"
#include "tools/common/shards.h"

namespace roost::cases {
namespace {

constexpr std::chrono::seconds turn_max{120};
constexpr std::chrono::seconds ready_max{60};

// What a child reports begins with one of these.
constexpr char said_result = 'r';
constexpr char said_failure = 'f';

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n <= 0 && errno != EINTR) return;
    if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
  }
}

struct Child {
  pid_t pid;
  int from;  // what it writes
};

// Forks. `body` gets the descriptor to report to; the child ends with it.
Child start_child(const std::function<void(int report)>& body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail_errno("pipe");
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    fail_errno("fork");
  }
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);  // it died before the line above
    ::close(ends[0]);
    try {
      body(ends[1]);
    } catch (const std::exception& error) {
      write_all(ends[1], said_failure + std::string(error.what()));
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  return {pid, ends[0]};
}

// Reads until the other end is closed, or `enough` says so. False: it took too long.
bool read_report(int fd, std::chrono::seconds longest, const std::function<bool(const std::string&)>& enough,
                 std::string& text) {
  const auto until = std::chrono::steady_clock::now() + longest;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd wait{fd, POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(left.count())) <= 0) continue;
    char chunk[4096];
    const ssize_t n = ::read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return true;
    text.append(chunk, static_cast<std::size_t>(n));
    if (enough(text)) return true;
  }
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("was killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

// Into a network namespace with nothing in it but loopback, up.
bool enter_own_network() {
  if (::unshare(CLONE_NEWNET) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a new user namespace brings new credentials, which reset it
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  const bool up = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  ::close(fd);
  return up;
}

}  // namespace

void fail_errno(const std::string& what) { throw Failure(fmt::format("{}: {}", what, std::strerror(errno))); }

bool can_have_own_network() {
  const Child child = start_child([](int report) {
    if (enter_own_network()) write_all(report, std::string(1, said_result));
  });
  std::string said;
  read_report(child.from, ready_max, [](const std::string&) { return false; }, said);
  ::close(child.from);
  ::kill(child.pid, SIGKILL);
  ::waitpid(child.pid, nullptr, 0);
  return !said.empty() && said.front() == said_result;
}

Tried<Sample> run_turn(Network network, const std::function<Sample()>& turn) {
  Child child{};
  try {
    child = start_child([&](int report) {
      if (!enter_own_network() && network == Network::own) throw Failure("no network namespace of its own");
      write_all(report, said_result + encode(turn()));
    });
  } catch (const Failure& failure) {
    return std::unexpected(failure.what());
  }
  std::string said;
  const bool in_time = read_report(child.from, turn_max, [](const std::string&) { return false; }, said);
  ::close(child.from);
  if (!in_time) ::kill(child.pid, SIGKILL);
  int status = 0;
  ::waitpid(child.pid, &status, 0);
  if (!in_time) return std::unexpected(fmt::format("a turn took longer than {} s", turn_max.count()));
  if (said.empty()) return std::unexpected("the process of a turn " + how_it_ended(status));
  if (said.front() == said_failure) return std::unexpected(said.substr(1));
  if (auto sample = decode(said.substr(1))) return *sample;
  return std::unexpected("the report of a turn was cut short");
}

Helper::Helper(const std::function<void(const Tell&)>& body) {
  const Child child = start_child([&](int report) {
    body([report](std::uint64_t number) { write_all(report, said_result + std::string(tools::bytes_of(number))); });
  });
  pid_ = child.pid;
  from_child_ = child.from;
}

Helper::~Helper() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  ::close(from_child_);
}

std::uint64_t Helper::await() {
  std::string said;
  const auto complete = [](const std::string& text) {
    return text.front() == said_result && text.size() >= 1 + sizeof(std::uint64_t);
  };
  if (!read_report(from_child_, ready_max, complete, said)) throw Failure("a helper process did not get ready");
  if (said.empty()) throw Failure("a helper process ended early");
  if (said.front() == said_failure) throw Failure(said.substr(1));
  const auto number = tools::value_of<std::uint64_t>(std::string_view(said).substr(1));
  if (!number) throw Failure("a helper process ended early");
  return *number;
}

void run_on_fibers(const std::function<void()>& main, RuntimeOptions options) {
  options.workers = 1;
  options.stuck_report_after = std::chrono::milliseconds(0);  // the machine may be busy
  // An exception that left the fiber would end the process without a word to the parent.
  std::exception_ptr thrown;
  run(options, [&] {
    try {
      main();
    } catch (...) {
      thrown = std::current_exception();
    }
  });
  if (thrown) std::rethrow_exception(thrown);
}

ServerProcess::ServerProcess(const ServerSetup& setup, const std::function<void(const Helper::Tell&)>& serve)
    : helper_([&](const Helper::Tell& tell) {
        if (setup.descriptors != 0 || setup.descriptors_soft != 0) {
          rlimit limit{};
          ::getrlimit(RLIMIT_NOFILE, &limit);
          if (setup.descriptors != 0) limit.rlim_max = setup.descriptors;
          limit.rlim_cur = setup.descriptors_soft != 0 ? setup.descriptors_soft : limit.rlim_max;
          if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) fail_errno("setrlimit");
        }
        pin_to_processor(1);
        RuntimeOptions options;
        options.raise_descriptor_limit = setup.raise_descriptor_limit;
        run_on_fibers([&] { serve(tell); }, options);
      }),
      port_(static_cast<std::uint16_t>(helper_.await())) {}

void pin_to_processor(unsigned index) {
  // As it was before the first call: a child of a process that is bound already may use the others all the same.
  static const cpu_set_t allowed = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    ::sched_getaffinity(0, sizeof set, &set);
    return set;
  }();
  const auto count = static_cast<unsigned>(CPU_COUNT(&allowed));
  if (count == 0) return;
  cpu_set_t one;
  int found = -1;
  for (unsigned seen = 0; seen <= index % count;) seen += CPU_ISSET(++found, &allowed) ? 1 : 0;
  CPU_ZERO(&one);
  CPU_SET(found, &one);
  ::sched_setaffinity(0, sizeof one, &one);
}

void set_sysctl(const std::string& key, const std::string& value) {
  std::string path = "/proc/sys/";
  for (const char c : key) path += c == '.' ? '/' : c;
  std::ofstream file(path);
  file << value << std::flush;
  if (!file) throw Failure(fmt::format("{} = {}: the kernel refused", key, value));
}

std::uint64_t count_time_wait() {
  std::istringstream text(tools::read_file("/proc/net/sockstat"));
  std::uint64_t count = 0;
  for (std::string word; text >> word;) {
    if (word == "tw" && text >> count) return count;
  }
  return 0;
}

}  // namespace roost::cases
