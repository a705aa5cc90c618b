#include "tools/common/output.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace roost::tools {

std::expected<OutputFile, std::string> OutputFile::open(std::string option, std::string path, Existing existing) {
  OutputFile output(std::move(option), std::move(path));
  if (!output.is_standard_output()) {
    output.file_.reset(std::fopen(output.path_.c_str(), existing == Existing::kept ? "ae" : "we"));
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

void OutputFiles::add(const std::string& option, const std::string& path, std::function<std::string()> content, OutputFile::Existing existing) {
  add_in_pieces(option, path, [content = std::move(content)](OutputFile& file) { return file.write(content()); }, existing);
}

void OutputFiles::add_in_pieces(const std::string& option, const std::string& path, Writer write, OutputFile::Existing existing) {
  if (path.empty() || !error_.empty()) return;
  if (const auto taken = std::ranges::find(outputs_, path, &Output::path); taken != outputs_.end()) {
    error_ = fmt::format("{} {}: {} is to be written there already; name another file", option, path, taken->file.option());
    return;
  }
  auto file = OutputFile::open(option, path, existing);
  if (!file) {
    error_ = std::move(file.error());
    return;
  }
  outputs_.push_back({path, std::move(*file), std::move(write)});
}

bool OutputFiles::take_standard_output() const {
  return std::ranges::any_of(outputs_, [](const Output& output) { return output.file.is_standard_output(); });
}

std::vector<std::string> OutputFiles::write() {
  std::vector<std::string> errors;
  std::string failed;  // the option of the last that did; those of one option stand one after the other
  for (Output& output : outputs_) {
    auto written = output.write(output.file);
    if (!written && output.file.option() != failed) errors.push_back(std::move(written.error()));
    if (!written) failed = output.file.option();
  }
  return errors;
}

}  // namespace roost::tools
