// `roost load`, against `roost echo` and against servers that misbehave.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>

#include <nlohmann/json.hpp>

#include "tools/program.h"

namespace roost::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::vector<std::string> load(const std::string& target, std::vector<std::string> more) {
  more.insert(more.begin(), {"load", "--target", target});
  return more;
}

// Runs a load that writes JSON to standard output.
struct Outcome {
  int status;
  json report;
  std::string err;
};
Outcome run_load(const std::string& target, std::vector<std::string> more) {
  more.insert(more.end(), {"--json", "-", "--quiet"});
  Program program(load(target, std::move(more)));
  const int status = program.wait();
  return {status, json::parse(program.out(), nullptr, false), program.err()};
}

TEST(LoadProgram, OpensPingsAndReportsBySchema) {
  EchoServer echo({"--processes", "2"});
  const Outcome outcome = run_load(echo.target(), {"--connections", "200", "--rate", "2000", "--interval", "100ms", "--duration", "500ms",
                                                   "--processes", "2", "--server-pid", std::to_string(echo.program().pid())});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  const json& report = outcome.report;
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report["schema"], 1);
  EXPECT_EQ(report["target"], echo.target());
  EXPECT_EQ(report["connections"]["requested"], 200);
  EXPECT_EQ(report["connections"]["established"], 200);
  EXPECT_EQ(report["connections"]["failed"], 0);
  EXPECT_EQ(report["connections"]["peak"], 200);
  EXPECT_EQ(report["connections"]["failures"], json::object());
  EXPECT_GT(report["connections"]["rate_per_s"], 0);
  // 200 connections, each pinging ten times a second for half a second.
  EXPECT_EQ(report["messages"]["run_sent"], 1000);
  EXPECT_EQ(report["messages"]["run_received"], 1000);
  EXPECT_EQ(report["messages"]["sent"], report["messages"]["received"]);
  EXPECT_EQ(report["messages"]["mismatched"], 0);
  EXPECT_EQ(report["latency_us"]["count"], 1000);
  EXPECT_EQ(report["first_echo_us"]["count"], 200);
  EXPECT_EQ(report["connect_latency_us"]["count"], 200);
  EXPECT_LE(report["latency_us"]["p50"], report["latency_us"]["p99"]);
  EXPECT_LE(report["latency_us"]["p999"], report["latency_us"]["max"]);
  EXPECT_GT(report["client"]["rss_bytes"], 0);
  EXPECT_EQ(report["server"]["pid"], echo.program().pid());
  EXPECT_EQ(report["server"]["processes"], 3);
  EXPECT_GT(report["server"]["rss_bytes"], 0);
  EXPECT_GT(report["server"]["bytes_per_connection"], 0);
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, HistogramsOfItsSecondsAddUpToTheReport) {
  EchoServer echo;
  const std::string path = testing::TempDir() + "roost-load-histograms-" + std::to_string(::getpid());
  const Outcome outcome = run_load(echo.target(), {"--connections", "100", "--rate", "2000", "--interval", "50ms", "--duration", "1500ms",
                                                   "--processes", "2", "--histograms", path});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  std::ifstream file(path);
  std::string text;
  ASSERT_TRUE(std::getline(file, text));
  const json head = json::parse(text);
  EXPECT_EQ(head["target"], echo.target());
  std::uint64_t lines = 0;
  std::uint64_t rest = 0;
  std::map<std::uint64_t, std::uint64_t> buckets;
  std::uint64_t max = 0;
  for (; std::getline(file, text); ++lines) {
    const json line = json::parse(text);
    if (line.contains("rest_latency")) rest += line["rest_latency"]["count"].get<std::uint64_t>();
    if (!line.contains("latency")) continue;
    for (const json& bucket : line["latency"]["buckets"]) buckets[bucket[0]] += bucket[1].get<std::uint64_t>();
    max = std::max(max, line["latency"]["max"].get<std::uint64_t>());
  }
  std::filesystem::remove(path);
  const json& report = outcome.report;
  EXPECT_EQ(lines, head["seconds"]);
  std::uint64_t count = 0;
  std::uint64_t median = 0;
  for (const auto& [lowest, times] : buckets) {
    count += times;
    if (median == 0 && 2 * count >= report["latency_us"]["count"]) median = lowest;
  }
  EXPECT_EQ(count, report["latency_us"]["count"]);
  EXPECT_EQ(rest, report["first_echo_us"]["count"].get<std::uint64_t>() + report["ramp_latency_us"]["count"].get<std::uint64_t>());
  EXPECT_EQ(max, report["latency_us"]["max"]);
  // The end of its bucket, which is a 128th wide.
  EXPECT_GE(report["latency_us"]["p50"], median);
  EXPECT_LE(report["latency_us"]["p50"], median + median / 128);
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, AClosedLoopKeepsOnlyTheActiveOnesBusy) {
  EchoServer echo;
  const Outcome outcome =
      run_load(echo.target(), {"--connections", "50", "--closed-loop", "--active", "5", "--duration", "300ms", "--rate", "1000"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.report["connections"]["established"], 50);
  EXPECT_GT(outcome.report["messages"]["run_received"], 50);
  EXPECT_EQ(outcome.report["messages"]["run_sent"], outcome.report["messages"]["run_received"]);
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, MessagesOfAllSizesComeBackWhole) {
  EchoServer echo;
  for (const char* size : {"1", "2", "19", "4096", "65535", "64KiB", "65537", "1MiB"}) {
    const Outcome outcome = run_load(echo.target(), {"--connections", "3", "--closed-loop", "--duration", "50ms", "--size", size});
    EXPECT_EQ(outcome.status, 0) << size << ": " << outcome.err;
    EXPECT_GT(outcome.report["messages"]["run_received"], 0) << size;
  }
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, ProtocolsOtherThanLinesComeBackWhole) {
  EchoServer echo({"--protocol", "bytes"});
  for (const char* protocol : {"line", "length", "fixed"}) {
    for (const char* size : {"5", "64", "10-5000", "64:8,4KiB:1,200KiB:1"}) {
      const Outcome outcome =
          run_load(echo.target(), {"--connections", "5", "--closed-loop", "--duration", "400ms", "--protocol", protocol, "--size", size});
      EXPECT_EQ(outcome.status, 0) << protocol << " " << size << ": " << outcome.err;
      EXPECT_GT(outcome.report["messages"]["run_received"], 0) << protocol << " " << size;
      EXPECT_EQ(outcome.report["messages"]["bytes_sent"], outcome.report["messages"]["bytes_received"]) << protocol << " " << size;
    }
  }
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, AMessageRateIsOfAllConnectionsTogether) {
  EchoServer echo;
  const Outcome outcome = run_load(echo.target(), {"--connections", "30", "--message-rate", "500", "--duration", "600ms", "--processes", "3"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  // Exactly: message m is due m / 500 s after the start of the run.
  EXPECT_EQ(outcome.report["messages"]["run_sent"], 300);
  EXPECT_EQ(outcome.report["messages"]["run_received"], 300);
  EXPECT_EQ(outcome.report["achieved"]["message_rate_per_s"]["requested"], 500);
  EXPECT_EQ(outcome.report["lateness_us"]["count"], 300);
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, AMessageThatWaitsForTheOneBeforeKeepsItsDueTime) {
  // Answers each line 300 ms after it came, on one connection: of ten messages a second most wait for those before.
  RudeServer server([](Socket socket) {
    for (;;) {
      const std::string line = socket.receive(64);
      if (line.size() < 64) return;
      std::this_thread::sleep_for(300ms);
      if (!socket.send(line)) return;
    }
  });
  const Outcome outcome = run_load(server.target(), {"--connections", "1", "--interval", "100ms", "--duration", "1s"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.report["messages"]["run_sent"], 10);
  EXPECT_EQ(outcome.report["messages"]["run_received"], 10);
  // The last was due after 0.9 s and answered after 3 s.
  EXPECT_GT(outcome.report["latency_us"]["max"], 1'500'000) << "from when it was due, not from when it went out";
  EXPECT_EQ(outcome.report["service_us"]["count"], 10);
  EXPECT_GE(outcome.report["service_us"]["min"], 300'000) << "what the server took";
  EXPECT_LT(outcome.report["service_us"]["p50"], outcome.report["latency_us"]["p50"]) << "from when it went out";
}

TEST(LoadProgram, AClosedLoopThinksBetweenMessages) {
  EchoServer echo;
  const Outcome outcome =
      run_load(echo.target(), {"--connections", "5", "--closed-loop", "--think-time", "50ms", "--duration", "600ms"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_GE(outcome.report["messages"]["run_received"], 5);
  EXPECT_LE(outcome.report["messages"]["run_received"], 5 * 12);
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, SeveralTargetsGetTheSameShare) {
  EchoServer first;
  EchoServer second;
  Program program({"load", "--target", first.target(), "--target", second.target(), "--connections", "21", "--interval", "100ms",
                   "--duration", "300ms", "--processes", "2", "--json", "-", "--quiet"});
  EXPECT_EQ(program.wait(), 0) << program.err();
  const json report = json::parse(program.out(), nullptr, false);
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report["target"], first.target() + "," + second.target());
  ASSERT_EQ(report["targets"].size(), 2u);
  EXPECT_EQ(report["targets"][0]["target"], first.target());
  EXPECT_EQ(report["targets"][0]["established"], 11);
  EXPECT_EQ(report["targets"][1]["established"], 10);
  EXPECT_EQ(report["targets"][1]["received"], 10 + 30);
  EXPECT_EQ(first.stop(), 0);
  EXPECT_EQ(second.stop(), 0);
}

TEST(LoadProgram, ChurnReplacesConnectionsAndIsNoFailure) {
  EchoServer echo;
  for (const char* messages : {"--interval=50ms", "--message-rate=200", "--closed-loop"}) {
    const Outcome outcome = run_load(echo.target(), {"--connections", "30", messages, "--churn", "25/s", "--duration", "1s"});
    EXPECT_EQ(outcome.status, 0) << messages << ": " << outcome.err;
    const json& connections = outcome.report["connections"];
    EXPECT_EQ(connections["established"], 30) << messages;
    EXPECT_EQ(connections["failed"], 0) << messages;
    EXPECT_EQ(connections["dropped"], 0) << messages;
    EXPECT_GT(connections["churn"]["closed"], 5) << messages;
    EXPECT_LE(connections["churn"]["closed"], 25) << messages;
    EXPECT_EQ(connections["churn"]["failed"], 0) << messages;
    EXPECT_EQ(outcome.report["achieved"]["churn_per_s"]["requested"], 25) << messages;
    EXPECT_EQ(outcome.report["messages"]["mismatched"], 0) << messages;
  }
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, ABurstComesInGroups) {
  EchoServer echo;
  const Outcome outcome = run_load(echo.target(), {"--connections", "30", "--ramp", "burst:10/200ms", "--duration", "0"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.report["connections"]["established"], 30);
  EXPECT_GE(outcome.report["ramp_s"], 0.4);
  EXPECT_EQ(outcome.report["achieved"]["connection_rate_per_s"]["requested"], 50);
  EXPECT_EQ(echo.stop(), 0);
}

// A scenario file that goes with the test.
class ScenarioFile {
 public:
  explicit ScenarioFile(std::string_view text) : path_(testing::TempDir() + "/roost_scenario_" + std::to_string(::getpid()) + ".json") {
    std::ofstream(path_) << text;
  }
  ~ScenarioFile() { ::unlink(path_.c_str()); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(LoadProgram, AScenarioRunsItsStagesInTurn) {
  EchoServer echo;
  const ScenarioFile file(R"({"stages": [
    {"name": "few", "connections": 10, "interval": "50ms", "duration": "500ms"},
    {"name": "many", "connections": 40, "message_rate": 200, "duration": "500ms", "size": "100-200"},
    {"name": "busy", "connections": 20, "closed_loop": true, "active": 5, "duration": "200ms"}]})");
  const Outcome outcome = run_load(echo.target(), {"--scenario", file.path(), "--processes", "2"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const json& report = outcome.report;
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report["connections"]["requested"], 40);
  EXPECT_EQ(report["connections"]["established"], 40);
  EXPECT_EQ(report["connections"]["released"], 20);
  ASSERT_EQ(report["stages"].size(), 3u);
  EXPECT_EQ(report["stages"][0]["name"], "few");
  EXPECT_EQ(report["stages"][0]["messages"]["received"], 100);
  EXPECT_EQ(report["stages"][0]["latency_us"]["count"], 100);
  EXPECT_EQ(report["stages"][1]["opened"]["achieved"], 30);
  EXPECT_EQ(report["stages"][1]["messages"]["sent"], 100);
  EXPECT_GE(report["stages"][1]["message_bytes"]["achieved"], 100);
  EXPECT_LE(report["stages"][1]["message_bytes"]["achieved"], 200);
  EXPECT_EQ(report["stages"][2]["connections"], 20);
  EXPECT_GE(report["stages"][2]["messages"]["received"], 5);
  EXPECT_EQ(report["messages"]["sent"], report["messages"]["received"]);
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, WhatCannotBeRunIsRefusedInOneLine) {
  const ScenarioFile file(R"({"target": "127.0.0.1:9", "stages": [{"name": "peak", "conections": 10}]})");
  const std::vector<std::vector<std::string>> wrong{
      {"load", "--scenario", file.path()},
      {"load", "--scenario", "/nonexistent.json", "--target", "127.0.0.1:9"},
      {"load", "--scenario", "/tmp", "--target", "127.0.0.1:9"},
      {"load", "--scenario", "/dev/zero", "--target", "127.0.0.1:9"},
      {"load"},
      {"load", "--target", "127.0.0.1:9", "--ramp", "stairs"},
      {"load", "--target", "127.0.0.1:9", "--size", "64,128"},
      {"load", "--target", "127.0.0.1:9", "--think-time", "5ms"},
      {"load", "--target", "127.0.0.1:9", "--churn", "200%/s"},
      {"load", "--target", "127.0.0.1:9", "--message-rate", "5", "--interval", "5s"},
      {"load", "--target", "127.0.0.1:9", "--protocol", "length", "--size", "4"},
  };
  for (const auto& arguments : wrong) {
    Program program(arguments);
    EXPECT_EQ(program.wait(), 2) << arguments.back();
    EXPECT_EQ(count_lines(program.err()), 1u) << program.err();
    EXPECT_EQ(program.out(), "");
  }
  Program program({"load", "--scenario", file.path()});
  EXPECT_EQ(program.wait(), 2);
  EXPECT_THAT(program.err(), HasSubstr(file.path() + ": stage 1 `peak`: unknown key `conections` with value 10; known are name, connections"));
}

TEST(LoadProgram, BytesThatNobodyAskedForEndAConnection) {
  std::vector<Socket> kept;
  RudeServer server([&](Socket socket) {
    socket.send(socket.receive(64));
    socket.send("?");
    kept.push_back(std::move(socket));
  });
  const Outcome outcome = run_load(server.target(), {"--connections", "5", "--duration", "10s"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.report["connections"]["dropped"], 5);
  EXPECT_EQ(outcome.report["messages"]["mismatched"], 5);
}

TEST(LoadProgram, NoDurationMeansOneMessageEach) {
  EchoServer echo;
  const Outcome outcome = run_load(echo.target(), {"--connections", "20", "--duration", "0"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.report["messages"]["received"], 20);
  EXPECT_EQ(outcome.report["run_s"], 0);
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, SpreadsOverTheSourceAddressesItIsGiven) {
  std::mutex mutex;
  std::map<std::uint32_t, int> peers;
  std::vector<std::thread> threads;
  std::vector<std::shared_ptr<Socket>> open;
  {
    RudeServer server([&](Socket socket) {
      sockaddr_in peer{};
      socklen_t length = sizeof peer;
      ::getpeername(socket.fd(), reinterpret_cast<sockaddr*>(&peer), &length);
      const std::scoped_lock lock(mutex);
      ++peers[ntohl(peer.sin_addr.s_addr)];
      auto kept = std::make_shared<Socket>(std::move(socket));
      threads.emplace_back([kept] {
        for (;;) {
          const std::string line = kept->receive(64);
          if (line.size() < 64 || !kept->send(line)) return;
        }
      });
    });
    const Outcome outcome = run_load(server.target(), {"--connections", "12", "--sources", "127.0.3.1-127.0.3.3", "--duration", "0"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(peers.size(), 3u);
  for (const auto& [address, times] : peers) EXPECT_EQ(times, 4) << address;
}

TEST(LoadProgram, TheTextReportEndsInAVerdict) {
  EchoServer echo;
  Program program(load(echo.target(), {"--connections", "10", "--interval", "50ms", "--duration", "200ms"}));
  EXPECT_EQ(program.wait(), 0);
  for (const char* part : {"10 of 10 established, 0 failed", "p99.9", "limited by", "every connection stood and every message came back"}) {
    EXPECT_THAT(program.out(), HasSubstr(part));
  }
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, WritesTheJsonFile) {
  EchoServer echo;
  const std::string path = testing::TempDir() + "/roost_load_" + std::to_string(::getpid()) + ".json";
  Program program(load(echo.target(), {"--connections", "10", "--duration", "0", "--quiet", "--json", path}));
  EXPECT_EQ(program.wait(), 0);
  EXPECT_EQ(program.out(), "");
  std::ifstream file(path);
  EXPECT_EQ(json::parse(file, nullptr, false)["connections"]["established"], 10);
  ::unlink(path.c_str());
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgram, ARefusedTargetEndsAtOnceWithTheRemedy) {
  // A port that was free a moment ago.
  std::string target;
  {
    const RudeServer server([](Socket) {});
    target = server.target();
  }
  Program program(load(target, {"--connections", "100000", "--rate", "1000"}));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(program.wait(), 1);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_THAT(program.err(), HasSubstr("ECONNREFUSED"));
  EXPECT_THAT(program.err(), HasSubstr("roost echo --listen " + target));
  EXPECT_EQ(program.out(), "");
}

TEST(LoadProgram, AServerThatNeverAnswersIsNoHang) {
  std::vector<Socket> kept;
  RudeServer server([&](Socket socket) { kept.push_back(std::move(socket)); });
  const Outcome outcome = run_load(server.target(), {"--connections", "20", "--io-timeout", "200ms", "--duration", "10s"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.report["messages"]["timeouts"], 20);
  EXPECT_EQ(outcome.report["connections"]["dropped"], 20);
  EXPECT_EQ(count_lines(outcome.err), 1u) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("is it a line echo server"));
}

TEST(LoadProgram, AServerThatClosesAtOnceIsNoHang) {
  const RudeServer server([](Socket) {});
  const Outcome outcome = run_load(server.target(), {"--connections", "20", "--duration", "10s"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.report["connections"]["established"], 20);
  EXPECT_EQ(outcome.report["connections"]["dropped"], 20);
  EXPECT_EQ(outcome.report["messages"]["errors"], 20);
  EXPECT_THAT(outcome.err, HasSubstr("the server closes connections"));
}

TEST(LoadProgram, AServerThatSendsGarbageIsFoundOut) {
  std::vector<Socket> kept;
  RudeServer server([&](Socket socket) {
    (void)socket.receive(64);
    socket.send(std::string(1000, '#') + "\n");
    kept.push_back(std::move(socket));
  });
  const Outcome outcome = run_load(server.target(), {"--connections", "20", "--duration", "10s"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.report["messages"]["mismatched"], 20);
  EXPECT_EQ(outcome.report["messages"]["received"], 0);
  EXPECT_THAT(outcome.err, HasSubstr("mismatched"));
}

TEST(LoadProgram, AnswersOfAnotherConnectionAreFoundOut) {
  // Two connections whose answers are swapped: what a runtime that mixes up its descriptors would do.
  std::vector<Socket> kept;
  RudeServer server([&](Socket socket) {
    kept.push_back(std::move(socket));
    if (kept.size() < 2) return;
    const std::string first = kept[0].receive(64);
    const std::string second = kept[1].receive(64);
    kept[0].send(second);
    kept[1].send(first);
  });
  const Outcome outcome = run_load(server.target(), {"--connections", "2", "--duration", "1s"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.report["messages"]["mismatched"], 2);
}

TEST(LoadProgram, AServerThatGoesAwayDuringTheRunIsNoticed) {
  EchoServer echo({"--report-interval", "20ms"});
  Program program(load(echo.target(), {"--connections", "20", "--interval", "50ms", "--duration", "1h", "--quiet", "--json", "-"}));
  EXPECT_TRUE(echo.program().wait_for_output("connections 20 "));
  EXPECT_EQ(echo.stop(), 0);
  EXPECT_EQ(program.wait(), 1);
  const json report = json::parse(program.out(), nullptr, false);
  EXPECT_EQ(report["ok"], false);
  EXPECT_EQ(report["connections"]["dropped"], 20);
  EXPECT_THAT(program.err(), HasSubstr("the server closes connections"));
}

TEST(LoadProgram, AnInterruptReportsWhatWasDone) {
  EchoServer echo({"--report-interval", "20ms"});
  Program program(load(echo.target(), {"--connections", "20", "--interval", "50ms", "--duration", "1h"}));
  EXPECT_TRUE(echo.program().wait_for_output("connections 20 "));
  program.send_signal(SIGINT);
  EXPECT_EQ(program.wait(), 1);
  EXPECT_THAT(program.out(), HasSubstr("20 of 20 established"));
  EXPECT_THAT(program.out(), HasSubstr("interrupted"));
  EXPECT_EQ(echo.stop(), 0);
}

// The first fault of a report.
const json& fault_of(const Outcome& outcome) { return outcome.report["attack"]["faults"][0]; }

// Twenty honest connections, and attackers, that come in time on a busy machine, too.
Outcome attack(EchoServer& echo, const std::string& faults, const std::string& duration, std::vector<std::string> more = {"--attack-nice", "0"}) {
  more.insert(more.end(), {"--connections", "20", "--rate", "2000", "--interval", "100ms", "--duration", duration, "--fault", faults, "--io-timeout", "30s",
                           "--server-pid", std::to_string(echo.program().pid())});
  return run_load(echo.target(), std::move(more));
}

TEST(LoadProgramFaults, DrippingBytesIsCutOffByADeadlineAndHonestClientsStay) {
  EchoServer echo({"--read-timeout", "1s"});
  const Outcome outcome = attack(echo, "drip:40/50ms", "6s", {"--attack-nice", "0", "--processes", "2", "--fail-if", "attack.standing > 0, attack.held.min < 900ms"});
  EXPECT_EQ(outcome.status, 0) << outcome.err << outcome.report.dump(1);
  const json& drip = fault_of(outcome);
  EXPECT_EQ(drip["fault"], "drip:40/50ms");
  EXPECT_EQ(drip["opened"], 40);
  EXPECT_EQ(drip["cut_off"], 40);
  EXPECT_EQ(drip["standing"], 0);
  EXPECT_GE(drip["held_us"]["min"], 900'000) << "not by the first silence: each byte came in time";
  EXPECT_GE(drip["bytes_sent"], 40 * 2);
  EXPECT_GE(drip["lateness_us"]["count"], 40 * 3) << "a dial and each byte";
  EXPECT_EQ(outcome.report["connections"]["dropped"], 0);
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgramFaults, WhatNobodyCutsOffStandsToTheEndAndLeavesNothing) {
  EchoServer echo;
  for (const char* faults : {"silent:30", "drip:30/100ms", "oversize:1", "never-read:30", "pieces:30/5ms"}) {
    const Outcome outcome = attack(echo, faults, "1s");
    EXPECT_EQ(outcome.status, 0) << faults << ": " << outcome.err;
    const json& fault = fault_of(outcome);
    EXPECT_EQ(fault["opened"], fault["attackers"]) << faults;
    // Of a line `roost echo` takes 64 MiB, which an endless one reaches.
    const int cut_off = fault["cut_off"].get<int>();
    EXPECT_EQ(fault["standing"].get<int>() + cut_off, fault["attackers"]) << faults;
    if (fault["kind"] != "oversize") {
      EXPECT_EQ(cut_off, 0) << faults;
    }
    EXPECT_EQ(fault["mismatched"], 0) << faults;
    if (fault["kind"] == "pieces") {
      EXPECT_GT(fault["answered"], 0);
    }
    if (fault["kind"] != "silent") {
      EXPECT_GT(fault["bytes_sent"], 0) << faults;
    }
  }
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgramFaults, ResetsAndStormsComeAgainAndAgain) {
  EchoServer echo;
  const Outcome resets = attack(echo, "reset:10/50ms", "1s");
  EXPECT_EQ(resets.status, 0) << resets.err;
  EXPECT_GT(fault_of(resets)["opened"], 20);
  const Outcome storms = attack(echo, "storm:50/400ms", "3s");
  EXPECT_EQ(storms.status, 0) << storms.err;
  EXPECT_GE(fault_of(storms)["opened"], 100);
  EXPECT_GE(fault_of(storms)["answered"], 100);
  EXPECT_GE(fault_of(storms)["back_us"]["count"], 100);
  EXPECT_EQ(fault_of(storms)["mismatched"], 0);
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgramFaults, OneThatVanishesLeavesItsDescriptorWithTheServer) {
  EchoServer echo;
  const Outcome outcome = attack(echo, "half-open:25", "2s");
  if (outcome.status == 2 && outcome.err.find("TCP_REPAIR") != std::string::npos) GTEST_SKIP() << "not root";
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(fault_of(outcome)["answered"], 25);
  EXPECT_EQ(fault_of(outcome)["standing"], 25);
  if (const json& told = outcome.report["attack"]["server_descriptors"]; !told.empty()) {
    // Or more: on a starved machine a server starts a spare worker, whose poller has two of its own.
    EXPECT_GE(told[0]["after"].get<int>() - told[0]["before"].get<int>(), 25) << "the server has heard nothing";
  }
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgramFaults, AttackersThatNeverPauseHaveACpuTimeOfTheirOwn) {
  EchoServer echo;
  const Outcome outcome = attack(echo, "never-read:10", "1s", {"--attack-nice", "3"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.report["client"]["processes"], 1);
  EXPECT_EQ(outcome.report["attack"]["processes"], 1);
  EXPECT_EQ(outcome.report["attack"]["nice"], 3);
  EXPECT_GT(outcome.report["attack"]["cpu_s"], 0);
  EXPECT_EQ(outcome.report["messages"]["run_received"], outcome.report["messages"]["run_sent"]) << "of the honest ones";
  EXPECT_EQ(echo.stop(), 0);
}

// Two processes of honest connections, and behind them one of attackers, until it is stopped.
std::vector<std::string> long_attack() {
  return {"--connections", "20", "--rate", "2000", "--interval", "50ms", "--duration", "1h", "--processes", "2", "--fault", "silent:7",
          "--io-timeout", "30s", "--quiet", "--json", "-"};
}

TEST(LoadProgramFaults, AttackersGiveWayToAllOthers) {
  EchoServer echo({"--report-interval", "20ms"});
  Program program(load(echo.target(), long_attack()));
  EXPECT_TRUE(echo.program().wait_for_output("connections 27 "));
  const std::vector<pid_t> children = program.children();
  if (!children.empty()) {
    ASSERT_EQ(children.size(), 3u);
    const int own = ::getpriority(PRIO_PROCESS, 0);
    EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(children[0])), own);
    EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(children[1])), own);
    EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(children[2])), 19);
  }
  program.send_signal(SIGINT);
  EXPECT_EQ(program.wait(), 1);
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgramFaults, AttackersThatAreKilledAreReportedAndTheHonestGoOn) {
  EchoServer echo({"--report-interval", "20ms"});
  Program program(load(echo.target(), long_attack()));
  EXPECT_TRUE(echo.program().wait_for_output("connections 27 "));
  const std::vector<pid_t> children = program.children();
  if (children.empty()) GTEST_SKIP() << "this kernel does not list children";
  ::kill(children.back(), SIGKILL);
  EXPECT_TRUE(program.wait_for_error("was killed by signal 9 (Killed); its "));
  EXPECT_TRUE(program.wait_for_error("attackers are gone, the others go on")) << program.err();
  program.send_signal(SIGINT);
  EXPECT_EQ(program.wait(), 1);
  const json report = json::parse(program.out(), nullptr, false);
  EXPECT_EQ(report["lost_processes"].size(), 1u);
  EXPECT_EQ(report["connections"]["dropped"], 0);
  EXPECT_EQ(report["attack"]["standing"], 0);
  EXPECT_EQ(count_lines(program.err()), 1u) << program.err();
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgramFaults, AnAttackIsStoppedWithTheLoad) {
  EchoServer echo;
  Program program(load(echo.target(), {"--connections", "5", "--interval", "20ms", "--duration", "10m", "--fault", "silent:20,reset:5/10ms"}));
  std::this_thread::sleep_for(300ms);
  program.send_signal(SIGINT);
  EXPECT_EQ(program.wait(), 1);
  EXPECT_THAT(program.out(), HasSubstr("interrupted"));
  EXPECT_EQ(echo.stop(), 0);
}

TEST(LoadProgramFaults, WhatCannotBeIsOneLine) {
  for (const auto& [arguments, text] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--fault", "flood:3"}, "`flood` is not a fault; known are silent"},
           {{"--fault", "drip:10", "--duration", "0"}, "--fault: attackers come in the run"},
           {{"--attack-nice", "20"}, "`20` is not a niceness; write 0 to 19"},
           {{"--fail-if", "attack.standing > 0"}, "nobody attacks; add --fault"}}) {
    Program program(load("127.0.0.1:9", arguments));
    EXPECT_EQ(program.wait(), 2);
    EXPECT_THAT(program.err(), HasSubstr(text));
    EXPECT_EQ(count_lines(program.err()), 1u) << program.err();
  }
}

}  // namespace
}  // namespace roost::test
