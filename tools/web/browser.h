// A headless Chromium for tests of pages: what a page becomes when it is really drawn.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace roost::web {

class Browser {
 public:
  // None where Chromium is not installed; a test of a page is skipped then.
  static std::optional<Browser> find();

  struct Window {
    unsigned width = 1600;
    unsigned height = 2400;
    bool is_dark = false;
  };

  // The document after its scripts have run, as HTML. Empty when the browser failed.
  [[nodiscard]] std::string dump(const std::filesystem::path& page, const Window& window) const;
  // Writes a picture of it.
  bool screenshot(const std::filesystem::path& page, const Window& window, const std::filesystem::path& png) const;

 private:
  explicit Browser(std::string program) : program_(std::move(program)) {}
  [[nodiscard]] std::string run(const std::filesystem::path& page, const Window& window, const std::string& action) const;

  std::string program_;
};

// The value of an attribute of the root element in dump()'s HTML, such as "data-charts".
std::optional<std::string> root_attribute(const std::string& html, const std::string& name);

}  // namespace roost::web
