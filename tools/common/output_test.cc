#include "tools/common/output.h"

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

}  // namespace
}  // namespace roost::tools
