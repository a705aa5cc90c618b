// `roost load`: opens many connections to an echo server, sends messages on them and says what it saw.
//
//   load.cc       the command line, and the parent process: starts the others, leads them through the stages, adds up
//   stage.h       one stage: how many connections, how they come, what is sent; and the words for it
//   scenario.h    stages from a file
//   asked.h       the way back: a load as the scenario that asks for it
//   plan.h        decides from options and limits: how many processes, which source addresses
//   process.h     what every process does; client.h one process's share of the connections, connection.h one of them, without a
//                 fiber; attack.h one process's share of the attackers, fault.h what they are up to
//   schedule.h    when messages are due; in_flight.h which answers are waited for
//   payload.h     the bytes of each message, so that a mix-up of connections is found
//   figures.h     what is counted, and how it travels and adds up; histogram.h its latencies
//   timeline.h    what happened in each second
//   progress.h    what is shown meanwhile
//   live_metrics.h the same for Prometheus
//   threshold.h   conditions under which it counts as failed
//   csv.h         the time series as a table; html.h the report as a page; output.h the files
//   bundle.h      all of it in a folder, to be repeated by somebody else
//   report.h      the result as JSON and as text; report_stages.h its stages and targets; report_ci.h it for CI's own pages
#pragma once

#include <CLI/CLI.hpp>

namespace roost::load {

// Adds the subcommand `load` to `app`. When it was called, `exit_status` holds after parsing
//   0  every connection stood to the end and every message came back
//   1  some did not, or the run was interrupted
//   2  it could not start; one line on stderr says why
void add_load_command(CLI::App& app, int& exit_status);

}  // namespace roost::load
