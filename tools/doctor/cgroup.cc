#include "tools/doctor/cgroup.h"

#include <fmt/format.h>

#include "tools/doctor/judges.h"

namespace roost::doctor {

std::vector<CgroupFolder> cgroup_folders(const System& system, std::string_view controller) {
  std::vector<CgroupFolder> folders;
  const auto membership = system.read("/proc/self/cgroup");
  if (!membership) return folders;
  for (const auto line : lines_of(*membership)) {
    // v2: "0::/path"; v1: "4:memory:/path"
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    std::string path(line.substr(second + 1));
    const bool is_version_2 = controllers.empty();
    if (!is_version_2 && !lists(controllers, controller)) continue;
    const std::string mount = !is_version_2                             ? fmt::format("/sys/fs/cgroup/{}", controller)
                              : system.exists("/sys/fs/cgroup/unified") ? "/sys/fs/cgroup/unified"
                                                                        : "/sys/fs/cgroup";
    for (;; path.resize(path.rfind('/'))) {
      folders.push_back({mount + (path == "/" ? "" : path) + "/", is_version_2});
      if (path.empty() || path == "/") break;
    }
  }
  return folders;
}

}  // namespace roost::doctor
