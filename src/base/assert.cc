#include "base/assert.h"

#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "base/symbol.h"

namespace roost::base {
namespace {

std::atomic<PanicDetail> panic_detail{nullptr};
std::atomic<pid_t> panicking_thread{0};

// What every call of a function with a frame pointer leaves on the stack, on x86-64 and on AArch64 alike.
struct Frame {
  const Frame* caller;
  const void* return_address;
};

// Reads a frame through the kernel, which answers EFAULT for an address that is not readable: code without frame
// pointers leaves anything in that register.
bool read_frame(const Frame* from, Frame& to) noexcept {
  if (from == nullptr || reinterpret_cast<std::uintptr_t>(from) % alignof(Frame) != 0) return false;
  const iovec here{&to, sizeof to};
  const iovec there{const_cast<Frame*>(from), sizeof to};
  return ::process_vm_readv(::getpid(), &here, 1, &there, 1, 0) == static_cast<ssize_t>(sizeof to);
}

void write_number(int value) noexcept {
  char digits[12];
  std::size_t first = sizeof digits - 1;
  digits[first] = '\0';
  auto rest = static_cast<unsigned>(value < 0 ? -value : value);
  do {
    digits[--first] = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  if (value < 0) digits[--first] = '-';
  write_stderr(digits + first);
}

}  // namespace

void panic(const char* file, int line, const char* message) noexcept {
  // One panic is told in full. A second one in the same thread came out of telling the first; one in another thread
  // must not end the process before the first has been told, nor wait for ever.
  const pid_t self = ::gettid();
  pid_t first = 0;
  if (!panicking_thread.compare_exchange_strong(first, self, std::memory_order_relaxed)) {
    if (first != self) {
      const timespec second{1, 0};
      ::nanosleep(&second, nullptr);
    }
    std::abort();
  }
  write_stderr("roost: ");
  write_stderr(message);
  write_stderr(" (");
  write_stderr(file);
  write_stderr(":");
  write_number(line);
  write_stderr(")\n");
  if (const PanicDetail detail = panic_detail.load(std::memory_order_acquire)) detail();
  print_stack_here();
  std::abort();
}

void set_panic_detail(PanicDetail detail) noexcept { panic_detail.store(detail, std::memory_order_release); }

void write_stderr(const char* text) noexcept {
  const int saved_errno = errno;
  for (std::size_t left = std::strlen(text); left > 0;) {
    const ssize_t wrote = ::write(STDERR_FILENO, text, left);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) break;  // nobody is left to be told
    text += wrote;
    left -= static_cast<std::size_t>(wrote);
  }
  errno = saved_errno;
}

[[gnu::noinline]] void print_stack_here() noexcept {
  constexpr int frames_max = 64;
  const int saved_errno = errno;
  Frame frame{};
  const auto* at = static_cast<const Frame*>(__builtin_frame_address(0));
  for (int number = 0; number < frames_max && read_frame(at, frame); ++number) {
    if (frame.return_address == nullptr) break;  // where a thread or a fiber began
    char line[256];
    // A return address is the instruction after the call, which may belong to the next function.
    const auto* call = static_cast<const char*>(frame.return_address) - 1;
    const std::string_view text = describe_address(call, {line, sizeof line - 2});
    line[text.size()] = '\n';
    line[text.size() + 1] = '\0';
    write_stderr(number < 10 ? "   #" : "  #");
    write_number(number);
    write_stderr(" ");
    write_stderr(line);
    at = frame.caller;
  }
  errno = saved_errno;
}

}  // namespace roost::base
