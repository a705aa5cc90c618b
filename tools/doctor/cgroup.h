// Where the limits of this process's control groups stand.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/doctor/system.h"

namespace roost::doctor {

struct CgroupFolder {
  std::string path;       // ends with a slash
  bool is_version_2;
};

// The group of this process under a controller ("memory", "cpu") and all its ancestors, the nearest first: each one's limit binds.
// With both versions mounted, those of both. Nothing where /proc/self/cgroup cannot be read.
[[nodiscard]] std::vector<CgroupFolder> cgroup_folders(const System& system, std::string_view controller);

}  // namespace roost::doctor
