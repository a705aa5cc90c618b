#include <roost/net/descriptor.h>

#include <fcntl.h>
#include <unistd.h>

#include "net/io_loop.h"
#include "net/splice.h"

namespace roost::net {

Descriptor::Descriptor(Descriptor&& other) noexcept
    : Source(), Sink(), desc_(std::exchange(other.desc_, nullptr)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    if (desc_ != nullptr) desc_->destroy();
    desc_ = std::exchange(other.desc_, nullptr);
  }
  return *this;
}

Descriptor::~Descriptor() {
  if (desc_ != nullptr) desc_->destroy();
}

Result<Descriptor> Descriptor::adopt(int fd) {
  if (auto made = make_non_blocking(fd); !made) return fail(made.error());
  ignore_broken_pipe_signal();
  auto desc = PollDesc::open(fd, PollDesc::First::try_it);
  if (!desc) return fail(desc.error());
  (*desc)->set_content(PollDesc::Content::stream);
  (*desc)->end_watch_by_hand();
  return Descriptor(*desc);
}

Result<std::size_t> Descriptor::read(std::span<std::byte> out) {
  if (out.empty()) {
    return with_descriptor(desc_, [](int) -> Result<std::size_t> { return 0; });
  }
  return one_call(desc_, Direction::read, [&](int fd, std::uint64_t) { return ::read(fd, out.data(), out.size()); });
}

Result<std::size_t> Descriptor::write(std::span<const std::byte> data) {
  if (desc_ == nullptr) return fail(Errc::closed);
  const PollDesc::Call call(*desc_, Direction::write);
  if (!call) return fail(Errc::closed);
  std::size_t total = 0;
  do {
    const auto rest = data.subspan(total);
    const auto wrote = try_and_wait(*desc_, Direction::write,
                                    [&](int fd, std::uint64_t) { return ::write(fd, rest.data(), rest.size()); });
    if (!wrote) return wrote;
    total += *wrote;
  } while (total < data.size());
  return total;
}

Result<void> Descriptor::wait_readable() { return wait_ready(desc_, Direction::read); }
Result<void> Descriptor::wait_writable() { return wait_ready(desc_, Direction::write); }
bool Descriptor::maybe_readable() const noexcept { return desc_ == nullptr || desc_->maybe_ready(Direction::read); }

Result<void> Descriptor::set_read_deadline(Deadline deadline) { return set_deadline_on(desc_, Direction::read, deadline); }
Result<void> Descriptor::set_write_deadline(Deadline deadline) {
  return set_deadline_on(desc_, Direction::write, deadline);
}

Result<void> Descriptor::raw_control(FunctionRef<void(int)> act) const { return net::raw_control(desc_, act); }
Result<void> Descriptor::raw_read(FunctionRef<bool(int)> done) { return raw_call(desc_, Direction::read, done); }
Result<void> Descriptor::raw_write(FunctionRef<bool(int)> done) { return raw_call(desc_, Direction::write, done); }

Result<void> Descriptor::close() {
  if (desc_ == nullptr || !desc_->close()) return fail(Errc::closed);
  return {};
}
bool Descriptor::is_open() const noexcept { return desc_ != nullptr && !desc_->is_closed(); }
int Descriptor::native_handle() const noexcept { return is_open() ? desc_->lend_fd() : -1; }
Result<int> Descriptor::duplicate() const { return net::duplicate(desc_); }
Result<int> Descriptor::release() {
  const int fd = desc_ == nullptr ? -1 : desc_->detach();
  if (fd < 0) return fail(Errc::closed);
  return fd;
}

Result<OsPipe> os_pipe() {
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return fail(last_error());
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  auto reader = Descriptor::adopt(read_end.get());
  if (!reader) return fail(reader.error());
  static_cast<void>(read_end.release());
  auto writer = Descriptor::adopt(write_end.get());
  if (!writer) return fail(writer.error());
  static_cast<void>(write_end.release());
  return OsPipe{std::move(*reader), std::move(*writer)};
}

}  // namespace roost::net
