#include "tools/common/shards.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>
#include <roost/net/descriptor.h>

namespace roost::tools {
namespace {

struct FrameHeader {
  std::uint32_t length;  // of the payload
  std::uint32_t kind;
};
constexpr std::uint32_t frame_bytes_max = 16 * 1024 * 1024;  // a longer one is a bug at the other end

std::string encode(std::uint8_t kind, std::string_view payload) {
  const FrameHeader header{static_cast<std::uint32_t>(payload.size()), kind};
  std::string bytes(bytes_of(header));
  bytes += payload;
  return bytes;
}

// Works on a blocking and on a non-blocking socket.
bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (n < 0 && errno == EAGAIN) {
      pollfd ready{fd, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else {
      return false;
    }
  }
  return true;
}

std::error_code last_error() { return {errno, std::generic_category()}; }

sigset_t parents_signals(std::initializer_list<int> more) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  for (const int signal : more) sigaddset(&set, signal);
  return set;
}

}  // namespace

bool ShardLink::send(std::uint8_t kind, std::string_view payload) const { return send_all(fd_, encode(kind, payload)); }

Result<net::Descriptor> ShardLink::adopt() const { return net::Descriptor::adopt(fd_); }

Result<Frame> ShardLink::receive(net::Descriptor& link) {
  const auto read_full = [&link](std::span<std::byte> out) -> Result<void> {
    while (!out.empty()) {
      const Result<std::size_t> n = link.read(out);
      if (!n) return fail(n.error());
      if (*n == 0) return fail(Errc::end_of_stream);
      out = out.subspan(*n);
    }
    return {};
  };
  FrameHeader header{};
  if (auto got = read_full(std::as_writable_bytes(std::span(&header, 1))); !got) return fail(got.error());
  if (header.length > frame_bytes_max) return fail(std::errc::message_size);
  Frame frame{static_cast<std::uint8_t>(header.kind), std::string(header.length, '\0')};
  if (auto got = read_full(std::as_writable_bytes(std::span(frame.payload))); !got) return fail(got.error());
  return frame;
}

std::string ShardExit::to_string() const {
  if (killed()) return fmt::format("process {} (pid {}) was killed by signal {} ({})", index, pid, signal, ::strsignal(signal));
  return fmt::format("process {} (pid {}) ended with status {}", index, pid, exit_status);
}

Result<ShardGroup> ShardGroup::start(unsigned count, const std::function<int(const ShardLink&)>& body,
                                     std::initializer_list<int> more_signals) {
  ShardGroup group;
  group.shards_.reserve(count);
  const sigset_t signals = parents_signals(more_signals);
  sigset_t before;
  // Blocked before the first fork, so that a signal that comes now waits for poll() and kills nobody half-way.
  ::sigprocmask(SIG_BLOCK, &signals, &before);
  group.signal_fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (group.signal_fd_ < 0) return fail(last_error());
  group.wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (group.wake_fd_ < 0) return fail(last_error());

  // What is buffered now would be written once by the parent and once by each child that exits.
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  for (unsigned index = 0; index < count; ++index) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail(last_error());
    const pid_t pid = ::fork();
    if (pid < 0) {
      const std::error_code error = last_error();
      ::close(ends[0]);
      ::close(ends[1]);
      return fail(error);
    }
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);  // it died before the line above
      ::signal(SIGINT, SIG_IGN);
      ::signal(SIGTERM, SIG_IGN);
      for (const int signal : more_signals) ::signal(signal, SIG_IGN);
      ::sigprocmask(SIG_SETMASK, &before, nullptr);
      // A sibling that kept another's socket open would hide its end from the parent.
      ::close(group.signal_fd_);
      ::close(group.wake_fd_);
      ::close(ends[0]);
      for (const Shard& other : group.shards_) ::close(other.fd);
      const int status = body(ShardLink(ends[1], index, count));
      std::fflush(nullptr);
      ::_exit(status);
    }
    ::close(ends[1]);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    group.shards_.push_back(Shard{pid, ends[0], {}});
  }
  return group;
}

ShardGroup::ShardGroup(ShardGroup&& other) noexcept
    : shards_(std::exchange(other.shards_, {})), signal_fd_(std::exchange(other.signal_fd_, -1)), wake_fd_(std::exchange(other.wake_fd_, -1)) {}

ShardGroup::~ShardGroup() {
  kill_all();
  for (Shard& shard : shards_) {
    if (shard.pid > 0) ::waitpid(shard.pid, nullptr, 0);
    if (shard.fd >= 0) ::close(shard.fd);
  }
  // The signals stay blocked: one that arrived after the last poll() is moot, because the process is about to end.
  if (signal_fd_ >= 0) ::close(signal_fd_);
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

void ShardGroup::poll(std::chrono::milliseconds timeout, const Handler& handler) {
  // A child whose socket closed is about to end; its exit has no event of its own to wait for here.
  const bool ending = std::any_of(shards_.begin(), shards_.end(), [](const Shard& s) { return s.pid > 0 && s.fd < 0; });
  std::vector<pollfd> descriptors;
  std::vector<unsigned> indices;
  descriptors.push_back({signal_fd_, POLLIN, 0});
  descriptors.push_back({wake_fd_, POLLIN, 0});
  for (unsigned index = 0; index < count(); ++index) {
    if (shards_[index].fd < 0) continue;
    descriptors.push_back({shards_[index].fd, POLLIN, 0});
    indices.push_back(index);
  }
  const int wait_ms = static_cast<int>(ending ? std::min<std::int64_t>(timeout.count(), 5) : timeout.count());
  ::poll(descriptors.data(), descriptors.size(), wait_ms);

  signalfd_siginfo info{};
  while (::read(signal_fd_, &info, sizeof info) == sizeof info) {
    if (handler.on_signal) handler.on_signal(static_cast<int>(info.ssi_signo));
  }
  std::uint64_t wakes = 0;
  (void)!::read(wake_fd_, &wakes, sizeof wakes);  // however many: one look answers them all
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (descriptors[i + 2].revents != 0) read_frames(indices[i], handler);
  }
  for (unsigned index = 0; index < count(); ++index) {
    if (shards_[index].pid > 0 && shards_[index].fd < 0) reap(index, handler);
  }
}

void ShardGroup::read_frames(unsigned index, const Handler& handler) {
  Shard& shard = shards_[index];
  char chunk[64 * 1024];
  bool ended = false;
  for (;;) {
    const ssize_t n = ::recv(shard.fd, chunk, sizeof chunk, 0);
    if (n > 0) {
      shard.pending.append(chunk, static_cast<std::size_t>(n));
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    ended = n == 0 || errno != EAGAIN;
    break;
  }
  std::string_view rest = shard.pending;
  while (const auto header = value_of<FrameHeader>(rest)) {
    if (header->length > frame_bytes_max) {
      ended = true;
      break;
    }
    if (rest.size() < sizeof *header + header->length) break;
    const Frame frame{static_cast<std::uint8_t>(header->kind), std::string(rest.substr(sizeof *header, header->length))};
    rest.remove_prefix(sizeof *header + header->length);
    if (handler.on_frame) handler.on_frame(index, frame);
  }
  shard.pending.erase(0, shard.pending.size() - rest.size());
  if (ended) {
    ::close(shard.fd);
    shard.fd = -1;
  }
}

void ShardGroup::reap(unsigned index, const Handler& handler) {
  int status = 0;
  rusage used{};
  const pid_t pid = ::wait4(shards_[index].pid, &status, WNOHANG, &used);
  if (pid <= 0) return;  // not yet
  shards_[index].pid = -1;
  ShardExit exit{.index = index, .pid = pid};
  for (const timeval& time : {used.ru_utime, used.ru_stime}) {
    exit.cpu_s += static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  }
  if (WIFSIGNALED(status)) {
    exit.signal = WTERMSIG(status);
    exit.exit_status = -1;
  } else {
    exit.exit_status = WEXITSTATUS(status);
  }
  if (handler.on_exit) handler.on_exit(exit);
}

void ShardGroup::wake() const noexcept {
  const std::uint64_t one = 1;
  (void)!::write(wake_fd_, &one, sizeof one);
}

void ShardGroup::send(unsigned index, std::uint8_t kind, std::string_view payload) {
  if (shards_[index].fd >= 0) send_all(shards_[index].fd, encode(kind, payload));
}

void ShardGroup::broadcast(std::uint8_t kind, std::string_view payload) {
  for (unsigned index = 0; index < count(); ++index) send(index, kind, payload);
}

void ShardGroup::kill_all() {
  for (const Shard& shard : shards_) {
    if (shard.pid > 0) ::kill(shard.pid, SIGKILL);
  }
}

unsigned ShardGroup::running() const noexcept {
  return static_cast<unsigned>(std::count_if(shards_.begin(), shards_.end(), [](const Shard& s) { return s.pid > 0; }));
}

std::vector<pid_t> ShardGroup::pids(unsigned first, unsigned end) const {
  std::vector<pid_t> pids;
  for (unsigned index = first; index < end; ++index) {
    if (shards_[index].pid > 0) pids.push_back(shards_[index].pid);
  }
  return pids;
}

std::vector<bool> ShardGroup::running_ones() const {
  std::vector<bool> ones;
  for (const Shard& shard : shards_) ones.push_back(shard.pid > 0 && shard.fd >= 0);
  return ones;
}

struct alignas(64) SharedCounters::Slot {
  std::atomic<std::int64_t> value{0};
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "a lock would live in one process only");

SharedCounters::SharedCounters(unsigned slots) : count_(slots) {
  void* memory = ::mmap(nullptr, slots * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    fmt::print(stderr, "roost: no memory for {} shared counters: {}\n", slots, ::strerror(errno));
    std::abort();
  }
  slots_ = static_cast<Slot*>(memory);
  for (unsigned i = 0; i < slots; ++i) ::new (&slots_[i]) Slot;
}

SharedCounters::~SharedCounters() { ::munmap(slots_, count_ * sizeof(Slot)); }

// Sequentially consistent, so that of two children that add at the same time at least one sees the other's share: a limit
// on the sum is never passed. Acquire and release would let both miss it.
std::uint64_t SharedCounters::add(unsigned slot, std::int64_t difference) noexcept {
  slots_[slot].value.fetch_add(difference, std::memory_order_seq_cst);
  return sum();
}

std::uint64_t SharedCounters::sum() const noexcept {
  std::int64_t total = 0;
  for (unsigned i = 0; i < count_; ++i) total += slots_[i].value.load(std::memory_order_seq_cst);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(total, 0));
}

void SharedCounters::clear(unsigned slot) noexcept { slots_[slot].value.store(0, std::memory_order_relaxed); }

}  // namespace roost::tools
