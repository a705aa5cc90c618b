// io::pipe parks fibers, which the room io cannot; so it lives here.
#include <roost/io/pipe.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/spin_lock.h"
#include "runtime/parking.h"

namespace roost::io {
namespace detail {

using runtime::Waiter;
using runtime::WaitReason;

// Both sides wait in a queue of their own, by nodes on their stacks.
//
// Invariants
//   P1  only the first reader takes bytes, and only from the first writer; it does so without the lock, and `busy` keeps
//       the writer from leaving meanwhile.
//   P2  whoever leaves the front of a queue wakes the reader that is then in front of the readers, so that a close, too,
//       goes from one to the next.
//   P3  a writer whose bytes were all taken is out of its queue and `done`; both happen under the lock.
class PipeState {
 public:
  Result<std::size_t> read(std::span<std::byte> out) {
    if (out.empty()) {
      base::SpinGuard guard(lock_);
      const auto ended = reading_ended();
      return ended && *ended ? Result<std::size_t>(fail(*ended)) : 0;
    }
    Node self{.waiter = runtime::current_waiter()};
    if (const auto ended = wait_for_bytes(self)) {
      if (*ended) return fail(*ended);
      return 0;
    }
    // In front, and so is a writer, both until leave_reading().
    Node& writer = *writers_.first;
    const std::size_t size = std::min(out.size(), writer.data.size());
    std::memcpy(out.data(), writer.data.data(), size);
    lock_.lock();
    writer.busy = false;
    writer.data = writer.data.subspan(size);
    Waiter woken;
    if (writer.data.empty()) {
      writers_.remove(writer);
      writer.done = true;
      woken = writer.waiter;
    } else if (writer.leaving) {
      woken = writer.waiter;
    }
    const Waiter next = leave_reading(self);
    lock_.unlock();
    runtime::unpark(woken);
    runtime::unpark(next);
    runtime::spend_budget();
    return size;
  }

  Result<void> wait_readable() {
    Node self{.waiter = runtime::current_waiter()};
    // The end of the stream is for read() to tell.
    if (const auto ended = wait_for_bytes(self)) {
      if (*ended) return fail(*ended);
      return {};
    }
    lock_.lock();
    Node& writer = *writers_.first;
    writer.busy = false;
    const Waiter woken = writer.leaving ? writer.waiter : Waiter();
    const Waiter next = leave_reading(self);
    lock_.unlock();
    runtime::unpark(woken);
    runtime::unpark(next);
    return {};
  }

  [[nodiscard]] bool maybe_readable() noexcept {
    base::SpinGuard guard(lock_);
    return writers_.first != nullptr || reading_ended().has_value();
  }

  Result<std::size_t> write(std::span<const std::byte> data) {
    Node self{.waiter = runtime::current_waiter(), .data = data};
    std::error_code error = runtime::current_interruption();
    if (error) return fail(error);
    lock_.lock();
    error = writing_ended();
    if (error || data.empty()) {
      lock_.unlock();
      if (error) return fail(error);
      return 0;
    }
    writers_.push_back(self);
    const Waiter reader = writers_.first == &self ? front_reader() : Waiter();
    lock_.unlock();
    runtime::unpark(reader);
    for (;;) {
      lock_.lock();
      if (self.done) break;
      error = writing_ended();
      if (!error) error = runtime::current_interruption();
      if (error) {
        if (!self.busy) {
          const bool was_first = writers_.first == &self;
          writers_.remove(self);
          const Waiter next = was_first && writers_.first != nullptr ? writers_.first->waiter : Waiter();
          lock_.unlock();
          runtime::unpark(next);  // after a close it leaves as well
          return fail(error);
        }
        self.leaving = true;
      }
      lock_.unlock();
      runtime::park(WaitReason::channel_send, this);
    }
    lock_.unlock();
    return data.size();
  }

  void close_reading(std::error_code reason) noexcept { close(read_closed_, reason); }
  void close_writing(std::error_code reason) noexcept { close(write_closed_, reason); }

 private:
  struct Node {
    Waiter waiter;
    std::span<const std::byte> data{};  // of a writer: what was not read yet
    Node* next = nullptr;
    Node* previous = nullptr;
    bool busy = false;     // of a writer: a reader is copying from it
    bool leaving = false;  // of a writer: it wants to be woken when that is over
    bool done = false;     // P3
  };
  struct Queue {
    Node* first = nullptr;
    Node* last = nullptr;
    void push_back(Node& node) noexcept {
      node.previous = last;
      (last != nullptr ? last->next : first) = &node;
      last = &node;
    }
    void remove(Node& node) noexcept {
      (node.previous != nullptr ? node.previous->next : first) = node.next;
      (node.next != nullptr ? node.next->previous : last) = node.previous;
    }
  };

  // Queues up until there are bytes (nothing is returned, the first writer is `busy`, and `self` stays in the queue) or none
  // will come: an error, or no error for the end of the stream.
  std::optional<std::error_code> wait_for_bytes(Node& self) {
    lock_.lock();
    readers_.push_back(self);
    for (;;) {
      std::optional<std::error_code> ended = reading_ended();
      if (!ended) {
        if (const std::error_code interrupted = runtime::current_interruption()) ended = interrupted;
      }
      if (ended) {
        const Waiter next = leave_reading(self);
        lock_.unlock();
        runtime::unpark(next);
        return ended;
      }
      if (readers_.first == &self && writers_.first != nullptr) {
        writers_.first->busy = true;
        lock_.unlock();
        return std::nullopt;
      }
      lock_.unlock();
      runtime::park(WaitReason::channel_receive, this);
      lock_.lock();
    }
  }

  // P2.
  Waiter leave_reading(Node& self) noexcept ROOST_REQUIRES(lock_) {
    const bool was_first = readers_.first == &self;
    readers_.remove(self);
    return was_first ? front_reader() : Waiter();
  }
  [[nodiscard]] Waiter front_reader() const noexcept ROOST_REQUIRES(lock_) {
    return readers_.first != nullptr ? readers_.first->waiter : Waiter();
  }

  [[nodiscard]] std::optional<std::error_code> reading_ended() const noexcept ROOST_REQUIRES(lock_) {
    if (read_closed_) return make_error_code(Errc::closed);
    return write_closed_;
  }
  [[nodiscard]] std::error_code writing_ended() const noexcept ROOST_REQUIRES(lock_) {
    if (write_closed_) return Errc::closed;
    return read_closed_.value_or(std::error_code());
  }

  void close(std::optional<std::error_code>& side, std::error_code reason) noexcept ROOST_EXCLUDES(lock_) {
    lock_.lock();
    if (!side) side = reason;
    const Waiter reader = front_reader();
    const Waiter writer = writers_.first != nullptr ? writers_.first->waiter : Waiter();
    lock_.unlock();
    runtime::unpark(reader);
    runtime::unpark(writer);
  }

  base::SpinLock lock_;  // leaf
  Queue readers_;        // guarded by lock_, as all below; the first writer's data is its reader's while `busy`
  Queue writers_;
  std::optional<std::error_code> read_closed_;   // with what writes fail
  std::optional<std::error_code> write_closed_;  // with what reads fail; no error: they see the end
};

}  // namespace detail

Result<std::size_t> PipeReader::read(std::span<std::byte> out) { return state_->read(out); }
Result<void> PipeReader::wait_readable() { return state_->wait_readable(); }
bool PipeReader::maybe_readable() const noexcept { return state_->maybe_readable(); }
void PipeReader::close(std::error_code reason) noexcept {
  state_->close_reading(reason ? reason : std::make_error_code(std::errc::broken_pipe));
}
PipeReader::~PipeReader() {
  if (state_ != nullptr) close();
}
PipeReader& PipeReader::operator=(PipeReader&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

Result<std::size_t> PipeWriter::write(std::span<const std::byte> data) { return state_->write(data); }
void PipeWriter::close(std::error_code reason) noexcept { state_->close_writing(reason); }
PipeWriter::~PipeWriter() {
  if (state_ != nullptr) close();
}
PipeWriter& PipeWriter::operator=(PipeWriter&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

Pipe pipe() {
  auto state = std::make_shared<detail::PipeState>();
  return {PipeReader(state), PipeWriter(state)};
}

}  // namespace roost::io
