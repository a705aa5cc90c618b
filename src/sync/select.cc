// Select in two passes. The first looks at the channels one after the other, in random order, and takes what it finds: it
// locks at most the channels that look ready. That cannot prove that none was ready, since a value may have moved from a
// channel not yet looked at to one that was. So the second pass locks all channels, in the order of their addresses, looks
// again, and then either takes the default or puts its nodes into all of them before it unlocks any.
//
// Why all at once: were the nodes put in one by one, another select could find us while we are about to take something
// from a third channel, and the two would have to agree on who backs out. With all locks held nobody can find us before
// it is certain that there is nothing for us to take.
#include <roost/sync/select.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "sync/waiting.h"

namespace roost {
namespace {

using detail::ChanCore;
using detail::ChanSide;
using detail::ChanStep;
using detail::WaitEnd;
using detail::WaiterId;

constexpr std::size_t cases_on_stack = 16;

// Good enough to be fair, and cheap: xorshift, one state a thread. Does not park, so the thread stays the same.
[[gnu::noinline]] std::uint32_t random_below(std::uint32_t bound) noexcept {
  constinit thread_local std::uint64_t state = 0;
  if (state == 0) state = static_cast<std::uint64_t>(base::now_ns()) * 2 + 1 + reinterpret_cast<std::uintptr_t>(&state);
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return static_cast<std::uint32_t>(((state >> 32) * bound) >> 32);
}

// Random order, decided as far as it is asked for.
std::uint32_t draw(std::span<std::uint32_t> order, std::size_t at) noexcept {
  const auto left = static_cast<std::uint32_t>(order.size() - at);
  if (left > 1) std::swap(order[at], order[at + random_below(left)]);
  return order[at];
}

// Room for the bookkeeping of a select, on the stack unless there are very many cases.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::size_t size) {
    if (size > cases_on_stack) heap_ = std::make_unique<T[]>(size);
  }
  T* data() noexcept { return heap_ ? heap_.get() : stack_; }

 private:
  T stack_[cases_on_stack];
  std::unique_ptr<T[]> heap_;
};

// The cores are sorted, so that equal ones are neighbours and everybody locks in one order.
void lock_all(std::span<ChanCore* const> cores) noexcept {
  const ChanCore* last = nullptr;
  for (ChanCore* core : cores) {
    if (core != last) core->lock();
    last = core;
  }
}
void unlock_all(std::span<ChanCore* const> cores) noexcept {
  const ChanCore* last = nullptr;
  for (ChanCore* core : cores) {
    if (core != last) core->unlock();
    last = core;
  }
}

}  // namespace

bool SelectCore::attempt(SelectCase& one, WaiterId& waiter) noexcept {
  one.outcome_ = one.attempt_(one, waiter);
  return one.outcome_ != ChanStep::would_wait;
}

Result<std::size_t> SelectCore::run(std::span<SelectCase* const> cases) noexcept {
  Scratch<std::uint32_t> order_room(cases.size());
  std::uint32_t* const order_data = order_room.data();
  std::size_t count = 0;
  std::size_t otherwise = cases.size();
  Deadline deadline;
  for (std::uint32_t i = 0; i < cases.size(); ++i) {
    const SelectCase& one = *cases[i];
    switch (one.kind_) {
      case SelectCase::Kind::receive:
      case SelectCase::Kind::send:
        if (one.core_ != nullptr) order_data[count++] = i;
        break;
      case SelectCase::Kind::timeout: deadline = std::min(deadline, one.deadline_); break;
      case SelectCase::Kind::otherwise: otherwise = i; break;
    }
  }
  const std::span<std::uint32_t> order(order_data, count);

  for (std::size_t at = 0; at < count; ++at) {
    const std::uint32_t index = draw(order, at);
    SelectCase& one = *cases[index];
    ChanCore& core = *one.core_;
    if (one.kind_ == SelectCase::Kind::receive ? !core.maybe_receivable() : !core.maybe_sendable()) continue;
    WaiterId waiter = 0;
    core.lock();
    const bool chosen = attempt(one, waiter);
    core.unlock_and_wake(waiter);
    if (chosen) return index;
  }
  if (otherwise < cases.size() && count <= 1) {  // one channel alone was looked at properly already
    detail::spend_miss();
    return otherwise;
  }

  Scratch<ChanCore*> cores(count);
  for (std::size_t i = 0; i < count; ++i) cores.data()[i] = cases[order[i]]->core_;
  return wait(cases, order, {cores.data(), count}, otherwise < cases.size() ? cases[otherwise] : nullptr, deadline);
}

Result<std::size_t> SelectCore::wait(std::span<SelectCase* const> cases, std::span<std::uint32_t> order,
                                     std::span<ChanCore*> cores, const SelectCase* otherwise, Deadline deadline) noexcept {
  const auto index_of = [&](auto matches) {
    return static_cast<std::size_t>(std::ranges::find_if(cases, matches) - cases.begin());
  };
  // The earliest time-out case.
  const auto timed_out = [&] {
    return index_of([&](const SelectCase* one) {
      return one->kind_ == SelectCase::Kind::timeout && one->deadline_ == deadline;
    });
  };
  const auto side_of = [](const SelectCase& one) {
    return one.kind_ == SelectCase::Kind::receive ? ChanSide::receive : ChanSide::send;
  };

  std::ranges::sort(cores, std::less<>{});
  const runtime::Waiter self = runtime::current_waiter();
  const WaitEnd hindrance = detail::hindrance(self, deadline.ns());
  detail::Selection selection;

  lock_all(cores);
  for (const std::uint32_t index : order) {
    WaiterId waiter = 0;
    if (!attempt(*cases[index], waiter)) continue;
    unlock_all(cores);
    detail::wake(waiter);
    return index;
  }
  if (otherwise != nullptr || hindrance != WaitEnd::answered) {
    unlock_all(cores);
    if (otherwise != nullptr) {
      detail::spend_miss();
      return index_of([&](const SelectCase* one) { return one == otherwise; });
    }
    // The fiber's context may have timed out, or this select.
    if (hindrance == WaitEnd::timed_out && deadline.has_passed()) return timed_out();
    return fail(detail::wait_error(hindrance));
  }
  for (const std::uint32_t index : order) {
    SelectCase& one = *cases[index];
    one.node_.selection = &selection;
    one.node_.number = index;
    one.node_.waiter = self.bits();
    one.core_->waiters(side_of(one)).push_back(one.node_);
  }
  unlock_all(cores);

  WaitEnd end = WaitEnd::answered;
  std::uint32_t chosen;
  for (;;) {
    // Acquire pairs with the release in choose().
    chosen = selection.chosen.load(std::memory_order_acquire);
    if (chosen != detail::Selection::undecided) {
      // Chosen and answered are two steps of whoever does it; the second is at most a close() away.
      if (cases[chosen]->node_.answer.load(std::memory_order_acquire) != detail::Answer::none) break;
      runtime::park(runtime::WaitReason::select, cases[chosen]->core_);
      continue;
    }
    end = detail::hindrance(self, deadline.ns());
    if (end != WaitEnd::answered) {
      if (selection.choose(detail::Selection::given_up)) break;
      end = WaitEnd::answered;
      continue;
    }
    runtime::park_until(runtime::WaitReason::select, deadline.ns(), cores.empty() ? nullptr : cores.front());
  }

  for (const std::uint32_t index : order) {
    SelectCase& one = *cases[index];
    if (end == WaitEnd::answered && index == chosen) continue;  // whoever answered took it out
    one.core_->lock();
    if (one.node_.linked) one.core_->waiters(side_of(one)).remove(one.node_);
    one.core_->unlock();
  }
  if (end == WaitEnd::answered) {
    SelectCase& one = *cases[chosen];
    const bool closed = one.node_.answer.load(std::memory_order_acquire) == detail::Answer::closed;
    one.outcome_ = closed ? ChanStep::closed : ChanStep::done;
    return chosen;
  }
  if (end == WaitEnd::timed_out && deadline.has_passed()) return timed_out();
  return fail(detail::wait_error(end));
}

}  // namespace roost
