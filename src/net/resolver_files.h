// What the resolver reads from files: hosts, services, resolv.conf. Parsing is apart from reading, and a file is parsed again
// only when it has changed.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <roost/net/endpoint.h>

namespace roost::net {

// ASCII only, as names are.
[[nodiscard]] std::string lower_case(std::string_view text);

struct HostsTable {
  std::unordered_map<std::string, std::vector<IpAddress>> by_name;  // lower case, no dot at the end; in the file's order
  std::map<IpAddress, std::vector<std::string>> by_address;         // spelled as in the file
};
// Lines that make no sense are skipped.
[[nodiscard]] HostsTable parse_hosts(std::string_view text);

struct ServicesTable {
  std::unordered_map<std::string, std::uint16_t> ports;  // "tcp/https", lower case
};
[[nodiscard]] ServicesTable parse_services(std::string_view text);

// resolv.conf(5); the initial values are its defaults.
struct ResolvConf {
  std::vector<Endpoint> servers;  // at most the first three, as everywhere
  std::vector<std::string> search;
  bool has_search = false;        // a line said so, perhaps that the list is empty
  unsigned ndots = 1;
  std::chrono::milliseconds timeout{5'000};
  unsigned tries = 2;
  bool rotate = false;
};
[[nodiscard]] ResolvConf parse_resolv_conf(std::string_view text);

// The file's content; empty if it cannot be read.
[[nodiscard]] std::string read_text_file(const std::string& path);

// Which version of a file it is, as far as its metadata can tell.
struct FileVersion {
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;
  std::uint64_t size = 0;
  std::uint64_t inode = 0;
  friend bool operator==(const FileVersion&, const FileVersion&) noexcept = default;
};
[[nodiscard]] FileVersion version_of(const std::string& path) noexcept;

// A parsed file. get() costs one stat(2) while the file stays as it is.
template <class T>
class ParsedFile {
 public:
  ParsedFile(std::string path, T (*parse)(std::string_view)) : path_(std::move(path)), parse_(parse) {}

  // Any fiber or thread. May park, while a large file is read on a thread that may block.
  [[nodiscard]] std::shared_ptr<const T> get();

 private:
  // Beyond this, reading and parsing take long enough to be noticed by other fibers of the worker.
  static constexpr std::uint64_t small_file_bytes = 64 * 1024;

  const std::string path_;
  T (*const parse_)(std::string_view);
  std::atomic<bool> refreshing_{false};
  std::mutex mutex_;  // guards the rest; never held across a park or a read
  std::shared_ptr<const T> parsed_;
  FileVersion version_;
};

}  // namespace roost::net
