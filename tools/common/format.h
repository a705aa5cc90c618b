// Numbers as a tired reader likes them: 100,000 and 4.1 KB and 85 us.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace roost::tools {

std::string format_count(std::uint64_t value);                  // "100,000"
std::string format_count(double value);                         // "19,840", below ten "3.3"
std::string format_bytes(double bytes);                         // "812 B", "4.1 KB", "413 MB"; powers of 1000, as `ss` and disks count
std::string format_us(double microseconds);                     // "85 us", "1.24 ms", "5.0 s"
std::string format_seconds(double seconds);                     // "5.1 s", "1 m 40 s", "2 h 05 m"
inline std::string format_span(std::chrono::nanoseconds span) { return format_seconds(std::chrono::duration<double>(span).count()); }
// As it would be typed on the command line: "30s", "250ms", "5m".
std::string format_option(std::chrono::nanoseconds span);

}  // namespace roost::tools
