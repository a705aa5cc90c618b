#include "tools/cases/cases.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tools/cases/case.h"
#include "tools/cases/page.h"
#include "tools/cases/render.h"
#include "tools/common/command.h"
#include "tools/common/output.h"
#include "tools/common/parse.h"

namespace roost::cases {
namespace {

struct Options {
  std::vector<std::string> cases;  // as typed; none: all
  bool list = false;
  bool quick = false;
  bool json = false;
  std::string json_path;  // empty or "-": standard output
  std::string html_path;  // empty: none
};

void print_list() {
  for (const Case& one : all_cases()) fmt::print("{}  {:<10} {:<36} {}\n", one.number, one.id, one.title, one.question);
}

// The cases that were asked for, in order and once each; or the mistake.
tools::Parsed<std::vector<Case>> chosen_cases(const std::vector<std::string>& wanted) {
  const auto all = all_cases();
  if (wanted.empty()) return std::vector<Case>(all.begin(), all.end());
  std::vector<bool> is_wanted(all.size(), false);
  for (const std::string& text : wanted) {
    const auto found = std::ranges::find_if(
        all, [&](const Case& one) { return text == one.id || text == std::to_string(one.number); });
    if (found == all.end()) {
      return std::unexpected(
          fmt::format("--case {}: there is no such case; write 1 to {}, see roost cases --list", text, all.size()));
    }
    is_wanted[static_cast<std::size_t>(found - all.begin())] = true;
  }
  std::vector<Case> chosen;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (is_wanted[i]) chosen.push_back(all[i]);
  }
  return chosen;
}

Outcome run_case(const Case& one, const Setting& setting, Progress& progress) {
  progress.start_case(one.number, one.title);
  const auto start = std::chrono::steady_clock::now();
  Outcome outcome;
  try {
    outcome = one.run(setting, progress);
  } catch (const Failure& failure) {
    // Not a verdict of the experiment, but it did not show what it claims either.
    outcome.claims = {{fmt::format("the experiment failed: {}", failure.what()), false, true}};
  }
  outcome.number = one.number;
  outcome.id = one.id;
  outcome.title = one.title;
  outcome.quick = setting.quick;
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

// Opened before the work, because a report that cannot be written should be known of then. An empty path is no file.
std::expected<std::optional<tools::OutputFile>, std::string> open_output(const char* option, const std::string& path) {
  if (path.empty()) return std::nullopt;
  auto opened = tools::OutputFile::open(option, path);
  if (!opened) return std::unexpected(std::move(opened.error()));
  return std::optional(std::move(*opened));
}

int execute(const Options& options) {
  if (options.list) {
    print_list();
    return 0;
  }
  const auto cases = chosen_cases(options.cases);
  if (!cases) {
    tools::print_error("cases", cases.error());
    return 2;
  }
  const bool json_to_output = options.json && (options.json_path.empty() || options.json_path == "-");
  auto json_file = open_output("--json", json_to_output ? "" : options.json_path);
  auto html_file = json_file ? open_output("--html", options.html_path) : std::nullopt;
  for (const auto* file : {&json_file, &html_file}) {
    if (*file) continue;
    tools::print_error("cases", file->error());
    return 2;
  }

  const Setting setting{.quick = options.quick, .own_network = can_have_own_network()};
  const TextStyle style = TextStyle::of_terminal();
  std::vector<Outcome> outcomes;
  for (const Case& one : *cases) {
    {
      Progress progress;
      outcomes.push_back(run_case(one, setting, progress));
    }
    // At once: a minute is long, and the first case has its answer.
    if (!json_to_output) fmt::print("{}\n", to_text(outcomes.back(), style));
    std::fflush(stdout);
  }
  const auto report = report_of(outcomes, options.quick);
  const std::string json = report.dump(2) + "\n";
  if (json_to_output) {
    fmt::print("{}", json);
  } else {
    fmt::print("{}", summary_text(outcomes));
  }
  std::fflush(stdout);
  bool written = true;
  const auto write = [&written](std::optional<tools::OutputFile>& file, const std::string& content) {
    if (const auto done = file->write(content); !done) {
      tools::print_error("cases", done.error());
      written = false;
    }
  };
  if (*json_file) write(*json_file, json);
  if (*html_file) write(*html_file, to_html(report));
  const bool all_shown =
      std::ranges::none_of(outcomes, [](const Outcome& one) { return one.verdict() == Verdict::not_shown; });
  return written && all_shown ? 0 : 1;
}

}  // namespace

void add_cases_command(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<Options>();
  CLI::App& cases = *app.add_subcommand(
      "cases", "Five failures of services with many connections, before and after, on this machine");
  cases.add_option("--case", options->cases, "Only this one, by number or name; may be repeated [all]")
      ->type_name("N")
      ->expected(1);
  cases.get_option("--case")->take_all();
  cases.add_flag("--list", options->list, "Name the cases and run none");
  cases.add_flag("--quick", options->quick, "Smaller counts and one round: shows that all works; times are not judged");
  cases
      .add_option("--json", options->json_path,
                  "The report as JSON, into FILE or on standard output instead of the text")
      ->type_name("[FILE]")
      ->expected(0, 1);
  cases.add_option("--html", options->html_path, "The report as one self-contained page with charts")
      ->type_name("FILE");
  cases.callback([options, &cases, &exit_status] {
    options->json = cases.count("--json") > 0;
    exit_status = execute(*options);
  });
}

}  // namespace roost::cases
