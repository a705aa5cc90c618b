// The system calls of the hot path, without what libc adds to them.
//
// recv(2) and send(2) are cancellation points: libc brackets each with two compare-exchanges, some 60 instructions in all,
// in case somebody calls pthread_cancel, which would be wrong on a worker's thread anyway. syscall(2) is none. Sanitizers
// must see the calls, so there the plain ones are used.
#pragma once

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

#include "base/sanitizer.h"

namespace roost::net::sys {

#if defined(__linux__) && defined(SYS_recvfrom) && defined(SYS_sendto) && !defined(ROOST_ASAN) && !defined(ROOST_TSAN)
inline ssize_t recv(int fd, void* data, std::size_t bytes, int flags) noexcept {
  return ::syscall(SYS_recvfrom, fd, data, bytes, flags, nullptr, nullptr);
}
inline ssize_t send(int fd, const void* data, std::size_t bytes, int flags) noexcept {
  return ::syscall(SYS_sendto, fd, data, bytes, flags, nullptr, 0);
}
inline ssize_t recv_from(int fd, void* data, std::size_t bytes, int flags, sockaddr* from, socklen_t* from_bytes) noexcept {
  return ::syscall(SYS_recvfrom, fd, data, bytes, flags, from, from_bytes);
}
inline ssize_t send_to(int fd, const void* data, std::size_t bytes, int flags, const sockaddr* to, socklen_t to_bytes) noexcept {
  return ::syscall(SYS_sendto, fd, data, bytes, flags, to, to_bytes);
}
#else
inline ssize_t recv(int fd, void* data, std::size_t bytes, int flags) noexcept { return ::recv(fd, data, bytes, flags); }
inline ssize_t send(int fd, const void* data, std::size_t bytes, int flags) noexcept { return ::send(fd, data, bytes, flags); }
inline ssize_t recv_from(int fd, void* data, std::size_t bytes, int flags, sockaddr* from, socklen_t* from_bytes) noexcept {
  return ::recvfrom(fd, data, bytes, flags, from, from_bytes);
}
inline ssize_t send_to(int fd, const void* data, std::size_t bytes, int flags, const sockaddr* to, socklen_t to_bytes) noexcept {
  return ::sendto(fd, data, bytes, flags, to, to_bytes);
}
#endif

}  // namespace roost::net::sys
