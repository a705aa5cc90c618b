// Contexts form a tree. A CancelNode is one that can end; the others (values, without_cancel) point at the nearest above.
//
// Invariants. "The lock" is that of the node's done channel; two nodes' locks are never held together, except a parent's
// for as long as try_retain() of its children takes, which is not a lock.
//   X1  status_ goes from live to canceled or expired, once, under the lock; cause_ is set before.
//   X2  children_, scopes_ and hooks_ are empty once status_ is not live; nothing joins them after that.
//   X3  a child is in its parent's list without being counted there; whoever takes it out either has got a reference by
//       try_retain(), or the child is being taken down and only looks whether it is still linked.
//   X4  memory_ counts what may touch the node's memory: all references together as one, and the armed timer.
//   X5  anchored: hooks want a node with a timer alive although all its handles are gone. Holds one reference, given back
//       when the node ends or the last hook leaves. A node without a timer hands its hooks to the one above when it goes.
#include <roost/sync/context.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <new>

#include "base/clock.h"
#include "runtime/parking.h"
#include "sync/timer_arm.h"

namespace roost::detail {
namespace {

enum class Status : std::uint8_t { live, canceled, expired };

// Stops a std::stop_source.
struct StopHook final : ContextHook {
  StopHook() : ContextHook(&StopHook::destroy_this, &StopHook::request) {}
  static void destroy_this(RefCounted* self) noexcept { delete static_cast<StopHook*>(self); }
  static void request(ContextHook* self) noexcept { static_cast<StopHook*>(self)->source.request_stop(); }
  std::stop_source source;
};

}  // namespace

struct CancelNode final : ContextNode, time::Timer {
  struct StopLink {
    struct Request {
      CancelNode* node;
      void operator()() const noexcept {
        if (!node->try_retain()) return;
        node->end(Status::canceled, {});
        node->release();
      }
    };
    StopLink(const std::stop_token& token, CancelNode* node) : callback(token, Request{node}) {}
    std::stop_callback<Request> callback;
  };

  // Takes over a reference to `above`.
  explicit CancelNode(ContextNode* above) noexcept
      : ContextNode(above, this, &CancelNode::destroy_this),
        Timer(&CancelNode::on_timer, time::Timer::AtEnd::fire),
        done(*this, 0, nullptr),
        parent_canceler(above != nullptr ? above->canceler : nullptr) {
    if (parent_canceler != nullptr) deadline_ns = parent_canceler->deadline_ns;
  }

  // `deadline`: its own, on top of the parents'. Called once, before anybody else knows the node.
  void start(std::int64_t own_deadline_ns, std::error_code own_deadline_cause) noexcept;
  void end(Status status, std::error_code cause) noexcept;
  bool add(ContextHook& hook) noexcept;     // false: it has ended
  bool remove(ContextHook& hook) noexcept;  // false: it was not there any more
  void attach(ContextScope& scope) noexcept;
  void detach(ContextScope& scope) noexcept;
  std::stop_token make_stop_token();

  [[nodiscard]] std::error_code error() const noexcept {
    switch (status.load(std::memory_order_acquire)) {
      case Status::live: return {};
      case Status::canceled: return Errc::canceled;
      case Status::expired: return Errc::deadline_exceeded;
    }
    return {};
  }
  [[nodiscard]] std::error_code why() const noexcept {
    // Acquire pairs with the release in end_one(): the cause is seen.
    if (status.load(std::memory_order_acquire) == Status::live) return {};
    return cause ? cause : error();
  }

  ChanImpl<std::monostate> done;
  CancelNode* const parent_canceler;            // kept alive by the chain of parents
  std::int64_t deadline_ns = base::never_ns;    // the earliest, of this node and those above; constant after start()
  std::error_code deadline_cause;               // likewise
  bool has_timer = false;                       // likewise
  std::unique_ptr<StopLink> stop_link;          // likewise

  std::atomic<Status> status{Status::live};     // X1
  std::atomic<std::uint32_t> memory{1};         // X4

  // Guarded by the lock.
  std::error_code cause;
  bool anchored = false;                        // X5
  CancelNode* children = nullptr;               // X2, X3
  ContextScope* scopes = nullptr;               // X2; those not told yet
  ContextHook* hooks = nullptr;                 // X2; each counts as a reference to the hook
  Ref<StopHook> stop_hook;                      // among the hooks; kept to give the same source to all who ask

  // Guarded by the parent's lock.
  CancelNode* next_sibling = nullptr;
  CancelNode* previous_sibling = nullptr;
  bool is_child = false;
  CancelNode* next_to_end = nullptr;            // owned by whoever took it out of the parent's list

 private:
  static constexpr std::size_t fibers_per_batch = 32;

  CancelNode* end_one(Status how, std::error_code reason, CancelNode* more) noexcept;
  std::size_t interrupt_some(std::uint32_t flag, std::array<Fiber*, fibers_per_batch>& woken) noexcept;
  void drop_anchor() noexcept;
  void disarm() noexcept;
  void release_memory() noexcept {
    if (memory.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  static void on_timer(time::Timer& timer) noexcept;
  static void destroy_this(ContextNode* self) noexcept;

  template <class T, class Link>
  static void link(T*& first, T& item, Link next, Link previous) noexcept {
    item.*next = first;
    item.*previous = nullptr;
    if (first != nullptr) first->*previous = &item;
    first = &item;
  }
  template <class T, class Link>
  static void unlink(T*& first, T& item, Link next, Link previous) noexcept {
    (item.*previous == nullptr ? first : (item.*previous)->*next) = item.*next;
    if (item.*next != nullptr) item.*next->*previous = item.*previous;
  }
};

// --- lifetime ------------------------------------------------------------------------------------------------------

void ContextNode::take_down(RefCounted* self) noexcept {
  // A loop, as a chain of contexts may be longer than a fiber's stack is deep.
  auto* node = static_cast<ContextNode*>(self);
  for (;;) {
    ContextNode* above = node->parent;
    node->destroy(node);
    if (above == nullptr || above->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    node = above;
  }
}

void CancelNode::destroy_this(ContextNode* self) noexcept {
  auto* node = static_cast<CancelNode*>(self);
  if (CancelNode* above = node->parent_canceler) {
    above->done.lock();
    if (node->is_child) unlink(above->children, *node, &CancelNode::next_sibling, &CancelNode::previous_sibling);
    node->is_child = false;
    above->done.unlock();
  }
  node->stop_link.reset();
  node->disarm();
  // What would still have ended it is only the one above: its hooks wait there. Nobody else can get at the list by now.
  while (ContextHook* hook = node->hooks) {
    node->hooks = hook->next;
    hook->linked = false;
    if (CancelNode* above = node->parent_canceler; above != nullptr && !above->add(*hook)) hook->run(hook);
    hook->release();
  }
  node->release_memory();
}

void CancelNode::disarm() noexcept {
  if (time::TimerQueue::cancel(*this)) release_memory();
}

void CancelNode::on_timer(time::Timer& timer) noexcept {
  auto& node = static_cast<CancelNode&>(timer);
  if (node.try_retain()) {
    if (sync::runtime_is_running()) {
      node.end(Status::expired, node.deadline_cause);
    } else {
      node.drop_anchor();
    }
    node.release();
  }
  node.release_memory();
}

void CancelNode::start(std::int64_t own_deadline_ns, std::error_code own_deadline_cause) noexcept {
  const bool has_own = own_deadline_ns < deadline_ns;
  if (has_own) {
    deadline_ns = own_deadline_ns;
    deadline_cause = own_deadline_cause;
  }
  if (CancelNode* above = parent_canceler) {
    above->done.lock();
    const Status status_above = above->status.load(std::memory_order_relaxed);
    if (status_above == Status::live) {
      link(above->children, *this, &CancelNode::next_sibling, &CancelNode::previous_sibling);
      is_child = true;
    }
    above->done.unlock();
    if (status_above != Status::live) {
      end(status_above, above->cause);
      return;
    }
  }
  if (!has_own) return;
  if (base::now_ns() >= own_deadline_ns) {
    end(Status::expired, own_deadline_cause);
    return;
  }
  const runtime::Visit visit;
  runtime::Worker* asleep = nullptr;
  done.lock();
  if (status.load(std::memory_order_relaxed) == Status::live) {  // else the parent has ended meanwhile
    memory.fetch_add(1, std::memory_order_relaxed);
    has_timer = true;
    asleep = sync::arm_timer(*this, own_deadline_ns);
  }
  done.unlock();
  if (asleep != nullptr) asleep->poller().wake();
}

// --- ending --------------------------------------------------------------------------------------------------------

void CancelNode::end(Status how, std::error_code reason) noexcept {
  // Those below are ended in a loop, as a tree of contexts may be deeper than a fiber's stack.
  CancelNode* more = end_one(how, reason, nullptr);
  while (more != nullptr) {
    CancelNode* node = more;
    more = node->end_one(how, reason, node->next_to_end);
    node->release();
  }
}

// Ends this node alone and returns its children, each with a reference, in front of `more`.
CancelNode* CancelNode::end_one(Status how, std::error_code reason, CancelNode* more) noexcept {
  if (status.load(std::memory_order_acquire) != Status::live) return more;
  WaitChain waiting;
  std::array<Fiber*, fibers_per_batch> woken;
  const std::uint32_t flag = how == Status::expired ? Fiber::flag_context_expired : Fiber::flag_context_canceled;

  done.lock();
  if (status.load(std::memory_order_relaxed) != Status::live) {
    done.unlock();
    return more;
  }
  cause = reason;
  status.store(how, std::memory_order_release);
  done.close_locked(waiting);
  while (CancelNode* child = children) {
    children = child->next_sibling;
    if (children != nullptr) children->previous_sibling = nullptr;
    child->is_child = false;
    if (!child->try_retain()) continue;  // X3
    child->next_to_end = more;
    more = child;
  }
  ContextHook* hook = std::exchange(hooks, nullptr);
  for (ContextHook* one = hook; one != nullptr; one = one->next) one->linked = false;
  const bool releases = std::exchange(anchored, false);
  std::size_t count = interrupt_some(flag, woken);
  done.unlock();

  disarm();
  waiting.answer_all(Answer::closed);
  while (count > 0) {
    for (std::size_t i = 0; i < count; ++i) runtime::unpark(woken[i]);
    if (count < fibers_per_batch) break;
    done.lock();
    count = interrupt_some(flag, woken);
    done.unlock();
  }
  while (hook != nullptr) {
    ContextHook* one = hook;
    hook = one->next;
    one->run(one);
    one->release();
  }
  if (releases) release();  // the caller holds another reference
  return more;
}

// Flags some of the fibers that run under this context, with the lock. They are woken after the unlock, in batches, since
// their scopes may be gone by then; fibers themselves are never unmapped.
std::size_t CancelNode::interrupt_some(std::uint32_t flag, std::array<Fiber*, fibers_per_batch>& woken) noexcept {
  std::size_t count = 0;
  while (count < woken.size() && scopes != nullptr) {
    ContextScope* scope = scopes;
    scopes = scope->next_;
    if (scopes != nullptr) scopes->previous_ = nullptr;
    scope->linked_ = false;
    // seq_cst: see PollDesc::wait, which looks at the flags after it has published the fiber.
    scope->fiber_->flags.fetch_or(flag, std::memory_order_seq_cst);
    woken[count++] = scope->fiber_;
  }
  return count;
}

// --- hooks ---------------------------------------------------------------------------------------------------------

bool CancelNode::add(ContextHook& hook) noexcept {
  done.lock();
  const bool live = status.load(std::memory_order_relaxed) == Status::live;
  if (live) {
    hook.retain();
    link(hooks, hook, &ContextHook::next, &ContextHook::previous);
    hook.linked = true;
    if (has_timer && !anchored) {
      anchored = true;
      retain();
    }
  }
  done.unlock();
  return live;
}

bool CancelNode::remove(ContextHook& hook) noexcept {
  done.lock();
  const bool was_there = hook.linked;
  if (was_there) {
    unlink(hooks, hook, &ContextHook::next, &ContextHook::previous);
    hook.linked = false;
  }
  const bool releases = hooks == nullptr && std::exchange(anchored, false);
  done.unlock();
  if (was_there) hook.release();
  if (releases) release();
  return was_there;
}

void CancelNode::drop_anchor() noexcept {
  done.lock();
  const bool releases = std::exchange(anchored, false);
  done.unlock();
  if (releases) release();
}

std::stop_token CancelNode::make_stop_token() {
  auto hook = Ref<StopHook>::adopt(new StopHook);  // not under the lock, as it allocates
  done.lock();
  const bool is_first = !stop_hook;
  if (is_first) {
    stop_hook = hook;
  } else {
    hook = stop_hook;
  }
  done.unlock();
  if (is_first && !add(*hook)) hook->source.request_stop();
  return hook->source.get_token();
}

void add_hook(const Context& context, ContextHook* hook) noexcept {
  CancelNode* node = context.canceler();
  if (node == nullptr) {
    hook->linked = true;  // it waits for what never comes; no lock guards it there
  } else if (!node->add(*hook)) {
    hook->run(hook);
  }
}

ChanImpl<std::monostate>* done_chan(CancelNode* node) noexcept { return node == nullptr ? nullptr : &node->done; }

// --- scopes --------------------------------------------------------------------------------------------------------

void CancelNode::attach(ContextScope& scope) noexcept {
  done.lock();
  const Status now = status.load(std::memory_order_relaxed);
  if (now == Status::live) {
    link(scopes, scope, &ContextScope::next_, &ContextScope::previous_);
    scope.linked_ = true;
  } else {
    scope.fiber_->flags.fetch_or(now == Status::expired ? Fiber::flag_context_expired : Fiber::flag_context_canceled,
                                 std::memory_order_relaxed);
  }
  done.unlock();
}

void CancelNode::detach(ContextScope& scope) noexcept {
  done.lock();
  // Between the end of a context and the flag of the last of its fibers there may be a batch or two (X2).
  if (scope.linked_) unlink(scopes, scope, &ContextScope::next_, &ContextScope::previous_);
  scope.linked_ = false;
  done.unlock();
  scope.fiber_->flags.fetch_and(~(Fiber::flag_context_expired | Fiber::flag_context_canceled), std::memory_order_relaxed);
}

}  // namespace roost::detail

namespace roost {

using detail::CancelNode;
using detail::ContextNode;
using detail::Ref;

namespace {

CancelableContext make(const Context& parent, std::int64_t deadline_ns, std::error_code cause, const std::stop_token* token) {
  ContextNode* above = parent.node();
  auto* node = new CancelNode(above);
  if (above != nullptr) above->retain();
  auto ref = Ref<ContextNode>::adopt(node);
  node->start(deadline_ns, cause);
  if (token != nullptr) node->stop_link = std::make_unique<CancelNode::StopLink>(*token, node);
  return {.context = Context(ref), .cancel = Canceler(ref)};
}

}  // namespace

CancelableContext with_cancel(const Context& parent) { return make(parent, base::never_ns, {}, nullptr); }
CancelableContext with_deadline(const Context& parent, Deadline deadline, std::error_code cause) {
  return make(parent, deadline.ns(), cause, nullptr);
}
CancelableContext with_stop_token(const Context& parent, const std::stop_token& token) {
  return make(parent, base::never_ns, {}, &token);
}

Context without_cancel(const Context& parent) {
  ContextNode* above = parent.node();
  if (above == nullptr) return {};
  auto* node = new ContextNode(above, nullptr, [](ContextNode* self) noexcept { delete self; });
  above->retain();
  return Context(Ref<ContextNode>::adopt(node));
}

bool Context::is_done() const noexcept { return static_cast<bool>(error()); }
std::error_code Context::error() const noexcept {
  const CancelNode* node = canceler();
  return node == nullptr ? std::error_code{} : node->error();
}
std::error_code Context::cause() const noexcept {
  const CancelNode* node = canceler();
  return node == nullptr ? std::error_code{} : node->why();
}
Deadline Context::deadline() const noexcept {
  const CancelNode* node = canceler();
  return node == nullptr ? Deadline::none() : Deadline::from_ns(node->deadline_ns);
}

ReceiveChan<std::monostate> Context::done() const noexcept {
  return ReceiveChan<std::monostate>(Ref<detail::ChanImpl<std::monostate>>::share(detail::done_chan(canceler())));
}

Result<void> Context::wait(Deadline deadline) const noexcept {
  const auto end = detail::chan_receive(detail::done_chan(canceler()), deadline);
  if (end.error() == Errc::closed) return {};
  return fail(end.error());
}

const void* Context::find(const void* key) const noexcept {
  for (const ContextNode* node = node_.get(); node != nullptr; node = node->parent) {
    if (node->key == key) return node->value;
  }
  return nullptr;
}

std::stop_token Context::stop_token() const {
  CancelNode* node = canceler();
  return node == nullptr ? std::stop_token{} : node->make_stop_token();
}

void Canceler::operator()(std::error_code cause) const noexcept {
  if (node_) node_->canceler->end(detail::Status::canceled, cause);
}

bool ContextFunc::stop() noexcept {
  if (!hook_) return false;
  if (CancelNode* node = context_.canceler()) return node->remove(*hook_);
  return std::atomic_ref(hook_->linked).exchange(false, std::memory_order_relaxed);
}

ContextScope::ContextScope(Context context) noexcept
    : context_(std::move(context)),
      fiber_(runtime::current_fiber()),
      outer_(fiber_ == nullptr ? nullptr : static_cast<ContextScope*>(fiber_->context_state)) {
  if (fiber_ == nullptr) return;
  if (outer_ != nullptr) outer_->detach();
  fiber_->context_state = this;
  attach();
}

ContextScope::~ContextScope() {
  if (fiber_ == nullptr) return;
  if (fiber_->context_state != this) detail::misuse("a ContextScope ended before one that was made inside it, or on another fiber");
  detach();
  fiber_->context_state = outer_;
  if (outer_ != nullptr) outer_->attach();
}

void ContextScope::attach() noexcept {
  if (CancelNode* node = context_.canceler()) node->attach(*this);
}
void ContextScope::detach() noexcept {
  if (CancelNode* node = context_.canceler()) node->detach(*this);
}

Context this_fiber::context() noexcept {
  const detail::Fiber* self = runtime::current_fiber();
  if (self == nullptr || self->context_state == nullptr) return {};
  return static_cast<const ContextScope*>(self->context_state)->context();
}

}  // namespace roost
