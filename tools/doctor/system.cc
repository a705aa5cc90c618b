#include "tools/doctor/system.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>
#include <filesystem>

namespace roost::doctor {
namespace {

// Debian 12's headers predate it (include/uapi/asm-generic/mman-common.h, Linux 6.13).
constexpr int madv_guard_install = 102;

std::error_code last_errno() { return {errno, std::generic_category()}; }

class File {
 public:
  File(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace

Result<std::string> System::read(std::string_view path) const {
  const File file(root_ + std::string(path), O_RDONLY);
  if (file.get() < 0) return std::unexpected(last_errno());
  std::string text;
  std::array<char, 16384> chunk;
  for (;;) {
    const ssize_t got = ::read(file.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(last_errno());
    if (got == 0) break;
    text.append(chunk.data(), static_cast<std::size_t>(got));
    // /proc/slabinfo, the longest file read here, has about 30 KB; a root that offers more is a mistake.
    if (text.size() > 4u * 1024 * 1024) return std::unexpected(std::make_error_code(std::errc::file_too_large));
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::ranges::replace(text, '\t', ' ');
  return text;
}

Result<void> System::write(std::string_view path, std::string_view text) const {
  const File file(root_ + std::string(path), O_WRONLY | (is_running_machine() ? 0 : O_TRUNC));
  if (file.get() < 0) return std::unexpected(last_errno());
  // The kernel takes a sysctl in one write; a second write would start the value anew.
  const std::string line = std::string(text) + "\n";
  ssize_t put;
  do put = ::write(file.get(), line.data(), line.size());
  while (put < 0 && errno == EINTR);
  if (put < 0) return std::unexpected(last_errno());
  if (put != static_cast<ssize_t>(line.size())) return std::unexpected(std::make_error_code(std::errc::io_error));
  return {};
}

bool System::exists(std::string_view path) const {
  std::error_code ignored;
  return std::filesystem::exists(root_ + std::string(path), ignored);
}

std::vector<std::string> System::list(std::string_view path) const {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entries(root_ + std::string(path), error);
  for (; !error && entries != std::filesystem::directory_iterator{}; entries.increment(error)) {
    names.push_back(entries->path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

Probe System::guard_install() const {
  if (!is_running_machine()) return Probe::unknown;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* pages = ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return Probe::unknown;
  const bool works = ::madvise(pages, page, madv_guard_install) == 0;
  ::munmap(pages, 2 * page);
  return works ? Probe::yes : Probe::no;
}

Probe System::io_uring() const {
  if (!is_running_machine()) return Probe::unknown;
  // Zero entries are invalid everywhere, so an allowed io_uring says EINVAL and no ring is ever made. The parameter
  // block is 120 bytes (include/uapi/linux/io_uring.h).
  std::array<std::byte, 120> params{};
  const long ring = ::syscall(SYS_io_uring_setup, 0u, params.data());
  if (ring >= 0) {
    ::close(static_cast<int>(ring));
    return Probe::yes;
  }
  switch (errno) {
    case ENOSYS:
      return Probe::no;
    case EPERM:
    case EACCES:
      return Probe::denied;
    case EINVAL:
      return Probe::yes;
    default:
      return Probe::unknown;
  }
}

Probe System::epoll_pwait2() const {
  if (!is_running_machine()) return Probe::unknown;
#ifdef SYS_epoll_pwait2
  // A bad descriptor: EBADF says the call exists.
  epoll_event event{};
  const timespec now{};
  ::syscall(SYS_epoll_pwait2, -1, &event, 1, &now, nullptr, 0);
  switch (errno) {
    case EBADF:
      return Probe::yes;
    case ENOSYS:
      return Probe::no;
    case EPERM:
      return Probe::denied;
    default:
      return Probe::unknown;
  }
#else
  return Probe::unknown;
#endif
}

std::optional<double> System::first_touch_ns() const {
  if (!is_running_machine()) return std::nullopt;
  constexpr std::size_t pages_each = 256;
  constexpr std::size_t chunks = 16;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t bytes = chunks * pages_each * page;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return std::nullopt;
  ::madvise(memory, bytes, MADV_NOHUGEPAGE);
  // The median, so that a chunk in which the thread was interrupted does not count.
  const auto thread_ns = [] {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
  };
  std::array<double, chunks> took{};
  auto* at = static_cast<volatile std::byte*>(memory);
  for (double& ns : took) {
    const double begin = thread_ns();
    for (std::size_t i = 0; i < pages_each; ++i, at += page) *at = std::byte{1};
    ns = (thread_ns() - begin) / pages_each;
  }
  ::munmap(memory, bytes);
  std::ranges::nth_element(took, took.begin() + chunks / 2);
  return took[chunks / 2];
}

std::optional<std::uint64_t> System::number(std::string_view path) const {
  const auto text = read(path);
  return text ? parse_number(*text) : std::nullopt;
}

std::vector<std::uint64_t> System::numbers(std::string_view path) const {
  std::vector<std::uint64_t> values;
  const auto text = read(path);
  if (!text) return values;
  for (const auto word : split(*text)) {
    const auto value = parse_number(word);
    if (!value) return {};
    values.push_back(*value);
  }
  return values;
}

std::optional<std::uint64_t> System::meminfo_bytes(std::string_view key) const {
  const auto text = read("/proc/meminfo");
  if (!text) return std::nullopt;
  for (const auto line : lines_of(*text)) {
    const auto words = split(line, " :");
    if (words.size() < 2 || words[0] != key) continue;
    const auto kilobytes = parse_number(words[1]);
    return kilobytes ? std::optional(*kilobytes * 1024) : std::nullopt;
  }
  return std::nullopt;
}

std::optional<DescriptorLimit> System::descriptor_limit() const {
  // From the file instead of getrlimit(2), so that a root directory can say it too.
  const auto text = read("/proc/self/limits");
  if (!text) return std::nullopt;
  constexpr std::string_view name = "Max open files";
  for (const auto line : lines_of(*text)) {
    if (!line.starts_with(name)) continue;
    const auto words = split(line.substr(name.size()));
    if (words.size() < 2) return std::nullopt;
    const auto value = [](std::string_view word) {
      return word == "unlimited" ? std::optional(unlimited) : parse_number(word);
    };
    const auto soft = value(words[0]);
    const auto hard = value(words[1]);
    if (!soft || !hard) return std::nullopt;
    return DescriptorLimit{*soft, *hard};
  }
  return std::nullopt;
}

std::optional<bool> System::has_capability(unsigned bit) const {
  const auto text = read("/proc/self/status");
  if (!text) return std::nullopt;
  for (const auto line : lines_of(*text)) {
    const auto words = split(line, " :");
    if (words.size() < 2 || words[0] != "CapEff") continue;
    std::uint64_t mask = 0;
    const auto [end, error] = std::from_chars(words[1].data(), words[1].data() + words[1].size(), mask, 16);
    if (error != std::errc{}) return std::nullopt;
    return (mask >> bit & 1) != 0;
  }
  return std::nullopt;
}

std::uint32_t System::cpu_count() const {
  // "0-1,4" : ranges and single numbers.
  const auto text = read("/sys/devices/system/cpu/online");
  std::uint64_t count = 0;
  if (text) {
    for (const auto range : split(*text, ",")) {
      const auto ends = split(range, "-");
      const auto first = ends.empty() ? std::nullopt : parse_number(ends.front());
      const auto last = ends.empty() ? std::nullopt : parse_number(ends.back());
      if (first && last && *last >= *first) count += *last - *first + 1;
    }
  }
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(count, 1, 65'536));
}

std::string sysctl_path(std::string_view key) {
  std::string path = "/proc/sys/" + std::string(key);
  std::replace(path.begin() + 10, path.end(), '.', '/');
  return path;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n')) text.remove_suffix(1);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> words;
  while (true) {
    const auto begin = text.find_first_not_of(separators);
    if (begin == std::string_view::npos) return words;
    text.remove_prefix(begin);
    const auto end = std::min(text.find_first_of(separators), text.size());
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

std::vector<std::string_view> lines_of(std::string_view text) { return split(text, "\n"); }

}  // namespace roost::doctor
