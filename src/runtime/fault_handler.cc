#include "runtime/fault_handler.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <span>
#include <string_view>

#include "arch/frame_walk.h"
#include "base/assert.h"
#include "base/symbol.h"
#include "runtime/parking.h"
#include "runtime/stack_arena.h"

namespace roost::runtime {
namespace {

struct sigaction previous_segv;
struct sigaction previous_bus;

void write_number(std::uint64_t value) noexcept {
  std::array<char, 24> text;
  std::size_t at = text.size();
  text[--at] = '\0';
  do {
    text[--at] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  base::write_stderr(&text[at]);
}

// "fiber 17 (accept)", with write(2) alone.
void write_fiber(const Fiber& fiber) noexcept {
  base::write_stderr("fiber ");
  write_number(fiber.id.load(std::memory_order_relaxed));
  if (const char* name = fiber.name.load(std::memory_order_relaxed)) {
    base::write_stderr(" (");
    base::write_stderr(name);
    base::write_stderr(")");
  }
}

std::terminate_handler previous_terminate = nullptr;

// An exception that left a fiber. It was not unwound (Task::run is noexcept), so the stack still shows where it came from.
[[noreturn]] void on_terminate() noexcept {
  if (const Fiber* fiber = current_fiber()) {
    base::write_stderr("roost: an exception left ");
    write_fiber(*fiber);
    if (const std::exception_ptr exception = std::current_exception()) {
      try {
        std::rethrow_exception(exception);
      } catch (const std::exception& caught) {
        base::write_stderr(": ");
        base::write_stderr(caught.what());
      } catch (...) {
      }
    }
    base::write_stderr("; catch it there, or start the fiber in a TaskGroup\n");
    base::print_stack_here();
  } else if (previous_terminate != nullptr) {
    previous_terminate();
  }
  std::abort();
}

void report_overflow(const Fiber& fiber, const void* machine_context) noexcept {
  base::write_stderr("roost: ");
  write_fiber(fiber);
  base::write_stderr(" overflowed its ");
  write_number(StackArena::class_bytes(fiber.size_class) / 1024);
  base::write_stderr(" KiB stack; give it more with SpawnOptions::stack_bytes or RuntimeOptions::stack_bytes\n");
#if defined(__x86_64__)
  const auto* context = static_cast<const ucontext_t*>(machine_context);
  std::array<void*, 32> frames;
  frames[0] = reinterpret_cast<void*>(context->uc_mcontext.gregs[REG_RIP]);
  const auto low = reinterpret_cast<std::uintptr_t>(fiber.stack_low);
  const auto high = reinterpret_cast<std::uintptr_t>(fiber.stack_top);
  const std::size_t count = arch::walk_frames(static_cast<std::uintptr_t>(context->uc_mcontext.gregs[REG_RBP]), low, high,
                                              std::span(frames).subspan(1));
  for (std::size_t i = 0; i <= count; ++i) {
    std::array<char, 256> text;
    const std::string_view line = base::describe_address(frames[i], text);
    base::write_stderr("    ");
    [[maybe_unused]] const ssize_t wrote = ::write(STDERR_FILENO, line.data(), line.size());
    base::write_stderr("\n");
  }
#else
  (void)machine_context;
#endif
}

void on_fault(int signal_number, siginfo_t* info, void* machine_context) noexcept {
  bool in_guard = false;
  const Fiber* fiber = StackArena::instance().find(reinterpret_cast<std::uintptr_t>(info->si_addr), in_guard);
  if (fiber != nullptr && in_guard) report_overflow(*fiber, machine_context);
  // Then as if this handler were not there: the previous one, or the default (a core file), on the same fault.
  ::sigaction(signal_number, signal_number == SIGSEGV ? &previous_segv : &previous_bus, nullptr);
}

}  // namespace

void install_fault_handler() noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = &on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGSEGV, &action, &previous_segv);
    ::sigaction(SIGBUS, &action, &previous_bus);
    previous_terminate = std::set_terminate(&on_terminate);
  });
}

FaultStack::FaultStack() noexcept {
  stack_t current{};
  // Sanitizers bring a stack of their own.
  if (::sigaltstack(nullptr, &current) == 0 && (current.ss_flags & SS_DISABLE) == 0) return;
  const std::size_t bytes = std::max<std::size_t>(static_cast<std::size_t>(::sysconf(_SC_SIGSTKSZ)), 64 * 1024);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;  // without it an overflow is a bare SIGSEGV
  memory_ = memory;
  bytes_ = bytes;
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = bytes;
  ::sigaltstack(&stack, nullptr);
}

FaultStack::~FaultStack() {
  if (memory_ == nullptr) return;
  stack_t off{};
  off.ss_flags = SS_DISABLE;
  ::sigaltstack(&off, nullptr);
  ::munmap(memory_, bytes_);
}

}  // namespace roost::runtime
