// What an open descriptor leads to, for reports: "127.0.0.1:8080 from 127.0.0.1:51234", "listening on 127.0.0.1:8080",
// "pipe:[4711]". A few system calls. Empty when the number is not open.
#pragma once

#include <string>

namespace roost::base {

[[nodiscard]] std::string describe_descriptor(int fd);

}  // namespace roost::base
