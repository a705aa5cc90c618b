// The files that a command leaves behind. They are opened before its work starts, so that one which cannot be written is known
// before and not after, and written when the work has ended.
#pragma once

#include <cstdio>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

namespace roost::tools {

class OutputFile {
 public:
  // An existing file is emptied. "-" is standard output. `option` is named in errors: "--json".
  static std::expected<OutputFile, std::string> open(std::string option, std::string path);

  // A piece of what is too long for one string; write() comes last, and tells whether all of it was written.
  void append(std::string_view content);
  // Once; the file is complete and closed afterwards.
  std::expected<void, std::string> write(std::string_view content);

  [[nodiscard]] bool is_standard_output() const noexcept { return path_ == "-"; }
  [[nodiscard]] const std::string& option() const noexcept { return option_; }

 private:
  struct Closer {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };

  OutputFile(std::string option, std::string path) : option_(std::move(option)), path_(std::move(path)) {}

  std::string option_;
  std::string path_;
  std::unique_ptr<std::FILE, Closer> file_;  // none for standard output
  int error_ = 0;                            // of the first append() that failed
};

}  // namespace roost::tools
