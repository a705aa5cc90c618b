// The manners that roost's subcommands share: options parsed by tools/common/parse.h, and errors of one line.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "tools/common/parse.h"

namespace roost::tools {

// Adds an option whose text `parse` turns into `value`. `shown` is the default as --help prints it; empty prints none.
template <class T>
CLI::Option* add_parsed_option(CLI::App& app, const std::string& name, T& value, Parsed<T> (*parse)(std::string_view),
                               const std::string& type, const std::string& shown, const std::string& description) {
  auto* option = app.add_option_function<std::string>(
      name,
      [&value, parse, name](const std::string& text) {
        auto parsed = parse(text);
        if (!parsed) throw CLI::ValidationError(name, parsed.error());
        value = std::move(*parsed);
      },
      description);
  option->type_name(type);
  if (!shown.empty()) option->default_str(shown);
  return option;
}

// One line on standard error: "roost COMMAND: what, which value, and the remedy".
inline void print_error(std::string_view command, std::string_view message) {
  fmt::print(stderr, "roost {}: {}\n", command, message);
}

// What --processes takes: a number, or 0 for "auto".
inline Parsed<unsigned> parse_processes(std::string_view text) {
  if (text == "auto") return 0u;
  const auto count = parse_count(text);
  if (!count || *count == 0 || *count > 1024) {
    return std::unexpected(fmt::format("`{}` is not a number of processes; write 1 to 1024, or auto", text));
  }
  return static_cast<unsigned>(*count);
}

}  // namespace roost::tools
