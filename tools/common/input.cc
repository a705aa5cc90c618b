#include "tools/common/input.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include <fmt/format.h>


namespace roost::tools {

std::expected<std::string, std::string> read_input(const std::string& path, std::size_t bytes_max) {
  // Not a std::ifstream, which throws when it is a directory that it reads.
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  std::string text;
  std::array<char, 16 * 1024> part;
  for (std::size_t n = 0; file && (n = std::fread(part.data(), 1, part.size(), file.get())) > 0;) {
    text.append(part.data(), n);
    if (text.size() > bytes_max) {
      return std::unexpected(fmt::format("{}: it does not end; name a file of at most {} MiB", path, bytes_max / (1024 * 1024)));
    }
  }
  if (!file || std::ferror(file.get()) != 0) {
    return std::unexpected(fmt::format("{}: {}; name a file that can be read", path, std::strerror(errno != 0 ? errno : EIO)));
  }
  return text;
}

}  // namespace roost::tools
