#include "tools/top/page.h"

#include <chrono>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>
#include <roost/time/deadline.h>

#include "tools/top/snapshot.h"
#include "tools/web/web.h"

namespace roost::top {

std::vector<metrics::Page> pages(std::function<metrics::Families()> families) {
  const auto status = [families = std::move(families)] {
    const double now_s = std::chrono::duration<double>(Deadline::Clock::now().time_since_epoch()).count();
    const auto snapshot = snapshot_of(families(), now_s);
    return snapshot ? to_json(*snapshot).dump() : std::string("null");
  };
  return {
      {.path = "/", .content_type = "text/html; charset=utf-8", .body = [] { return web::page("top.html"); }},
      {.path = "/status.json", .content_type = "application/json", .body = status},
  };
}

}  // namespace roost::top
