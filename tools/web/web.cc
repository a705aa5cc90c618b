#include "tools/web/web.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tools/web/embedded.h"

namespace roost::web {
namespace {

[[noreturn]] void die(std::string_view what, std::string_view name) {
  fmt::print(stderr, "roost: web: {} {}; see tools/web/CMakeLists.txt\n", what, name);
  std::abort();
}

// The uPlot file with its licence in front, which has to go wherever it goes.
std::string with_licence(std::string_view name) {
  std::string text(asset(name));
  if (!text.empty() && name.starts_with("uplot.")) text = fmt::format("/*! uPlot\n{}*/\n{}", asset("uplot.license"), text);
  return text;
}

// Replaces every `before NAME after` by what `element` makes of NAME.
template <class F>
void replace_each(std::string& text, std::string_view before, std::string_view after, F element) {
  std::size_t at = 0;
  while ((at = text.find(before, at)) != std::string::npos) {
    const std::size_t name_at = at + before.size();
    const std::size_t end = text.find(after, name_at);
    if (end == std::string::npos) die("unfinished element in a page:", before);
    const std::string replacement = element(text.substr(name_at, end - name_at));
    text.replace(at, end + after.size() - at, replacement);
    at += replacement.size();
  }
}

std::string assemble(std::string_view name, const nlohmann::ordered_json* data) {
  std::string text(asset(name));
  // Data first: it is looked for in the source and not in what the source brings in.
  if (data != nullptr) {
    constexpr std::string_view place = "<script type=\"application/json\" id=\"data\">";
    const std::size_t at = text.find(place);
    if (at == std::string::npos) die("no place for data in", name);
    text.insert(at + place.size(), to_script_text(*data));
  }
  replace_each(text, "<link rel=\"stylesheet\" href=\"", "\">",
               [](const std::string& style) { return "<style>\n" + with_licence(style) + "</style>"; });
  replace_each(text, "<script src=\"", "\"></script>",
               [](const std::string& script) { return "<script>\n" + with_licence(script) + "</script>"; });
  return text;
}

}  // namespace

std::string_view asset(std::string_view name) {
  for (const Asset& asset : embedded()) {
    if (asset.name == name) return asset.content;
  }
  die("no asset is called", name);
}

bool has_charts() { return !asset("uplot.js").empty(); }

std::string page(std::string_view name) { return assemble(name, nullptr); }
std::string page(std::string_view name, const nlohmann::ordered_json& data) { return assemble(name, &data); }

std::string to_script_text(const nlohmann::ordered_json& data) {
  // Names and errors come from outside and may be no UTF-8.
  const std::string json = data.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::string text;
  text.reserve(json.size());
  for (const char c : json) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace roost::web
