#include "poll/backend_fake.h"

#include <chrono>
#include <utility>

#include "base/clock.h"

namespace roost::poll {

void FakeBackend::post(Event event) {
  std::lock_guard guard(mutex_);
  posted_.push_back(event);
  changed_.notify_all();
}

void FakeBackend::fail_next_add(std::error_code error) {
  std::lock_guard guard(mutex_);
  next_add_error_ = error;
}

void FakeBackend::await_blocked() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return blocked_; });
}

std::optional<Token> FakeBackend::token_of(int fd) const {
  std::lock_guard guard(mutex_);
  const auto found = watches_.find(fd);
  return found == watches_.end() ? std::nullopt : std::optional(found->second);
}

std::size_t FakeBackend::watched_count() const {
  std::lock_guard guard(mutex_);
  return watches_.size();
}

std::uint64_t FakeBackend::waits() const {
  std::lock_guard guard(mutex_);
  return waits_;
}

Result<void> FakeBackend::add(int fd, Token token) {
  std::lock_guard guard(mutex_);
  if (next_add_error_) return fail(*std::exchange(next_add_error_, std::nullopt));
  watches_.insert_or_assign(fd, token);
  return {};
}

void FakeBackend::remove(int fd, Token token) noexcept {
  std::lock_guard guard(mutex_);
  if (const auto found = watches_.find(fd); found != watches_.end() && found->second == token) watches_.erase(found);
}

std::size_t FakeBackend::wait(std::span<Event> out, std::int64_t until_ns) noexcept {
  std::unique_lock lock(mutex_);
  ++waits_;
  if (until_ns != 0) {
    blocked_ = true;
    changed_.notify_all();
    const auto over = [this] { return woken_ || !posted_.empty(); };
    if (until_ns == base::never_ns || (base::ManualClock::installed() && until_ns > base::now_ns())) {
      changed_.wait(lock, over);
    } else if (!base::ManualClock::installed()) {
      changed_.wait_until(lock, std::chrono::steady_clock::time_point(std::chrono::nanoseconds(until_ns)), over);
    }
    blocked_ = false;
    woken_ = false;
  }
  std::size_t stored = 0;
  for (; stored < out.size() && !posted_.empty(); posted_.pop_front()) out[stored++] = posted_.front();
  return stored;
}

void FakeBackend::wake() noexcept {
  std::lock_guard guard(mutex_);
  woken_ = true;
  changed_.notify_all();
}

}  // namespace roost::poll
