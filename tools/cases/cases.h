// `roost cases`: the five classic failures of services with many connections, each repeated on this machine before and
// after its remedy.
//
// A case is one file (fibers.cc, buffers.cc, slowloris.cc, pooling.cc, settings.cc) that runs real servers and clients
// in child processes (bed.h) and returns an Outcome (outcome.h); render.h and page.h show it. docs/cases.md tells
// the stories.
#pragma once

#include <CLI/CLI.hpp>

namespace roost::cases {

// Adds the subcommand `cases` to `app`. When it was called, `exit_status` holds after parsing
//   0  each case that could be tried showed what it claims
//   1  one did not
//   2  a mistake on the command line, or a file that cannot be written; one line on stderr says which
void add_cases_command(CLI::App& app, int& exit_status);

}  // namespace roost::cases
