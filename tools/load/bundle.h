// `--record DIR`: a folder with all that somebody else needs to understand a run and to repeat it.
//
//   README.txt      what was run, when and on what; and the command that repeats it from this folder
//   scenario.json   what was asked for, every key of it (asked.h)
//   given.json      the file of --scenario as it was, where there was one
//   report.txt, report.json, report.csv, histograms.jsonl, report.html
//   machine.json    what `roost doctor` read of the machine before the load began: each setting and its value
#pragma once

#include <expected>
#include <string>

#include "tools/common/output.h"
#include "tools/load/report.h"

namespace roost::load {

// Makes the folder options.record_path, or takes it if it is empty, and adds the files to `outputs`: they are written when those
// are. `options` and `record` outlive `outputs`. Nothing happens when no folder was asked for. The error is one line; what cannot
// be opened is in outputs.error().
std::expected<void, std::string> add_bundle(const LoadOptions& options, const Plan& plan, const Record& record, tools::OutputFiles& outputs);

// The command that repeats the load of `options` from within the folder, against the same target.
std::string repeating_command(const LoadOptions& options, const Plan& plan);

}  // namespace roost::load
