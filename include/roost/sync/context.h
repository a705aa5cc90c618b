// Context: carries a cancellation, a deadline and values along a chain of calls. Go's package context.
//
//   auto [context, cancel] = roost::with_timeout(request_context, 2s);
//   roost::go(context, [=] {                           // a fiber that runs under it
//     auto answer = conn.read(buffer);                 // fails with timed_out two seconds from now, if not before
//   });
//   cancel();                                          // ... or with operation_canceled from here on
//
// A context is made from a parent and ends when the parent does, or earlier: by its Canceler or by its deadline. When a call
// of a Canceler returns, the context and all made from it are done. Children do not affect their parents.
//
// What Go code does with a ctx argument, a fiber here may do by running under the context (go(context, f), with_context,
// ContextScope): then every call of it that parks fails once the context is done, with timed_out if that was for the
// deadline and with operation_canceled otherwise. Nothing must be passed along for that. The innermost scope counts: under
// without_cancel(context) a fiber can finish what must be finished. Calls ask for one flag of their fiber; the price is
// paid by whoever cancels. A fiber started by plain go() runs under no context.
//
// A Context is a handle of 8 bytes, shared by copying; the default one is the background: never done, without a deadline, without
// values. Making one from a parent is one allocation. All of it may be used from any fiber or thread; a deadline needs a running
// runtime; made where none runs, or none runs any more, it ends the process with a message. When the last handle is dropped, a
// context's timer is stopped and it leaves its parent: forgetting to cancel leaks nothing.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include <roost/detail/ref_counted.h>
#include <roost/error.h>
#include <roost/go.h>
#include <roost/sync/chan.h>
#include <roost/sync/select.h>
#include <roost/time/deadline.h>

namespace roost {

class Context;
struct CancelableContext;

namespace detail {

struct CancelNode;  // src/sync/context.cc

// One context. The chain of parents is what values are looked up in.
struct ContextNode : RefCounted {
  using Destroy = void (*)(ContextNode*) noexcept;
  // Takes over a reference to `above`.
  ContextNode(ContextNode* above, CancelNode* ends_with, Destroy destroys) noexcept
      : RefCounted(&ContextNode::take_down), parent(above), canceler(ends_with), destroy(destroys) {}

  ContextNode* const parent;    // a reference, or null
  CancelNode* const canceler;   // the nearest one, this itself or above; null: never done
  const Destroy destroy;
  const void* key = nullptr;    // what `value` is found by; null: holds no value
  const void* value = nullptr;

 private:
  static void take_down(RefCounted* self) noexcept;
};

template <class T>
struct ValueNode final : ContextNode {
  ValueNode(ContextNode* above, CancelNode* ends_with, T held_value)
      : ContextNode(above, ends_with, &ValueNode::destroy_this), held(std::move(held_value)) {
    value = std::addressof(held);
  }
  static void destroy_this(ContextNode* self) noexcept { delete static_cast<ValueNode*>(self); }
  T held;
};

// Its address stands for the type.
template <class T>
inline constexpr char context_key = 0;

// Something that happens when a context is done.
struct ContextHook : RefCounted {
  using Run = void (*)(ContextHook*) noexcept;
  ContextHook(Last last_goes, Run runs) noexcept : RefCounted(last_goes), run(runs) {}

  const Run run;  // must not park
  // Guarded by the context's lock.
  ContextHook* next = nullptr;
  ContextHook* previous = nullptr;
  bool linked = false;
};

template <class F>
struct FunctionHook final : ContextHook {
  explicit FunctionHook(F f) : ContextHook(&FunctionHook::destroy_this, &FunctionHook::start), function(std::move(f)) {}
  static void destroy_this(RefCounted* self) noexcept { delete static_cast<FunctionHook*>(self); }
  static void start(ContextHook* self) noexcept {
    go(SpawnOptions{.name = "context after_func"},
       [hook = Ref<FunctionHook>::share(static_cast<FunctionHook*>(self))] { static_cast<void>(hook->function()); });
  }
  F function;
};

[[nodiscard]] ChanImpl<std::monostate>* done_chan(CancelNode* node) noexcept;

}  // namespace detail

class Context {
 public:
  constexpr Context() noexcept = default;
  // Never done, no deadline, no values: the root that others are made from.
  [[nodiscard]] static constexpr Context background() noexcept { return {}; }

  [[nodiscard]] bool is_done() const noexcept;
  // No error while it is not done; Errc::canceled or Errc::deadline_exceeded from then on.
  [[nodiscard]] std::error_code error() const noexcept;
  // Why it is done: what the Canceler was given, of this context or of the one above that ended it; error() if that was nothing.
  [[nodiscard]] std::error_code cause() const noexcept;
  // The earliest deadline of this context and those above; none() if there is none.
  [[nodiscard]] Deadline deadline() const noexcept;

  // A channel that is closed when the context is done. Null (never ready) if it never will be. In a select: on_done().
  [[nodiscard]] ReceiveChan<std::monostate> done() const noexcept;
  // Parks until the context is done. Errors: timed_out (the deadline given here), operation_canceled.
  [[nodiscard]] Result<void> wait(Deadline deadline = Deadline::none()) const noexcept;

  // The nearest value of exactly this type that was put in by with_value(), or null. Give each use a type of its own.
  template <class T>
  [[nodiscard]] const T* value() const noexcept {
    return static_cast<const T*>(find(&detail::context_key<T>));
  }

  // A token that is stopped when the context is done. Stop callbacks run inside the call that cancels and must not park.
  [[nodiscard]] std::stop_token stop_token() const;

  friend bool operator==(const Context& a, const Context& b) noexcept { return a.node_ == b.node_; }

  // Internal.
  explicit Context(detail::Ref<detail::ContextNode> node) noexcept : node_(std::move(node)) {}
  [[nodiscard]] detail::ContextNode* node() const noexcept { return node_.get(); }
  [[nodiscard]] detail::CancelNode* canceler() const noexcept { return node_ ? node_->canceler : nullptr; }

 private:
  [[nodiscard]] const void* find(const void* key) const noexcept;

  detail::Ref<detail::ContextNode> node_;
};

// Ends one context. A handle, shared by copying; calling it again does nothing. Dropping it does not cancel.
class Canceler {
 public:
  Canceler() noexcept = default;
  // The context and all made from it are done when this returns. Their cause() is `cause`, if one is given.
  void operator()(std::error_code cause = {}) const noexcept;

  explicit Canceler(detail::Ref<detail::ContextNode> node) noexcept : node_(std::move(node)) {}  // internal

 private:
  detail::Ref<detail::ContextNode> node_;
};

struct CancelableContext {
  Context context;
  Canceler cancel;
};

// A context that ends with `parent` or when its Canceler is called.
[[nodiscard]] CancelableContext with_cancel(const Context& parent);
// ... or when the deadline passes; at once if it has. `cause` is then its cause().
[[nodiscard]] CancelableContext with_deadline(const Context& parent, Deadline deadline, std::error_code cause = {});
[[nodiscard]] inline CancelableContext with_timeout(const Context& parent, std::chrono::nanoseconds span,
                                                    std::error_code cause = {}) {
  return with_deadline(parent, Deadline::after(span), cause);
}
// The parent's values without its end and its deadline.
[[nodiscard]] Context without_cancel(const Context& parent);
// A context that ends with `parent` or when a stop is requested.
[[nodiscard]] CancelableContext with_stop_token(const Context& parent, const std::stop_token& token);

// The parent with a value, found by its type. Hides an earlier one of the same type.
template <class T>
[[nodiscard]] Context with_value(const Context& parent, T value) {
  detail::ContextNode* above = parent.node();
  auto node = std::make_unique<detail::ValueNode<T>>(above, parent.canceler(), std::move(value));
  if (above != nullptr) above->retain();
  node->key = &detail::context_key<T>;
  return Context(detail::Ref<detail::ContextNode>::adopt(node.release()));
}

// What after_func(context, f) returns. Dropping it changes nothing.
class ContextFunc {
 public:
  ContextFunc() noexcept = default;
  // True: the function will not be called. False: it has been started, or was stopped before.
  bool stop() noexcept;

  ContextFunc(Context context, detail::Ref<detail::ContextHook> hook) noexcept  // internal
      : context_(std::move(context)), hook_(std::move(hook)) {}

 private:
  Context context_;
  detail::Ref<detail::ContextHook> hook_;
};

namespace detail {
void add_hook(const Context& context, ContextHook* hook) noexcept;
}

// Calls `function()` in a fiber of its own once the context is done; at once if it is. Whoever cancels does not wait for it.
template <class F>
  requires std::invocable<std::decay_t<F>&>
ContextFunc after_func(const Context& context, F&& function) {
  using Hook = detail::FunctionHook<std::decay_t<F>>;
  auto hook = detail::Ref<detail::ContextHook>::adopt(new Hook(std::forward<F>(function)));
  detail::add_hook(context, hook.get());
  return {context, std::move(hook)};
}

// --- running under a context ---------------------------------------------------------------------------------------

// While it lives, the calling fiber runs under `context`, and under no other: it hides the scope around it. Belongs on the
// stack of one fiber. On a plain thread it does nothing.
class ContextScope {
 public:
  explicit ContextScope(Context context) noexcept;
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

  [[nodiscard]] const Context& context() const noexcept { return context_; }

 private:
  friend struct detail::CancelNode;

  void attach() noexcept;
  void detach() noexcept;

  const Context context_;
  detail::Fiber* const fiber_;        // null on a plain thread
  ContextScope* const outer_;
  // Guarded by the context's lock.
  ContextScope* next_ = nullptr;
  ContextScope* previous_ = nullptr;
  bool linked_ = false;
};

// Calls `function()` under `context`.
template <class F>
decltype(auto) with_context(const Context& context, F&& function) {
  const ContextScope scope(context);
  return std::forward<F>(function)();
}

// Starts a fiber that runs under `context`.
template <class F>
  requires std::invocable<std::decay_t<F>&>
auto go(const Context& context, F&& function) {
  return go([context, held = std::decay_t<F>(std::forward<F>(function))]() mutable {
    const ContextScope scope(context);
    return held();
  });
}

namespace this_fiber {
// The innermost context the calling fiber runs under; the background if it runs under none.
[[nodiscard]] Context context() noexcept;
}  // namespace this_fiber

// A case of select(): chosen when the context is done. The handler takes nothing.
template <class F = detail::NoHandler>
[[nodiscard]] auto on_done(const Context& context, F&& handler = {}) {
  auto ignore_value = [held = std::decay_t<F>(std::forward<F>(handler))](const Result<std::monostate>&) mutable { held(); };
  return ReceiveCase<std::monostate, decltype(ignore_value)>(detail::done_chan(context.canceler()), std::move(ignore_value));
}

}  // namespace roost
