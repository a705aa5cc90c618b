#include "base/symbol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

namespace roost::base {
namespace {

std::string demangled(const std::string& mangled, std::size_t room = 256) {
  std::string out(room, '?');
  return std::string(demangle_short(mangled.c_str(), out));
}

TEST(Demangle, WritesQualifiedNamesWithoutParameters) {
  EXPECT_EQ(demangled("_Z4mainv"), "main");
  EXPECT_EQ(demangled("_ZN5roost4base5panicEPKciS2_"), "roost::base::panic");
  EXPECT_EQ(demangled("_ZNK5roost3net4Conn14maybe_readableEv"), "roost::net::Conn::maybe_readable");
  EXPECT_EQ(demangled("_ZNKR5roost1A1fEv"), "roost::A::f");
  EXPECT_EQ(demangled("_ZN5roost12_GLOBAL__N_14loopEv"), "roost::(anonymous namespace)::loop");
  EXPECT_EQ(demangled("_ZN5roost4base"), "");  // a nested name must end
  EXPECT_EQ(demangled("_ZL4stepv"), "step");
}

TEST(Demangle, KnowsConstructorsDestructorsAndOperators) {
  EXPECT_EQ(demangled("_ZN5roost6ReaderC2ERNS_6SourceE"), "roost::Reader::Reader");
  EXPECT_EQ(demangled("_ZN5roost6ReaderD0Ev"), "roost::Reader::~Reader");
  EXPECT_EQ(demangled("_ZN5roost1AaSERKS0_"), "roost::A::operator=");
  EXPECT_EQ(demangled("_ZN5roost1AclEv"), "roost::A::operator()");
  EXPECT_EQ(demangled("_ZNK5roost1AcvbEv"), "roost::A::operator cast");
  EXPECT_EQ(demangled("_Znwm"), "operator new");
}

TEST(Demangle, ShortensTemplateArguments) {
  EXPECT_EQ(demangled("_ZNSt6vectorIiSaIiEE9push_backEOi"), "std::vector<...>::push_back");
  EXPECT_EQ(demangled("_ZN5roost3runIZ4mainEUlvE_EEiOT_"), "roost::run<...>");
  EXPECT_EQ(demangled("_ZN5boost7context6detail11fiber_entryINS1_12fiber_recordINS0_5fiberENS0_21basic_fixedsize_stack"
                      "INS0_12stack_traitsEEESt8functionIFS4_OS4_EEEEEEvNS1_10transfer_tE"),
            "boost::context::detail::fiber_entry<...>");
  EXPECT_EQ(demangled("_ZSt8__invokeIPFivEJEENSt15__invoke_resultIT_JDpT0_EE4typeEOS3_DpOS4_"), "std::__invoke<...>");
  EXPECT_EQ(demangled("_Z1fILi4EEvv"), "f<...>");
  EXPECT_EQ(demangled("_Z1fILin4EEvv"), "f<...>");
  EXPECT_EQ(demangled("_Z1fIXadL_Z4mainEEEvv"), "");  // an expression: left out
}

TEST(Demangle, NamesLambdasAndWhatIsDeclaredInAFunction) {
  EXPECT_EQ(demangled("_ZZ4mainENKUlvE_clEv"), "main::{lambda}::operator()");
  EXPECT_EQ(demangled("_ZZN5roost5serveEiENUlPKcE0_clES1_"), "roost::serve::{lambda}::operator()");
  EXPECT_EQ(demangled("_ZZZ4mainENKUlvE_clEvENKUlvE_clEv"),
            "main::{lambda}::operator()::{lambda}::operator()");
  EXPECT_EQ(demangled("_ZZ4mainEN5Local3runEv"), "main::Local::run");
  EXPECT_EQ(demangled("_ZThn16_N5roost3net4Conn5writeESt4spanIKSt4byteLm18446744073709551615EE"),
            "thunk to roost::net::Conn::write");
}

TEST(Demangle, RefusesWhatIsNoFunction) {
  for (const char* text : {"", "main", "_Z", "_ZTV3Foo", "_ZTI3Foo", "_ZN", "_ZNE9", "_Z99999999999999999999x", "_Z3ab"}) {
    EXPECT_EQ(demangled(text), "") << text;
  }
}

TEST(Demangle, CutsWhatDoesNotFit) {
  EXPECT_EQ(demangled("_ZN5roost4base5panicEv", 8), "roost::b");
  EXPECT_EQ(demangled("_ZN5roost4base5panicEv", 0), "");
}

TEST(Demangle, SurvivesAnyText) {  // for the sanitizers: neither reads beyond the text nor recurses without bound
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string letters = "_ZNKSTEILJFAMPRUltDp0123456789abcvi";
  for (int round = 0; round < 20'000; ++round) {
    std::string text = "_Z";
    for (auto left = random() % 60; left > 0; --left) text += letters[random() % letters.size()];
    EXPECT_LE(demangled(text, 32).size(), 32u);
  }
  for (const char* deep : {"N", "P", "FP", "ZN", "1aI1bI", "A_", "M"}) {
    std::string text = "_Z1fI";
    for (int i = 0; i < 10'000; ++i) text += deep;
    EXPECT_EQ(demangled(text), "") << deep;
  }
}

TEST(DescribeAddress, NamesExportedFunctionsAndTheirFile) {
  std::array<char, 200> out;
  const auto* in_libc = reinterpret_cast<const char*>(reinterpret_cast<void*>(&::getenv)) + 4;
  EXPECT_THAT(std::string(describe_address(in_libc, out)),
              testing::AnyOf(testing::ContainsRegex("getenv\\+0x4 \\(libc\\.so\\.6\\+0x[0-9a-f]+\\)"),
                             testing::ContainsRegex("getenv")));  // a sanitizer's own
}

TEST(DescribeAddress, AnAddressInNoFileIsJustANumber) {
  std::array<char, 200> out;
  EXPECT_EQ(describe_address(reinterpret_cast<const void*>(0x10), out), "0x10");
  std::array<char, 3> small;
  EXPECT_EQ(describe_address(reinterpret_cast<const void*>(0x1234), small), "0x1");
}

}  // namespace
}  // namespace roost::base
