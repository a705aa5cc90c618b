#include "tools/top/page.h"

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "tools/top/snapshot.h"
#include "tools/web/web.h"

namespace roost::top {

std::vector<metrics::Page> pages_of(std::function<std::expected<Snapshot, std::string>()> snapshot) {
  const auto status = [snapshot = std::move(snapshot)] {
    const auto now = snapshot();
    return (now ? to_json(*now) : nlohmann::ordered_json{{"error", now.error()}}).dump();
  };
  return {
      {.path = "/", .content_type = "text/html; charset=utf-8", .body = [] { return web::page("top.html"); }},
      {.path = "/status.json", .content_type = "application/json", .body = status},
  };
}

std::vector<metrics::Page> pages(std::function<metrics::Families()> families) {
  return pages_of([families = std::move(families)]() -> std::expected<Snapshot, std::string> {
    const double now_s = monotonic_s();
    auto snapshot = snapshot_of(families(), now_s);
    if (!snapshot) return std::unexpected("the server has no figures yet");
    return std::move(*snapshot);
  });
}

}  // namespace roost::top
