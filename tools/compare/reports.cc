#include "tools/compare/reports.h"

#include <charconv>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "tools/common/format.h"
#include "tools/common/input.h"

namespace roost::compare {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t report_bytes_max = 64 * 1024 * 1024;
constexpr std::size_t differences_max = 3;  // that are named; a line has an end

std::string text_at(const ordered_json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool is_true(const ordered_json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

// What was asked for, without what may differ.
ordered_json load_of(const Run& run) {
  ordered_json load = run.report["scenario"];
  const auto target = load.find("target");
  if (target != load.end()) *target = target->size();
  return load;
}

// "/stages/0/connections" as "stage 1 connections".
std::string place_of(const std::string& pointer) {
  if (pointer == "/target") return "number of targets";
  if (!pointer.starts_with("/stages/")) return pointer.substr(1);
  const std::string rest = pointer.substr(8);
  const std::size_t slash = rest.find('/');
  std::size_t index = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), index);
  return fmt::format("stage {}{}", index + 1, slash == std::string::npos ? "" : " " + rest.substr(slash + 1));
}

// "stage 1 connections 1000 and 2000, protocol "line" and "length"".
std::string differences(const ordered_json& one, const ordered_json& other) {
  const std::size_t stages = one.value("stages", ordered_json()).size();
  const std::size_t other_stages = other.value("stages", ordered_json()).size();
  if (stages != other_stages) return fmt::format("number of stages {} and {}", stages, other_stages);
  std::string text;
  std::size_t count = 0;
  for (const ordered_json& change : ordered_json::diff(one, other)) {
    if (++count > differences_max) continue;
    const std::string pointer = change["path"];
    const ordered_json::json_pointer at(pointer);
    const auto shown = [&at](const ordered_json& json) -> std::string {
      if (!json.contains(at)) return "none";
      return json[at].is_structured() ? "more" : json[at].dump();
    };
    text += fmt::format("{}{} {} and {}", text.empty() ? "" : ", ", place_of(pointer), shown(one), shown(other));
  }
  return count > differences_max ? fmt::format("{} and {} more", text, count - differences_max) : text;
}

template <class F>
void for_each_run(const std::vector<Run>& base, const std::vector<Run>& with, F&& f) {
  for (const auto* side : {&base, &with}) {
    for (const Run& run : *side) f(run);
  }
}

}  // namespace

std::expected<Run, std::string> parse_run(std::string path, const std::string& text) {
  ordered_json report = ordered_json::parse(text, nullptr, false);
  const auto refuse = [&path](std::string_view why) { return std::unexpected(fmt::format("{}: {}", path, why)); };
  if (text.empty()) return refuse("the file is empty; was its load stopped before it ended?");
  if (!report.is_object() || !report.contains("schema") || !report.contains("latency_us") || !report.contains("connections")) {
    return refuse("not a report; name files that roost load --json wrote");
  }
  if (report["schema"] != 1) return refuse(fmt::format("a report of schema {}, and only 1 is known; compare with the roost that wrote it", report["schema"].dump()));
  if (!report.contains("scenario") || !report["scenario"].is_object()) {
    return refuse("an older report, which does not tell what was asked for; run that load again with this roost");
  }
  if (is_true(report, "interrupted")) return refuse("the run was interrupted, so its figures are of a part; repeat it, or leave it out");
  if (const std::string why = text_at(report, "given_up"); !why.empty()) {
    return refuse(fmt::format("the run was given up ({}); repeat it, or leave it out", why));
  }
  if (report.contains("lost_processes")) return refuse("the run lost processes of its own, and their figures with them; repeat it, or leave it out");
  return Run{std::move(path), std::move(report)};
}

std::expected<std::vector<Run>, std::string> read_runs(const std::vector<std::string>& paths) {
  std::vector<Run> runs;
  for (const std::string& path : paths) {
    const auto text = tools::read_input(path, report_bytes_max);
    if (!text) return std::unexpected(text.error());
    auto run = parse_run(path, *text);
    if (!run) return std::unexpected(std::move(run.error()));
    runs.push_back(std::move(*run));
  }
  return runs;
}

std::expected<void, std::string> check_same_load(const std::vector<Run>& base, const std::vector<Run>& with) {
  const Run& first = base.front();
  const ordered_json load = load_of(first);
  std::expected<void, std::string> fine;
  for_each_run(base, with, [&](const Run& run) {
    if (!fine) return;
    const ordered_json other = load_of(run);
    if (load != other) {
      fine = std::unexpected(fmt::format("{} and {} are of different loads: {}; compare runs that were asked for the same", first.path, run.path,
                                         differences(load, other)));
    }
  });
  return fine;
}

std::vector<std::string> doubts(const std::vector<Run>& base, const std::vector<Run>& with) {
  std::vector<std::string> all;
  std::set<std::string> machines;
  std::set<std::string> versions;
  std::size_t late = 0;
  for_each_run(base, with, [&](const Run& run) {
    const ordered_json& machine = run.report.value("machine", ordered_json::object());
    machines.insert(fmt::format("{}, {} x {}, {}", text_at(machine, "kernel"), machine.value("processors", 0u), text_at(machine, "processor"),
                                tools::format_bytes(machine.value("memory_bytes", 0.0))));
    versions.insert(text_at(run.report, "version"));
    if (is_true(run.report, "generator_late")) ++late;
  });
  const auto joined = [](const std::set<std::string>& texts) {
    std::string text;
    for (const std::string& one : texts) text += (text.empty() ? "" : "; ") + one;
    return text;
  };
  if (machines.size() > 1) all.push_back(fmt::format("the loads ran on different machines, so a difference may be theirs: {}", joined(machines)));
  if (versions.size() > 1) all.push_back(fmt::format("the loads were made by different versions, so a difference may be the generator's: {}", joined(versions)));
  if (late > 0) {
    all.push_back(fmt::format("in {} of {} runs the generator was late, so their latencies are partly its own; use a lower rate or more processors", late,
                              base.size() + with.size()));
  }
  return all;
}

}  // namespace roost::compare
