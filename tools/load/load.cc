#include "tools/load/load.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <roost/time/deadline.h>

#include "tools/common/command.h"
#include "tools/common/format.h"
#include "tools/common/listen.h"
#include "tools/common/output.h"
#include "tools/common/parse.h"
#include "tools/common/proc.h"
#include "tools/common/shards.h"
#include "tools/load/attack.h"
#include "tools/load/bundle.h"
#include "tools/load/client.h"
#include "tools/load/clock.h"
#include "tools/load/csv.h"
#include "tools/load/figures.h"
#include "tools/load/heat.h"
#include "tools/load/histograms.h"
#include "tools/load/html.h"
#include "tools/load/live_metrics.h"
#include "tools/load/plan.h"
#include "tools/load/progress.h"
#include "tools/load/report.h"
#include "tools/load/report_ci.h"
#include "tools/load/scenario.h"
#include "tools/load/threshold.h"
#include "tools/load/timeline.h"

namespace roost::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using tools::format_count;

double seconds(std::int64_t ns) { return static_cast<double>(ns) / 1e9; }

constexpr std::int64_t start_delay_ns = 50'000'000;   // from "begin" or "run" to its moment, so that every process knows in time
constexpr std::uint64_t hopeless_failures = 100;      // so many without a single success: going on is pointless
constexpr nanoseconds result_grace = 10s;             // for results, beyond what time-outs explain
constexpr nanoseconds second_signal_after = 300ms;
constexpr nanoseconds leave_grace = 90s;              // for processes to close their connections

// The parent of the load: no runtime, one thread.
class Conductor {
 public:
  Conductor(const LoadOptions& options, const Plan& plan) : options_(options), plan_(plan), progress_(options, record_.timeline), shards_(plan.processes + plan.attack_processes) {}

  // 0, 1 or 2, as `roost load` exits. Fills in record().
  int conduct();
  [[nodiscard]] const Record& record() const noexcept { return record_; }

 private:
  struct Shard {
    Figures figures;       // the latest
    bool is_ready = false;
    bool has_result = false;
    bool is_gone = false;
  };

  void poll();
  // This one is among the client's.
  [[nodiscard]] std::vector<pid_t> client_pids() const;
  [[nodiscard]] std::vector<pid_t> attack_pids() const { return group_->pids(plan_.processes, group_->count()); }
  [[nodiscard]] Readings readings() const;
  [[nodiscard]] std::optional<tools::TcpCounters> read_server_tcp() const;
  void enter(const char* phase, std::int64_t begin_ns, std::int64_t end_ns = 0);
  void on_frame(unsigned index, const tools::Frame& frame);
  void on_exit(const tools::ShardExit& exit);
  void await_ready();
  void run_stages();
  void ramp();
  void run_window();
  [[nodiscard]] const Stage& stage() const { return options_.stages[stage_number_]; }
  void collect_results();
  void measure_standing();
  void dismiss();
  void give_up_if_hopeless();
  // Those behind them are the attackers'.
  [[nodiscard]] std::span<const Shard> honest_shards() const { return std::span(shards_).first(plan_.processes); }
  [[nodiscard]] bool is_honest(unsigned index) const { return index < plan_.processes; }
  [[nodiscard]] bool is_stopped() const {
    return record_.interrupted || !record_.given_up.empty() || std::ranges::all_of(honest_shards(), &Shard::is_gone);
  }
  [[nodiscard]] bool all(bool Shard::*member) const {
    return std::all_of(shards_.begin(), shards_.end(), [member](const Shard& s) { return s.is_gone || s.*member; });
  }
  [[nodiscard]] Counters sum() const;
  void tell_metrics(const Counters& now);

  const LoadOptions& options_;
  const Plan& plan_;
  Record record_;
  Progress progress_;
  std::vector<Shard> shards_;
  std::optional<tools::ShardGroup> group_;
  Histogram recent_;
  std::optional<LiveMetrics> metrics_;
  LiveFigures live_;            // what metrics_ is told, but for what is summed up each time
  const char* phase_ = "opening";
  std::int64_t phase_begin_ns_ = 0;
  std::int64_t phase_end_ns_ = 0;  // 0: open
  std::uint64_t peak_ = 0;
  std::uint64_t stage_number_ = 0;
  std::int64_t begin_ns_ = 0;   // of the first stage
  std::int64_t nearly_ns_ = 0;  // when 99 % of the connections were seen established; 0 until then
  RunWindow window_;
  std::vector<pid_t> server_;
  tools::ProcessUsage server_before_;
  tools::KernelMemory kernel_before_;
  tools::TcpCounters client_tcp_before_;
  std::uint64_t backlog_drops_before_ = 0;
  std::optional<tools::TcpCounters> server_tcp_before_;
  tools::MachineCpu machine_before_;
  tools::MachineCpu machine_at_run_;
  double server_cpu_at_run_ = 0;
  double client_cpu_at_run_ = 0;
  Deadline patient_until_;  // from then on a second signal means "at once"
};

Counters Conductor::sum() const {
  Counters total;
  for (const Shard& shard : shards_) total.merge(shard.figures.counters);
  return total;
}

void Conductor::on_frame(unsigned index, const tools::Frame& frame) {
  Shard& shard = shards_[index];
  if (frame.kind == ready) {
    shard.is_ready = true;
    return;
  }
  if (shard.has_result || (frame.kind != progress && frame.kind != result)) return;
  if (auto figures = Figures::decode(frame.payload)) {
    for (const Figures::Kind recent : {Figures::recent_run, Figures::recent_rest}) {
      recent_.merge(figures->histograms[recent]);
      live_.latency.merge(figures->histograms[recent]);
    }
    live_.lateness.merge(figures->histograms[Figures::recent_lateness]);
    record_.timeline.add(index, *figures);
    shard.figures = std::move(*figures);
    shard.has_result = frame.kind == result;
  }
}

void Conductor::on_exit(const tools::ShardExit& exit) {
  Shard& shard = shards_[exit.index];
  shard.is_gone = true;
  (is_honest(exit.index) ? record_.client : record_.attackers).cpu_s += exit.cpu_s;
  if (exit.exit_status == 0) return;
  // Whatever it held is gone with it.
  Counters& c = shard.figures.counters;
  const std::uint64_t lost = c.open;
  c.dropped += lost;
  c.failed += c.requested - c.established - c.failed;
  c.settled = c.requested;
  c.open = c.in_flight = 0;
  std::uint64_t attackers = 0;
  for (FaultFigures& fault : shard.figures.faults) attackers += std::exchange(fault.counts.open, 0);
  if (lost > 0) shard.figures.failures["lost_process"] += lost;
  c.told_ns = now_ns();
  for (std::size_t told = Figures::recent_run; told < Figures::kinds; ++told) shard.figures.histograms[told].clear();
  record_.timeline.add(exit.index, shard.figures);
  if (record_.interrupted && exit.killed()) return;  // by us
  record_.lost_processes.push_back(exit.to_string());
  progress_.clear();
  const std::string held = is_honest(exit.index) ? fmt::format("{} connections are lost", format_count(lost))
                                                 : fmt::format("{} attackers are gone", format_count(attackers));
  tools::print_error("load", fmt::format("{}; its {}, the others go on", exit.to_string(), held));
}

void Conductor::poll() {
  group_->poll(milliseconds(100), {.on_frame = [this](unsigned index, const tools::Frame& frame) { on_frame(index, frame); },
                                   .on_exit = [this](const tools::ShardExit& exit) { on_exit(exit); },
                                   .on_signal =
                                       [this](int) {
                                         // Asked again: at once. Not within a moment: timeout(1) signals a process and its group.
                                         if (record_.interrupted && patient_until_.has_passed()) group_->kill_all();
                                         if (!record_.interrupted) patient_until_ = Deadline::after(second_signal_after);
                                         record_.interrupted = true;
                                       }});
  const Counters now = sum();
  peak_ = std::max(peak_, now.open);
  if (nearly_ns_ == 0 && now.established * 100 >= options_.stages[0].connections * 99) nearly_ns_ = now_ns();
  if (record_.timeline.wants_readings(now_ns())) {
    const Readings now_read = readings();
    record_.timeline.add_readings(now_ns(), now_read);
    live_.cpu_s = now_read.client_cpu_s;
    live_.memory_bytes = now_read.client_bytes;
    if (!record_.stages.empty()) {
      if (auto& descriptors = record_.stages.back().server_descriptors) descriptors->most = std::max(descriptors->most, now_read.server_descriptors);
    }
  }
  FaultFigures::Counts attack;
  for (const Shard& shard : shards_) {
    for (const FaultFigures& fault : shard.figures.faults) attack.merge(fault.counts);
  }
  progress_.show({.phase = phase_, .now_ns = now_ns(), .phase_begin_ns = phase_begin_ns_, .phase_end_ns = phase_end_ns_, .counters = now, .attack = attack},
                 recent_);
  recent_.clear();
  if (metrics_) tell_metrics(now);
}

void Conductor::tell_metrics(const Counters& now) {
  live_.counters = now;
  live_.failures.clear();
  live_.faults.clear();
  for (const Shard& shard : shards_) {
    for (const auto& [cause, times] : shard.figures.failures) live_.failures[cause] += times;
    std::size_t i = 0;  // faults of all stages stand one after the other
    for (const Stage& one : options_.stages) {
      for (const Fault& fault : one.faults) {
        if (i < shard.figures.faults.size()) live_.faults[std::string(fault_name(fault.kind))].merge(shard.figures.faults[i].counts);
        ++i;
      }
    }
  }
  live_.phase = phase_;
  live_.stage = record_.stages.size();
  live_.connections_asked = stage().connections;
  live_.connection_rate_asked = stage().ramp.mean_rate();
  live_.message_rate_asked = stage().requested_message_rate();
  live_.processes = client_pids().size();
  metrics_->set(live_);
}

// A target on loopback is in this namespace, whoever listens.
std::optional<tools::TcpCounters> Conductor::read_server_tcp() const {
  if (!server_.empty()) return tools::read_tcp_counters(server_.front());
  if (options_.targets_loopback()) return tools::read_tcp_counters();
  return std::nullopt;
}

std::vector<pid_t> Conductor::client_pids() const {
  std::vector<pid_t> pids = group_->pids(0, plan_.processes);
  pids.push_back(::getpid());
  return pids;
}

// Cheap whatever they hold: it is asked for every second, beside the load.
Readings Conductor::readings() const {
  const tools::ProcessUsage client = tools::read_usage_quickly(client_pids());
  const tools::ProcessUsage attackers = tools::read_usage_quickly(attack_pids());
  const tools::ProcessUsage server = tools::read_usage_quickly(server_);
  const tools::MachineCpu machine = tools::read_machine_cpu();
  return {.server_bytes = server.memory_bytes, .client_bytes = client.memory_bytes, .server_cpu_s = server.cpu_s,
          .client_cpu_s = client.cpu_s, .attack_cpu_s = attackers.cpu_s, .machine_busy_s = machine.busy_s, .machine_total_s = machine.total_s,
          .server_descriptors = tools::count_descriptors(server_).value_or(0), .client_tcp = tools::read_tcp_counters(),
          .server_tcp = read_server_tcp()};
}

void Conductor::enter(const char* phase, std::int64_t begin_ns, std::int64_t end_ns) {
  phase_ = phase;
  phase_begin_ns_ = begin_ns;
  phase_end_ns_ = end_ns;
  record_.timeline.mark(phase, begin_ns);
}

// Ends a load that cannot succeed any more, instead of asking a dead server a million times.
void Conductor::give_up_if_hopeless() {
  const Counters c = sum();
  const std::uint64_t failures = c.failed + c.dropped;
  const bool never_answered = c.received == 0 && failures >= std::min(hopeless_failures, options_.connections_max());
  const bool none_left = c.open == 0 && failures >= std::min(hopeless_failures, options_.connections_max()) &&
                         now_ns() - c.last_established_ns > nanoseconds(1s).count();
  if (!never_answered && !none_left) return;
  Figures figures;
  for (const Shard& shard : shards_) figures.merge(shard.figures);
  const auto [name, times] = main_failure(figures);
  record_.given_up = fmt::format("{}: {} of {} connections failed ({}): {}", options_.target_names(), format_count(failures),
                                 format_count(std::max(failures, c.attempted)), name, remedy(name, options_));
}

void Conductor::await_ready() {
  const Deadline patience = Deadline::after(30s);
  while (!is_stopped() && !all(&Shard::is_ready) && !patience.has_passed()) poll();
}

void Conductor::run_stages() {
  for (; stage_number_ < options_.stages.size() && !is_stopped(); ++stage_number_) {
    ramp();
    if (!is_stopped() && stage().duration.count() > 0) run_window();
  }
  stage_number_ = std::min<std::uint64_t>(stage_number_, options_.stages.size() - 1);
}

void Conductor::ramp() {
  window_ = {};
  const StageBegin begun{stage_number_, now_ns() + start_delay_ns};
  if (stage_number_ == 0) {
    begin_ns_ = begun.begin_ns;
    record_.timeline.begin(begin_ns_, readings());
  }
  record_.stages.push_back({.begin_ns = begun.begin_ns});
  enter("opening", begun.begin_ns);
  group_->broadcast(begin, tools::bytes_of(begun));
  const auto has_settled = [this](const Shard& shard) {
    return shard.is_gone || shard.figures.counters.stages_settled > stage_number_;
  };
  while (!is_stopped() && !std::ranges::all_of(honest_shards(), has_settled)) {
    poll();
    give_up_if_hopeless();
  }
  if (stage_number_ > 0) return;
  machine_at_run_ = tools::read_machine_cpu();
  server_cpu_at_run_ = tools::read_usage(server_).cpu_s;
  client_cpu_at_run_ = tools::read_usage_quickly(client_pids()).cpu_s;
}

void Conductor::run_window() {
  window_.start_ns = now_ns() + start_delay_ns;
  window_.end_ns = window_.start_ns + stage().duration.count();
  StageRecord& record = record_.stages.back();
  record.run_start_ns = record.run_end_ns = window_.start_ns;
  enter("running", window_.start_ns, window_.end_ns);
  const auto descriptors = stage().faults.empty() ? std::nullopt : tools::count_descriptors(server_);
  if (descriptors) record.server_descriptors = ServerDescriptors{*descriptors, *descriptors, *descriptors};
  group_->broadcast(run, tools::bytes_of(window_));
  while (!is_stopped() && now_ns() < window_.end_ns && !all(&Shard::has_result)) {
    poll();
    give_up_if_hopeless();
  }
  if (record.server_descriptors) {
    record.server_descriptors->after = tools::count_descriptors(server_).value_or(0);
    record.server_descriptors->most = std::max(record.server_descriptors->most, record.server_descriptors->after);
  }
  record.run_end_ns = std::clamp(now_ns(), window_.start_ns, window_.end_ns);
}

void Conductor::collect_results() {
  enter("finishing", now_ns());
  // Messages may still be waiting for their time-out; a stopped process answers at once.
  const Deadline patience = Deadline::after(2 * options_.io_timeout + result_grace);
  while (!is_stopped() && !all(&Shard::has_result) && !patience.has_passed()) poll();
}

void Conductor::measure_standing() {
  const tools::KernelMemory kernel = tools::read_kernel_memory();
  const auto growth = [](std::uint64_t now, std::uint64_t before) { return static_cast<std::int64_t>(now) - static_cast<std::int64_t>(before); };
  record_.slab_growth_bytes = growth(kernel.slab_bytes, kernel_before_.slab_bytes);
  record_.page_table_growth_bytes = growth(kernel.page_table_bytes, kernel_before_.page_table_bytes);
  record_.tcp_buffer_growth_bytes = growth(kernel.tcp_buffer_bytes, kernel_before_.tcp_buffer_bytes);

  const auto busy = [](const tools::MachineCpu& from, const tools::MachineCpu& to) {
    return to.total_s > from.total_s ? (to.busy_s - from.busy_s) / (to.total_s - from.total_s) : 0;
  };
  const tools::MachineCpu machine = tools::read_machine_cpu();
  record_.ramp_busy = busy(machine_before_, machine_at_run_);
  record_.run_busy = record_.run_s() == 0 ? 0 : busy(machine_at_run_, machine);

  const std::vector<pid_t> own = client_pids();
  const tools::ProcessUsage client = tools::read_usage(own);
  record_.client.memory_bytes = client.memory_bytes;
  record_.client_run_cpu_s = std::max(0.0, client.cpu_s - client_cpu_at_run_);
  record_.client.processes = static_cast<unsigned>(own.size());
  if (!server_.empty()) {
    record_.server = tools::read_usage(server_);
    record_.server_run_cpu_s = std::max(0.0, record_.server->cpu_s - server_cpu_at_run_);
    record_.server->cpu_s = std::max(0.0, record_.server->cpu_s - server_before_.cpu_s);
  }
  record_.client_tcp = tools::read_tcp_counters().since(client_tcp_before_);
  record_.backlog_drops = tools::read_backlog_drops() - backlog_drops_before_;
  if (const auto now = read_server_tcp(); now && server_tcp_before_) record_.server_tcp = now->since(*server_tcp_before_);
  record_.standing = sum().open;
}

void Conductor::dismiss() {
  phase_ = "closing";
  phase_begin_ns_ = now_ns();
  phase_end_ns_ = 0;
  group_->broadcast(leave, {});
  const Deadline patience = Deadline::after(leave_grace);
  while (group_->running() > 0) {
    poll();
    if (patience.has_passed()) {
      group_->kill_all();
      record_.interrupted = true;
    }
  }
}

int Conductor::conduct() {
  record_.options = options_;
  record_.plan = plan_;
  record_.command = tools::command_line();
  record_.started = std::chrono::system_clock::now();
  record_.machine = tools::read_machine_facts();
  if (options_.server_pid != 0) server_ = tools::process_tree(static_cast<pid_t>(options_.server_pid));
  server_before_ = tools::read_usage(server_);
  kernel_before_ = tools::read_kernel_memory();
  client_tcp_before_ = tools::read_tcp_counters();
  backlog_drops_before_ = tools::read_backlog_drops();
  server_tcp_before_ = read_server_tcp();
  record_.is_one_namespace = server_.empty() ? options_.targets_loopback() : tools::share_network_namespace(server_.front());
  machine_before_ = tools::read_machine_cpu();
  const std::int64_t started_ns = now_ns();

  auto group = tools::ShardGroup::start(static_cast<unsigned>(shards_.size()), [this](const tools::ShardLink& link) {
    if (is_honest(link.index())) return Client(options_, plan_, link).run_all();
    Attack::be_nice(options_.attack_nice);
    return Attack(options_, plan_, link).run_all();
  });
  if (!group) {
    tools::print_error("load", fmt::format("--processes {}: {}; try fewer", plan_.processes, group.error().message()));
    return 2;
  }
  group_.emplace(std::move(*group));
  if (options_.metrics) {
    metrics_.emplace();
    tell_metrics(sum());
    const auto served = metrics_->start(*options_.metrics);
    if (!served) {
      tools::print_error("load", tools::listen_error(*options_.metrics, served.error(), "--metrics"));
      return 2;
    }
    if (options_.metrics->port == 0) fmt::print(stderr, "metrics on http://{}/metrics\n", served->to_string());
  }

  await_ready();
  run_stages();
  if (!is_stopped() && stage().duration.count() > 0) collect_results();
  const std::int64_t ended_ns = now_ns();
  measure_standing();
  dismiss();
  progress_.clear();

  for (const Shard& shard : shards_) record_.figures.merge(shard.figures);
  record_.figures.counters.peak = std::max(peak_, record_.figures.counters.open);
  for (std::size_t i = 0; i < record_.stages.size() && i < record_.figures.stages.size(); ++i) {
    StageRecord& stage = record_.stages[i];
    stage.ramp_s = std::max(seconds(record_.figures.stages[i].counts.last_established_ns - stage.begin_ns), 0.0);
  }
  record_.ramp_s = record_.stages.empty() ? 0 : record_.stages[0].ramp_s;
  record_.ramp_99_s = nearly_ns_ == 0 ? record_.ramp_s : std::min(seconds(nearly_ns_ - begin_ns_), record_.ramp_s);
  record_.duration_s = seconds(ended_ns - started_ns);
  rusage own{};
  ::getrusage(RUSAGE_SELF, &own);
  for (const timeval& time : {own.ru_utime, own.ru_stime}) {
    record_.client.cpu_s += static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  }
  record_.outcomes = judge(options_.fail_if, to_json(record_));
  return record_.is_ok() ? 0 : 1;
}

std::expected<Plan, std::string> checked_plan(const LoadOptions& options) {
  if (auto fine = check_options(options); !fine) return std::unexpected(fine.error());
  const bool has_run = std::ranges::any_of(options.stages, [](const Stage& stage) { return stage.duration.count() > 0; });
  if (auto fine = check_conditions(options.fail_if, {.server = options.server_pid != 0,
                                                     .server_tcp = options.server_pid != 0 || options.targets_loopback(),
                                                     .run = has_run,
                                                     .attack = options.attackers_max() > 0}); !fine) {
    return std::unexpected(fine.error());
  }
  if (auto fine = check_faults(options); !fine) return std::unexpected(fine.error());
  auto plan = make_plan(options, MachineLimits::read());
  if (!plan) return plan;
  if (plan->sources) {
    if (auto fine = check_sources(*plan->sources); !fine) return std::unexpected(fine.error());
  }
  if (options.server_pid != 0 && ::kill(static_cast<pid_t>(options.server_pid), 0) != 0 && errno == ESRCH) {
    return std::unexpected(fmt::format("--server-pid {}: there is no such process; give the server's, or leave it out", options.server_pid));
  }
  // Before files are opened, and so emptied. It is listened on only when the processes are there.
  if (options.metrics) {
    if (auto free = tools::claim_port(*options.metrics, "--metrics"); !free) return std::unexpected(free.error());
  }
  return plan;
}

int execute(const LoadOptions& options) {
  const auto refuse = [](const std::string& why) {
    tools::print_error("load", why);
    return 2;
  };
  const auto plan = checked_plan(options);
  if (!plan) return refuse(plan.error());
  Conductor conductor(options, *plan);
  const Record& record = conductor.record();
  // Opened now, so that one which cannot be written is known before the work and not after.
  tools::OutputFiles outputs;
  outputs.add("--json", options.json_path, [&record] { return to_json(record).dump(2) + '\n'; });
  outputs.add("--html", options.html_path, [&record] { return to_html(record); });
  outputs.add("--csv", options.csv_path, [&record] { return to_csv(record.timeline); });
  outputs.add_in_pieces("--histograms", options.histograms_path, [&record](tools::OutputFile& file) { return write_histograms(record, file); });
  outputs.add("--junit", options.junit_path, [&record] { return to_junit(record); });
  outputs.add("--summary", options.summary_path, [&record] { return to_markdown(record); }, tools::OutputFile::Existing::kept);
  if (auto added = add_bundle(options, *plan, record, outputs); !added) return refuse(added.error());
  if (!outputs.error().empty()) return refuse(outputs.error());

  if (int status = conductor.conduct(); status == 2) return status;
  int status = record.is_ok() ? 0 : 1;
  if (!record.given_up.empty()) tools::print_error("load", record.given_up);
  // A load that never held a connection has nothing to tell beyond that line.
  const bool has_story = record.figures.counters.established > 0 || record.given_up.empty();
  // First: it is there whatever becomes of the files.
  if (has_story && !options.quiet && !outputs.take_standard_output()) {
    if (const auto screen = Screen::of(STDOUT_FILENO)) {
      for (const std::string& line : heat_lines(heat_map(record.timeline, heat_columns(*screen)), *screen)) fmt::print("{}\n", line);
    }
    fmt::print("{}", to_text(record));
  }
  std::fflush(stdout);
  for (const std::string& error : outputs.write()) {
    tools::print_error("load", error);
    status = 1;
  }
  return status;
}

tools::Parsed<std::optional<tools::AddressRange>> parse_sources(std::string_view text) {
  auto range = tools::parse_address_range(text);
  if (!range) return std::unexpected(std::move(range.error()));
  return std::optional(*range);
}

tools::Parsed<std::int64_t> parse_pid(std::string_view text) {
  const auto pid = tools::parse_count(text);
  if (!pid || *pid == 0 || *pid > 4'194'304) {  // PID_MAX_LIMIT
    return std::unexpected(fmt::format("`{}` is not a process id; write its number", text));
  }
  return static_cast<std::int64_t>(*pid);
}

}  // namespace

void add_load_command(CLI::App& app, int& exit_status) {
  struct Given : LoadOptions {
    Ramp ramp;             // its rate is --rate's
    double message_rate = 0;
  };
  auto options = std::make_shared<Given>();
  CLI::App& load = *app.add_subcommand("load", "Opens many connections to an echo server, sends messages on them, reports");
  using tools::add_parsed_option;
  Stage& stage = options->stages.front();
  load.add_option_function<std::vector<std::string>>(
          "--target",
          [options](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              const auto target = tools::resolve_host_port(text);
              if (!target) throw CLI::ValidationError("--target", target.error());
              options->targets.push_back(*target);
            }
          },
          "The server; several times for several servers, which get the connections in turn")
      ->type_name("HOST:PORT")
      ->allow_extra_args(false);
  load.add_option("--scenario", options->scenario_path, "Stages from a JSON file; the options below are the first stage's defaults")
      ->type_name("FILE");
  add_parsed_option(load, "--connections", stage.connections, &tools::parse_count, "N", "1000", "How many to open and hold");
  add_parsed_option(load, "--rate", stage.ramp.rate, &tools::parse_rate, "R", "1000", "Connections to open a second");
  add_parsed_option(load, "--ramp", options->ramp, &parse_ramp, "SHAPE", "linear",
                    "How they come: linear; step:10000/5s, so many at --rate every 5 s; burst:5000/2s, so many at once every 2 s");
  add_parsed_option(load, "--churn", stage.churn, &parse_churn, "N/s", "",
                    "Connections closed and dialled anew during the run: 5%/s, 200/s, 10%/m [none]");
  auto* interval = add_parsed_option(load, "--interval", stage.interval, &tools::parse_duration, "D", "30s",
                                     "Time between the pings of one connection; phases are spread evenly");
  auto* message_rate = add_parsed_option(load, "--message-rate", options->message_rate, &tools::parse_rate, "R", "",
                                         "Messages a second in all, instead of --interval; each on a connection chosen by chance");
  load.add_flag_callback(
          "--closed-loop", [&stage] { stage.messages = MessageSchedule::closed_loop; },
          "Send the next message as soon as the answer is there, instead of on a schedule")
      ->excludes(interval)
      ->excludes(message_rate);
  interval->excludes(message_rate);
  add_parsed_option(load, "--active", stage.active, &tools::parse_count, "A", "",
                    "Connections that ping in a closed loop; the others are held idle [all]");
  add_parsed_option(load, "--think-time", stage.think, &parse_think_time, "D", "",
                    "In a closed loop, between an answer and the next message: 10ms, 10ms-50ms or exp:20ms [none]");
  add_parsed_option(load, "--protocol", options->protocol, &parse_protocol, "NAME", "line",
                    "line: ends with a newline; length: 4 bytes of length in front, the highest first; fixed: just bytes");
  add_parsed_option(load, "--size", stage.sizes, &parse_sizes, "BYTES", "64",
                    "Length of a message, framing included: 64, 64-4096, or a mix with weights 64:90,4096:10");
  add_parsed_option(load, "--fault", stage.faults, &parse_faults, "KIND:N[/D]", "",
                    "Clients that misbehave during the run, several with commas between: silent:N, drip:N/1s, pieces:N/10ms, oversize:N, "
                    "never-read:N, half-open:N, reset:N/1s, storm:N/5s [none]");
  add_parsed_option(load, "--attack-nice", options->attack_nice, &parse_nice, "0..19", "19",
                    "Niceness of their processes, as of nice(1): 19 leaves them the processors that nobody else wants, as if they were on "
                    "another machine; 0 lets them compete");
  add_parsed_option(load, "--duration", stage.duration, &tools::parse_duration, "D", "30s",
                    "How long to run once every connection is open; 0: only open them and ping once");
  add_parsed_option(load, "--dial-timeout", options->dial_timeout, &tools::parse_duration, "D", "10s", "For a connection to be established");
  add_parsed_option(load, "--io-timeout", options->io_timeout, &tools::parse_duration, "D", "5s",
                    "For a message to be sent, and for its answer to come");
  add_parsed_option(load, "--sources", options->sources, &parse_sources, "FIRST-LAST", "",
                    "Addresses to dial from, in turn [on loopback as many of 127.0.1.1 and up as needed, else the kernel's choice]");
  add_parsed_option(load, "--processes", options->processes, &tools::parse_processes, "N|auto", "auto",
                    "Processes to spread the connections over; auto: as many as the descriptor limit makes necessary");
  load.add_option("--json", options->json_path, "Write the report as JSON; - is standard output")->type_name("FILE");
  load.add_option("--csv", options->csv_path, "Write what happened in each second as a table")->type_name("FILE");
  load.add_option("--html", options->html_path, "Write the report as a page with charts, readable offline")->type_name("FILE");
  load.add_option("--histograms", options->histograms_path, "Write the latencies of each second as histograms, JSON lines that add up exactly")
      ->type_name("FILE");
  load.add_option("--junit", options->junit_path, "Write what must hold, and whether it did, as JUnit's XML")->type_name("FILE");
  load.add_option("--summary", options->summary_path, "Add the result as Markdown to the end of a file: --summary \"$GITHUB_STEP_SUMMARY\"")
      ->type_name("FILE");
  load.add_option("--record", options->record_path, "Keep all that it takes to repeat the load, reports included, in a new folder")
      ->type_name("DIR");
  load.add_option_function<std::vector<std::string>>(
          "--fail-if",
          [options](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              auto conditions = parse_conditions(text);
              if (!conditions) throw CLI::ValidationError("--fail-if", conditions.error());
              options->fail_if.insert(options->fail_if.end(), conditions->begin(), conditions->end());
            }
          },
          "Exit with status 1 if one of these holds in the end: 'failed > 0, latency.p99 > 50ms'")
      ->type_name("CONDITIONS")
      ->allow_extra_args(false);
  load.add_flag("--quiet", options->quiet, "No progress and no report, only errors; see also --json");
  add_parsed_option(load, "--metrics", options->metrics, &tools::parse_metrics_address, "HOST:PORT", "",
                    "Answer Prometheus here while the load goes on, GET /metrics [nowhere]");
  add_parsed_option(load, "--server-pid", options->server_pid, &parse_pid, "PID", "",
                    "The server on this machine: report its memory and CPU, children included");

  load.callback([options, message_rate, &exit_status] {
    Stage& first = options->stages.front();
    options->ramp.rate = first.ramp.rate;
    first.ramp = options->ramp;
    if (message_rate->count() > 0) {
      first.messages = MessageSchedule::rate;
      first.message_rate = options->message_rate;
    }
    if (!options->scenario_path.empty()) {
      if (const auto taken = read_scenario(options->scenario_path, *options); !taken) {
        tools::print_error("load", taken.error());
        exit_status = 2;
        return;
      }
    }
    exit_status = execute(*options);
  });
}

}  // namespace roost::load
