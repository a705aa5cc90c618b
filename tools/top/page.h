// The web page of `roost top`, for a metrics endpoint to serve: "/" is the page, "/status.json" what it asks for.
#pragma once

#include <functional>
#include <vector>

#include <roost/metrics.h>

namespace roost::top {

// `families` is what the endpoint answers at /metrics; called on a fiber for each look, may park.
std::vector<metrics::Page> pages(std::function<metrics::Families()> families);

}  // namespace roost::top
