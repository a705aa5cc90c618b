// The names of functions that a program does not export, read from the symbol table of its file.
//
// dladdr(3) knows exported symbols alone: with a usual link (no -rdynamic) that is next to nothing of the program itself, and never
// what stands in an anonymous namespace or a lambda. The file has all of them unless it was stripped. This allocates and
// reads a file, so it is for reports, not for signal handlers (symbol.h is).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace roost::base {

class SymbolTable {
 public:
  // Of an ELF file, for the machine that this program runs on; empty when it cannot be read or was stripped.
  static SymbolTable load(const char* path);

  struct Symbol {
    std::uintptr_t address;  // as in the file, before it was loaded
    std::uint32_t bytes;
    std::uint32_t name;      // offset into names_
  };
  // The function that holds `address`; null when none does. `mangled` is valid as long as the table.
  [[nodiscard]] const Symbol* find(std::uintptr_t address) const noexcept;
  [[nodiscard]] const char* mangled(const Symbol& symbol) const noexcept { return names_.data() + symbol.name; }
  [[nodiscard]] std::size_t size() const noexcept { return symbols_.size(); }

 private:
  std::vector<Symbol> symbols_;  // by address
  std::string names_;
};

// "roost::net::Listener::accept(roost::Deadline)+0x1c", with all that the name says; where there is no name, "(echo+0x1234)" for
// addr2line. Remembers what it has looked up. Any thread.
[[nodiscard]] std::string describe_function(const void* return_address);

}  // namespace roost::base
