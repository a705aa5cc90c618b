// What the build put into the program; the source that fulfils it is made by tools/web/embed.cmake.
#pragma once

#include <span>
#include <string_view>

namespace roost::web {

struct Asset {
  std::string_view name;
  std::string_view content;  // empty when it was left out at build time
};

std::span<const Asset> embedded() noexcept;

}  // namespace roost::web
