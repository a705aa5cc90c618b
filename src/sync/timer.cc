// A timer is a node in some worker's TimerQueue and a channel with one slot. The channel's lock guards both.
//
// Firing races with stop() and reset(): the queue takes a node out first and calls on_timer() later, when it may have been
// stopped, or started anew. So the call counts only if the node still wants to fire, is in no queue, and its time has come.
//
// A reset to a later time leaves the node where it is in the queue: when it is taken out early it is put in again.
//
// The node is there for its handles (references) and for its memory's other users (memory): all references together, and each
// arming until it has fired or was canceled. A timer that calls a function also holds a reference to itself while it is started.
#include <roost/time/timer.h>

#include "base/clock.h"
#include "sync/timer_arm.h"

namespace roost::detail {

// A channel whose one slot lies in it.
struct TimerChan final : ChanImpl<TimePoint> {
  explicit TimerChan(RefCounted& owner) noexcept : ChanImpl<TimePoint>(owner, 1, room.bytes) { is_timer_ = true; }
  [[nodiscard]] bool drain_locked() noexcept {
    const bool had_value = size_.load(std::memory_order_relaxed) != 0;
    clear_locked();
    return had_value;
  }
  Room<TimePoint> room;
};

struct TimerNode final : RefCounted, time::Timer {
  explicit TimerNode(TimerFunction* starts) noexcept
      : RefCounted(&TimerNode::take_down),
        Timer(&TimerNode::on_timer, time::Timer::AtEnd::fire),
        chan(*this),
        function(starts) {}
  ~TimerNode() {
    if (function != nullptr) function->release();
  }

  bool start(std::int64_t new_when_ns, std::int64_t new_period_ns) noexcept;
  bool stop() noexcept;

  TimerChan chan;
  TimerFunction* const function;           // a reference; null: sends on its channel
  std::atomic<std::uint32_t> memory{1};

  // Guarded by the channel's lock.
  std::int64_t when_ns = 0;
  std::int64_t period_ns = 0;
  std::int64_t armed_ns = 0;               // when the queue takes it out, if it is in one
  bool wants_to_fire = false;

 private:
  bool stop_locked() noexcept;
  void disarm_locked() noexcept;
  runtime::Worker* arm_locked() noexcept;
  void fire() noexcept;
  void release_memory() noexcept {
    if (memory.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  static void on_timer(time::Timer& timer) noexcept;
  static void take_down(RefCounted* self) noexcept;
};

bool TimerNode::stop_locked() noexcept {
  const bool had_value = chan.drain_locked();
  return std::exchange(wants_to_fire, false) || had_value;
}

void TimerNode::disarm_locked() noexcept {
  // Otherwise it is on its way to on_timer(), which will find that it is not wanted.
  if (time::TimerQueue::cancel(*this)) memory.fetch_sub(1, std::memory_order_relaxed);
}

runtime::Worker* TimerNode::arm_locked() noexcept {
  memory.fetch_add(1, std::memory_order_relaxed);
  armed_ns = when_ns;
  return sync::arm_timer(*this, when_ns);
}

bool TimerNode::stop() noexcept {
  chan.lock();
  const bool was_started = wants_to_fire;
  const bool stopped = stop_locked();
  disarm_locked();
  chan.unlock();
  if (was_started && function != nullptr) release();  // the caller has another
  return stopped;
}

bool TimerNode::start(std::int64_t new_when_ns, std::int64_t new_period_ns) noexcept {
  const runtime::Visit visit;
  chan.lock();
  const bool was_started = wants_to_fire;
  const bool stopped = stop_locked();
  when_ns = new_when_ns;
  period_ns = new_period_ns;
  wants_to_fire = true;
  if (!was_started && function != nullptr) retain();
  runtime::Worker* asleep = nullptr;
  // One that never fires needs no place in a queue.
  if (when_ns == base::never_ns || when_ns < armed_ns || !is_armed()) {
    disarm_locked();
    if (when_ns != base::never_ns) asleep = arm_locked();
  }
  chan.unlock();
  if (asleep != nullptr) asleep->poller().wake();
  return stopped;
}

void TimerNode::on_timer(time::Timer& timer) noexcept {
  auto& node = static_cast<TimerNode&>(timer);
  if (sync::runtime_is_running()) {
    node.fire();
  } else if (node.function != nullptr && node.wants_to_fire) {  // the end: nobody else is left
    node.wants_to_fire = false;
    node.release();
  }
  node.release_memory();
}

void TimerNode::fire() noexcept {
  WaiterId waiter = 0;
  bool fires = false;
  chan.lock();
  const std::int64_t now = base::now_ns();
  const bool is_current = wants_to_fire && !is_armed();
  if (is_current && now < when_ns && when_ns != base::never_ns) {
    static_cast<void>(arm_locked());  // on this very worker
  } else if (is_current && now >= when_ns) {
    fires = true;
    if (period_ns > 0) {
      // Ticks that were missed are left out.
      const std::int64_t periods = 1 + (now - when_ns) / period_ns;
      when_ns = base::saturating_add(when_ns, periods * period_ns);
      static_cast<void>(arm_locked());
    } else {
      wants_to_fire = false;
    }
    if (function == nullptr) {
      TimePoint value{std::chrono::nanoseconds(now)};
      static_cast<void>(chan.send_locked(value, waiter));  // dropped if the last one is still there
    }
  }
  chan.unlock();
  wake(waiter);
  if (!fires || function == nullptr) return;
  function->start(function);
  release();  // what start() took
}

void TimerNode::take_down(RefCounted* self) noexcept {
  auto* node = static_cast<TimerNode*>(self);
  node->chan.lock();
  node->stop_locked();
  node->disarm_locked();
  node->chan.unlock();
  node->release_memory();
}

TimerHandle TimerHandle::make(TimerFunction* function) {
  TimerHandle handle;
  handle.node_ = new TimerNode(function);
  handle.owner_ = Ref<RefCounted>::adopt(handle.node_);
  return handle;
}

bool TimerHandle::start(std::int64_t when_ns, std::int64_t period_ns) const noexcept { return node_->start(when_ns, period_ns); }
bool TimerHandle::stop() const noexcept { return node_->stop(); }

ReceiveChan<TimePoint> TimerHandle::channel() const noexcept {
  if (node_->function != nullptr) return nullptr;
  return ReceiveChan<TimePoint>(Ref<ChanImpl<TimePoint>>::share(&node_->chan));
}

}  // namespace roost::detail
