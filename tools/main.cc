// The program `roost`: one command a folder beside this file.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <system_error>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <roost/runtime.h>

#include "tools/cases/cases.h"
#include "tools/compare/compare.h"
#ifdef ROOST_HAVE_DOCTOR
#include "tools/doctor/doctor.h"
#endif
#include "tools/echo/echo.h"
#include "tools/load/load.h"
#include "tools/top/top.h"

namespace {

// One line for a mistake on the command line, naming the command it was made in. Returns the exit status.
int report(CLI::App& app, const CLI::ParseError& error, const std::string& first_argument) {
  const auto commands = app.get_subcommands();
  const std::string name = commands.empty() ? "roost" : "roost " + commands.front()->get_name();
  std::string message = error.what();
  std::replace(message.begin(), message.end(), '\n', ' ');
  // Of an unknown command the library says only that a known one is missing.
  if (commands.empty() && !first_argument.empty() && first_argument.front() != '-') {
    message = fmt::format("`{}` is not a command; there are", first_argument);
    for (const CLI::App* command : app.get_subcommands({})) message += " " + command->get_name();
  }
  fmt::print(stderr, "{}: {}; see {} --help\n", name, message, name);
  return 2;
}

// A poller that the environment asks for and that cannot be had, as io_uring in many containers: told of once and here, since
// otherwise each process of a command would end by an exception.
bool has_wanted_poller() {
  if (std::getenv("ROOST_POLLER") == nullptr) return true;
  try {
    roost::RuntimeOptions options;
    options.workers = 1;
    roost::run(options, [] {});
    return true;
  } catch (const std::system_error& error) {
    fmt::print(stderr, "{}; unset ROOST_POLLER to use epoll\n", error.what());
    return false;
  }
}

// What was printed and did not arrive must not look like success in a script: `roost doctor --json > report`, and the disk is full.
// A reader that has left (a pipe into head) has what it wants.
int flush_output() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  if (errno == EPIPE) return 0;
  // An error of an earlier flush has left its mark, and not its number.
  fmt::print(stderr, "roost: standard output could not be written{}{}; make room, or send it elsewhere\n", errno != 0 ? ": " : "",
             errno != 0 ? std::strerror(errno) : "");
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Plain, blocking-looking C++ that holds millions of connections: a server to try it on, and tools to measure it."};
  app.name("roost");
  app.require_subcommand(1);
  app.set_version_flag("--version", "roost " ROOST_VERSION);

  if (!has_wanted_poller()) return 2;

  int exit_status = 0;
  roost::echo::add_echo_command(app, exit_status);
  roost::load::add_load_command(app, exit_status);
  roost::compare::add_compare_command(app, exit_status);
  roost::top::add_top_command(app, exit_status);
#ifdef ROOST_HAVE_DOCTOR
  roost::doctor::add_doctor_command(app, exit_status);
#endif
  roost::cases::add_cases_command(app, exit_status);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {  // --help and --version arrive as exceptions
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return report(app, error, argc > 1 ? argv[1] : "");
  }
  // What a server prints is not its work.
  const bool is_answer = exit_status == 0 && !app.got_subcommand("echo");
  return is_answer ? flush_output() : exit_status;
}
