# Installs roost for find_package(roost) and for pkg-config.
#
# Both describe one thing: the rooms' static libraries in link order and what those rest on in turn. The rooms
# are found through the global property ROOST_ROOMS, their order and their dependencies by walking the
# targets, so a new room needs no line here. A new dependency from outside needs its two lines in
# roost_describe(); without them configuring stops, rather than a user's link.
include(CMakePackageConfigHelpers)

# roost_describe(ITEM PC_VAR CONFIG_VAR): how pkg-config and a user's CMake find what a room links.
#   PC_VAR      `requires NAME` for a package with a .pc file of its own, `libs FLAGS` for one without
#   CONFIG_VAR  the call that brings the target back in roostConfig.cmake
function(roost_describe item pc_var config_var)
  set(config "")
  if(item STREQUAL "Threads::Threads")
    set(pc "libs -pthread")
    set(config "find_dependency(Threads)")
  elseif(item MATCHES "^fmt::fmt")
    set(pc "requires fmt")
    set(config "find_dependency(fmt)")
  elseif(item STREQUAL "Boost::context")
    set(pc "libs -lboost_context")
    set(config "find_dependency(Boost 1.74 COMPONENTS context)")
  elseif(item MATCHES "^Boost::(headers|boost)$")
    set(pc "libs")
    set(config "find_dependency(Boost 1.74)")
  elseif(item MATCHES "^spdlog::spdlog")
    set(pc "requires spdlog")
    set(config "find_dependency(spdlog)")
  elseif(item MATCHES "^OpenSSL::(SSL|Crypto)$")
    string(TOLOWER "requires lib${CMAKE_MATCH_1}" pc)
    set(config "find_dependency(OpenSSL)")
  elseif(item MATCHES "^prometheus-cpp::(core|pull|push)$")
    set(pc "requires prometheus-cpp-${CMAKE_MATCH_1}")
    set(config "find_dependency(prometheus-cpp)")
  elseif(item STREQUAL "c-ares::cares")
    set(pc "requires libcares")
    set(config "find_dependency(c-ares)")
  elseif(item MATCHES "^PkgConfig::(.+)$")
    # The variable prefix of pkg_check_modules() names the target; the module is in the cache beside it.
    set(prefix ${CMAKE_MATCH_1})
    set(module ${${prefix}_MODULE_NAME})
    set(pc "requires ${module}")
    set(config "find_dependency(PkgConfig)\npkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET ${module})")
  elseif(item MATCHES "^-")
    set(pc "libs ${item}")
  elseif(item MATCHES "^[A-Za-z0-9_+.-]+$" AND NOT TARGET ${item})
    set(pc "libs -l${item}")
  else()
    message(FATAL_ERROR "cmake/install.cmake: a room links ${item}, which roost_describe() does not know; "
      "add there how pkg-config and find_package() find it")
  endif()
  set(${pc_var} ${pc} PARENT_SCOPE)
  set(${config_var} ${config} PARENT_SCOPE)
endfunction()

get_property(roost_rooms GLOBAL PROPERTY ROOST_ROOMS)
list(PREPEND roost_rooms roost)
list(REMOVE_DUPLICATES roost_rooms)

# A room of headers has no archive, only what it rests on.
#
# Visits the rooms below `room`, then puts it in front of them: afterwards `order` names each room before all
# it rests on, which is what a linker that reads archives once from left to right wants.
set(roost_link_order "")
set(roost_outside "")
function(roost_visit room)
  if(room IN_LIST roost_link_order)
    return()
  endif()
  get_target_property(type ${room} TYPE)
  if(type STREQUAL "INTERFACE_LIBRARY")
    get_target_property(items ${room} INTERFACE_LINK_LIBRARIES)
  else()
    get_target_property(items ${room} LINK_LIBRARIES)
  endif()
  if(NOT items)
    set(items "")
  endif()
  foreach(item IN LISTS items)
    if(item IN_LIST roost_rooms)
      roost_visit(${item})
    elseif(NOT item MATCHES "BUILD_INTERFACE|^::@")
      list(APPEND roost_outside ${item})
    endif()
  endforeach()
  set(roost_link_order ${room} ${roost_link_order} PARENT_SCOPE)
  set(roost_outside ${roost_outside} PARENT_SCOPE)
endfunction()
foreach(room IN LISTS roost_rooms)
  roost_visit(${room})
endforeach()
list(REMOVE_DUPLICATES roost_outside)

set(ROOST_PC_REQUIRES "")
set(ROOST_PC_LIBS "")
set(ROOST_CONFIG_DEPENDENCIES "")
set(roost_link_options "")
foreach(room IN LISTS roost_link_order)
  get_target_property(type ${room} TYPE)
  if(NOT type STREQUAL "INTERFACE_LIBRARY")
    list(APPEND ROOST_PC_LIBS -l$<TARGET_FILE_BASE_NAME:${room}>)
  endif()
  get_target_property(options ${room} INTERFACE_LINK_OPTIONS)
  if(options)
    list(APPEND roost_link_options ${options})
  endif()
endforeach()
foreach(item IN LISTS roost_outside)
  roost_describe(${item} pc config)
  if(pc MATCHES "^requires (.+)$")
    list(APPEND ROOST_PC_REQUIRES ${CMAKE_MATCH_1})
  elseif(pc MATCHES "^libs (.+)$")
    list(APPEND ROOST_PC_LIBS ${CMAKE_MATCH_1})
  endif()
  list(APPEND ROOST_CONFIG_DEPENDENCIES ${config})
endforeach()
list(REMOVE_DUPLICATES roost_link_options)
list(PREPEND ROOST_PC_LIBS ${roost_link_options})
list(REMOVE_DUPLICATES ROOST_PC_REQUIRES)
list(REMOVE_DUPLICATES ROOST_CONFIG_DEPENDENCIES)
list(JOIN ROOST_PC_REQUIRES ", " ROOST_PC_REQUIRES)
list(JOIN ROOST_PC_LIBS " " ROOST_PC_LIBS)
list(JOIN ROOST_CONFIG_DEPENDENCIES "\n" ROOST_CONFIG_DEPENDENCIES)

# An archive that was built with a sanitizer wants its runtime from whoever links it.
if(ROOST_SANITIZE)
  string(APPEND ROOST_PC_LIBS " -fsanitize=${ROOST_SANITIZE}")
endif()

set(roost_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/roost)
set(roost_pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# Paths in the .pc file are relative to the file, so that an installed tree can be moved and packed.
file(RELATIVE_PATH ROOST_PC_PREFIX /root/${roost_pc_dir} /root)
string(REGEX REPLACE "/$" "" ROOST_PC_PREFIX "${ROOST_PC_PREFIX}")
configure_file(cmake/roost.pc.in ${PROJECT_BINARY_DIR}/roost.pc.configured @ONLY)
file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/roost.pc INPUT ${PROJECT_BINARY_DIR}/roost.pc.configured)

configure_package_config_file(cmake/roostConfig.cmake.in ${PROJECT_BINARY_DIR}/roostConfig.cmake
  INSTALL_DESTINATION ${roost_cmake_dir} NO_SET_AND_CHECK_MACRO)
# Below 1.0 a new minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/roostConfigVersion.cmake COMPATIBILITY SameMinorVersion)

install(DIRECTORY include/roost DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS ${roost_rooms} EXPORT roost ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT roost NAMESPACE roost:: FILE roostTargets.cmake DESTINATION ${roost_cmake_dir})
install(FILES ${PROJECT_BINARY_DIR}/roostConfig.cmake ${PROJECT_BINARY_DIR}/roostConfigVersion.cmake
  DESTINATION ${roost_cmake_dir})
install(FILES ${PROJECT_BINARY_DIR}/roost.pc DESTINATION ${roost_pc_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
# The program's file, by whatever name its target goes. OPTIONAL: a user's build of the library has none.
if(ROOST_BUILD_TOOLS)
  install(PROGRAMS ${PROJECT_BINARY_DIR}/roost DESTINATION ${CMAKE_INSTALL_BINDIR} OPTIONAL)
endif()
