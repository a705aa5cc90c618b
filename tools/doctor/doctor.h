// `roost doctor`: will this machine hold N connections, and if not, which setting stands in the way?
//
// The command reads settings and probes a few system calls; it changes nothing unless `--apply` or `--undo` is given.
// It relies on /proc and /sys alone (tools/doctor/system.h), never on the fiber runtime, so it also runs on a machine
// where a server would not start. What each check means stands in docs/doctor.md.
#pragma once

#include <CLI/CLI.hpp>

namespace roost::doctor {

// Adds the subcommand `doctor` to `app`. When it was called, `exit_status` holds after parsing
//   0  fit (or the file was printed, the changes undone)
//   1  not fit (or a change failed)
//   2  bad usage; one line on stderr says what, which value, and what would be right
void add_doctor_command(CLI::App& app, int& exit_status);

}  // namespace roost::doctor
