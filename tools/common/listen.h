// Addresses that a command listens on, and what to say when it cannot.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <roost/net/endpoint.h>

#include "tools/common/parse.h"

namespace roost::tools {

// What --metrics takes: HOST:PORT, where a missing host is the loopback, since figures are not for everybody.
Parsed<std::optional<net::Endpoint>> parse_metrics_address(std::string_view text);

// One line: "--listen 127.0.0.1:80: ports below ... are root's; choose one above 1023".
std::string listen_error(const net::Endpoint& endpoint, std::error_code error, std::string_view option);

// Whether it can be listened on, tried with a socket that is closed again: for a process that may not begin to listen yet, or whose
// SO_REUSEPORT would let it slip in beside another program. Port 0 becomes one that is free. The error is one line.
std::expected<net::Endpoint, std::string> claim_port(const net::Endpoint& wanted, std::string_view option);

}  // namespace roost::tools
