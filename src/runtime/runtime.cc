#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <roost/go.h>
#include <roost/runtime.h>

#include "base/assert.h"
#include "base/clock.h"
#include "runtime/dump_signal.h"
#include "runtime/fault_handler.h"
#include "runtime/fiber_dump.h"
#include "runtime/runtime_state.h"
#include "runtime/switching.h"
#include "runtime/watchdog.h"

namespace roost::runtime {
namespace {

std::atomic<Runtime*> the_runtime{nullptr};
// Plain threads on a Visit. Not in the Runtime: a thread that comes too late must find it still.
std::atomic<unsigned> visitors{0};

// CPUs' worth of quota of this process's cgroup, rounded up; 0 when there is no limit or it cannot be read.
unsigned cgroup_quota() {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::")) continue;
    // A limit may stand at any level above.
    unsigned least = 0;
    for (std::string path = line.substr(3);; path = path.substr(0, path.rfind('/'))) {
      std::ifstream limit("/sys/fs/cgroup" + path + "/cpu.max");
      std::string quota;
      double period = 0;
      if (limit >> quota >> period && quota != "max" && period > 0) {
        const auto cpus = static_cast<unsigned>(std::ceil(std::stod(quota) / period));
        least = least == 0 ? cpus : std::min(least, cpus);
      }
      if (path.empty() || path == "/") break;
    }
    return least;
  }
  return 0;
}

unsigned default_workers() {
  cpu_set_t set;
  CPU_ZERO(&set);
  unsigned cpus = std::max(1u, std::thread::hardware_concurrency());
  if (::sched_getaffinity(0, sizeof set, &set) == 0) cpus = static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
  if (const unsigned quota = cgroup_quota(); quota > 0) cpus = std::min(cpus, quota);
  return std::max(1u, cpus);
}

RuntimeOptions resolved(RuntimeOptions options) {
  if (options.workers == 0) options.workers = default_workers();
  if (options.poller == PollerKind::automatic) {
    const char* set = std::getenv("ROOST_POLLER");
    const std::string_view wanted = set == nullptr ? "epoll" : set;
    if (wanted != "epoll" && wanted != "io_uring") {
      throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                              fmt::format("roost: ROOST_POLLER={} is no poller; write epoll or io_uring", wanted));
    }
    options.poller = wanted == "io_uring" ? PollerKind::io_uring : PollerKind::epoll;
  }
  return options;
}

std::unique_ptr<poll::Backend> open_poller(PollerKind kind) {
  auto opened = kind == PollerKind::io_uring ? poll::open_io_uring() : poll::open_epoll();
  if (!opened) {
    throw std::system_error(opened.error(), kind == PollerKind::io_uring ? "roost: cannot open an io_uring poller"
                                                                         : "roost: cannot open an epoll poller");
  }
  return std::move(*opened);
}

void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

// Cycles of arch::cycle_counter() in a nanosecond, good enough to decide when to look at a clock.
double cycles_per_ns() {
  static const double rate = [] {
    const std::int64_t start = base::now_ns();
    const unsigned long long cycles = arch::cycle_counter();
    std::int64_t now = start;
    while (now - start < 200'000 && !base::ManualClock::installed()) now = base::now_ns();
    return now == start ? 1.0 : static_cast<double>(arch::cycle_counter() - cycles) / static_cast<double>(now - start);
  }();
  return rate;
}

void print_panic_detail() noexcept {
  const Fiber* fiber = current_fiber();
  if (fiber == nullptr) return;
  std::array<char, 128> text;
  const char* name = fiber->name.load(std::memory_order_relaxed);
  std::snprintf(text.data(), text.size(), "  in fiber %llu (%s)\n", static_cast<unsigned long long>(fiber->id.load(std::memory_order_relaxed)),
                name == nullptr ? "unnamed" : name);
  base::write_stderr(text.data());
}

}  // namespace

// seq_cst, as the other operations on the two: a visitor counts itself and then looks for the runtime, run() hides the runtime and
// then looks for visitors. So either run() waits for the visitor, or the visitor finds no runtime.
Runtime* Runtime::current() noexcept { return the_runtime.load(std::memory_order_seq_cst); }
void Visit::enter() noexcept { visitors.fetch_add(1, std::memory_order_seq_cst); }
void Visit::leave() noexcept { visitors.fetch_sub(1, std::memory_order_seq_cst); }

Runtime::Runtime(const RuntimeOptions& wanted)
    : options(resolved(wanted)),
      primary_count(options.workers),
      stack_class(StackArena::class_for(options.stack_bytes * arch::stack_scale)),
      arena(StackArena::instance()),
      blocking(options.blocking_threads_max) {
  if (stack_class < 0) {
    throw std::system_error(std::make_error_code(std::errc::invalid_argument), "roost: stack_bytes is above 1 GiB");
  }
  if (options.raise_descriptor_limit) raise_descriptor_limit();
  install_fault_handler();
  base::set_panic_detail(&print_panic_detail);
  cycles_per_poll_ = static_cast<unsigned long long>(static_cast<double>(Worker::poll_interval_ns) * cycles_per_ns());
  cycles_per_poll_min_ = static_cast<unsigned long long>(static_cast<double>(Worker::poll_interval_min_ns) * cycles_per_ns());
  workers_.resize(primary_count + options.spare_workers_max);
  idle_.reserve(workers_.size());
  for (unsigned i = 0; i < primary_count; ++i) {
    workers_[i] = std::make_unique<Worker>(*this, i, false, open_poller(options.poller));
  }
  worker_count_.store(primary_count, std::memory_order_release);
  Runtime* expected = nullptr;
  ROOST_ASSERT(the_runtime.compare_exchange_strong(expected, this), "roost::run was called while a runtime runs already");
  base::ManualClock::set_on_advance([]() noexcept {
    if (Runtime* runtime = Runtime::current()) runtime->wake_all();
  });
}

Runtime::~Runtime() { base::ManualClock::set_on_advance(nullptr); }

int Runtime::run(FunctionRef<int()> main) {
  ROOST_ASSERT(current_worker() == nullptr, "roost::run was called from a fiber");
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ::sched_getaffinity(0, sizeof allowed, &allowed);
  watchdog_ = std::make_unique<Watchdog>(*this);  // before the workers, which report to it
  for (unsigned i = 0; i < primary_count; ++i) {
    workers_[i]->start_thread();
    if (options.pin_workers) {
      int cpu = -1;
      for (unsigned seen = 0, wanted = i % static_cast<unsigned>(CPU_COUNT(&allowed)); seen <= wanted;) {
        if (CPU_ISSET(++cpu, &allowed)) ++seen;
      }
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      ::pthread_setaffinity_np(workers_[i]->thread_.native_handle(), sizeof one, &one);
    }
  }

  std::optional<DumpSignal> dump_signal;
  if (options.dump_on_sigquit) dump_signal.emplace(*this);

  int status = 0;
  auto root = go(SpawnOptions{.name = "main"}, [&] {
    status = main();
    {
      std::lock_guard lock(done_mutex_);
      main_done_ = true;
    }
    done_.notify_all();
  });
  {
    std::unique_lock lock(done_mutex_);
    done_.wait(lock, [this] { return main_done_; });
  }
  stopping_.store(true, std::memory_order_seq_cst);
  cancel_all();
  root.detach();

  const std::int64_t grace_ends = base::saturating_add(base::now_ns(), std::chrono::nanoseconds(options.shutdown_grace).count());
  bool left = false;
  for (int looks = 0; !(left = live_fibers() == 0) && base::now_ns() < grace_ends; ++looks) {
    std::this_thread::sleep_for(looks < 100 ? std::chrono::microseconds(50) : std::chrono::milliseconds(2));
    // A fiber that was being started while the others were canceled is canceled here.
    if (looks % 64 == 63) cancel_all();
  }
  if (!left) report_stragglers();

  // Nobody may touch a worker from outside any more when they are destroyed: first the threads of the dump and of the watchdog
  // go, then those of blocking(). The watchdog itself stays until the workers, which report to it, are joined.
  dump_signal.reset();
  watchdog_->stop();
  bool stuck_thread = !left && blocking.outstanding() > 0;
  if (!stuck_thread) blocking.stop();
  stopped_.store(true, std::memory_order_seq_cst);
  wake_all();
  for (unsigned i = 0; i < worker_count(); ++i) {
    // A worker that never comes back from a fiber cannot be joined; it and everything it may touch is left alone.
    if (!left && worker(i).current() != nullptr) {
      worker(i).thread_.detach();
      stuck_thread = true;
    } else {
      worker(i).join_thread();
    }
  }
  the_runtime.store(nullptr, std::memory_order_seq_cst);
  while (visitors.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
  abandoned_ = stuck_thread;
  return status;
}

void Runtime::report_stragglers() {
  const std::uint64_t left = live_fibers();
  fmt::print(stderr, "roost: {} {} did not leave within {} ms after main returned: {}", left, left == 1 ? "fiber" : "fibers",
             options.shutdown_grace.count(), to_text(collect_fibers(*this, {})));
}

// --- fibers --------------------------------------------------------------------------------------------------------

void Runtime::admit(Fiber& fiber) noexcept {
  Worker* worker = current_worker();
  if (worker != nullptr) {
    fiber.id.store(worker->next_fiber_id(), std::memory_order_relaxed);
    worker->counters.fibers_started.add();
  } else {
    fiber.id.store(next_id_block_.fetch_add(1, std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    external_started_.fetch_add(1, std::memory_order_seq_cst);
  }
  fiber.home = nullptr;
  if (options.pin_workers) {
    const std::uint64_t id = fiber.id.load(std::memory_order_relaxed);
    fiber.home = worker != nullptr ? worker : &this->worker(static_cast<unsigned>(id % primary_count));
  }
  fiber.flags.store(0, std::memory_order_relaxed);
  // seq_cst: cancel_all() stores stopping_ and then looks at `live`.
  fiber.live.store(true, std::memory_order_seq_cst);
  if (stopping_.load(std::memory_order_seq_cst)) {
    fiber.flags.fetch_or(Fiber::flag_canceled, std::memory_order_relaxed);
  }
  schedule(&fiber);
}

void Runtime::schedule(Fiber* fiber) noexcept {
  Worker* here = current_worker();
  if (here == nullptr) {
    // The fiber may be the last one. Once it is queued it can run, end, and the runtime with it, while this thread, for which
    // nobody waits otherwise, has yet to wake a worker.
    const Visit visit;
    if (fiber->home != nullptr) {
      fiber->home->push_inbox(fiber);
    } else {
      shared.push(fiber);
      wake_one();
    }
    return;
  }
  if (fiber->home != nullptr && fiber->home != here) {
    fiber->home->push_inbox(fiber);
    return;
  }
  if (options.migrate_always && primary_count > 1 && fiber->home == nullptr) {
    worker((here->index() + 1) % primary_count).push_inbox(fiber);
    return;
  }
  here->push(fiber);
}

void Runtime::cancel_all() noexcept {
  arena.for_each([](Fiber& fiber) {
    if (fiber.live.load(std::memory_order_seq_cst)) detail::cancel_fiber(&fiber);
  });
}

std::uint64_t Runtime::live_fibers() const noexcept {
  // Ended first: a fiber that ends in between is then counted as live, never as minus one.
  std::uint64_t ended = 0;
  std::uint64_t started = 0;
  const unsigned count = worker_count();
  for (unsigned i = 0; i < count; ++i) ended += worker(i).counters.fibers_ended.get();
  for (unsigned i = 0; i < count; ++i) started += worker(i).counters.fibers_started.get();
  return started + external_started_.load(std::memory_order_seq_cst) - ended;
}

// Ends first, so that what ends in between is counted as waiting, never as less than none.
std::uint64_t Runtime::waiting(WaitReason reason) const noexcept {
  const auto index = static_cast<std::size_t>(reason);
  const unsigned count = worker_count();
  std::uint64_t ended = 0;
  std::uint64_t begun = 0;
  for (unsigned i = 0; i < count; ++i) ended += worker(i).counters.waits_ended[index].get();
  for (unsigned i = 0; i < count; ++i) begun += worker(i).counters.waits_begun[index].get();
  return begun > ended ? begun - ended : 0;
}

std::uint64_t Runtime::sleepers() const noexcept {
  const unsigned count = worker_count();
  std::uint64_t ended = external_sleepers_ended_.load(std::memory_order_relaxed);
  std::uint64_t begun = 0;
  for (unsigned i = 0; i < count; ++i) ended += worker(i).counters.sleepers_ended.get();
  for (unsigned i = 0; i < count; ++i) begun += worker(i).counters.sleepers_begun.get();
  return begun > ended ? begun - ended : 0;
}

void Runtime::note_sleeper_woken() noexcept {
  const Visit visit;
  if (Worker* worker = current_worker()) {
    worker->counters.sleepers_ended.add();
  } else if (Runtime* runtime = visit.runtime()) {
    runtime->external_sleepers_ended_.fetch_add(1, std::memory_order_relaxed);
  }
}

// --- sleeping and waking -------------------------------------------------------------------------------------------

bool Runtime::prepare_sleep(Worker& worker) noexcept {
  worker.asleep.store(true, std::memory_order_seq_cst);
  if (!worker.is_retired()) {
    base::SpinGuard guard(idle_lock_);
    idle_.push_back(&worker);
    idle_count_.store(static_cast<unsigned>(idle_.size()), std::memory_order_seq_cst);
  }
  bool work = stopped_.load(std::memory_order_seq_cst) || !worker.inbox.empty() || !worker.queue.empty();
  if (!worker.is_retired() && !work) {
    work = !shared.empty();
    if (!options.pin_workers) {
      for (unsigned i = 0; !work && i < worker_count(); ++i) work = this->worker(i).queue.size() > 1;
    }
  }
  if (!work) return true;
  // Somebody may have picked this worker to look for work just now: then it does, or the count of those who do would stay.
  if (end_sleep(worker)) worker.searching_ = true;
  return false;
}

bool Runtime::end_sleep(Worker& worker) noexcept {
  worker.asleep.store(false, std::memory_order_seq_cst);
  {
    base::SpinGuard guard(idle_lock_);
    if (const auto at = std::find(idle_.begin(), idle_.end(), &worker); at != idle_.end()) {
      idle_.erase(at);
      idle_count_.store(static_cast<unsigned>(idle_.size()), std::memory_order_seq_cst);
    }
  }
  if (watchdog_) watchdog_->note_activity();
  return worker.woken_to_search_.exchange(false, std::memory_order_acq_rel);
}

void Runtime::wake_one() noexcept {
  if (idle_count_.load(std::memory_order_seq_cst) == 0) return;
  unsigned none = 0;
  // One searcher at a time: when it finds work and there is more, it wakes the next one.
  if (!searching_.compare_exchange_strong(none, 1, std::memory_order_seq_cst)) return;
  Worker* worker = nullptr;
  {
    base::SpinGuard guard(idle_lock_);
    if (!idle_.empty()) {
      worker = idle_.back();
      idle_.pop_back();
      idle_count_.store(static_cast<unsigned>(idle_.size()), std::memory_order_seq_cst);
      worker->woken_to_search_.store(true, std::memory_order_release);
    }
  }
  if (worker == nullptr) {
    searching_.fetch_sub(1, std::memory_order_seq_cst);
    return;
  }
  worker_wakes_.fetch_add(1, std::memory_order_relaxed);
  worker->poller().wake();
}

bool Runtime::end_search() noexcept { return searching_.fetch_sub(1, std::memory_order_seq_cst) == 1; }

void Runtime::wake_all() noexcept {
  for (unsigned i = 0; i < worker_count(); ++i) worker(i).poller().wake();
}

bool Runtime::start_spare() {
  const unsigned count = worker_count();
  // One that exists already and sleeps is as good as a new one.
  for (unsigned i = primary_count; i < count; ++i) {
    if (worker(i).asleep.load(std::memory_order_seq_cst)) {
      worker(i).poller().wake();
      return true;
    }
    if (!worker(i).stuck.load(std::memory_order_relaxed)) return true;  // at work
  }
  if (count == workers_.size()) return false;
  try {
    workers_[count] = std::make_unique<Worker>(*this, count, true, open_poller(PollerKind::epoll));
    workers_[count]->start_thread();
  } catch (const std::system_error&) {
    workers_[count].reset();
    return false;
  }
  worker_count_.store(count + 1, std::memory_order_release);
  return true;
}

Worker& Runtime::place_descriptor() noexcept {
  Worker* here = current_worker();
  if (here != nullptr && here->is_spare()) here = nullptr;
  Worker* least = &worker(0);
  for (unsigned i = 1; i < primary_count; ++i) {
    if (worker(i).descriptors.load(std::memory_order_relaxed) < least->descriptors.load(std::memory_order_relaxed)) {
      least = &worker(i);
    }
  }
  if (here == nullptr) return *least;
  // Staying here is cheaper; moving pays once the counts part by an eighth.
  const std::uint32_t own = here->descriptors.load(std::memory_order_relaxed);
  const std::uint32_t other = least->descriptors.load(std::memory_order_relaxed);
  return own > other + other / 8 + 8 ? *least : *here;
}

RuntimeStats Runtime::stats() const noexcept {
  RuntimeStats stats;
  stats.workers = worker_count();
  stats.fibers = live_fibers();
  stats.fibers_started = external_started_.load(std::memory_order_relaxed);
  for (unsigned i = 0; i < stats.workers; ++i) {
    const Worker& one = worker(i);
    stats.fibers_started += one.counters.fibers_started.get();
    stats.descriptors += one.descriptors.load(std::memory_order_relaxed);
    stats.switches += one.counters.switches.get();
    stats.polls += one.counters.polls.get();
    stats.poll_events += one.counters.poll_events.get();
    stats.steals += one.counters.steals.get();
    stats.timers += one.timers.size();
  }
  stats.worker_wakes = worker_wakes_.load(std::memory_order_relaxed);
  stats.stuck = stuck_total_.load(std::memory_order_relaxed);
  stats.stacks_reserved = arena.carved_total();
  return stats;
}

}  // namespace roost::runtime

namespace roost {

namespace detail {
int run(const RuntimeOptions& options, FunctionRef<int()> main) {
  auto runtime = std::make_unique<runtime::Runtime>(options);
  const int status = runtime->run(main);
  // A fiber that never came back still runs on its thread and uses all of this.
  if (runtime->is_abandoned()) static_cast<void>(runtime.release());
  return status;
}
}  // namespace detail

RuntimeStats runtime_stats() {
  const runtime::Visit visit;
  const runtime::Runtime* runtime = visit.runtime();
  return runtime == nullptr ? RuntimeStats{} : runtime->stats();
}

}  // namespace roost
