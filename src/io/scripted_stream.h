// A source and a sink for tests: they do what a script says, and note what was asked of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <roost/error.h>
#include <roost/io/stream.h>

#include "base/buffer_pool.h"

namespace roost::io {

// Serves one step of its script at each read(); after the last one it is at its end.
class ScriptedSource final : public Source {
 public:
  // Bytes that are ready. A read with less room gets the rest the next time.
  ScriptedSource& data(std::string_view text) { return add({std::string(text), {}, false}); }
  // Bytes that come only after waiting.
  ScriptedSource& late(std::string_view text) { return add({std::string(text), {}, true}); }
  ScriptedSource& error(std::error_code code) { return add({{}, code, false}); }
  // Waiting itself fails, as it does when a deadline passes.
  ScriptedSource& error_while_waiting(std::error_code code) { return add({{}, code, true}); }

  Result<std::size_t> read(std::span<std::byte> out) override {
    ++reads;
    largest_read = std::max(largest_read, out.size());
    if (steps_.empty() || out.empty()) return 0;
    Step& step = steps_.front();
    step.late = false;
    if (step.code) {
      const std::error_code code = step.code;
      steps_.pop_front();
      return fail(code);
    }
    const std::size_t size = std::min(out.size(), step.text.size());
    std::memcpy(out.data(), step.text.data(), size);
    step.text.erase(0, size);
    if (step.text.empty()) steps_.pop_front();
    return size;
  }
  Result<void> wait_readable() override {
    ++waits;
    buffers_while_waiting = std::max(buffers_while_waiting, base::buffers_borrowed() - buffers_at_start);
    if (steps_.empty()) return {};
    steps_.front().late = false;
    if (!steps_.front().code) return {};
    const std::error_code code = steps_.front().code;
    steps_.pop_front();
    return fail(code);
  }
  [[nodiscard]] bool maybe_readable() const noexcept override { return steps_.empty() || !steps_.front().late; }

  int reads = 0;
  int waits = 0;
  std::size_t largest_read = 0;
  std::uint64_t buffers_while_waiting = 0;  // lent to anybody, at most, since this source was made
  const std::uint64_t buffers_at_start = base::buffers_borrowed();

 private:
  struct Step {
    std::string text;
    std::error_code code;
    bool late;
  };
  ScriptedSource& add(Step step) {
    steps_.push_back(std::move(step));
    return *this;
  }
  std::deque<Step> steps_;
};

// Takes everything, until `takes` says how much of the next write, or `code` that it fails.
class ScriptedSink final : public Sink {
 public:
  using Sink::write;
  Result<std::size_t> write(std::span<const std::byte> data) override {
    calls.push_back(data.size());
    const std::size_t size = std::min(data.size(), takes);
    text.append(reinterpret_cast<const char*>(data.data()), size);
    if (code) return fail(code);
    return size;
  }
  Result<std::size_t> write_vectored(std::span<const std::span<const std::byte>> pieces) override {
    std::size_t size = 0;
    for (const auto piece : pieces) {
      text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      size += piece.size();
    }
    ++vectored_calls;
    calls.push_back(size);
    if (code) return fail(code);
    return std::min(size, takes);
  }

  std::string text;
  std::vector<std::size_t> calls;  // their sizes
  int vectored_calls = 0;
  std::size_t takes = static_cast<std::size_t>(-1);
  std::error_code code;
};

}  // namespace roost::io
