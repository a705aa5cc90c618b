#include "runtime/fiber_dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <ranges>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <roost/go.h>

#include "arch/frame_walk.h"
#include "base/clock.h"
#include "base/descriptor_name.h"
#include "base/symbol_table.h"
#include "runtime/netpoll.h"
#include "runtime/watchdog.h"

namespace roost::runtime {
namespace {

using std::chrono::nanoseconds;

constexpr std::size_t groups_max = 4'096;    // distinct stacks; fibers beyond are counted without theirs
constexpr std::size_t frames_limit = 128;
constexpr std::size_t described_max = 1'000; // examples whose descriptors are looked up
constexpr std::int64_t slice_ns = 1'000'000;
constexpr std::size_t fibers_between_clocks = 64;

// What fibers of one group have in common.
struct Key {
  WaitReason reason = WaitReason::none;
  bool parked = false;
  std::vector<void*> frames;

  friend bool operator==(const Key&, const Key&) = default;
};
struct KeyHash {
  std::size_t operator()(const Key& key) const noexcept {
    auto hash = (static_cast<std::uint64_t>(key.reason) << 1 | (key.parked ? 1u : 0u)) + 0x9e3779b97f4a7c15u;
    for (void* frame : key.frames) {
      hash = (hash ^ reinterpret_cast<std::uintptr_t>(frame)) * 0xff51afd7ed558ccdu;
      hash ^= hash >> 32;
    }
    return hash;
  }
};

struct Candidate {
  Fiber* fiber;
  std::uint64_t id;
  std::int64_t since_ns;
};

struct Gathered {
  std::uint64_t count = 0;
  std::int64_t longest_ns = 0;
  std::int64_t shortest_ns = 0;
  const char* name = nullptr;
  bool names_differ = false;
  std::vector<Candidate> oldest;  // by since_ns

  void add(const char* fiber_name, std::int64_t waited_ns) {
    if (count == 0) {
      name = fiber_name;
      shortest_ns = longest_ns = waited_ns;
    }
    names_differ = names_differ || !is_same(name, fiber_name);
    longest_ns = std::max(longest_ns, waited_ns);
    shortest_ns = std::min(shortest_ns, waited_ns);
    ++count;
  }
  void consider(Candidate candidate, std::size_t examples_max) {
    if (examples_max == 0) return;
    if (oldest.size() == examples_max) {
      if (candidate.since_ns >= oldest.back().since_ns) return;
      oldest.pop_back();
    }
    oldest.insert(std::ranges::upper_bound(oldest, candidate.since_ns, {}, &Candidate::since_ns), candidate);
  }

  static bool is_same(const char* a, const char* b) noexcept {
    return a == b || (a != nullptr && b != nullptr && std::string_view(a) == b);
  }
};

// Works for a slice of time and then leaves the processor to others, so that the part it takes stays within bounds.
class Pace {
 public:
  explicit Pace(double share) noexcept : share_(std::clamp(share, 0.01, 1.0)), slice_began_ns_(base::now_ns()) {}
  void step() noexcept {
    if (share_ >= 1.0 || ++steps_ % fibers_between_clocks != 0) return;
    const std::int64_t worked = base::now_ns() - slice_began_ns_;
    if (worked < slice_ns) return;
    const auto pause_ns = static_cast<long>(static_cast<double>(std::min(worked, 10 * slice_ns)) * (1 - share_) / share_);
    const timespec pause{.tv_sec = pause_ns / 1'000'000'000, .tv_nsec = pause_ns % 1'000'000'000};
    ::nanosleep(&pause, nullptr);
    slice_began_ns_ = base::now_ns();
  }

 private:
  const double share_;
  std::size_t steps_ = 0;
  std::int64_t slice_began_ns_;
};

// Unparks whatever came to be woken, also when an allocation throws.
class Examination {
 public:
  explicit Examination(Fiber& fiber) noexcept : fiber_(begin_examination(fiber) ? &fiber : nullptr) {}
  ~Examination() {
    if (fiber_ != nullptr) end_examination(*fiber_);
  }
  Examination(const Examination&) = delete;
  Examination& operator=(const Examination&) = delete;
  explicit operator bool() const noexcept { return fiber_ != nullptr; }

 private:
  Fiber* const fiber_;
};

class Collector {
 public:
  Collector(Runtime& runtime, const FiberDumpOptions& options)
      : runtime_(runtime),
        options_(options),
        frames_max_(std::min(options.frames_max, frames_limit)),
        pace_(options.share) {}

  FiberDump collect() {
    const std::int64_t began = base::now_ns();
    runtime_.arena.for_each([&](Fiber& fiber) {
      visit(fiber);
      pace_.step();
    });
    FiberDump dump;
    add_running(dump);
    dump.groups.reserve(groups_.size() + dump.groups.size());
    for (auto& [key, gathered] : groups_) dump.groups.push_back(group_of(key, gathered));
    for (const FiberGroup& group : dump.groups) dump.fibers += group.count;
    dump.asleep = runtime_.sleepers();
    dump.took = nanoseconds(base::now_ns() - began);
    return dump;
  }

 private:
  void visit(Fiber& fiber) {
    if (!fiber.live.load(std::memory_order_acquire) || fiber.ended.load(std::memory_order_acquire)) return;
    const Examination examination(fiber);
    if (!examination) {
      // Whoever is on a worker at this moment is asked later, by a signal to that thread.
      for (unsigned i = 0; i < runtime_.worker_count(); ++i) {
        if (runtime_.worker(i).current() == &fiber) return;
      }
      groups_[Key{}].add(fiber.name.load(std::memory_order_relaxed), 0);
      return;
    }
    std::array<void*, frames_limit + 8> frames;  // with some for those of park() itself
    const std::size_t count = arch::walk_suspended(fiber.context, reinterpret_cast<std::uintptr_t>(fiber.stack_top),
                                                   std::span(frames).first(frames_max_ + 8));
    key_.reason = fiber.wait_reason.load(std::memory_order_relaxed);
    key_.parked = true;
    key_.frames.assign(frames.begin(), frames.begin() + static_cast<std::ptrdiff_t>(count));
    auto at = groups_.find(key_);
    if (at == groups_.end()) {
      if (groups_.size() >= groups_max) key_.frames.clear();
      at = groups_.try_emplace(key_).first;
    }
    const std::int64_t since = fiber.wait_since_ns.load(std::memory_order_relaxed);
    at->second.add(fiber.name.load(std::memory_order_relaxed), std::max<std::int64_t>(base::coarse_now_ns() - since, 0));
    at->second.consider({&fiber, fiber.id.load(std::memory_order_relaxed), since}, options_.examples_max);
  }

  void add_running(FiberDump& dump) {
    for (unsigned i = 0; i < runtime_.worker_count(); ++i) {
      Worker& worker = runtime_.worker(i);
      const Fiber* before = worker.current();
      if (before == nullptr) continue;
      const std::uint64_t id = before->id.load(std::memory_order_relaxed);
      const char* name = before->name.load(std::memory_order_relaxed);
      std::vector<void*> frames = capture_running_stack(worker);
      FiberGroup group{.state = "running", .count = 1};
      // Nobody holds it: it may have ended meanwhile, and its control block be another fiber's, with an id of its own.
      if (worker.current() == before && before->id.load(std::memory_order_relaxed) == id) {
        group.name = name == nullptr ? "" : name;
        group.examples.push_back({.id = id, .name = group.name});
        if (frames.size() > frames_max_) frames.resize(frames_max_);
        // What was interrupted is named first; it is no return address.
        for (void* frame : frames) group.stack.push_back(base::describe_function(frame));
        drop_entry(group.stack);
      }
      dump.groups.push_back(std::move(group));
    }
  }

  FiberGroup group_of(const Key& key, const Gathered& gathered) {
    FiberGroup group{.state = key.parked ? "parked" : "runnable", .count = gathered.count};
    if (key.parked) group.reason = wait_reason_name(key.reason);
    if (!gathered.names_differ && gathered.name != nullptr) group.name = gathered.name;
    group.shortest = nanoseconds(gathered.shortest_ns);
    group.longest = nanoseconds(gathered.longest_ns);
    for (void* frame : key.frames) {
      // One less: a call that never returns may be a function's last instruction.
      group.stack.push_back(base::describe_function(static_cast<char*>(frame) - 1));
    }
    drop_parking(group.stack);
    drop_entry(group.stack);
    if (group.stack.size() > frames_max_) group.stack.resize(frames_max_);
    for (const Candidate& candidate : gathered.oldest) add_example(group, candidate);
    return group;
  }

  // Looked at a second time, so that only those that are told of cost a look at their descriptor.
  void add_example(FiberGroup& group, const Candidate& candidate) {
    Fiber& fiber = *candidate.fiber;
    const Examination examination(fiber);
    if (!examination || fiber.id.load(std::memory_order_relaxed) != candidate.id ||
        fiber.wait_since_ns.load(std::memory_order_relaxed) != candidate.since_ns) {
      return;  // it has gone on
    }
    FiberExample example{.id = candidate.id,
                         .waited = nanoseconds(std::max<std::int64_t>(base::coarse_now_ns() - candidate.since_ns, 0))};
    if (const char* name = fiber.name.load(std::memory_order_relaxed)) example.name = name;
    const WaitReason reason = fiber.wait_reason.load(std::memory_order_relaxed);
    if ((reason == WaitReason::io_read || reason == WaitReason::io_write || reason == WaitReason::io_turn) &&
        described_ < described_max) {
      ++described_;
      // The fiber is inside a call on it, so it stays open.
      if (const auto* desc = static_cast<const PollDesc*>(fiber.wait_object.load(std::memory_order_relaxed))) {
        example.descriptor = desc->fd();
        example.endpoint = base::describe_descriptor(desc->fd());
      }
    }
    group.examples.push_back(std::move(example));
  }

  // The frames of the switch itself say the same in every stack: from the innermost up to park().
  static void drop_parking(std::vector<std::string>& stack) {
    constexpr std::array<std::string_view, 7> parking{
        "roost::runtime::park(",          "roost::runtime::park_until(",  "roost::runtime::Worker::depart(",
        "roost::runtime::Worker::yield_to(", "roost::runtime::Worker::switch_out(", "roost::runtime::(anonymous namespace)::park_fiber(",
        "roost::detail::park("};
    std::size_t drop = 0;
    for (std::size_t i = 0; i < std::min<std::size_t>(stack.size(), 6); ++i) {
      for (const std::string_view name : parking) {
        if (stack[i].starts_with(name)) drop = i + 1;
      }
    }
    stack.erase(stack.begin(), stack.begin() + static_cast<std::ptrdiff_t>(drop));
  }
  // ... and so do those below the fiber's own function.
  static void drop_entry(std::vector<std::string>& stack) {
    for (std::size_t i = 0; i < stack.size(); ++i) {
      if (!stack[i].starts_with("roost::runtime::Worker::fiber_entry(")) continue;
      stack.resize(i);
      return;
    }
  }

  Runtime& runtime_;
  const FiberDumpOptions options_;
  const std::size_t frames_max_;
  Pace pace_;
  Key key_;  // of the fiber looked at; here for the sake of its memory
  std::unordered_map<Key, Gathered, KeyHash> groups_;
  std::size_t described_ = 0;
};

int rank_of(const FiberGroup& group) noexcept { return group.state == "running" ? 0 : group.state == "runnable" ? 1 : 2; }

void sort(std::vector<FiberGroup>& groups) {
  std::ranges::sort(groups, [](const FiberGroup& a, const FiberGroup& b) {
    if (rank_of(a) != rank_of(b)) return rank_of(a) < rank_of(b);
    if (a.count != b.count) return a.count > b.count;
    if (a.longest != b.longest) return a.longest > b.longest;
    return a.stack < b.stack;
  });
}

std::string span_text(nanoseconds span) {
  const double seconds = std::chrono::duration<double>(span).count();
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto minutes = static_cast<long>(seconds) / 60;
  if (minutes < 60) return fmt::format("{} m {:02} s", minutes, static_cast<long>(seconds) % 60);
  return fmt::format("{} h {:02} m", minutes / 60, minutes % 60);
}

}  // namespace

FiberDump collect_fibers(Runtime& runtime, const FiberDumpOptions& options) {
  FiberDump dump = Collector(runtime, options).collect();
  sort(dump.groups);
  return dump;
}

}  // namespace roost::runtime

namespace roost {

FiberDump collect_fibers(const FiberDumpOptions& options) {
  return blocking([&options] {
    const runtime::Visit visit;
    runtime::Runtime* runtime = visit.runtime();
    return runtime == nullptr ? FiberDump{} : runtime::collect_fibers(*runtime, options);
  });
}

void merge(FiberDump& into, const FiberDump& from, std::size_t examples_max) {
  into.processes += from.processes;
  into.fibers += from.fibers;
  into.asleep += from.asleep;
  into.took = std::max(into.took, from.took);
  for (const FiberGroup& group : from.groups) {
    const auto same = std::ranges::find_if(into.groups, [&group](const FiberGroup& one) {
      return one.state == group.state && one.reason == group.reason && one.stack == group.stack;
    });
    if (same == into.groups.end()) {
      into.groups.push_back(group);
      continue;
    }
    if (same->name != group.name) same->name.clear();
    same->count += group.count;
    same->shortest = std::min(same->shortest, group.shortest);
    same->longest = std::max(same->longest, group.longest);
    same->examples.insert(same->examples.end(), group.examples.begin(), group.examples.end());
    std::ranges::stable_sort(same->examples, std::ranges::greater{}, &FiberExample::waited);
    if (same->examples.size() > examples_max) same->examples.resize(examples_max);
  }
  runtime::sort(into.groups);
}

std::string to_text(const FiberDump& dump, std::size_t examples_max) {
  const auto plural = [](std::uint64_t count, const char* one, const char* many) { return count == 1 ? one : many; };
  std::string text = fmt::format("{} {} in {} {}", dump.fibers, plural(dump.fibers, "fiber", "fibers"), dump.groups.size(),
                                 plural(dump.groups.size(), "group", "groups"));
  if (dump.processes > 1) text += fmt::format(", {} processes", dump.processes);
  if (dump.asleep > 0) {
    text += fmt::format("; {} {} without a fiber", dump.asleep, plural(dump.asleep, "connection waits", "connections wait"));
  }
  text += '\n';
  for (const FiberGroup& group : dump.groups) {
    text += fmt::format("\n{} {}", group.count, plural(group.count, "fiber", "fibers"));
    if (!group.name.empty()) text += fmt::format(" ({})", group.name);
    text += ", " + group.state;
    if (!group.reason.empty()) {
      const std::string shortest = runtime::span_text(group.shortest);
      const std::string longest = runtime::span_text(group.longest);
      text += fmt::format(": {}, for {}", group.reason, shortest == longest ? longest : shortest + " to " + longest);
    }
    text += '\n';
    for (const std::string& frame : group.stack) text += fmt::format("    {}\n", frame);
    for (const FiberExample& example : group.examples | std::views::take(examples_max)) {
      text += fmt::format("  fiber {}", example.id);
      if (!example.name.empty() && example.name != group.name) text += fmt::format(" ({})", example.name);
      if (group.state == "parked") text += ", " + runtime::span_text(example.waited);
      if (example.descriptor >= 0) text += fmt::format(", descriptor {}: {}", example.descriptor, example.endpoint);
      text += '\n';
    }
  }
  return text;
}

void dump_fibers(std::FILE* out, const FiberDumpOptions& options) {
  // At once, so that nothing comes in between.
  const std::string text = to_text(collect_fibers(options));
  std::fwrite(text.data(), 1, text.size(), out);
  std::fflush(out);
}

}  // namespace roost
