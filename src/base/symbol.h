// Names for code addresses, for stacks printed from panics and signal handlers.
//
// Nothing here allocates or takes a lock of its own, and the stack needed is small, so it works on an alternate signal stack
// and after the heap was corrupted. That is why it does not call __cxa_demangle, which allocates; the price is a
// shorter form: "roost::net::Listener::accept", without parameters, template arguments as "<...>".
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace roost::base {

// Writes the short form of a mangled name into `out` and returns it. Empty when `mangled` is no function name of the
// Itanium C++ ABI, or one that uses a rule this parser leaves out (expressions in a signature, substitutions outside
// template arguments); the mangled name is then the best there is. A name longer than `out` is cut.
[[nodiscard]] std::string_view demangle_short(const char* mangled, std::span<char> out) noexcept;

// "roost::net::Listener::accept+0x1c (echo+0x1234)" for an address within a function. What stands in parentheses is for
// `addr2line -e echo 0x1234`, and the only thing there is for functions that the program does not export (link
// with -rdynamic to export them). Cut to the size of `out`. Async-signal-safe as far as dladdr(3) is.
[[nodiscard]] std::string_view describe_address(const void* address, std::span<char> out) noexcept;

}  // namespace roost::base
