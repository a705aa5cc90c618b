// Ticker: sends the time on its channel again and again, until it is stopped.
//
//   roost::Ticker ticker(1s);
//   for (roost::TimePoint now : ticker.channel()) report(now);
//
// Ticks that nobody receives in time are dropped, one is kept. Ticks do not drift: each is due a whole number of periods after
// the start. A handle, shared by copying; when the last handle and the last copy of the channel are dropped it is stopped.
// A period of zero or less is misuse and ends the process with a message.
#pragma once

#include <chrono>

#include <roost/error.h>
#include <roost/sync/chan.h>
#include <roost/time/timer.h>

namespace roost {

class Ticker {
 public:
  // The first tick comes `period` from now.
  explicit Ticker(std::chrono::nanoseconds period) : handle_(detail::TimerHandle::make(nullptr)) { reset(period); }

  // No tick can be received after this has returned. The channel is not closed: who waits on it goes on waiting.
  void stop() noexcept { handle_.stop(); }
  // Starts anew with another period; also after stop().
  void reset(std::chrono::nanoseconds period) noexcept {
    if (period.count() <= 0) detail::misuse("a Ticker with a period that is not positive");
    handle_.start(detail::when_after(period), period.count());
  }

  [[nodiscard]] ReceiveChan<TimePoint> channel() const noexcept { return handle_.channel(); }
  // Parks until the next tick. Errors: timed_out, operation_canceled.
  [[nodiscard]] Result<TimePoint> wait(Deadline deadline = Deadline::none()) const { return channel().receive(deadline); }

 private:
  detail::TimerHandle handle_;
};

// The channel of a Ticker that nobody stops. Null if the period is not positive.
[[nodiscard]] inline ReceiveChan<TimePoint> tick(std::chrono::nanoseconds period) {
  if (period.count() <= 0) return nullptr;
  return Ticker(period).channel();
}

}  // namespace roost
