#include "tools/common/markup.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

namespace roost::tools {
namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd";  // U+FFFD

// The length of the well-formed UTF-8 character that `text` begins with, and the character; 0 when there is none.
std::size_t take_character(std::string_view text, std::uint32_t& character) {
  const auto byte = [text](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  const std::size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
  if (length == 0 || length > text.size()) return 0;
  character = length == 1 ? lead : lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (byte(i) >> 6 != 2) return 0;
    character = character << 6 | (byte(i) & 0x3f);
  }
  static constexpr std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  return character < least[length] ? 0 : length;
}

// XML 1.0, production 2.
bool is_xml_character(std::uint32_t c) {
  return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0xd7ff) || (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c <= 0x10ffff);
}

}  // namespace

std::string xml_text(std::string_view text) {
  std::string xml;
  while (!text.empty()) {
    std::uint32_t character = 0;
    const std::size_t length = take_character(text, character);
    if (length == 0 || !is_xml_character(character)) {
      xml += replacement;
    } else if (character == '&') {
      xml += "&amp;";
    } else if (character == '<') {
      xml += "&lt;";
    } else if (character == '>') {
      xml += "&gt;";
    } else if (character == '"') {
      xml += "&quot;";
    } else if (character == '\t' || character == '\n' || character == '\r') {
      xml += fmt::format("&#{};", character);  // an attribute would turn it into a blank
    } else {
      xml += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return xml;
}

std::string markdown_text(std::string_view text) {
  std::string markdown;
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      markdown += ' ';
    } else if (c == '<' || c == '>' || c == '&') {
      markdown += c == '<' ? "&lt;" : c == '>' ? "&gt;" : "&amp;";
    } else {
      if (std::string_view("\\`*_{}[]()#+!|~").contains(c)) markdown += '\\';
      markdown += c;
    }
  }
  return markdown;
}

std::string to_junit(std::string_view suite, const std::vector<JunitCase>& cases, double seconds) {
  const auto failures = std::ranges::count_if(cases, [](const JunitCase& one) { return one.failure.has_value(); });
  const auto skipped = std::ranges::count_if(cases, [](const JunitCase& one) { return one.skipped.has_value(); });
  std::string xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  xml += fmt::format("<testsuites>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3f}\">\n", xml_text(suite),
                     cases.size(), failures, skipped, seconds);
  for (const JunitCase& one : cases) {
    xml += fmt::format("<testcase classname=\"{}\" name=\"{}\"", xml_text(suite), xml_text(one.name));
    if (one.failure) {
      xml += fmt::format("><failure message=\"{}\"/></testcase>\n", xml_text(*one.failure));
    } else if (one.skipped) {
      xml += fmt::format("><skipped message=\"{}\"/></testcase>\n", xml_text(*one.skipped));
    } else {
      xml += "/>\n";
    }
  }
  return xml + "</testsuite>\n</testsuites>\n";
}

}  // namespace roost::tools
