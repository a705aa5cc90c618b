// The web page of `roost top`, for a metrics endpoint to serve: "/" is the page, "/status.json" what it asks for.
//
// It stands in the program and not in the library, whose users would have to link charts from npm: `roost echo --metrics` serves
// its own, and `roost top TARGET --page` that of any program with metrics::serve().
#pragma once

#include <expected>
#include <functional>
#include <string>
#include <vector>

#include <roost/metrics.h>

#include "tools/top/snapshot.h"

namespace roost::top {

// The error is half a sentence, which the page shows: "nobody listens there".
std::vector<metrics::Page> pages_of(std::function<std::expected<Snapshot, std::string>()> snapshot);
// `families` is what the endpoint answers at /metrics; called on a fiber for each look, may park.
std::vector<metrics::Page> pages(std::function<metrics::Families()> families);

}  // namespace roost::top
