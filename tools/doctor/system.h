// The machine as the doctor sees it: text files under /proc and /sys, and a few system calls that can only be tried.
//
// Everything that is a file is read below a root directory. With the empty root that is the running machine; tests
// give a directory with a handful of files, and an operator may give `--root /host` (a container that sees the host's
// /proc) or a copy taken from another machine. Probes of system calls answer `unknown` unless the root is empty:
// they would describe the wrong kernel.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace roost::doctor {

template <class T>
using Result = std::expected<T, std::error_code>;

enum class Probe { yes, no, denied, unknown };

struct DescriptorLimit {
  std::uint64_t soft;
  std::uint64_t hard;
};

class System {
 public:
  explicit System(std::string root = {}) : root_(std::move(root)) {}
  virtual ~System() = default;

  // The text of `path` without its final newline, tabs turned into single spaces (sysctl vectors use tabs).
  [[nodiscard]] virtual Result<std::string> read(std::string_view path) const;
  // Writes `text` to a file that exists; never creates one, because a sysctl that is missing must stay missing.
  [[nodiscard]] virtual Result<void> write(std::string_view path, std::string_view text) const;
  [[nodiscard]] virtual bool exists(std::string_view path) const;
  // Names in a directory, sorted; empty when it cannot be read.
  [[nodiscard]] virtual std::vector<std::string> list(std::string_view path) const;

  [[nodiscard]] virtual Probe guard_install() const;  // madvise(MADV_GUARD_INSTALL), Linux 6.13
  [[nodiscard]] virtual Probe io_uring() const;       // denied: compiled in, but sysctl or seccomp forbids it
  [[nodiscard]] virtual Probe epoll_pwait2() const;   // Linux 5.11

  // Processor time that the first touch of a page of fresh memory takes. Tried with 16 MiB, which are given back; nothing where
  // that much cannot be had, and unless the root is empty.
  [[nodiscard]] virtual std::optional<double> first_touch_ns() const;

  [[nodiscard]] const std::string& root() const { return root_; }
  [[nodiscard]] bool is_running_machine() const { return root_.empty(); }

  // Conveniences over read(); nothing when the file is missing or is not what its name promises.
  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view path) const;
  [[nodiscard]] std::vector<std::uint64_t> numbers(std::string_view path) const;
  [[nodiscard]] std::optional<std::uint64_t> meminfo_bytes(std::string_view key) const;
  [[nodiscard]] std::optional<DescriptorLimit> descriptor_limit() const;
  [[nodiscard]] std::optional<bool> has_capability(unsigned bit) const;  // in the effective set
  [[nodiscard]] std::uint32_t cpu_count() const;                         // online processors, at least 1

 private:
  std::string root_;
};

inline constexpr unsigned cap_sys_admin = 21;
inline constexpr unsigned cap_sys_resource = 24;
inline constexpr std::uint64_t unlimited = ~std::uint64_t{0};

// "net.ipv4.tcp_mem" -> "/proc/sys/net/ipv4/tcp_mem"
[[nodiscard]] std::string sysctl_path(std::string_view key);

// The whole of `text` as a number (surrounding spaces allowed); nothing otherwise.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text);
[[nodiscard]] std::vector<std::string_view> split(std::string_view text, std::string_view separators = " \t");
[[nodiscard]] std::vector<std::string_view> lines_of(std::string_view text);

}  // namespace roost::doctor
