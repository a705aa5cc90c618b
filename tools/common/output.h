// The files that a command leaves behind. They are opened before its work starts, so that one which cannot be written is known
// before and not after, and written when the work has ended.
#pragma once

#include <cstdio>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace roost::tools {

class OutputFile {
 public:
  enum class Existing { emptied, kept };  // kept: what is written comes behind it

  // "-" is standard output. `option` is named in errors: "--json".
  static std::expected<OutputFile, std::string> open(std::string option, std::string path, Existing existing = Existing::emptied);

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

// Several, each of another name, and what goes into each.
class OutputFiles {
 public:
  // Opens it, unless `path` is empty: then there is nothing to do; nor is there once one could not be opened. `content` is called by
  // write().
  void add(const std::string& option, const std::string& path, std::function<std::string()> content,
           OutputFile::Existing existing = OutputFile::Existing::emptied);
  // The same of what is too long for one string: `write` appends the pieces, and ends with OutputFile::write().
  using Writer = std::function<std::expected<void, std::string>(OutputFile& file)>;
  void add_in_pieces(const std::string& option, const std::string& path, Writer write, OutputFile::Existing existing = OutputFile::Existing::emptied);
  // Why the first of those that could not be opened was not; empty: all were.
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

  // Whether one of them is standard output, which then has nothing else.
  [[nodiscard]] bool take_standard_output() const;

  // Once. One that fails does not keep the others from being written. What went wrong, a line each option.
  [[nodiscard]] std::vector<std::string> write();

 private:
  struct Output {
    std::string path;
    OutputFile file;
    Writer write;
  };
  std::vector<Output> outputs_;
  std::string error_;
};

}  // namespace roost::tools
