// What continuous-integration servers show: JUnit's XML as a list of tests (here of checks, each of which holds or does not), and
// Markdown as a page of their own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace roost::tools {

// One check.
struct JunitCase {
  std::string name;
  std::optional<std::string> failure = {};  // what was seen, when it failed
  std::optional<std::string> skipped = {};  // why nothing can be said
};

// One suite. `seconds` is how long all of it took.
std::string to_junit(std::string_view suite, const std::vector<JunitCase>& cases, double seconds);

// Text as the content of an XML element or of an attribute in double quotes. Characters that XML has no way to say, and bytes that are
// not UTF-8, become U+FFFD.
std::string xml_text(std::string_view text);

// Text as a cell of a Markdown table: in one line, and nothing in it means anything to Markdown or HTML.
std::string markdown_text(std::string_view text);

}  // namespace roost::tools
