#include "tools/compare/compare.h"

#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "tools/common/command.h"
#include "tools/common/output.h"
#include "tools/common/parse.h"
#include "tools/compare/comparison.h"
#include "tools/compare/rank_test.h"
#include "tools/compare/render.h"
#include "tools/compare/reports.h"

namespace roost::compare {
namespace {

struct Given : CompareOptions {
  std::vector<std::string> base;
  std::vector<std::string> with;
  std::string json_path;
  std::string junit_path;
  std::string summary_path;
};

// "5%" or "0.05".
tools::Parsed<double> parse_share(std::string_view text) {
  const bool is_percent = text.ends_with('%');
  const auto number = tools::parse_rate(is_percent ? text.substr(0, text.size() - 1) : text);
  if (!number) return std::unexpected(fmt::format("`{}` is not a share; write 5% or 0.05", text));
  return is_percent ? *number / 100 : *number;
}

tools::Parsed<double> parse_level(std::string_view text) {
  const auto level = parse_share(text);
  if (level && *level > 0 && *level < 1) return level;
  return std::unexpected(fmt::format("`{}` is not a level; write a share between 0 and 1, such as 5% or 1%", text));
}

// A file that is named twice would make two runs of one.
std::expected<void, std::string> check_paths(const Given& given) {
  std::set<std::string> seen;
  for (const auto* side : {&given.base, &given.with}) {
    for (const std::string& path : *side) {
      if (!seen.insert(path).second) return std::unexpected(fmt::format("{}: is named twice; name each report once", path));
    }
    if (side->size() > runs_max) return std::unexpected(fmt::format("{} reports of one side are too many; name at most {}", side->size(), runs_max));
  }
  return {};
}

std::expected<Comparison, std::string> read_and_compare(const Given& given) {
  if (auto fine = check_paths(given); !fine) return std::unexpected(std::move(fine.error()));
  const auto base = read_runs(given.base);
  if (!base) return std::unexpected(base.error());
  const auto with = read_runs(given.with);
  if (!with) return std::unexpected(with.error());
  if (auto fine = check_same_load(*base, *with); !fine) return std::unexpected(std::move(fine.error()));
  return compare(*base, *with, given);
}

int execute(const Given& given) {
  const auto fail = [](const std::string& error) {
    tools::print_error("compare", error);
    return 2;
  };
  const auto comparison = read_and_compare(given);
  if (!comparison) return fail(comparison.error());
  tools::OutputFiles outputs;
  outputs.add("--json", given.json_path, [&] { return to_json(*comparison).dump(2) + '\n'; });
  outputs.add("--junit", given.junit_path, [&] { return to_junit(*comparison); });
  outputs.add("--summary", given.summary_path, [&] { return to_markdown(*comparison); }, tools::OutputFile::Existing::kept);
  if (!outputs.error().empty()) return fail(outputs.error());
  if (!outputs.take_standard_output()) fmt::print("{}", to_text(*comparison));
  std::fflush(stdout);
  int status = comparison->is_worse() ? 1 : 0;
  for (const std::string& error : outputs.write()) status = fail(error);
  // Last, so that it stands below the table; a worse figure is an answer all the same.
  if (const auto few = comparison->too_few(); few && status == 0) status = fail(*few);
  return status;
}

}  // namespace

void add_compare_command(CLI::App& app, int& exit_status) {
  auto given = std::make_shared<Given>();
  CLI::App& compare = *app.add_subcommand("compare", "Two groups of load reports: is the new server slower, or was it chance?");
  using tools::add_parsed_option;
  compare.add_option("BASE", given->base, "JSON reports of roost load, a run each, of the server as it was")->required()->type_name("FILE");
  compare.add_option("--with", given->with, "Those of the new server, of the same load")->required()->type_name("FILE");
  add_parsed_option(compare, "--tolerance", given->tolerance, &parse_share, "SHARE", "5%", "A smaller change of the median is never worse");
  add_parsed_option(compare, "--level", given->level, &parse_level, "SHARE", "5%",
                    "How often chance may pass for a difference: 5% takes 4 runs a side, 1% takes 5");
  add_parsed_option(compare, "--figures", given->figures, &parse_figures, "NAMES", "",
                    "What to compare, as --fail-if of roost load names it: latency.p99,message_rate [latencies, rates, costs, losses]");
  compare.add_option("--json", given->json_path, "Write the comparison as JSON; - is standard output")->type_name("FILE");
  compare.add_option("--junit", given->junit_path, "Write it as JUnit's XML, a test a figure")->type_name("FILE");
  compare.add_option("--summary", given->summary_path, "Add it as Markdown to the end of a file: --summary \"$GITHUB_STEP_SUMMARY\"")->type_name("FILE");
  compare.footer("Make the runs of both sides in turn, so that what the machine does meanwhile meets both.\n"
                 "Exit status: 0 nothing is worse, 1 something is, 2 they cannot be compared, or there are too few runs to tell.");
  compare.callback([given, &exit_status] { exit_status = execute(*given); });
}

}  // namespace roost::compare
