#include "tools/cases/cases.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tools/cases/case.h"
#include "tools/cases/render.h"
#include "tools/common/command.h"
#include "tools/common/parse.h"
#include "tools/common/proc.h"
#include "tools/web/web.h"

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

nlohmann::ordered_json report_of(const std::vector<Outcome>& outcomes, bool quick) {
  utsname kernel{};
  ::uname(&kernel);
  nlohmann::ordered_json report{{"schema", "roost.cases/1"},
                                {"quick", quick},
                                {"machine", {{"kernel", kernel.release}, {"processors", tools::processor_count()}}},
                                {"cases", nlohmann::ordered_json::array()}};
  for (const Outcome& outcome : outcomes) report["cases"].push_back(to_json(outcome));
  return report;
}

// A file that is opened before the work, because a report that cannot be written should be known of then.
class ReportFile {
 public:
  // False, after one line on standard error, when it cannot be opened. An empty path is no file.
  bool open(const std::string& option, const std::string& path) {
    option_ = option;
    path_ = path;
    if (path.empty()) return true;
    file_.open(path, std::ios::trunc);
    return file_ ? true : fail("name a file in a directory that you may write to");
  }
  [[nodiscard]] bool is_open() const { return file_.is_open(); }
  bool write(const std::string& text) {
    if (!file_.is_open()) return true;
    file_ << text;
    file_.close();
    return file_ ? true : fail("make room or name another file");
  }

 private:
  bool fail(const char* remedy) {
    tools::print_error("cases", fmt::format("{} {}: {}; {}", option_, path_, std::strerror(errno), remedy));
    return false;
  }
  std::string option_;
  std::string path_;
  std::ofstream file_;
};

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
  ReportFile json_file;
  if (!json_file.open("--json", json_to_output ? "" : options.json_path)) return 2;
  ReportFile html_file;
  if (!html_file.open("--html", options.html_path)) return 2;

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
  const bool written =
      json_file.write(json) & html_file.write(html_file.is_open() ? web::page("cases.html", report) : "");
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
