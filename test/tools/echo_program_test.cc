// `roost echo`, seen from outside.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "tools/program.h"

namespace roost::test {
namespace {

using testing::HasSubstr;

struct Shape {
  const char* name;
  const char* processes;
  const char* handler;
};

// Every test runs against one process and against three, with a fiber a connection and with fibers on demand.
class EchoProgram : public testing::TestWithParam<Shape> {
 protected:
  EchoServer server(std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--processes", GetParam().processes, "--handler", GetParam().handler});
    return EchoServer(std::move(more));
  }
};
INSTANTIATE_TEST_SUITE_P(Shapes, EchoProgram,
                         testing::Values(Shape{"One", "1", "fiber"}, Shape{"Three", "3", "fiber"},
                                         Shape{"OneOnDemand", "1", "on-demand"}, Shape{"ThreeOnDemand", "3", "on-demand"}),
                         [](const auto& shape) { return std::string(shape.param.name); });

TEST_P(EchoProgram, EchoesLineByLine) {
  auto echo = server();
  const Socket client = Socket::connect(echo.port());
  for (const std::string line : {"hello\n", "\n", "a longer line with blanks\n"}) {
    ASSERT_TRUE(client.send(line));
    EXPECT_EQ(client.receive(line.size()), line);
  }
  EXPECT_EQ(echo.stop(), 0);
}

TEST_P(EchoProgram, EchoesAMebibyteLine) {
  auto echo = server();
  const Socket client = Socket::connect(echo.port());
  std::string line((1 << 20) - 1, 'x');
  for (std::size_t i = 0; i < line.size(); ++i) line[i] = static_cast<char>('a' + i % 26);
  line += '\n';
  std::thread sender([&] { EXPECT_TRUE(client.send(line)); });
  EXPECT_EQ(client.receive(line.size()), line);
  sender.join();
  EXPECT_EQ(echo.stop(), 0);
}

TEST_P(EchoProgram, EchoesALineThatComesByteByByte) {
  auto echo = server();
  const Socket client = Socket::connect(echo.port());
  const std::string line = "slowly\n";
  for (const char byte : line) ASSERT_TRUE(client.send({&byte, 1}));
  EXPECT_EQ(client.receive(line.size()), line);
  EXPECT_EQ(echo.stop(), 0);
}

TEST_P(EchoProgram, EchoesPipelinedLinesInOrder) {
  auto echo = server();
  const Socket client = Socket::connect(echo.port());
  std::string lines;
  for (int i = 0; i < 10'000; ++i) lines += "line " + std::to_string(i) + "\n";
  std::thread sender([&] { EXPECT_TRUE(client.send(lines)); });
  EXPECT_EQ(client.receive(lines.size()), lines);
  sender.join();
  EXPECT_EQ(echo.stop(), 0);
}

TEST_P(EchoProgram, EchoesEverythingBeforeAHalfCloseAndThenEnds) {
  auto echo = server();
  for (const std::string text : {"a\nb\n", "a\nno newline", "", "\n", "x"}) {
    const Socket client = Socket::connect(echo.port());
    ASSERT_TRUE(client.send(text));
    client.end_sending();
    EXPECT_EQ(client.receive(text.size() + 1), text);
  }
  EXPECT_EQ(echo.stop(), 0);
}

TEST_P(EchoProgram, ClosesConnectionsBeyondTheLimitAtOnce) {
  auto echo = server({"--max-connections", "5"});
  std::vector<Socket> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(Socket::connect(echo.port()));
    ASSERT_TRUE(clients.back().send("in\n"));
    ASSERT_EQ(clients.back().receive(3), "in\n");
  }
  EXPECT_TRUE(Socket::connect(echo.port()).has_ended());
  // A place that is given up is free for the next one.
  clients.pop_back();
  bool taken = false;
  for (int attempt = 0; attempt < 1000 && !taken; ++attempt) {
    const Socket next = Socket::connect(echo.port());
    taken = next.send("in\n") && next.receive(3) == "in\n";
  }
  EXPECT_TRUE(taken);
  EXPECT_EQ(echo.stop(), 0);
  EXPECT_THAT(echo.program().out(), HasSubstr("turned away"));
}

TEST_P(EchoProgram, ClosesAConnectionThatIsSilentForTooLong) {
  auto echo = server({"--read-timeout", "50ms"});
  const Socket client = Socket::connect(echo.port());
  EXPECT_TRUE(client.has_ended());
  EXPECT_EQ(echo.stop(), 0);
  EXPECT_THAT(echo.program().out(), HasSubstr("1 timed out"));
}

// Whether the kernel has a keep-alive timer running for the server's end of the one connection to `port`: /proc/net/tcp calls
// it timer 2. After an echo no other timer of that number is left.
bool is_kept_alive(std::uint16_t port) {
  std::ifstream table("/proc/net/tcp");
  const std::string local = fmt::format("0100007F:{:04X}", port);
  for (std::string line; std::getline(table, line);) {
    std::istringstream columns(line);
    std::string number, from, to, state, queues, timer;
    columns >> number >> from >> to >> state >> queues >> timer;
    if (from == local && state == "01") return timer.starts_with("02:");
  }
  ADD_FAILURE() << "no connection from " << local;
  return false;
}

TEST_P(EchoProgram, ProbesSilentClientsOnlyWithoutAReadTimeoutOrWhenAsked) {
  struct Case {
    std::vector<std::string> options;
    bool probes;
  };
  for (const auto& [options, probes] : {Case{{}, false}, Case{{"--read-timeout", "0"}, true}, Case{{"--keep-alive", "90s"}, true},
                                        Case{{"--read-timeout", "0", "--keep-alive", "off"}, false}}) {
    auto echo = server(options);
    const Socket client = Socket::connect(echo.port());
    ASSERT_TRUE(client.send("hello\n"));
    ASSERT_EQ(client.receive(6), "hello\n");
    EXPECT_EQ(is_kept_alive(echo.port()), probes) << testing::PrintToString(options);
    EXPECT_EQ(echo.stop(), 0);
  }
}

TEST_P(EchoProgram, ReportsAndStopsCleanlyOnEitherSignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    auto echo = server({"--report-interval", "50ms"});
    const Socket client = Socket::connect(echo.port());
    ASSERT_TRUE(client.send("hello\n"));
    ASSERT_EQ(client.receive(6), "hello\n");
    EXPECT_TRUE(echo.program().wait_for_output("connections 1 "));
    EXPECT_EQ(echo.stop(signal), 0);
    EXPECT_TRUE(client.has_ended());
    EXPECT_THAT(echo.program().out(), HasSubstr("served 1 connections, 1 messages (6 B)"));
    EXPECT_EQ(echo.program().err(), "");
  }
}

TEST_P(EchoProgram, ReportsNothingWhenToldSo) {
  auto echo = server({"--report-interval", "0"});
  EXPECT_EQ(echo.stop(), 0);
  EXPECT_EQ(count_lines(echo.program().out()), 2u) << echo.program().out();
}

TEST_P(EchoProgram, RefusesAPortInUse) {
  auto echo = server();
  Program second({"echo", "--listen", echo.target(), "--processes", GetParam().processes});
  EXPECT_EQ(second.wait(), 2);
  EXPECT_EQ(second.out(), "");
  EXPECT_EQ(count_lines(second.err()), 1u) << second.err();
  EXPECT_THAT(second.err(), HasSubstr("the port is in use"));
  EXPECT_EQ(echo.stop(), 0);
}

TEST(EchoProgramShards, GoOnWhenOneIsKilledAndSaySo) {
  EchoServer echo({"--processes", "3", "--report-interval", "0"});
  const std::vector<pid_t> children = echo.program().children();
  if (children.empty()) GTEST_SKIP() << "this kernel does not list children";
  ::kill(children.front(), SIGKILL);
  EXPECT_TRUE(echo.program().wait_for_error("was killed by signal 9"));

  bool answered = false;
  for (int attempt = 0; attempt < 20 && !answered; ++attempt) {
    const Socket client = Socket::connect(echo.port());
    answered = client.send("still?\n") && client.receive(7) == "still?\n";
  }
  EXPECT_TRUE(answered);
  EXPECT_EQ(echo.stop(), 1);
  EXPECT_EQ(count_lines(echo.program().err()), 1u) << echo.program().err();
}

struct BadInput {
  const char* name;
  std::vector<std::string> arguments;
  const char* says;
};

class ProgramBadInput : public testing::TestWithParam<BadInput> {};
INSTANTIATE_TEST_SUITE_P(
    Echo, ProgramBadInput,
    testing::Values(
        BadInput{"NoCommand", {}, "subcommand"},
        BadInput{"UnknownCommand", {"sing"}, "`sing` is not a command"},
        BadInput{"UnknownOption", {"echo", "--bogus"}, "--bogus"},
        BadInput{"MissingValue", {"echo", "--listen"}, "--listen"},
        BadInput{"Address", {"echo", "--listen", "nonsense"}, "`nonsense` is not an address"},
        BadInput{"Host", {"echo", "--listen", "example:80"}, "`example` is not an IP address"},
        BadInput{"Port", {"echo", "--listen", "127.0.0.1:99999"}, "`99999` is not a port"},
        BadInput{"ForeignAddress", {"echo", "--listen", "192.0.2.1:80"}, "no interface has this address"},
        BadInput{"Workers", {"echo", "--workers", "many"}, "`many`"},
        BadInput{"Processes", {"echo", "--processes", "0"}, "1 to 1024, or auto"},
        BadInput{"MaxConnections", {"echo", "--max-connections", "-1"}, "`-1`"},
        BadInput{"TooFewDescriptors", {"echo", "--max-connections", "9000000000", "--processes", "1"}, "--processes auto"},
        BadInput{"ReadTimeout", {"echo", "--read-timeout", "5"}, "`5` has no unit"},
        BadInput{"KeepAlive", {"echo", "--keep-alive", "200ms"}, "`200ms` is no time for keep-alive"},
        BadInput{"Buffer", {"echo", "--buffer", "big"}, "`big` is not a size"},
        BadInput{"BufferRange", {"echo", "--buffer", "1"}, "16 bytes to 1MiB"},
        BadInput{"Interval", {"echo", "--report-interval", "soon"}, "`soon` is not a duration"},
        BadInput{"Handler", {"echo", "--handler", "thread"}, "`thread` is not a handler"}),
    [](const auto& parameter) { return parameter.param.name; });
INSTANTIATE_TEST_SUITE_P(
    Load, ProgramBadInput,
    testing::Values(
        BadInput{"NoTarget", {"load"}, "--target"},
        BadInput{"UnknownOption", {"load", "--target", "127.0.0.1:1", "--bogus"}, "--bogus"},
        BadInput{"Target", {"load", "--target", "127.0.0.1"}, "`127.0.0.1` is not an address"},
        BadInput{"TargetPort", {"load", "--target", "127.0.0.1:0"}, "port 0"},
        // A name with an empty label: it is refused without a question to a name server, so the test stays on this machine.
        BadInput{"TargetName", {"load", "--target", "no..such.host:80"}, "was not found"},
        BadInput{"Connections", {"load", "--target", "127.0.0.1:1", "--connections", "lots"}, "`lots`"},
        BadInput{"NoConnections", {"load", "--target", "127.0.0.1:1", "--connections", "0"}, "at least 1"},
        BadInput{"Rate", {"load", "--target", "127.0.0.1:1", "--rate", "0"}, "--rate 0"},
        BadInput{"Interval", {"load", "--target", "127.0.0.1:1", "--interval", "30"}, "`30` has no unit"},
        BadInput{"Size", {"load", "--target", "127.0.0.1:1", "--size", "0"}, "--size 0"},
        BadInput{"Duration", {"load", "--target", "127.0.0.1:1", "--duration", "1 day"}, "`1 day`"},
        BadInput{"Active", {"load", "--target", "127.0.0.1:1", "--active", "5"}, "--closed-loop"},
        BadInput{"ActiveTooMany", {"load", "--target", "127.0.0.1:1", "--closed-loop", "--connections", "5", "--active", "6"}, "--active 6"},
        BadInput{"BothLoops", {"load", "--target", "127.0.0.1:1", "--closed-loop", "--interval", "1s"}, "--interval"},
        BadInput{"Sources", {"load", "--target", "127.0.0.1:1", "--sources", "127.0.0.0/8"}, "FIRST-LAST"},
        BadInput{"ForeignSources", {"load", "--target", "127.0.0.1:1", "--sources", "192.0.2.7"}, "ip addr add 192.0.2.7"},
        BadInput{"TooFewPorts", {"load", "--target", "127.0.0.1:1", "--connections", "200k", "--sources", "127.0.0.1-127.0.0.2"}, "name "},
        BadInput{"TooFewProcesses", {"load", "--target", "127.0.0.1:1", "--connections", "90000000", "--processes", "1"}, "--processes auto"},
        BadInput{"Json", {"load", "--target", "127.0.0.1:1", "--json", "/no/such/directory/file"}, "--json /no/such/directory/file"},
        BadInput{"ServerPid", {"load", "--target", "127.0.0.1:1", "--server-pid", "4194303"}, "--server-pid 4194303"}),
    [](const auto& parameter) { return parameter.param.name; });

TEST_P(ProgramBadInput, IsOneLineWithTheRemedyAndStatus2) {
  Program program(GetParam().arguments);
  EXPECT_EQ(program.wait(), 2);
  EXPECT_EQ(program.out(), "");
  EXPECT_EQ(count_lines(program.err()), 1u) << program.err();
  EXPECT_THAT(program.err(), HasSubstr(GetParam().says));
}

TEST(ProgramBadEnvironment, APollerThatIsNoneIsOneLineAndStatus2) {
  ::setenv("ROOST_POLLER", "iouring", 1);
  Program program({"echo", "--listen", "127.0.0.1:0", "--processes", "3"});
  ::unsetenv("ROOST_POLLER");
  EXPECT_EQ(program.wait(), 2);
  EXPECT_EQ(program.out(), "");
  EXPECT_EQ(count_lines(program.err()), 1u) << program.err();
  EXPECT_THAT(program.err(), HasSubstr("ROOST_POLLER=iouring is no poller; write epoll or io_uring"));
}

TEST(ProgramHelp, ListsEveryOption) {
  Program echo({"echo", "--help"});
  EXPECT_EQ(echo.wait(), 0);
  for (const char* option : {"--listen", "--workers", "--processes", "--max-connections", "--read-timeout", "--keep-alive", "--buffer", "--report-interval",
                             "--handler", "on-demand"}) {
    EXPECT_THAT(echo.out(), HasSubstr(option));
  }
  Program load({"load", "--help"});
  EXPECT_EQ(load.wait(), 0);
  for (const char* option : {"--target", "--connections", "--rate", "--interval", "--closed-loop", "--active", "--size", "--duration",
                             "--dial-timeout", "--io-timeout", "--sources", "--processes", "--json", "--quiet", "--server-pid"}) {
    EXPECT_THAT(load.out(), HasSubstr(option));
  }
}

}  // namespace
}  // namespace roost::test
