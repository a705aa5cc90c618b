#include <roost/net/file.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "net/socket.h"

namespace roost::net {

File::File(File&& other) noexcept : Source(), fd_(std::exchange(other.fd_, -1)) {}
File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Result<File> File::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(last_error());
  return adopt(fd);
}

File File::adopt(int fd) noexcept {
  File file;
  file.fd_ = fd;
  return file;
}

Result<std::size_t> File::read(std::span<std::byte> out) {
  if (fd_ < 0) return fail(Errc::closed);
  for (;;) {
    const ssize_t count = ::read(fd_, out.data(), out.size());
    if (count >= 0) return static_cast<std::size_t>(count);
    const std::error_code error = last_error();
    if (error != std::errc::interrupted) return fail(error);
  }
}

Result<std::uint64_t> File::seek(std::uint64_t offset) {
  if (fd_ < 0) return fail(Errc::closed);
  const off_t at = ::lseek(fd_, static_cast<off_t>(offset), SEEK_SET);
  if (at < 0) return fail(last_error());
  return static_cast<std::uint64_t>(at);
}

Result<std::uint64_t> File::offset() const {
  if (fd_ < 0) return fail(Errc::closed);
  const off_t at = ::lseek(fd_, 0, SEEK_CUR);
  if (at < 0) return fail(last_error());
  return static_cast<std::uint64_t>(at);
}

Result<std::uint64_t> File::size() const {
  if (fd_ < 0) return fail(Errc::closed);
  struct stat about {};
  if (::fstat(fd_, &about) != 0) return fail(last_error());
  return static_cast<std::uint64_t>(about.st_size);
}

Result<void> File::close() {
  if (fd_ < 0) return fail(Errc::closed);
  ::close(std::exchange(fd_, -1));
  return {};
}

}  // namespace roost::net
