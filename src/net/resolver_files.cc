#include "net/resolver_files.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

#include <roost/go.h>

namespace roost::net {

namespace {

constexpr std::string_view blanks = " \t\r\f\v";

// The line's words, up to a comment.
std::vector<std::string_view> words_of(std::string_view line, std::string_view comment_marks) {
  line = line.substr(0, line.find_first_of(comment_marks));
  std::vector<std::string_view> words;
  for (;;) {
    const std::size_t begin = line.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return words;
    const std::size_t end = std::min(line.find_first_of(blanks, begin), line.size());
    words.push_back(line.substr(begin, end - begin));
    line.remove_prefix(end);
  }
}

template <class F>
void for_each_line(std::string_view text, F&& act) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    act(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::string_view without_last_dot(std::string_view name) {
  if (name.size() > 1 && name.ends_with('.')) name.remove_suffix(1);
  return name;
}

// "ndots:3": the number, clamped; false if it is another option or no number.
bool read_option(std::string_view word, std::string_view name, unsigned least, unsigned most, unsigned& out) {
  if (!word.starts_with(name)) return false;
  word.remove_prefix(name.size());
  unsigned value = 0;
  const auto [at, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error == std::errc::result_out_of_range) value = most;
  else if (error != std::errc() || at != word.data() + word.size()) return false;
  out = std::clamp(value, least, most);
  return true;
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

HostsTable parse_hosts(std::string_view text) {
  HostsTable table;
  for_each_line(text, [&](std::string_view line) {
    const auto words = words_of(line, "#");
    if (words.size() < 2) return;
    const auto address = IpAddress::parse(words[0]);
    if (!address) return;
    for (std::size_t i = 1; i < words.size(); ++i) {
      const std::string_view name = without_last_dot(words[i]);
      auto& addresses = table.by_name[lower_case(name)];
      if (std::ranges::find(addresses, *address) != addresses.end()) continue;
      addresses.push_back(*address);
      // Not searched for duplicates itself: in lists of blocked hosts one address has a hundred thousand names.
      table.by_address[*address].emplace_back(name);
    }
  });
  return table;
}

ServicesTable parse_services(std::string_view text) {
  ServicesTable table;
  for_each_line(text, [&](std::string_view line) {
    const auto words = words_of(line, "#");
    if (words.size() < 2) return;
    const std::size_t slash = words[1].find('/');
    if (slash == std::string_view::npos) return;
    std::uint16_t port = 0;
    const char* const digits_end = words[1].data() + slash;
    const auto [at, error] = std::from_chars(words[1].data(), digits_end, port);
    if (error != std::errc() || at != digits_end) return;
    const std::string prefix = lower_case(words[1].substr(slash + 1)) + '/';
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (i != 1) table.ports.emplace(prefix + lower_case(words[i]), port);  // the first mention counts
    }
  });
  return table;
}

ResolvConf parse_resolv_conf(std::string_view text) {
  constexpr std::size_t servers_max = 3;
  constexpr std::uint16_t dns_port = 53;
  ResolvConf conf;
  for_each_line(text, [&](std::string_view line) {
    const auto words = words_of(line, "#;");
    if (words.size() < 2) return;
    if (words[0] == "nameserver") {
      const auto address = IpAddress::parse(words[1]);
      if (address && conf.servers.size() < servers_max) conf.servers.push_back({*address, dns_port});
    } else if (words[0] == "search" || words[0] == "domain") {
      // The last of such lines counts. A lone dot is an empty list.
      conf.has_search = true;
      conf.search.clear();
      const std::size_t end = words[0] == "domain" ? 2 : words.size();
      for (std::size_t i = 1; i < end; ++i) {
        if (words[i] != ".") conf.search.push_back(lower_case(without_last_dot(words[i])));
      }
    } else if (words[0] == "options") {
      for (const std::string_view word : words) {
        unsigned seconds = 0;
        // The bounds are those of resolv.conf(5).
        if (read_option(word, "ndots:", 0, 15, conf.ndots) || read_option(word, "attempts:", 1, 5, conf.tries)) continue;
        if (read_option(word, "timeout:", 1, 30, seconds)) conf.timeout = std::chrono::seconds(seconds);
        if (word == "rotate") conf.rotate = true;
      }
    }
  });
  return conf;
}

std::string read_text_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

FileVersion version_of(const std::string& path) noexcept {
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0) return {};
  const auto nanoseconds = [](const timespec& time) { return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; };
  return {.modified_ns = nanoseconds(about.st_mtim),
          .changed_ns = nanoseconds(about.st_ctim),
          .size = static_cast<std::uint64_t>(about.st_size),
          .inode = about.st_ino};
}

template <class T>
std::shared_ptr<const T> ParsedFile<T>::get() {
  // Taken before the file is read: a change in between is found by the next call.
  const FileVersion version = version_of(path_);
  {
    const std::lock_guard lock(mutex_);
    if (parsed_ != nullptr && version == version_) return parsed_;
    // One reads; the others make do with what was, if there was anything.
    if (refreshing_.exchange(true) && parsed_ != nullptr) return parsed_;
  }
  const auto load = [&] { return std::make_shared<const T>(parse_(read_text_file(path_))); };
  std::shared_ptr<const T> fresh = version.size <= small_file_bytes ? load() : blocking(load);
  const std::lock_guard lock(mutex_);
  parsed_ = std::move(fresh);
  version_ = version;
  refreshing_.store(false);
  return parsed_;
}

template class ParsedFile<HostsTable>;
template class ParsedFile<ServicesTable>;
template class ParsedFile<ResolvConf>;

}  // namespace roost::net
