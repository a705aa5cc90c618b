// The files that a command is given to read: a scenario, a report. The other half of output.h.
#pragma once

#include <cstddef>
#include <expected>
#include <string>

namespace roost::tools {

// The whole of a file of at most `bytes_max` bytes: /dev/zero, say, must not fill the memory. The error is one line that begins
// with the path; the caller puts the option in front.
std::expected<std::string, std::string> read_input(const std::string& path, std::size_t bytes_max);

}  // namespace roost::tools
