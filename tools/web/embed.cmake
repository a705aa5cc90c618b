# Writes OUTPUT, a C++ source that holds the files of ASSETS ("NAME=PATH", several by semicolons) as string literals. Run by
# `cmake -P`; tools/web/CMakeLists.txt says when.
#
# A raw string literal keeps every byte, is read by any compiler and is built in no time, which a list of numbers is not. A file
# whose PATH is empty was left out at build time.
set(entries "")
foreach(asset IN LISTS ASSETS)
  string(REGEX MATCH "^([^=]+)=(.*)$" matched "${asset}")
  set(name "${CMAKE_MATCH_1}")
  set(path "${CMAKE_MATCH_2}")
  set(content "")
  if(path)
    file(READ "${path}" content)
    string(FIND "${content}" ")roost-asset\"" found)
    if(NOT found EQUAL -1)
      message(FATAL_ERROR "tools/web/embed.cmake: ${path} holds the mark that ends a literal; change the mark here")
    endif()
  endif()
  string(APPEND entries "    {\"${name}\", R\"roost-asset(${content})roost-asset\"sv},\n")
endforeach()
file(WRITE "${OUTPUT}" "// Made by tools/web/embed.cmake from web/ and from what npm brought.
#include \"tools/web/embedded.h\"

namespace roost::web {
using namespace std::string_view_literals;

std::span<const Asset> embedded() noexcept {
  static constexpr Asset assets[] = {
${entries}  };
  return assets;
}

}  // namespace roost::web
")
