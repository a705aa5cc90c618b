// Advice that is copied from article to article, with what became of it on a current kernel.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/doctor/system.h"

namespace roost::doctor {

enum class Worth { helps, depends, pointless, harmful, gone };

struct Folklore {
  std::string_view advice;  // as it is usually written
  std::string_view path;    // the setting, to show its value here; empty when there is none
  Worth worth;
  std::string_view comment;  // what it does and does not do
  bool from_the_article;     // one of the values of the article that roost started from
};

struct FolkloreNow {
  const Folklore* entry;
  std::string value;  // here and now; empty when there is nothing to read
};

[[nodiscard]] std::span<const Folklore> all_folklore();
[[nodiscard]] std::vector<FolkloreNow> folklore_here(const System& system);
[[nodiscard]] std::string_view to_string(Worth worth);

}  // namespace roost::doctor
