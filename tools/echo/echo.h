// `roost echo`: a line echo server, a fiber a connection.
//
// handler.cc is what a connection runs; server.cc accepts and counts, in one process; echo.cc holds the command line and,
// for `--processes`, the parent that starts the others and sums their figures.
#pragma once

#include <CLI/CLI.hpp>

namespace roost::echo {

// Adds the subcommand `echo` to `app`. When it was called, `exit_status` holds after parsing
//   0  stopped by SIGINT or SIGTERM
//   1  a process of several was killed
//   2  it could not start; one line on stderr says why
void add_echo_command(CLI::App& app, int& exit_status);

}  // namespace roost::echo
