# Functions that declare a room, a test and a benchmark, each with the project's warnings and sanitizers.

add_library(roost_flags INTERFACE)
target_compile_options(roost_flags INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor
  # GCC 12 sees overlapping copies in its own std::string (its bug 105329).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # Stack walks of parked fibers follow frame pointers (src/arch/frame_walk.h).
  -fno-omit-frame-pointer
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
  # Clang names a deprecated function that GCC 12's own std::stable_sort calls (LLVM issue 76515). GCC looks for ours.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>)
if(ROOST_SANITIZE)
  target_compile_options(roost_flags INTERFACE -fsanitize=${ROOST_SANITIZE} -g)
  if(ROOST_SANITIZE MATCHES "address")
    # With the checks of both in it, -O2 takes GCC twice as long. Stacks still name every line.
    target_compile_options(roost_flags INTERFACE -O1 -g1)
  endif()
  target_link_options(roost_flags INTERFACE -fsanitize=${ROOST_SANITIZE})
endif()

# roost_room(NAME SOURCES a.cc b.cc DEPENDS base poll TESTS a_test.cc)
#
# Declares src/NAME as an object-like static library `roost_NAME` that may include only the rooms it
# DEPENDS on. Tests sit beside their source and become one CTest program each.
function(roost_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LINK;TESTS" ${ARGN})
  add_library(roost_${name} STATIC ${ARG_SOURCES})
  target_include_directories(roost_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(roost_${name} PRIVATE $<BUILD_INTERFACE:roost_flags>)
  foreach(room IN LISTS ARG_DEPENDS)
    target_link_libraries(roost_${name} PUBLIC roost_${room})
  endforeach()
  target_link_libraries(roost_${name} PUBLIC ${ARG_LINK})
  set_target_properties(roost_${name} PROPERTIES EXPORT_NAME ${name})
  set_property(GLOBAL APPEND PROPERTY ROOST_ROOMS roost_${name})
  foreach(test IN LISTS ARG_TESTS)
    roost_test(${test} roost_${name})
  endforeach()
endfunction()

# roost_test(FILE.cc LIBRARY... [LABELS label]): one GoogleTest program, found by CTest case by case. Its label is the folder it
# stands in (runtime, net, conformance ...) if none is given: `ctest --preset release -L runtime` runs a room's tests. One
# only: gtest_discover_tests() would take a second for the name of a property.
function(roost_test file)
  cmake_parse_arguments(ARG "" "" "LABELS" ${ARGN})
  if(NOT ROOST_BUILD_TESTS)
    return()
  endif()
  get_filename_component(name ${file} NAME_WE)
  add_executable(${name} ${file})
  target_link_libraries(${name} PRIVATE roost_flags ${ARG_UNPARSED_ARGUMENTS} GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/test
    ${PROJECT_SOURCE_DIR})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  include(GoogleTest)
  get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  if(NOT ARG_LABELS)
    set(ARG_LABELS ${folder})
  endif()
  gtest_discover_tests(${name} NO_PRETTY_VALUES DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 120 LABELS ${ARG_LABELS})
endfunction()
