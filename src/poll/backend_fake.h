// FakeBackend: readiness as a test scripts it. No system interface below it, so it compiles and runs everywhere.
//
// A test posts events, and the wait() under way or the next one returns them, for any token: also one that was never
// watched, as a late event of an earlier life would. It keeps what was asked of it, and can refuse an add().
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>

#include "poll/backend.h"

namespace roost::poll {

class FakeBackend final : public Backend {
 public:
  // needs_remove: what needs_remove() says; then a test can assert that is_watched() is false before each close.
  explicit FakeBackend(bool needs_remove = false) noexcept : needs_remove_(needs_remove) {}

  // --- the script; any thread ---

  void post(Event event);
  void fail_next_add(std::error_code error);
  // Blocks until a thread blocks in wait().
  void await_blocked();

  // --- what was asked ---

  [[nodiscard]] std::optional<Token> token_of(int fd) const;
  [[nodiscard]] bool is_watched(int fd) const { return token_of(fd).has_value(); }
  [[nodiscard]] std::size_t watched_count() const;
  [[nodiscard]] std::uint64_t waits() const;

  // --- Backend ---

  Result<void> add(int fd, Token token) override;
  void remove(int fd, Token token) noexcept override;
  [[nodiscard]] bool needs_remove() const noexcept override { return needs_remove_; }
  std::size_t wait(std::span<Event> out, std::int64_t until_ns) noexcept override;
  void wake() noexcept override;
  [[nodiscard]] std::string_view name() const noexcept override { return "fake"; }

 private:
  const bool needs_remove_;
  mutable std::mutex mutex_;               // guards everything below
  std::condition_variable changed_;
  std::deque<Event> posted_;
  std::map<int, Token> watches_;
  std::optional<std::error_code> next_add_error_;
  std::uint64_t waits_ = 0;
  bool blocked_ = false;
  bool woken_ = false;
};

}  // namespace roost::poll
