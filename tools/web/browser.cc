#include "tools/web/browser.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

#include <fmt/format.h>

namespace roost::web {

std::optional<Browser> Browser::find() {
  for (const char* program : {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"}) {
    if (::access(program, X_OK) == 0) return Browser(program);
  }
  return std::nullopt;
}

std::string Browser::run(const std::filesystem::path& page, const Window& window, const std::string& action) const {
  std::string profile = std::filesystem::temp_directory_path() / "roost-browser-XXXXXX";
  if (::mkdtemp(profile.data()) == nullptr) return {};
  // A window narrower than 500 pixels a browser makes only for a device; --window-size is that of the page here, because headless
  // has no frame. Its time is virtual: it ends when the scripts have had that much, however long a busy machine takes.
  const std::string command = fmt::format(
      "timeout 50 {} --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
      "--disable-sync --hide-scrollbars --user-data-dir={} {} --window-size={},{} --virtual-time-budget=5000 {} file://{} 2>{}/log",
      program_, profile, window.is_dark ? "--blink-settings=preferredColorScheme=0" : "", window.width, window.height, action,
      std::filesystem::absolute(page).string(), profile);
  std::string output;
  if (std::FILE* pipe = ::popen(command.c_str(), "r")) {
    std::array<char, 65536> chunk;
    for (std::size_t n = 0; (n = std::fread(chunk.data(), 1, chunk.size(), pipe)) > 0;) output.append(chunk.data(), n);
    if (::pclose(pipe) != 0) output.clear();
  }
  std::error_code ignored;
  std::filesystem::remove_all(profile, ignored);
  return output;
}

std::string Browser::dump(const std::filesystem::path& page, const Window& window) const { return run(page, window, "--dump-dom"); }

bool Browser::screenshot(const std::filesystem::path& page, const Window& window, const std::filesystem::path& png) const {
  std::filesystem::create_directories(png.parent_path());
  std::filesystem::remove(png);
  (void)run(page, window, fmt::format("--screenshot={}", png.string()));
  return std::filesystem::exists(png);
}

std::optional<std::string> root_attribute(const std::string& html, const std::string& name) {
  const std::size_t begin = html.find("<html");
  const std::string_view root = std::string_view(html).substr(begin == std::string::npos ? html.size() : begin);
  const std::string_view tag = root.substr(0, root.find('>'));
  const std::string key = fmt::format(" {}=\"", name);
  const std::size_t at = tag.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view value = tag.substr(at + key.size());
  return std::string(value.substr(0, value.find('"')));
}

}  // namespace roost::web
