// Chan<T>: a channel, by which fibers (and plain threads) hand values to each other.
//
//   roost::Chan<Job> jobs(16);                          // room for 16; Chan<Job> jobs; has none: hand to hand
//   roost::go([jobs] {
//     for (Job& job : jobs) work(job);                  // until closed and drained
//   });
//   jobs.send(Job{...});                                // parks while there is no room
//   jobs.close();                                       // no more will come
//
// Semantics are Go's. A send on an unbuffered channel ends when a receiver has the value; on a buffered one when the value
// is in the buffer. Values arrive in the order in which they were sent; fibers that wait are served in the order in which
// they came. close() says that no more values will come: receivers get what is buffered and then Errc::closed, for ever.
// Sending on a closed channel, or closing one twice, is a bug of the program and ends the process with a message.
//
// A Chan is a handle, shared by copying, as Go's channels are: fibers that use a channel outlive the block that made it
// more often than not, and a handle captured by value cannot dangle. Copying one is an atomic increment; making a channel
// is one allocation; sending and receiving allocate nothing. SendChan and ReceiveChan are the same handle with one
// direction taken away, for signatures. A channel that is null (nullptr, or moved from) is never ready, which in a select
// switches a case off.
//
// T may be move-only. Its move constructor and destructor must be noexcept. For a channel that carries no data take
// std::monostate.
//
// Calls that park fail with operation_canceled when the calling fiber is canceled (or the runtime stops), and with timed_out
// when its context's deadline passes; a call that can be served at once is served even then, so that results can still be
// handed over on the way out. Plain threads block. Errors leave the value with the caller.
#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <system_error>
#include <utility>

#include <roost/detail/chan_core.h>
#include <roost/error.h>
#include <roost/time/deadline.h>

namespace roost {

template <class T>
class ReceiveChan;
template <class T>
class SendChan;

namespace detail {

[[nodiscard]] inline std::error_code chan_would_block() noexcept {
  return std::make_error_code(std::errc::operation_would_block);
}

// The next value, into raw storage. would_wait: `end` says what came between.
template <class T>
ChanStep chan_take(ChanImpl<T>& chan, void* out, Deadline deadline, WaitEnd& end) noexcept {
  WaiterId waiter = 0;
  chan.lock();
  const ChanStep step = chan.receive_locked(out, waiter);
  if (step != ChanStep::would_wait) [[likely]] {
    chan.unlock_and_wake(waiter);
    return step;
  }
  WaitNode node(out);
  return chan.wait(ChanSide::receive, node, deadline, end);
}

template <class T>
Result<T> chan_receive(ChanImpl<T>* chan, Deadline deadline) noexcept {
  if (chan == nullptr) [[unlikely]] return fail(wait_error(ChanCore::wait_forever(ChanSide::receive, deadline)));
  Room<T> room;
  WaitEnd end = WaitEnd::answered;
  const ChanStep step = chan_take(*chan, room.bytes, deadline, end);
  if (step == ChanStep::done) [[likely]] return Result<T>(room.take());
  return step == ChanStep::closed ? fail(Errc::closed) : fail(wait_error(end));
}

template <class T>
Result<T> chan_try_receive(ChanImpl<T>* chan) noexcept {
  if (chan == nullptr || !chan->maybe_receivable()) {
    spend_miss();  // or a loop that only tries would keep those from running who could end it
    return fail(chan_would_block());
  }
  Room<T> room;
  WaiterId waiter = 0;
  chan->lock();
  const ChanStep step = chan->receive_locked(room.bytes, waiter);
  chan->unlock_and_wake(waiter);
  if (step == ChanStep::would_wait) return fail(chan_would_block());
  if (step == ChanStep::closed) return fail(Errc::closed);
  return Result<T>(room.take());
}

inline void check_send(ChanStep step) noexcept {
  if (step == ChanStep::closed) [[unlikely]] misuse("send on a closed channel");
}

template <class T>
Result<void> chan_send(ChanImpl<T>* chan, T& value, Deadline deadline) noexcept {
  if (chan == nullptr) [[unlikely]] return fail(wait_error(ChanCore::wait_forever(ChanSide::send, deadline)));
  WaiterId waiter = 0;
  chan->lock();
  ChanStep step = chan->send_locked(value, waiter);
  if (step != ChanStep::would_wait) [[likely]] {
    chan->unlock_and_wake(waiter);
  } else {
    WaitNode node(&value);
    WaitEnd end = WaitEnd::answered;
    step = chan->wait(ChanSide::send, node, deadline, end);
    if (step == ChanStep::would_wait) return fail(wait_error(end));
  }
  check_send(step);
  return {};
}

template <class T>
bool chan_try_send(ChanImpl<T>* chan, T& value) noexcept {
  if (chan == nullptr || !chan->maybe_sendable()) {
    spend_miss();
    return false;
  }
  WaiterId waiter = 0;
  chan->lock();
  const ChanStep step = chan->send_locked(value, waiter);
  chan->unlock_and_wake(waiter);
  check_send(step);
  return step == ChanStep::done;
}

inline void chan_close(ChanCore* chan) noexcept {
  if (chan == nullptr) misuse("close of a null channel");
  if (!chan->close()) misuse("close of a closed channel");
}

// for (T& value : channel): ends when the channel is closed and drained, or the wait is interrupted.
template <class T>
class ChanIterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::input_iterator_tag;

  explicit ChanIterator(Ref<ChanImpl<T>> chan) noexcept : chan_(std::move(chan)) { next(); }
  ChanIterator(ChanIterator&& other) noexcept : chan_(std::move(other.chan_)), has_value_(other.has_value_) {
    if (has_value_) ::new (static_cast<void*>(room_.bytes)) T(std::move(*other.room_.get()));
  }
  ~ChanIterator() { drop(); }

  T& operator*() const noexcept { return *room_.get(); }
  T* operator->() const noexcept { return room_.get(); }
  ChanIterator& operator++() noexcept {
    drop();
    next();
    return *this;
  }
  void operator++(int) noexcept { ++*this; }
  friend bool operator==(const ChanIterator& at, std::default_sentinel_t) noexcept { return !at.has_value_; }

 private:
  void drop() noexcept {
    if (has_value_) room_.get()->~T();
  }
  void next() noexcept {
    WaitEnd end = WaitEnd::answered;
    if (!chan_) static_cast<void>(ChanCore::wait_forever(ChanSide::receive, Deadline::none()));
    has_value_ = chan_ && chan_take(*chan_, room_.bytes, Deadline::none(), end) == ChanStep::done;
  }

  Ref<ChanImpl<T>> chan_;
  bool has_value_ = false;
  mutable Room<T> room_;
};

template <class T>
class ChanHandle {
 public:
  constexpr ChanHandle() noexcept = default;
  explicit ChanHandle(Ref<ChanImpl<T>> impl) noexcept : impl_(std::move(impl)) {}

  // Values in the buffer now; 0 for an unbuffered channel.
  [[nodiscard]] std::size_t len() const noexcept { return impl_ ? impl_->len() : 0; }
  // Room in the buffer.
  [[nodiscard]] std::size_t cap() const noexcept { return impl_ ? impl_->cap() : 0; }
  // False for the null channel.
  explicit operator bool() const noexcept { return static_cast<bool>(impl_); }

  [[nodiscard]] ChanImpl<T>* impl() const noexcept { return impl_.get(); }  // internal

 protected:
  Ref<ChanImpl<T>> impl_;
};

}  // namespace detail

// The receiving side.
template <class T>
class ReceiveChan : public detail::ChanHandle<T> {
 public:
  using value_type = T;

  constexpr ReceiveChan() noexcept = default;  // null
  constexpr ReceiveChan(std::nullptr_t) noexcept {}
  explicit ReceiveChan(detail::Ref<detail::ChanImpl<T>> impl) noexcept : detail::ChanHandle<T>(std::move(impl)) {}

  // The next value; parks until there is one.
  // Errors
  //   Errc::closed         closed, and everything sent before was received
  //   operation_canceled   the fiber or its context was canceled, or the runtime stops
  //   timed_out            the deadline passed, or the context's
  [[nodiscard]] Result<T> receive(Deadline deadline = Deadline::none()) const { return detail::chan_receive(this->impl_.get(), deadline); }

  // The next value if there is one. Never parks.
  // Errors: operation_would_block when receive() would have parked; Errc::closed.
  [[nodiscard]] Result<T> try_receive() const { return detail::chan_try_receive(this->impl_.get()); }

  // Receives until the channel is closed. Also ends when the fiber is canceled or its context is done; tell the two
  // apart by this_fiber::is_canceled().
  detail::ChanIterator<T> begin() const { return detail::ChanIterator<T>(this->impl_); }
  std::default_sentinel_t end() const noexcept { return {}; }

  friend bool operator==(const ReceiveChan& a, const ReceiveChan& b) noexcept { return a.impl() == b.impl(); }
};

// The sending side.
template <class T>
class SendChan : public detail::ChanHandle<T> {
 public:
  using value_type = T;

  constexpr SendChan() noexcept = default;  // null
  constexpr SendChan(std::nullptr_t) noexcept {}
  explicit SendChan(detail::Ref<detail::ChanImpl<T>> impl) noexcept : detail::ChanHandle<T>(std::move(impl)) {}

  // Hands `value` over; parks until a receiver has taken it or the buffer has room. On an error it stays as it was.
  // Errors: operation_canceled, timed_out. On a closed channel (also one that is closed while the call waits): misuse.
  Result<void> send(T&& value, Deadline deadline = Deadline::none()) const {
    return detail::chan_send(this->impl_.get(), value, deadline);
  }
  Result<void> send(const T& value, Deadline deadline = Deadline::none()) const
    requires std::copy_constructible<T>
  {
    T copy(value);
    return detail::chan_send(this->impl_.get(), copy, deadline);
  }

  // As send() if that would not park; otherwise false, and `value` is untouched.
  [[nodiscard]] bool try_send(T&& value) const { return detail::chan_try_send(this->impl_.get(), value); }
  [[nodiscard]] bool try_send(const T& value) const
    requires std::copy_constructible<T>
  {
    T copy(value);
    return detail::chan_try_send(this->impl_.get(), copy);
  }

  // No more values will come. Everybody who waits is woken: receivers get Errc::closed.
  void close() const { detail::chan_close(this->impl_.get()); }

  friend bool operator==(const SendChan& a, const SendChan& b) noexcept { return a.impl() == b.impl(); }
};

// Both sides. See ReceiveChan and SendChan for what the calls do.
template <class T>
class Chan : public detail::ChanHandle<T> {
 public:
  using value_type = T;

  // A new channel without a buffer.
  Chan() : Chan(std::size_t{0}) {}
  // A new channel with room for `capacity` values (at most 2^31 - 1; negative is misuse). Takes memory for them at once.
  template <std::integral Integer>
  explicit Chan(Integer capacity)
      : detail::ChanHandle<T>(
            detail::Ref<detail::ChanImpl<T>>::adopt(detail::HeapChan<T>::make(static_cast<std::size_t>(capacity)))) {}
  // The null channel: never ready.
  template <std::same_as<std::nullptr_t> Null>
  Chan(Null) noexcept {}  // NOLINT: converting on purpose; a template, so that Chan(0) means a capacity

  [[nodiscard]] Result<T> receive(Deadline deadline = Deadline::none()) const { return detail::chan_receive(this->impl_.get(), deadline); }
  [[nodiscard]] Result<T> try_receive() const { return detail::chan_try_receive(this->impl_.get()); }

  Result<void> send(T&& value, Deadline deadline = Deadline::none()) const {
    return detail::chan_send(this->impl_.get(), value, deadline);
  }
  Result<void> send(const T& value, Deadline deadline = Deadline::none()) const
    requires std::copy_constructible<T>
  {
    T copy(value);
    return detail::chan_send(this->impl_.get(), copy, deadline);
  }
  [[nodiscard]] bool try_send(T&& value) const { return detail::chan_try_send(this->impl_.get(), value); }
  [[nodiscard]] bool try_send(const T& value) const
    requires std::copy_constructible<T>
  {
    T copy(value);
    return detail::chan_try_send(this->impl_.get(), copy);
  }
  void close() const { detail::chan_close(this->impl_.get()); }

  detail::ChanIterator<T> begin() const { return detail::ChanIterator<T>(this->impl_); }
  std::default_sentinel_t end() const noexcept { return {}; }

  operator ReceiveChan<T>() const noexcept { return ReceiveChan<T>(this->impl_); }
  operator SendChan<T>() const noexcept { return SendChan<T>(this->impl_); }

  friend bool operator==(const Chan& a, const Chan& b) noexcept { return a.impl() == b.impl(); }
};

}  // namespace roost
