#include "base/symbol_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace roost::base {
namespace {

using testing::StartsWith;

[[gnu::noinline]] int not_exported(int a) {
  asm volatile("" ::: "memory");
  return a + 1;
}

TEST(SymbolTable, NamesFunctionsThatAreNotExported) {
  EXPECT_EQ(not_exported(1), 2);
  const auto* inside = reinterpret_cast<const char*>(&not_exported) + 1;
  EXPECT_THAT(describe_function(inside), StartsWith("roost::base::(anonymous namespace)::not_exported(int)+0x1"));
  EXPECT_EQ(describe_function(inside), describe_function(inside));
}

TEST(SymbolTable, NamesExportedFunctionsOfLibraries) {
  EXPECT_THAT(describe_function(reinterpret_cast<const char*>(&std::puts) + 4), testing::ContainsRegex("puts\\+0x4"));
}

TEST(SymbolTable, GivesTheNumberOfWhatIsNoCode) {
  int here = 0;
  EXPECT_THAT(describe_function(&here), StartsWith("0x"));
}

TEST(SymbolTable, IsEmptyForWhatIsNoProgram) {
  EXPECT_EQ(SymbolTable::load("/nonexistent").size(), 0u);
  EXPECT_EQ(SymbolTable::load("/dev/null").size(), 0u);
  EXPECT_EQ(SymbolTable::load("/proc/self/status").size(), 0u);
  EXPECT_EQ(SymbolTable::load("/etc/passwd").find(4), nullptr);
}

}  // namespace
}  // namespace roost::base
