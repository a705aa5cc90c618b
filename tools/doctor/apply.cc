#include "tools/doctor/apply.h"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>

namespace roost::doctor {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::string_view schema = "roost.doctor-undo/1";

struct UndoEntry {
  std::string check_id;
  std::string setting;
  std::string path;
  std::string before;
  std::string after;
};

// A file of several choices marks the chosen one: "always [madvise] never".
std::string current_value(std::string text) {
  const auto open = text.find('[');
  const auto close = text.find(']');
  if (open != std::string::npos && close != std::string::npos && open < close) {
    return text.substr(open + 1, close - open - 1);
  }
  // "32768   60999" -> "32768 60999"
  std::string joined;
  for (const auto word : split(text)) {
    if (!joined.empty()) joined += ' ';
    joined += word;
  }
  return joined;
}

Result<std::vector<UndoEntry>> load(const std::string& file) {
  std::ifstream in(file);
  if (!in) return std::unexpected(std::error_code(errno != 0 ? errno : ENOENT, std::generic_category()));
  const auto json = Json::parse(in, nullptr, /*allow_exceptions=*/false);
  const auto bad = [] { return std::unexpected(std::make_error_code(std::errc::invalid_argument)); };
  if (!json.is_object() || json.value("schema", "") != schema || !json.contains("changes")) return bad();
  std::vector<UndoEntry> entries;
  for (const auto& change : json["changes"]) {
    UndoEntry entry;
    for (const auto& [name, member] : {std::pair{"check", &UndoEntry::check_id},
                                       {"setting", &UndoEntry::setting},
                                       {"path", &UndoEntry::path},
                                       {"before", &UndoEntry::before},
                                       {"after", &UndoEntry::after}}) {
      if (!change.is_object() || !change.contains(name) || !change[name].is_string()) return bad();
      entry.*member = change[name].get<std::string>();
    }
    // The file is data, and undo may run as root: it writes settings and nothing else.
    const bool is_setting = entry.path.starts_with("/proc/sys/") || entry.path.starts_with("/sys/kernel/mm/");
    if (!is_setting || entry.path.contains("..")) return bad();
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<void> save(const std::string& file, const std::vector<UndoEntry>& entries) {
  Json changes = Json::array();
  for (const auto& entry : entries) {
    changes.push_back({{"check", entry.check_id},
                       {"setting", entry.setting},
                       {"path", entry.path},
                       {"before", entry.before},
                       {"after", entry.after}});
  }
  // Written aside and renamed: an undo file is either whole or the former one.
  const std::string aside = file + ".new";
  errno = 0;
  {
    std::ofstream out(aside, std::ios::trunc);
    out << Json{{"schema", schema}, {"changes", std::move(changes)}}.dump(2) << "\n";
    out.flush();
    if (!out) return std::unexpected(std::error_code(errno != 0 ? errno : EIO, std::generic_category()));
  }
  if (std::rename(aside.c_str(), file.c_str()) != 0) {
    return std::unexpected(std::error_code(errno, std::generic_category()));
  }
  return {};
}

void write_and_read_back(const System& system, Applied& applied) {
  const auto written = system.write(applied.path, applied.wanted);
  applied.after = current_value(system.read(applied.path).value_or(""));
  if (!written) {
    applied.outcome = Outcome::refused;
    applied.why = written.error().message();
  } else if (applied.after != applied.wanted) {
    applied.outcome = Outcome::refused;
    applied.why = "the kernel kept another value";
  } else {
    applied.outcome = Outcome::changed;
  }
}

}  // namespace

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::changed:
      return "changed";
    case Outcome::would_change:
      return "would change";
    case Outcome::unchanged:
      return "unchanged";
    case Outcome::refused:
      return "refused";
    case Outcome::left_alone:
      return "left alone";
  }
  return "";
}

Result<std::vector<Applied>> apply(const System& system, const Diagnosis& diagnosis,
                                   const std::vector<std::string>& only, const std::string& undo_file, bool dry_run) {
  std::vector<Applied> plan;
  for (const auto& [check, finding] : diagnosis.judged) {
    if (finding.verdict == Verdict::ok) continue;
    if (only.empty() ? finding.needs_consent : std::ranges::find(only, check->id) == only.end()) continue;
    for (const auto& change : finding.changes) {
      Applied applied;
      applied.check_id = check->id;
      applied.setting = change.key.empty() ? change.path : change.key;
      applied.path = change.path;
      applied.before = current_value(system.read(change.path).value_or(""));
      applied.after = applied.before;
      applied.wanted = change.value;
      applied.outcome = applied.before == applied.wanted ? Outcome::unchanged : Outcome::would_change;
      plan.push_back(std::move(applied));
    }
  }
  if (dry_run || plan.empty()) return plan;

  auto entries = load(undo_file);
  if (!entries && entries.error() != std::errc::no_such_file_or_directory) return std::unexpected(entries.error());
  if (!entries) entries.emplace();
  for (const auto& applied : plan) {
    if (applied.outcome != Outcome::would_change) continue;
    const auto known = std::ranges::find(*entries, applied.path, &UndoEntry::path);
    if (known == entries->end()) {
      entries->push_back({applied.check_id, applied.setting, applied.path, applied.before, applied.wanted});
    } else {
      known->after = applied.wanted;
    }
  }
  if (auto saved = save(undo_file, *entries); !saved) return std::unexpected(saved.error());

  for (auto& applied : plan) {
    if (applied.outcome == Outcome::would_change) write_and_read_back(system, applied);
  }
  return plan;
}

Result<std::vector<Applied>> undo(const System& system, const std::string& undo_file, bool dry_run) {
  auto entries = load(undo_file);
  if (!entries) return std::unexpected(entries.error());
  std::vector<Applied> done;
  std::vector<UndoEntry> remaining;
  for (auto entry = entries->rbegin(); entry != entries->rend(); ++entry) {
    Applied applied;
    applied.check_id = entry->check_id;
    applied.setting = entry->setting;
    applied.path = entry->path;
    applied.before = current_value(system.read(entry->path).value_or(""));
    applied.wanted = entry->before;
    applied.after = applied.before;
    if (applied.before == applied.wanted) {
      applied.outcome = Outcome::unchanged;
    } else if (applied.before != entry->after) {
      applied.outcome = Outcome::left_alone;
      applied.why = "changed by somebody else since";
    } else if (dry_run) {
      applied.outcome = Outcome::would_change;
    } else {
      write_and_read_back(system, applied);
      if (applied.outcome == Outcome::refused) remaining.insert(remaining.begin(), *entry);
    }
    done.push_back(std::move(applied));
  }
  if (dry_run) return done;
  if (remaining.empty()) {
    std::remove(undo_file.c_str());
  } else if (auto saved = save(undo_file, remaining); !saved) {
    return std::unexpected(saved.error());
  }
  return done;
}

}  // namespace roost::doctor
