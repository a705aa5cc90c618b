// Moving bytes between descriptors inside the kernel: splice through pooled pipes, sendfile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include <roost/error.h>
#include <roost/io/stream.h>

#include "net/socket.h"

namespace roost::net {

class Conn;

// What Conn::read_from does. Empty: no quicker way is known between these two.
Result<std::optional<std::uint64_t>> splice_into(Conn& to, io::Source& from, std::uint64_t count);

// sendfile, splice and write on a pipe know no MSG_NOSIGNAL: a peer that is gone would end the process by SIGPIPE. Installs,
// once, a handler that does nothing where the signal still has its default action. Not SIG_IGN, which programs started by
// this one would inherit.
void ignore_broken_pipe_signal() noexcept;

// Pipes that splice moves bytes through, kept for the next transfer. Two descriptors each, so only a few are kept, and only
// empty ones: a pipe in which an interrupted transfer left bytes is closed.
class SplicePipe {
 public:
  SplicePipe() noexcept = default;
  SplicePipe(SplicePipe&&) noexcept = default;
  SplicePipe& operator=(SplicePipe&& other) noexcept;
  ~SplicePipe() { put_back(); }

  // From the pool, or new. Errors: too_many_files_open, ...
  static Result<SplicePipe> take() noexcept;
  // To the pool if it is empty and there is room; else closes it.
  void put_back() noexcept;
  // Closes what the pool keeps; returns how many pipes that were.
  static std::size_t trim() noexcept;
  [[nodiscard]] static std::size_t pooled() noexcept;

  explicit operator bool() const noexcept { return static_cast<bool>(read_end_); }
  [[nodiscard]] int read_end() const noexcept { return read_end_.get(); }
  [[nodiscard]] int write_end() const noexcept { return write_end_.get(); }

  std::size_t bytes_inside = 0;  // kept by whoever uses it

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
};

}  // namespace roost::net
