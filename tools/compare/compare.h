// `roost compare BASE.json... --with NEW.json...`: is the new server slower than the old one, or was it chance?
//
// The files are JSON reports of `roost load`, several of each side and all of the same load. The answer is a table, and an exit
// status for CI.
//
//   compare.cc     the command line
//   reports.h      reads the reports and sees to it that they can be compared
//   rank_test.h    whether two groups of values differ
//   comparison.h   the figures, what became of each, and the verdict
//   render.h       all of it as text, JSON, Markdown and JUnit's XML
#pragma once

namespace CLI {
class App;
}

namespace roost::compare {

// Adds the subcommand `compare` to `app`. When it was called, `exit_status` holds after parsing
//   0  no figure is worse
//   1  some figure is worse
//   2  the reports cannot be compared, or are too few to tell; one line on stderr says why
void add_compare_command(CLI::App& app, int& exit_status);

}  // namespace roost::compare
