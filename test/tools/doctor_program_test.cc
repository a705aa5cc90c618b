// `roost doctor`'s headline against the product itself: as many connections as it says stand at a `roost echo` under the same
// limit, within a tenth. tools/doctor/doctor_tried_test.cc tries the other verdicts on the bare kernel.
#include <gmock/gmock.h>

#include <sys/resource.h>

#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "tools/program.h"

namespace roost::test {
namespace {

constexpr rlim_t limit = 1'500;

// The doctor's report for a process that may open `limit` descriptors.
nlohmann::json diagnose_under_limit(const std::string& connections) {
  const std::string command = "ulimit -n " + std::to_string(limit) +
                              " && exec " ROOST_PROGRAM " doctor --role server --processes 1 --connections " +
                              connections + " --json";
  const std::unique_ptr<FILE, int (*)(FILE*)> out(::popen(command.c_str(), "r"), &::pclose);
  std::string text;
  char chunk[4096];
  for (std::size_t n = 0; (n = std::fread(chunk, 1, sizeof chunk, out.get())) > 0;) text.append(chunk, n);
  return nlohmann::json::parse(text, nullptr, false);
}

TEST(DoctorProgram, AsManyConnectionsStandAsTheHeadlineSays) {
  const nlohmann::json report = diagnose_under_limit("5000");
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report["fit"], false);
  EXPECT_EQ(report["lowest_limit"], "nofile");
  const double said = report["connections_max"];

  EchoServer echo;
  const rlimit lowered{limit, limit};
  ASSERT_EQ(::prlimit(echo.program().pid(), RLIMIT_NOFILE, &lowered, nullptr), 0);
  std::vector<Socket> stood;
  while (stood.size() < 2 * limit) {
    Socket one = Socket::connect(echo.port());
    if (!one.send("x\n") || one.receive(2) != "x\n") break;  // out of descriptors, it turns connections away
    stood.push_back(std::move(one));
  }
  EXPECT_GE(static_cast<double>(stood.size()), 0.9 * said);
  EXPECT_LE(static_cast<double>(stood.size()), 1.1 * said);
  // What it holds goes on.
  EXPECT_TRUE(stood.front().send("y\n"));
  EXPECT_EQ(stood.front().receive(2), "y\n");
}

TEST(DoctorProgram, WhatItCallsFitStands) {
  const nlohmann::json report = diagnose_under_limit("1400");
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report["fit"], true);
  EchoServer echo;
  const rlimit lowered{limit, limit};
  ASSERT_EQ(::prlimit(echo.program().pid(), RLIMIT_NOFILE, &lowered, nullptr), 0);
  std::vector<Socket> stood;
  for (int i = 0; i < 1'400; ++i) {
    stood.push_back(Socket::connect(echo.port()));
    ASSERT_TRUE(stood.back().send("x\n"));
    ASSERT_EQ(stood.back().receive(2), "x\n") << "connection " << i;
  }
}

TEST(DoctorProgram, AFullDiskIsOneLineAndNoSuccess) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  const std::unique_ptr<FILE, int (*)(FILE*)> out(::popen(ROOST_PROGRAM " doctor --connections 10 --json 2>&1 >/dev/full; echo status $?", "r"), &::pclose);
  char text[4096] = {};
  static_cast<void>(std::fread(text, 1, sizeof text - 1, out.get()));
  EXPECT_THAT(text, testing::StartsWith("roost: standard output could not be written"));
  EXPECT_THAT(text, testing::EndsWith("elsewhere\nstatus 1\n"));
  EXPECT_EQ(count_lines(text), 2u) << text;
}

}  // namespace
}  // namespace roost::test
