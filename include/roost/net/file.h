// File: a regular file as something bytes come from, so that io::copy(conn, file) is a sendfile.
//
// The system cannot report when a file's bytes are in memory, so reading one waits for the disk on the fiber's thread. For
// large cold files wrap the whole transfer in roost::blocking, or let the runtime notice: a worker that stays stuck hands
// its other fibers on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <roost/error.h>
#include <roost/io/stream.h>

namespace roost::net {

class File : public io::Source {
 public:
  File() noexcept = default;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File() override;

  // Opens for reading. Errors: as open(2).
  [[nodiscard]] static Result<File> open(const std::string& path);
  // Takes over an open descriptor of any mode.
  [[nodiscard]] static File adopt(int fd) noexcept;

  // At the current offset, which moves along. 0 at the end. Never parks.
  Result<std::size_t> read(std::span<std::byte> out) override;
  // The offset from the file's start; returns it.
  Result<std::uint64_t> seek(std::uint64_t offset);
  [[nodiscard]] Result<std::uint64_t> offset() const;
  [[nodiscard]] Result<std::uint64_t> size() const;

  // A second close is bad_file_descriptor.
  Result<void> close();
  [[nodiscard]] int native_handle() const noexcept { return fd_; }

 private:
  int fd_ = -1;  // owned
};

}  // namespace roost::net
