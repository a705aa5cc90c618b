#include "tools/common/output.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

namespace roost::tools {
namespace {

TEST(OutputFile, AFileThatCannotBeOpenedIsKnownBeforeTheLoad) {
  const auto opened = OutputFile::open("--csv", "/nonexistent/series.csv");
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().find("--csv /nonexistent/series.csv: No such file or directory"), 0u) << opened.error();
}

TEST(OutputFile, AFullDiskIsOneLine) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  auto opened = OutputFile::open("--json", "/dev/full");
  ASSERT_TRUE(opened.has_value());
  const auto written = opened->write("{}\n");
  ASSERT_FALSE(written.has_value());
  EXPECT_NE(written.error().find("--json /dev/full: could not be written: No space left on device"), std::string::npos) << written.error();
  EXPECT_EQ(written.error().find('\n'), std::string::npos);
}

TEST(OutputFile, ADiskThatWasFullForAPieceIsToldInTheEnd) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  auto opened = OutputFile::open("--histograms", "/dev/full");
  ASSERT_TRUE(opened.has_value());
  opened->append(std::string(1'000'000, 'x'));
  const auto written = opened->write({});
  ASSERT_FALSE(written.has_value());
  EXPECT_NE(written.error().find("No space left on device"), std::string::npos) << written.error();
}

TEST(OutputFile, AFileHoldsWhatWasWritten) {
  const auto path = std::filesystem::temp_directory_path() / ("roost-output-test-" + std::to_string(::getpid()));
  auto opened = OutputFile::open("--csv", path);
  ASSERT_TRUE(opened.has_value());
  opened->append("a,b\n");
  EXPECT_TRUE(opened->write("1,2\n").has_value());
  std::stringstream content;
  content << std::ifstream(path).rdbuf();
  EXPECT_EQ(content.str(), "a,b\n1,2\n");
  std::filesystem::remove(path);
}

// A new folder, which goes with the test.
class OutputFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "roost-output-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  [[nodiscard]] std::string path(const char* name) const { return (folder_ / name).string(); }
  [[nodiscard]] std::string text_of(const char* name) const {
    std::stringstream text;
    text << std::ifstream(path(name)).rdbuf();
    return text.str();
  }

  std::filesystem::path folder_;
  OutputFiles outputs_;
};

TEST_F(OutputFilesTest, WhatIsKeptHasTheNewBehindIt) {
  std::ofstream(path("summary")) << "before\n";
  std::ofstream(path("report")) << "before\n";
  outputs_.add("--summary", path("summary"), [] { return std::string("now\n"); }, OutputFile::Existing::kept);
  outputs_.add("--json", path("report"), [] { return std::string("now\n"); });
  EXPECT_TRUE(outputs_.write().empty());
  EXPECT_EQ(text_of("summary"), "before\nnow\n");
  EXPECT_EQ(text_of("report"), "now\n");
}

TEST_F(OutputFilesTest, TwoOptionsMayNotNameOneFile) {
  outputs_.add("--json", path("a"), [] { return std::string(); });
  outputs_.add("--csv", path("a"), [] { return std::string(); });
  EXPECT_EQ(outputs_.error(), "--csv " + path("a") + ": --json is to be written there already; name another file");
}

TEST_F(OutputFilesTest, TheFirstThatCannotBeOpenedIsTold) {
  outputs_.add("--json", "", [] { return std::string(); });
  EXPECT_EQ(outputs_.error(), "") << "nothing was asked for";
  outputs_.add("--json", path("no/where"), [] { return std::string(); });
  outputs_.add("--csv", path("no/where/else"), [] { return std::string(); });
  EXPECT_EQ(outputs_.error().find("--json "), 0u) << outputs_.error();
}

TEST_F(OutputFilesTest, OfAnOptionWithManyFilesAFullDiskIsOneLineAndOthersAreWritten) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  std::filesystem::create_symlink("/dev/full", path("one"));
  std::filesystem::create_symlink("/dev/full", path("two"));
  for (const char* name : {"one", "two"}) outputs_.add("--record", path(name), [] { return std::string("x"); });
  outputs_.add("--csv", path("table"), [] { return std::string("y"); });
  const auto errors = outputs_.write();
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].find("--record " + path("one")), 0u) << errors[0];
  EXPECT_EQ(text_of("table"), "y");
}

}  // namespace
}  // namespace roost::tools
