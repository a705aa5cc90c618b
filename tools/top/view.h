// What `roost top` shows, as lines of text. Knows nothing of terminals but their size, so that tests can read it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tools/top/fetch.h"

namespace roost::top {

struct ViewOptions {
  std::size_t columns = 80;
  std::size_t rows = 0;       // 0: as many as it takes
  bool colors = false;        // ANSI
  std::string target;         // "127.0.0.1:9100"
  double now_s = 0;           // since the epoch
  std::string trouble;        // why the figures are old; empty when they are not
};

// The state between two samples; rates are zero when both are the same.
std::vector<std::string> render(const Sample& before, const Sample& now, const ViewOptions& options);

}  // namespace roost::top
