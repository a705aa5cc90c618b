// Assertions: what only a wrong program can cause. They stay on in release builds; each names the mistake.
//
//   ROOST_ASSERT(count >= 0, "wait group counter went below zero");
#pragma once

namespace roost::base {

// Prints "roost: <message>" with file and line, the fiber's name and a stack, and aborts.
[[noreturn]] void panic(const char* file, int line, const char* message) noexcept;

// Set once by the runtime: adds what it knows of the current fiber to a panic's text. Async-signal-safe by contract.
using PanicDetail = void (*)() noexcept;
void set_panic_detail(PanicDetail detail) noexcept;

// Writes text to standard error with write(2): usable in signal handlers.
void write_stderr(const char* text) noexcept;
// Prints the calling stack to standard error, one frame a line; async-signal-safe as far as dladdr is.
void print_stack_here() noexcept;

}  // namespace roost::base

#define ROOST_ASSERT(condition, message) \
  (static_cast<bool>(condition) ? void(0) : ::roost::base::panic(__FILE__, __LINE__, message))

#ifndef NDEBUG
#define ROOST_DEBUG_ASSERT(condition, message) ROOST_ASSERT(condition, message)
#else
#define ROOST_DEBUG_ASSERT(condition, message) void(0)
#endif
