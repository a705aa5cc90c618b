#include "tools/load/bundle.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <system_error>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "tools/common/format.h"
#include "tools/common/input.h"
#include "tools/common/proc.h"
#include "tools/doctor/diagnosis.h"
#include "tools/doctor/render.h"
#include "tools/load/asked.h"
#include "tools/load/csv.h"
#include "tools/load/histograms.h"
#include "tools/load/html.h"
#include "tools/load/scenario.h"

#ifdef __clang__
#define ROOST_COMPILER __VERSION__  // "Clang 19.1.7"
#else
#define ROOST_COMPILER "GCC " __VERSION__
#endif

namespace roost::load {
namespace {

std::expected<void, std::string> make_folder(const std::string& path) {
  const auto refuse = [&path](std::string_view why) { return std::unexpected(fmt::format("--record {}: {}", path, why)); };
  if (::mkdir(path.c_str(), 0777) == 0) return {};
  if (errno != EEXIST) return refuse(fmt::format("{}; name a folder in one that you may write to", std::strerror(errno)));
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return refuse("it is there already and no folder; name a new one");
  const bool is_empty = std::filesystem::is_empty(path, error);
  if (error) return refuse(fmt::format("{}; name another folder", error.message()));
  if (!is_empty) return refuse("it is there already and not empty; name a new folder");
  return {};
}

// What the doctor sees, who is asked for this load's connections.
std::string settings(const LoadOptions& options, const Plan& plan) {
  doctor::Ask ask;
  ask.connections = options.clients_max();
  ask.role = options.targets_loopback() ? doctor::Role::both : doctor::Role::client;
  ask.processes = plan.processes;
  ask.sources = plan.sources ? plan.sources->count : 0;
  ask.targets = static_cast<std::uint32_t>(options.targets.size());
  ask.rate = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(options.stages.front().ramp.mean_rate()));
  return doctor::render_json(doctor::diagnose(doctor::System(), ask));
}

std::string readme(const Record& record) {
  std::string text;
  const auto line = [&text](std::string_view name, std::string_view value) { text += fmt::format("{:<10} {}\n", name, value); };
  text += "A load by roost, recorded so that it can be repeated.\n\n";
  line("command", record.command);
  line("started", fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::chrono::system_clock::to_time_t(record.started))));
  line("version", "roost " ROOST_VERSION ", built by " ROOST_COMPILER);
  if (const char* poller = std::getenv("ROOST_POLLER"); poller != nullptr) line("poller", fmt::format("ROOST_POLLER={}", poller));
  line("kernel", record.machine.kernel);
  line("processors", fmt::format("{} x {}", record.machine.processors, record.machine.processor));
  line("memory", tools::format_bytes(static_cast<double>(record.machine.memory_bytes)));
  line("verdict", verdict(record));
  text += fmt::format(
      "\nTo repeat it, start the same server and, in this folder, run\n\n  {}\n\n"
      "A target on the command line, --target HOST:PORT, goes before the one in scenario.json. With the server on the same machine add\n"
      "--server-pid PID for its memory and CPU. A report of the repetition by --json FILE can be held against report.json by roost compare,\n"
      "which asks for several runs of each.\n\n",
      repeating_command(record.options, record.plan));
  text += "report.txt, report.json, report.csv, histograms.jsonl and report.html tell how it went. machine.json has the settings of the machine that the\n"
          "load was made on, as roost doctor reads them, from before it began; hold them against `roost doctor --json` of yours.\n";
  return text;
}

}  // namespace

std::string repeating_command(const LoadOptions& options, const Plan& plan) {
  std::string command = fmt::format("roost load --scenario scenario.json --processes {}", plan.processes);
  for (const Condition& condition : options.fail_if) command += fmt::format(" --fail-if '{}'", condition.text);
  return command;
}

std::expected<void, std::string> add_bundle(const LoadOptions& options, const Plan& plan, const Record& record, tools::OutputFiles& outputs) {
  if (options.record_path.empty()) return {};
  std::string given;
  if (!options.scenario_path.empty()) {
    auto text = tools::read_input(options.scenario_path, scenario_bytes_max);
    if (!text) return std::unexpected("--scenario " + text.error());
    given = std::move(*text);
  }
  if (auto made = make_folder(options.record_path); !made) return made;
  const auto add = [&](const char* name, std::function<std::string()> content) {
    outputs.add("--record", (std::filesystem::path(options.record_path) / name).string(), std::move(content));
  };
  add("README.txt", [&record] { return readme(record); });
  add("scenario.json", [&options] { return scenario_of(options).dump(2) + '\n'; });
  if (!given.empty()) add("given.json", [given = std::move(given)] { return given; });
  add("report.txt", [&record] { return to_text(record); });
  add("report.json", [&record] { return to_json(record).dump(2) + '\n'; });
  add("report.csv", [&record] { return to_csv(record.timeline); });
  add("machine.json", [text = settings(options, plan)] { return text; });
  outputs.add_in_pieces("--record", (std::filesystem::path(options.record_path) / "histograms.jsonl").string(),
                        [&record](tools::OutputFile& file) { return write_histograms(record, file); });
  add("report.html", [&record] { return to_html(record); });
  return {};
}

}  // namespace roost::load
