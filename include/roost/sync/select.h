// select: waits for the first of several channel operations that can go ahead, and carries out that one.
//
//   roost::select(
//       roost::on_receive(jobs, [&](roost::Result<Job> job) { ... }),      // job.error() == Errc::closed at the end
//       roost::on_send(results, result, [&] { ... }),
//       roost::on_done(context, [&] { ... }),
//       roost::on_timeout(50ms, [&] { ... }));                             // or roost::otherwise([&] { ... })
//
// Exactly one case is carried out. When several are ready one is taken at random, each with the same chance. With
// otherwise() (Go's default) the call never parks; with on_timeout() it gives up then. Without either it parks until a case
// is ready. The handler of the chosen case runs in the calling fiber after the select is over, with no lock held; handlers may be
// left out. The result is the index of the case that was chosen, counted from 0 in the order of the arguments.
//
// A case whose channel is null is never chosen. A receive from a closed channel is ready at once, with Errc::closed; a send on
// one is misuse and ends the process. One channel may stand in several cases; a select never receives what it sends itself.
//
// Errors
//   operation_canceled   nothing was ready and the fiber or its context was canceled, or the runtime stops
//   timed_out            nothing was ready and the context's deadline has passed (on_timeout is a case, not an error)
//
// Nothing is allocated for up to 16 cases. Plain threads may select, too; they block.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <roost/detail/chan_core.h>
#include <roost/error.h>
#include <roost/sync/chan.h>
#include <roost/time/deadline.h>

namespace roost {

// One case, made by the on_...() functions. Neither copied nor moved: it is linked into its channel while it waits. A named
// case serves one select, whose outcome can be asked of it afterwards.
class SelectCase {
 public:
  SelectCase(const SelectCase&) = delete;
  SelectCase& operator=(const SelectCase&) = delete;

 protected:
  friend class SelectCore;

  enum class Kind : std::uint8_t { receive, send, timeout, otherwise };
  // Carries the operation out if it can go ahead; called with the channel's lock.
  using Attempt = detail::ChanStep (*)(SelectCase&, detail::WaiterId&) noexcept;

  SelectCase(Kind kind, detail::ChanCore* core, Attempt attempt) noexcept : core_(core), attempt_(attempt), kind_(kind) {}
  explicit SelectCase(Kind kind, Deadline deadline = Deadline::none()) noexcept : deadline_(deadline), kind_(kind) {}
  ~SelectCase() = default;

  detail::ChanCore* const core_ = nullptr;  // null: never ready
  const Attempt attempt_ = nullptr;
  const Deadline deadline_;
  const Kind kind_;
  detail::ChanStep outcome_ = detail::ChanStep::would_wait;  // would_wait: not chosen
  detail::WaitNode node_;
};

// What select() does with its cases, however they are typed.
class SelectCore {
 public:
  // The index of the case that was chosen; its operation is done.
  static Result<std::size_t> run(std::span<SelectCase* const> cases) noexcept;

 private:
  static Result<std::size_t> wait(std::span<SelectCase* const> cases, std::span<std::uint32_t> order,
                                  std::span<detail::ChanCore*> cores, const SelectCase* otherwise, Deadline deadline) noexcept;
  static bool attempt(SelectCase& one, detail::WaiterId& waiter) noexcept;
};

namespace detail {
struct NoHandler {
  template <class... Args>
  void operator()(Args&&...) const noexcept {}
};
}  // namespace detail

template <class T, class F>
class ReceiveCase final : public SelectCase {
 public:
  ReceiveCase(detail::ChanImpl<T>* chan, F handler)
      : SelectCase(Kind::receive, chan, &ReceiveCase::attempt), handler_(std::move(handler)) {
    node_.value = room_.bytes;
  }
  ~ReceiveCase() {
    if (outcome_ == detail::ChanStep::done) room_.get()->~T();
  }

  // True if this case was chosen and its value is still here.
  [[nodiscard]] bool has_value() const noexcept { return outcome_ == detail::ChanStep::done; }
  // The value received, once; Errc::closed if the channel was; operation_would_block if another case was chosen.
  Result<T> take() noexcept {
    switch (std::exchange(outcome_, detail::ChanStep::would_wait)) {
      case detail::ChanStep::done: return Result<T>(room_.take());
      case detail::ChanStep::closed: return fail(Errc::closed);
      case detail::ChanStep::would_wait: break;
    }
    return fail(detail::chan_would_block());
  }
  void run_handler() {
    if constexpr (!std::is_same_v<F, detail::NoHandler>) std::invoke(handler_, take());
  }

 private:
  static detail::ChanStep attempt(SelectCase& self, detail::WaiterId& waiter) noexcept {
    auto& own = static_cast<ReceiveCase&>(self);
    return static_cast<detail::ChanImpl<T>*>(own.core_)->receive_locked(own.room_.bytes, waiter);
  }

  detail::Room<T> room_;  // holds a value while outcome_ is done
  F handler_;
};

template <class T, class F>
class SendCase final : public SelectCase {
 public:
  template <class U>
  SendCase(detail::ChanImpl<T>* chan, U&& value, F handler)
      : SelectCase(Kind::send, chan, &SendCase::attempt), value_(std::forward<U>(value)), handler_(std::move(handler)) {
    node_.value = &value_;
  }

  [[nodiscard]] bool sent() const noexcept { return outcome_ == detail::ChanStep::done; }
  // The value, if it was not sent.
  [[nodiscard]] T& value() noexcept { return value_; }
  void run_handler() {
    detail::check_send(outcome_);
    std::invoke(handler_);
  }

 private:
  static detail::ChanStep attempt(SelectCase& self, detail::WaiterId& waiter) noexcept {
    auto& own = static_cast<SendCase&>(self);
    return static_cast<detail::ChanImpl<T>*>(own.core_)->send_locked(own.value_, waiter);
  }

  T value_;
  F handler_;
};

template <class F>
class PlainCase final : public SelectCase {
 public:
  PlainCase(F handler) : SelectCase(Kind::otherwise), handler_(std::move(handler)) {}
  PlainCase(Deadline deadline, F handler) : SelectCase(Kind::timeout, deadline), handler_(std::move(handler)) {}
  void run_handler() { std::invoke(handler_); }

 private:
  F handler_;
};

// Receive from `chan` (Chan<T> or ReceiveChan<T>). The handler takes a Result<T>. The channel is borrowed until the select is over.
template <class C, class F = detail::NoHandler>
  requires requires(const C& chan) { static_cast<const detail::ChanHandle<typename C::value_type>&>(chan); }
[[nodiscard]] auto on_receive(const C& chan, F&& handler = {}) {
  return ReceiveCase<typename C::value_type, std::decay_t<F>>(chan.impl(), std::forward<F>(handler));
}

// Send `value` on `chan` (Chan<T> or SendChan<T>). The value is moved or copied into the case. The handler takes nothing.
template <class C, class V, class F = detail::NoHandler>
  requires std::constructible_from<typename C::value_type, V&&>
[[nodiscard]] auto on_send(const C& chan, V&& value, F&& handler = {}) {
  return SendCase<typename C::value_type, std::decay_t<F>>(chan.impl(), std::forward<V>(value), std::forward<F>(handler));
}

// Chosen when no other case was ready before. The earliest of several counts.
template <class F = detail::NoHandler>
[[nodiscard]] auto on_timeout(std::chrono::nanoseconds span, F&& handler = {}) {
  return PlainCase<std::decay_t<F>>(Deadline::after(span), std::forward<F>(handler));
}
template <class F = detail::NoHandler>
[[nodiscard]] auto on_deadline(Deadline deadline, F&& handler = {}) {
  return PlainCase<std::decay_t<F>>(deadline, std::forward<F>(handler));
}

// Go's default: chosen when no other case is ready at this moment. Beside it a time-out has no effect, even one that has passed.
template <class F = detail::NoHandler>
[[nodiscard]] auto otherwise(F&& handler = {}) {
  return PlainCase<std::decay_t<F>>(std::forward<F>(handler));
}

template <class... Cases>
  requires(std::derived_from<std::remove_cvref_t<Cases>, SelectCase> && ...)
Result<std::size_t> select(Cases&&... cases) {
  const std::array<SelectCase*, sizeof...(Cases)> all{&cases...};
  const Result<std::size_t> chosen = SelectCore::run(all);
  if (chosen) {
    std::size_t index = 0;
    static_cast<void>(((index++ == *chosen && (cases.run_handler(), true)) || ...));
  }
  return chosen;
}

// As many cases as turn out at run time:
//
//   roost::SelectList cases;
//   for (const auto& chan : chans) cases.receive(chan, [&](roost::Result<int> value) { ... });
//   cases.timeout(1s);
//   roost::select(cases);
//
// Each case is an allocation. A list serves one select; clear() makes it ready for the next.
class SelectList {
 public:
  template <class C, class F = detail::NoHandler>
  void receive(const C& chan, F&& handler = {}) {
    add([&] { return on_receive(chan, std::forward<F>(handler)); });
  }
  template <class C, class V, class F = detail::NoHandler>
  void send(const C& chan, V&& value, F&& handler = {}) {
    add([&] { return on_send(chan, std::forward<V>(value), std::forward<F>(handler)); });
  }
  template <class F = detail::NoHandler>
  void timeout(std::chrono::nanoseconds span, F&& handler = {}) {
    add([&] { return on_timeout(span, std::forward<F>(handler)); });
  }
  template <class F = detail::NoHandler>
  void otherwise(F&& handler = {}) {
    add([&] { return roost::otherwise(std::forward<F>(handler)); });
  }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  void clear() noexcept {
    entries_.clear();
    cases_.clear();
  }

 private:
  friend Result<std::size_t> select(SelectList& list);

  struct Entry {
    virtual ~Entry() = default;
    virtual void run_handler() = 0;
  };
  template <class Case>
  struct Box final : Entry {
    template <class Make>
    explicit Box(Make&& make) : one(make()) {}
    void run_handler() override { one.run_handler(); }
    Case one;
  };

  template <class Make>
  void add(Make&& make) {
    using Case = std::invoke_result_t<Make&>;
    auto box = std::make_unique<Box<Case>>(make);
    cases_.push_back(&box->one);
    entries_.push_back(std::move(box));
  }

  std::vector<std::unique_ptr<Entry>> entries_;
  std::vector<SelectCase*> cases_;
};

inline Result<std::size_t> select(SelectList& list) {
  const Result<std::size_t> chosen = SelectCore::run(list.cases_);
  if (chosen) list.entries_[*chosen]->run_handler();
  return chosen;
}

}  // namespace roost
