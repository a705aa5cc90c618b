#include "tools/doctor/doctor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/doctor/apply.h"
#include "tools/doctor/diagnosis.h"
#include "tools/doctor/folklore.h"
#include "tools/doctor/render.h"

namespace roost::doctor {
namespace {

// As typed; parsed by run(), so that every mistake is answered in this command's own words.
struct Options {
  std::string connections = "1000000";
  std::string role = "server";
  std::string processes = "auto";
  std::string sources = "auto";
  std::string targets = "1";
  std::string rate;
  std::string handler = "fiber";
  std::string user_bytes;
  std::string client_user_bytes = "470";
  bool ipv6 = false;
  std::string unit;
  std::string root;
  std::string only;
  bool json = false;
  bool all = false;
  bool apply = false;
  bool undo = false;
  bool dry_run = false;
  std::string undo_file = std::string(undo_file_default);
  std::string write;
  bool folklore = false;
};

constexpr int fit = 0;
constexpr int not_fit = 1;
constexpr int bad_usage = 2;

// "1000000", "1,000,000", "100k" or "2M".
std::optional<std::uint64_t> parse_count(std::string text) {
  std::erase_if(text, [](char c) { return c == ',' || c == '_'; });
  std::uint64_t factor = 1;
  if (!text.empty() && (text.back() == 'k' || text.back() == 'K')) factor = 1'000;
  if (!text.empty() && (text.back() == 'm' || text.back() == 'M')) factor = 1'000'000;
  if (factor != 1) text.pop_back();
  if (text.starts_with(' ')) return std::nullopt;
  const auto number = parse_number(text);
  // A thousand million connections is beyond any machine, and far from overflow in the formulas.
  if (!number || *number > 1'000'000'000 / factor) return std::nullopt;
  return *number * factor;
}

// Collects the first complaint; everything after it is moot.
class Parser {
 public:
  [[nodiscard]] const std::string& complaint() const { return complaint_; }

  void complain(std::string text) {
    if (complaint_.empty()) complaint_ = std::move(text);
  }
  std::uint64_t count(std::string_view option, const std::string& text, std::uint64_t least, std::uint64_t most) {
    const auto value = parse_count(text);
    if (value && *value >= least && *value <= most) return *value;
    complain(fmt::format("{} {}: expected a number from {} to {} (like 250000, 250k or 1M)", option, quoted(text),
                         with_commas(least), with_commas(most)));
    return least;
  }
  template <class T>
  T choice(std::string_view option, const std::string& text,
           std::initializer_list<std::pair<std::string_view, T>> all) {
    std::vector<std::string_view> names;
    for (const auto& [name, value] : all) {
      if (name == text) return value;
      names.push_back(name);
    }
    complain(fmt::format("{} {}: expected {}", option, quoted(text), fmt::join(names, ", ")));
    return all.begin()->second;
  }

 private:
  static std::string quoted(std::string_view text) { return fmt::format("'{}'", text); }

  std::string complaint_;
};

Ask parse(const Options& options, Parser& parser) {
  Ask ask;
  ask.connections = parser.count("--connections", options.connections, 1, 1'000'000'000);
  ask.role = parser.choice<Role>("--role", options.role,
                                 {{"server", Role::server}, {"client", Role::client}, {"both", Role::both}});
  if (options.processes != "auto") {
    ask.processes = static_cast<std::uint32_t>(parser.count("--processes", options.processes, 1, 100'000));
  }
  if (options.sources != "auto") {
    ask.sources = static_cast<std::uint32_t>(parser.count("--sources", options.sources, 1, 16'777'214));
  }
  ask.targets = static_cast<std::uint32_t>(parser.count("--targets", options.targets, 1, 1'000'000));
  ask.rate = options.rate.empty() ? std::min<std::uint64_t>(ask.connections, 20'000)
                                  : parser.count("--rate", options.rate, 1, 10'000'000);
  ask.handler = parser.choice<Handler>("--handler", options.handler,
                                       {{"fiber", Handler::fiber}, {"on-demand", Handler::on_demand}});
  if (!options.user_bytes.empty()) ask.user_bytes = parser.count("--user-bytes", options.user_bytes, 1, 1'000'000'000);
  ask.client_user_bytes = parser.count("--client-user-bytes", options.client_user_bytes, 0, 1'000'000'000);
  ask.ipv6 = options.ipv6;
  ask.unit = options.unit;
  if (!ask.unit.empty() && (ask.unit.contains('/') || !ask.unit.contains('.'))) {
    parser.complain(fmt::format("--unit '{}': expected a unit's name, such as roost.service", ask.unit));
  }
  return ask;
}

std::vector<std::string> parse_only(const Options& options, Parser& parser) {
  std::vector<std::string> only;
  for (const auto id : split(options.only, ", ")) {
    if (find_check(id) == nullptr) {
      std::vector<std::string_view> ids;
      for (const auto& check : all_checks()) ids.push_back(check.id);
      parser.complain(fmt::format("--only '{}': no such check; there are {}", id, fmt::join(ids, ", ")));
    }
    only.emplace_back(id);
  }
  if (!options.only.empty() && only.empty()) parser.complain(fmt::format("--only '{}': names no check", options.only));
  return only;
}

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

bool all_went_well(const std::vector<Applied>& applied) {
  return std::ranges::none_of(applied, [](const Applied& one) {
    return one.outcome == Outcome::refused || one.outcome == Outcome::left_alone;
  });
}

int run_undo(const System& system, const Options& options, const Look& look) {
  const auto undone = undo(system, options.undo_file, options.dry_run);
  if (!undone) {
    if (undone.error() == std::errc::no_such_file_or_directory) {
      fmt::print(stderr, "roost doctor: nothing to undo: {} does not exist\n", options.undo_file);
    } else if (undone.error() == std::errc::invalid_argument) {
      fmt::print(stderr, "roost doctor: --undo-file '{}': not an undo file of roost doctor\n", options.undo_file);
      return bad_usage;
    } else {
      fmt::print(stderr, "roost doctor: {}: {}\n", options.undo_file, undone.error().message());
    }
    return not_fit;
  }
  print(options.json ? render_json(*undone)
                     : render_text(*undone, options.dry_run ? "Undo would do this" : "Undone", look));
  return all_went_well(*undone) ? fit : not_fit;
}

int run_apply(const System& system, const Options& options, const Ask& ask, const std::vector<std::string>& only,
              const Look& look) {
  const auto before = diagnose(system, ask, only);
  const auto applied = apply(system, before, only, options.undo_file, options.dry_run);
  if (!applied) {
    fmt::print(stderr,
               "roost doctor: nothing was changed: the undo file {} cannot be written: {}; name another with "
               "--undo-file\n",
               options.undo_file, applied.error().message());
    return not_fit;
  }
  if (options.json) {
    print(render_json(*applied));
  } else {
    print(render_text(*applied, options.dry_run ? "Apply would do this" : "Applied", look));
  }
  if (options.dry_run) return before.fit ? fit : not_fit;
  const auto after = diagnose(system, ask, only);
  if (!options.json) {
    const auto whole = diagnose(system, ask);
    fmt::print("\n{}\n", whole.headline());
    for (const auto& [check, finding] : whole.judged) {
      if (finding.verdict == Verdict::too_low) fmt::print("Still too low: {} ({})\n", check->id, finding.value);
    }
    const bool changed =
        std::ranges::any_of(*applied, [](const Applied& one) { return one.outcome == Outcome::changed; });
    if (changed) {
      const auto where = options.undo_file == undo_file_default ? "" : " --undo-file " + options.undo_file;
      fmt::print("Until the next reboot. Take back: roost doctor --undo{}. Keep: roost doctor --write sysctl.d\n",
                 where);
    }
  }
  return after.fit && all_went_well(*applied) ? fit : not_fit;
}

int run(const Options& options) {
  Parser parser;
  const Ask ask = parse(options, parser);
  const auto only = parse_only(options, parser);
  if (options.apply && options.undo) parser.complain("--apply and --undo exclude each other: give one of them");
  if (options.dry_run && !options.apply && !options.undo) parser.complain("--dry-run goes with --apply or --undo");
  if (!options.write.empty()) {
    parser.choice<int>("--write", options.write, {{"sysctl.d", 0}, {"systemd", 1}});
    if (options.apply || options.undo) parser.complain("--write only prints; give it without --apply and --undo");
    if (options.json) parser.complain("--write prints a file, not JSON; leave --json out");
  }
  if (!options.root.empty() && !System(options.root).exists("/proc")) {
    parser.complain(fmt::format("--root '{}': expected a directory with the folder proc in it", options.root));
  }
  if (!parser.complaint().empty()) {
    fmt::print(stderr, "roost doctor: {}\n", parser.complaint());
    return bad_usage;
  }

  const System system(options.root == "/" ? std::string() : options.root);
  Look look = look_of(STDOUT_FILENO);
  look.details = options.all;
  if (options.folklore) {
    const auto folklore = folklore_here(system);
    print(options.json ? render_json(folklore) : render_text(folklore, look));
    return fit;
  }
  if (options.undo) return run_undo(system, options, look);
  if (options.apply) return run_apply(system, options, ask, only, look);
  const auto diagnosis = diagnose(system, ask, only);
  if (!options.write.empty()) {
    print(options.write == "systemd" ? render_systemd_file(diagnosis) : render_sysctl_file(diagnosis));
    return fit;
  }
  print(options.json ? render_json(diagnosis) : render_text(diagnosis, look));
  return diagnosis.fit ? fit : not_fit;
}

}  // namespace

void add_doctor_command(CLI::App& app, int& exit_status) {
  auto* command = app.add_subcommand("doctor", "Will this machine hold N connections, and what stands in the way?");
  // Shared with the callback, which runs long after this function has returned.
  auto options = std::make_shared<Options>();
  command->add_option("-n,--connections", options->connections, "Connections to hold at once (250000, 250k, 1M)")
      ->capture_default_str();
  command->add_option("--role", options->role, "Which end lives here: server, client or both")->capture_default_str();
  command->add_option("--processes", options->processes, "Processes at each end, or auto")->capture_default_str();
  command->add_option("--rate", options->rate, "Connections opened in a second (default: N, at most 20000)");
  command->add_option("--handler", options->handler, "How the server waits: fiber or on-demand")->capture_default_str();
  command
      ->add_option("--sources", options->sources,
                   "Local addresses to dial from; auto is one, or as many as needed with --role both")
      ->capture_default_str();
  command->add_option("--targets", options->targets, "Addresses and ports that are dialled")->capture_default_str();
  command->add_option("--user-bytes", options->user_bytes,
                      "The server's own memory for a connection (default: 4300, or 600 with --handler on-demand)");
  command->add_option("--client-user-bytes", options->client_user_bytes, "The client's own memory for a connection")
      ->capture_default_str();
  command->add_flag("--ipv6", options->ipv6, "Sockets are IPv6 (a dual-stack listener makes them so)");
  command->add_option("--unit", options->unit, "The systemd unit that will run the server");
  command->add_option("--root", options->root,
                      "Judge the proc and sys in this directory, such as /host in a container");
  command->add_option("--only", options->only, "Only these checks, by id, joined by commas");
  command->add_flag("-a,--all", options->all, "Explain the checks that are in order, too");
  command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("--apply", options->apply, "Change what can be changed now, until the next reboot");
  command->add_flag("--undo", options->undo, "Take back what --apply changed");
  command->add_flag("--dry-run", options->dry_run, "With --apply or --undo: show, change nothing");
  command->add_option("--undo-file", options->undo_file, "Where --apply keeps the former values")
      ->capture_default_str();
  command->add_option("--write", options->write, "Print a ready file: sysctl.d or systemd");
  command->add_flag("--folklore", options->folklore, "What often-copied settings really do, and their values here");
  command->footer("Exit status: 0 fit, 1 not fit, 2 bad usage. Every check is explained in docs/doctor.md.");
  command->callback([options, &exit_status] { exit_status = run(*options); });
}

}  // namespace roost::doctor
