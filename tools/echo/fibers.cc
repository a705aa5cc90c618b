#include "tools/echo/fibers.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <roost/go.h>
#include <roost/metrics.h>

#include "tools/common/command.h"

namespace roost::echo {
namespace {

using namespace std::chrono_literals;

constexpr auto patience = 5s;  // a process whose machine is overloaded answers late, one that hangs never

}  // namespace

SharedFibers::SharedFibers(unsigned processes, std::function<void()> wake) : wake_(std::move(wake)), missing_(processes) {}

FiberDump SharedFibers::ask() {
  return blocking([this] {
    std::unique_lock lock(mutex_);
    // A round that is under way may have passed what the caller wants to see.
    const std::uint64_t wanted = rounds_ + (under_way_ ? 2 : 1);
    wished_ = true;
    lock.unlock();
    wake_();
    lock.lock();
    answered_.wait_for(lock, 3 * patience, [&] { return stopped_ || rounds_ >= wanted; });
    return sum_;
  });
}

void SharedFibers::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  answered_.notify_all();
}

void SharedFibers::wish_to_print() {
  const std::lock_guard lock(mutex_);
  wished_ = print_ = true;
}

bool SharedFibers::take_wish(const std::vector<bool>& running) {
  std::unique_lock lock(mutex_);
  if (!wished_ || under_way_) return false;
  wished_ = false;
  under_way_ = true;
  missing_ = running;
  patience_ = Deadline::after(patience);
  sum_ = FiberDump{.processes = 0};
  finish_if_complete(lock);  // when none runs any more
  return true;
}

void SharedFibers::set_answer(unsigned process, std::string_view json) {
  std::unique_lock lock(mutex_);
  if (!under_way_ || !missing_[process]) return;  // too late
  missing_[process] = false;
  if (const auto dump = metrics::parse_fibers(json)) merge(sum_, *dump, fiber_examples_max);
  finish_if_complete(lock);
}

void SharedFibers::set_gone(unsigned process) {
  std::unique_lock lock(mutex_);
  if (!under_way_) return;
  missing_[process] = false;
  finish_if_complete(lock);
}

void SharedFibers::look_at_clock() {
  std::unique_lock lock(mutex_);
  if (!under_way_ || !patience_.has_passed()) return;
  const auto silent = std::count(missing_.begin(), missing_.end(), true);
  tools::print_error("echo", fmt::format("{} of {} processes did not tell of their fibers within {} s", silent, missing_.size(),
                                         std::chrono::seconds(patience).count()));
  std::fill(missing_.begin(), missing_.end(), false);
  finish_if_complete(lock);
}

Deadline SharedFibers::next_look() const {
  const std::lock_guard lock(mutex_);
  return under_way_ ? patience_ : Deadline::none();
}

void SharedFibers::finish_if_complete(std::unique_lock<std::mutex>& lock) {
  if (std::count(missing_.begin(), missing_.end(), true) > 0) return;
  under_way_ = false;
  ++rounds_;
  std::string text;
  if (std::exchange(print_, false)) text = fmt::format("roost: SIGQUIT: {}", to_text(sum_));
  lock.unlock();
  answered_.notify_all();
  if (text.empty()) return;
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace roost::echo
