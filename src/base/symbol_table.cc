#include "base/symbol_table.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <span>
#include <unordered_map>

#include "base/symbol.h"

namespace roost::base {
namespace {

constexpr std::size_t remembered_max = 16 * 1024;  // descriptions; a program's stacks have far fewer distinct frames

// A file in memory, checked at each access: the file may be anything.
class MappedFile {
 public:
  explicit MappedFile(const char* path) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    struct stat info {};
    if (::fstat(fd, &info) == 0 && info.st_size > 0) {
      void* memory = ::mmap(nullptr, static_cast<std::size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
      if (memory != MAP_FAILED) {
        memory_ = memory;
        bytes_ = static_cast<std::size_t>(info.st_size);
      }
    }
    ::close(fd);
  }
  ~MappedFile() {
    if (memory_ != nullptr) ::munmap(memory_, bytes_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // `count` objects at `offset`; empty when the file does not hold them.
  template <class T>
  [[nodiscard]] std::span<const T> at(std::uint64_t offset, std::uint64_t count) const noexcept {
    if (offset > bytes_ || count > (bytes_ - offset) / sizeof(T) || offset % alignof(T) != 0) return {};
    return {reinterpret_cast<const T*>(static_cast<const char*>(memory_) + offset), static_cast<std::size_t>(count)};
  }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

// What __cxa_demangle makes of it, which names parameters and template arguments; long ones in the short form.
std::string demangled(const char* mangled) {
  constexpr std::size_t readable = 160;
  int status = 0;
  char* full = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 && full != nullptr ? full : mangled;
  std::free(full);
  if (name.size() <= readable) return name;
  std::array<char, readable> brief;
  const std::string_view cut = demangle_short(mangled, brief);
  return cut.empty() ? name.substr(0, readable) : std::string(cut);
}

std::string describe(const void* address) {
  Dl_info info{};
  void* map = nullptr;
  const bool known = ::dladdr1(address, &info, &map, RTLD_DL_LINKMAP) != 0 && info.dli_fname != nullptr;
  if (known && info.dli_sname == nullptr && map != nullptr) {
    // The main program's name is empty in the loader's list, and what it was called by need not lead to it any more.
    const auto* object = static_cast<const link_map*>(map);
    const char* path = object->l_name == nullptr || *object->l_name == '\0' ? "/proc/self/exe" : object->l_name;
    // The table last read: nearly always the program's own.
    static std::mutex mutex;
    static std::string loaded_path;
    static SymbolTable table;
    const std::lock_guard lock(mutex);
    if (loaded_path != path) {
      table = SymbolTable::load(path);
      loaded_path = path;
    }
    const std::uintptr_t in_file = reinterpret_cast<std::uintptr_t>(address) - object->l_addr;
    if (const SymbolTable::Symbol* symbol = table.find(in_file)) {
      return fmt::format("{}+{:#x}", demangled(table.mangled(*symbol)), in_file - symbol->address);
    }
  }
  if (known && info.dli_sname != nullptr) {
    return fmt::format("{}+{:#x}", demangled(info.dli_sname), static_cast<const char*>(address) - static_cast<const char*>(info.dli_saddr));
  }
  std::array<char, 256> text;
  return std::string(describe_address(address, text));
}

}  // namespace

SymbolTable SymbolTable::load(const char* path) {
  SymbolTable table;
  const MappedFile file(path);
  const auto header = file.at<ElfW(Ehdr)>(0, 1);
  if (header.empty() || std::memcmp(header[0].e_ident, ELFMAG, SELFMAG) != 0) return table;
  const auto sections = file.at<ElfW(Shdr)>(header[0].e_shoff, header[0].e_shnum);
  for (const auto& section : sections) {
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) continue;
    const auto symbols = file.at<ElfW(Sym)>(section.sh_offset, section.sh_size / sizeof(ElfW(Sym)));
    const auto& strings = sections[section.sh_link];
    const auto names = file.at<char>(strings.sh_offset, strings.sh_size);
    if (names.empty() || names.back() != '\0') continue;
    for (const auto& symbol : symbols) {
      if ((symbol.st_info & 0xf) != STT_FUNC || symbol.st_size == 0 || symbol.st_name >= names.size()) continue;
      const char* name = names.data() + symbol.st_name;
      table.symbols_.push_back({static_cast<std::uintptr_t>(symbol.st_value), static_cast<std::uint32_t>(symbol.st_size),
                                static_cast<std::uint32_t>(table.names_.size())});
      table.names_.append(name, std::strlen(name) + 1);
    }
  }
  std::ranges::sort(table.symbols_, {}, &Symbol::address);
  return table;
}

const SymbolTable::Symbol* SymbolTable::find(std::uintptr_t address) const noexcept {
  auto after = std::ranges::upper_bound(symbols_, address, {}, &Symbol::address);
  if (after == symbols_.begin()) return nullptr;
  const Symbol& symbol = *std::prev(after);
  return address < symbol.address + symbol.bytes ? &symbol : nullptr;
}

std::string describe_function(const void* return_address) {
  static std::mutex mutex;
  static auto* remembered = new std::unordered_map<const void*, std::string>;  // never destroyed: reports come late
  {
    const std::lock_guard lock(mutex);
    if (const auto at = remembered->find(return_address); at != remembered->end()) return at->second;
  }
  std::string text = describe(return_address);
  const std::lock_guard lock(mutex);
  if (remembered->size() < remembered_max) remembered->emplace(return_address, text);
  return text;
}

}  // namespace roost::base
