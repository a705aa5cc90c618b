// Switching stacks.
//
// The switch itself is Boost.Context's fcontext: it saves the callee-saved registers, the SSE and x87 control words and
// nothing else (not the signal mask, not errno, not the C++ exception state: runtime/fiber.h takes care of the last two).
// This header adds what sanitizers must be told, and keeps the return predictor in step. Nothing else in roost names fcontext.
#pragma once

#include <cstddef>

#include <boost/context/detail/fcontext.hpp>

#include "base/sanitizer.h"

#if defined(ROOST_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(ROOST_TSAN)
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}
#endif

// For functions that look at a stack from outside its own flow: at another thread's words, for ThreadSanitizer, and at the gaps
// that AddressSanitizer leaves between variables.
#if defined(ROOST_TSAN)
#define ROOST_LOOKS_AT_STACKS __attribute__((no_sanitize("thread")))
#elif defined(ROOST_ASAN)
#define ROOST_LOOKS_AT_STACKS __attribute__((no_sanitize("address")))
#else
#define ROOST_LOOKS_AT_STACKS
#endif

namespace roost::arch {

#if defined(ROOST_ASAN) || defined(ROOST_TSAN)
inline constexpr std::size_t stack_scale = 4;  // instrumented frames are several times as large
#else
inline constexpr std::size_t stack_scale = 1;
#endif

// A suspended flow of control: a fiber's, or a worker thread's own.
struct Context {
  boost::context::detail::fcontext_t sp = nullptr;
#if defined(ROOST_ASAN)
  void* fake_stack = nullptr;
  const void* stack_bottom = nullptr;
  std::size_t stack_bytes = 0;
#endif
#if defined(ROOST_TSAN)
  void* tsan_fiber = nullptr;
#endif
};

// What arrives on the other side: the flow that was left (to be stored into its Context before anybody may resume it)
// and the pointer handed over.
using Arrival = boost::context::detail::transfer_t;

// Prepares `context` so that the first switch to it calls entry(arrival) on the stack [bottom, top). `entry` never returns.
inline void prepare(Context& context, void* bottom, void* top, void (*entry)(Arrival)) noexcept {
  const auto bytes = static_cast<std::size_t>(static_cast<char*>(top) - static_cast<char*>(bottom));
  context.sp = boost::context::detail::make_fcontext(top, bytes, entry);
#if defined(ROOST_ASAN)
  __asan_unpoison_memory_region(bottom, bytes);  // what the last tenant left behind
  context.fake_stack = nullptr;
  context.stack_bottom = bottom;
  context.stack_bytes = bytes;
#endif
#if defined(ROOST_TSAN)
  context.tsan_fiber = __tsan_create_fiber(0);
#endif
}

// Adopts the calling thread's own stack as `context`; once, before the thread first switches away.
inline void adopt_thread([[maybe_unused]] Context& context, [[maybe_unused]] const void* bottom,
                         [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(ROOST_ASAN)
  context.stack_bottom = bottom;
  context.stack_bytes = bytes;
#endif
#if defined(ROOST_TSAN)
  context.tsan_fiber = __tsan_get_current_fiber();
#endif
}

#if defined(__x86_64__) && !defined(ROOST_ASAN) && !defined(ROOST_TSAN)
// jump_fcontext comes back by an indirect jump, not by a return, so a plain call of it leaves one entry too many in the
// processor's stack of return addresses, and every return up to where the fiber was left is then mispredicted. Going in by a
// jump as well keeps the two in step: the resumed fiber has mostly called the same functions as the one that was left.
// An unbuffered channel's round trip, two such switches, takes a third less (bench/micro/sync_bench, chan_round_trip).
[[gnu::naked, gnu::noinline]] inline Arrival jump([[maybe_unused]] boost::context::detail::fcontext_t to,
                                                  [[maybe_unused]] void* data) noexcept {
  asm("leaq 1f(%rip), %rax\n\t"
      "pushq %rax\n\t"
      ".cfi_adjust_cfa_offset 8\n\t"
      "jmp jump_fcontext@PLT\n"
      "1:\n\t"
      ".cfi_adjust_cfa_offset -8\n\t"
      "ret");
}
#else
inline Arrival jump(boost::context::detail::fcontext_t to, void* data) noexcept {
  return boost::context::detail::jump_fcontext(to, data);
}
#endif

// Leaves the current flow for `to`. Returns when somebody switches back; the caller must then call arrived().
// `last`: the current flow will never be resumed.
inline Arrival switch_to([[maybe_unused]] Context& from, Context& to, void* data, [[maybe_unused]] bool last) noexcept {
#if defined(ROOST_ASAN)
  __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.stack_bottom, to.stack_bytes);
#endif
#if defined(ROOST_TSAN)
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
  return jump(to.sp, data);
}

// The first thing on arrival in `here`, whether by a return of switch_to() or at the entry of a new flow.
inline void arrived([[maybe_unused]] Context& here) noexcept {
#if defined(ROOST_ASAN)
  __sanitizer_finish_switch_fiber(here.fake_stack, nullptr, nullptr);
#endif
}

// After a flow has ended and another one runs.
inline void dispose([[maybe_unused]] Context& context) noexcept {
#if defined(ROOST_TSAN)
  if (context.tsan_fiber != nullptr) __tsan_destroy_fiber(context.tsan_fiber);
  context.tsan_fiber = nullptr;
#endif
}

// The processor's time-stamp counter: only differences on one worker are used, and only to decide when to look at a
// real clock. Zero where there is none, which means "look every time".
inline unsigned long long cycle_counter() noexcept {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  unsigned long long ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return 0;
#endif
}

}  // namespace roost::arch
