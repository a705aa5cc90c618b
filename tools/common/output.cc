#include "tools/common/output.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace roost::tools {

std::expected<OutputFile, std::string> OutputFile::open(std::string option, std::string path) {
  OutputFile output(std::move(option), std::move(path));
  if (!output.is_standard_output()) {
    output.file_.reset(std::fopen(output.path_.c_str(), "we"));
    if (!output.file_) {
      return std::unexpected(fmt::format("{} {}: {}; name a file in a directory that you may write to", output.option_, output.path_, std::strerror(errno)));
    }
  }
  return output;
}

void OutputFile::append(std::string_view content) {
  std::FILE* file = file_ ? file_.get() : stdout;
  if (error_ == 0 && std::fwrite(content.data(), 1, content.size(), file) != content.size()) error_ = errno;
}

std::expected<void, std::string> OutputFile::write(std::string_view content) {
  append(content);
  // A disk that is full shows at the flush, at the latest.
  if (std::fflush(file_ ? file_.get() : stdout) != 0 && error_ == 0) error_ = errno;
  const bool closed = !file_ || std::fclose(file_.release()) == 0;
  if (!closed && error_ == 0) error_ = errno;
  if (error_ == 0) return {};
  return std::unexpected(fmt::format("{} {}: could not be written: {}; make room or name another file", option_, path_, std::strerror(error_)));
}

}  // namespace roost::tools
