#include "base/symbol.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstring>

namespace roost::base {
namespace {

// Text that is cut where the room ends.
class Text {
 public:
  explicit Text(std::span<char> out) noexcept : out_(out) {}
  void add(std::string_view piece) noexcept {
    for (const char letter : piece) {
      if (size_ < out_.size()) out_[size_++] = letter;
    }
  }
  void add_hex(std::uintptr_t value) noexcept {
    char digits[2 * sizeof value];
    std::size_t first = sizeof digits;
    do {
      digits[--first] = "0123456789abcdef"[value % 16];
      value /= 16;
    } while (value != 0);
    add("0x");
    add({digits + first, sizeof digits - first});
  }
  [[nodiscard]] std::string_view view() const noexcept { return {out_.data(), size_}; }

 private:
  std::span<char> out_;
  std::size_t size_ = 0;
};

struct Operator {
  char code[3];
  const char* text;
};
constexpr Operator operators[] = {
    {"nw", " new"}, {"na", " new[]"}, {"dl", " delete"}, {"da", " delete[]"}, {"aw", " co_await"},
    {"ps", "+"},    {"ng", "-"},      {"ad", "&"},       {"de", "*"},         {"co", "~"},
    {"pl", "+"},    {"mi", "-"},      {"ml", "*"},       {"dv", "/"},         {"rm", "%"},
    {"an", "&"},    {"or", "|"},      {"eo", "^"},       {"aS", "="},         {"pL", "+="},
    {"mI", "-="},   {"mL", "*="},     {"dV", "/="},      {"rM", "%="},        {"aN", "&="},
    {"oR", "|="},   {"eO", "^="},     {"ls", "<<"},      {"rs", ">>"},        {"lS", "<<="},
    {"rS", ">>="},  {"eq", "=="},     {"ne", "!="},      {"lt", "<"},         {"gt", ">"},
    {"le", "<="},   {"ge", ">="},     {"ss", "<=>"},     {"nt", "!"},         {"aa", "&&"},
    {"oo", "||"},   {"pp", "++"},     {"mm", "--"},      {"cm", ","},         {"pm", "->*"},
    {"pt", "->"},   {"cl", "()"},     {"ix", "[]"},
};

// A recursive descent over the grammar of mangled names. Each rule consumes what it describes and returns false where the
// text does not follow it. Within template arguments and signatures the text is followed but not written (mute_).
class Demangler {
 public:
  Demangler(const char* mangled, Text& text) noexcept : at_(mangled), text_(text) {}

  // _Z <encoding>; the parameters of the outermost function need not be understood.
  bool run() noexcept { return take('_') && take('Z') && special_or_name(); }

 private:
  static constexpr int depth_max = 48;  // of recursion, so that no name needs more than some 8 KiB of stack

  class Deeper {
   public:
    explicit Deeper(int& depth) noexcept : depth_(depth) { ++depth_; }
    ~Deeper() { --depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    int& depth_;
  };

  bool take(char letter) noexcept {
    if (*at_ != letter) return false;
    ++at_;
    return true;
  }
  [[nodiscard]] bool at_digit() const noexcept { return *at_ >= '0' && *at_ <= '9'; }
  void write(std::string_view piece) noexcept {
    if (mute_ == 0) text_.add(piece);
  }

  bool special_or_name() noexcept {
    if (*at_ != 'T') return name();
    ++at_;
    if (take('h')) {
      write("thunk to ");
      return call_offset() && name();
    }
    if (take('v')) {
      write("virtual thunk to ");
      return call_offset() && call_offset() && name();
    }
    return false;  // vtables, type information: no code
  }
  bool call_offset() noexcept {
    take('n');
    if (!at_digit()) return false;
    while (at_digit()) ++at_;
    return take('_');
  }

  bool name() noexcept {
    const Deeper deeper(depth_);
    if (depth_ > depth_max) return false;
    if (*at_ == 'N') return nested_name();
    if (*at_ == 'Z') return local_name();
    if (*at_ == 'S' && at_[1] == 't') {
      at_ += 2;
      write("std::");
      if (!unqualified_name()) return false;
    } else if (*at_ == 'S') {
      if (!substitution()) return false;
    } else if (!unqualified_name()) {
      return false;
    }
    return *at_ != 'I' || template_arguments();
  }

  bool nested_name() noexcept {
    if (!take('N')) return false;
    while (*at_ == 'r' || *at_ == 'V' || *at_ == 'K') ++at_;
    if (*at_ == 'R' || *at_ == 'O') ++at_;
    for (bool first = true; *at_ != 'E';) {
      if (*at_ == 'I') {
        if (first || !template_arguments()) return false;
        continue;
      }
      if (take('M')) continue;  // the initializer of a data member; its name came before
      if (!first) write("::");
      first = false;
      if (*at_ == 'S') {
        if (!substitution()) return false;
      } else if (*at_ == 'T') {
        if (!template_parameter()) return false;
      } else if (!unqualified_name()) {
        return false;
      }
    }
    return take('E');
  }

  bool local_name() noexcept {  // Z <function> E <what is declared in it>
    if (!take('Z') || !name()) return false;
    ++mute_;
    while (*at_ != 'E') {
      if (!type()) return false;
    }
    --mute_;
    ++at_;
    write("::");
    if (take('s')) {
      write("{string literal}");
    } else {
      if (take('d')) {  // in a default argument
        while (at_digit()) ++at_;
        if (!take('_')) return false;
      }
      if (!name()) return false;
    }
    discriminator();
    return true;
  }
  void discriminator() noexcept {
    if (!take('_')) return;
    const bool long_form = take('_');
    while (at_digit()) ++at_;
    if (long_form) take('_');
  }

  bool unqualified_name() noexcept {
    take('L');  // internal linkage
    bool found = false;
    if (at_digit()) {
      found = source_name();
    } else if (*at_ == 'C' && at_[1] >= '1' && at_[1] <= '5') {
      at_ += 2;
      write(last_name_);
      found = true;
    } else if (*at_ == 'D' && at_[1] >= '0' && at_[1] <= '5') {
      at_ += 2;
      write("~");
      write(last_name_);
      found = true;
    } else if (*at_ == 'U' && (at_[1] == 'l' || at_[1] == 't')) {
      const bool lambda = at_[1] == 'l';
      at_ += 2;
      if (lambda) {
        ++mute_;
        while (*at_ != 'E') {
          if (!type()) return false;
        }
        --mute_;
        ++at_;
      }
      while (at_digit()) ++at_;
      write(lambda ? "{lambda}" : "{unnamed}");
      found = take('_');
    } else {
      found = operator_name();
    }
    while (found && take('B')) {  // an ABI tag
      ++mute_;
      found = source_name();
      --mute_;
    }
    return found;
  }

  bool source_name() noexcept {
    std::size_t length = 0;
    while (at_digit()) {
      length = length * 10 + static_cast<std::size_t>(*at_++ - '0');
      if (length > 4096) return false;
    }
    if (length == 0 || ::strnlen(at_, length) < length) return false;
    const std::string_view name(at_, length);
    at_ += length;
    if (mute_ == 0) last_name_ = name;
    write(name.starts_with("_GLOBAL__N") ? "(anonymous namespace)" : name);
    return true;
  }

  bool operator_name() noexcept {
    if (at_[0] == 'c' && at_[1] == 'v') {
      at_ += 2;
      write("operator cast");
      ++mute_;
      const bool found = type();
      --mute_;
      return found;
    }
    for (const Operator& known : operators) {
      if (at_[0] != known.code[0] || at_[1] != known.code[1]) continue;
      at_ += 2;
      write("operator");
      write(known.text);
      return true;
    }
    if (at_[0] == 'l' && at_[1] == 'i') {
      at_ += 2;
      write("operator\"\"");
      return source_name();
    }
    return false;
  }

  bool substitution() noexcept {
    if (!take('S')) return false;
    switch (*at_) {
      case 't': ++at_; write("std"); return true;
      case 'a': ++at_; write("std::allocator"); return true;
      case 'b': ++at_; write("std::basic_string"); return true;
      case 's': ++at_; write("std::string"); return true;
      case 'i': ++at_; write("std::istream"); return true;
      case 'o': ++at_; write("std::ostream"); return true;
      case 'd': ++at_; write("std::iostream"); return true;
      default: break;
    }
    // A reference to an earlier part of the name, which would have to be remembered. Where nothing is written it need not be.
    if (mute_ == 0) return false;
    while (at_digit() || (*at_ >= 'A' && *at_ <= 'Z')) ++at_;
    return take('_');
  }

  bool template_parameter() noexcept {
    if (!take('T')) return false;
    while (at_digit()) ++at_;
    write("T");
    return take('_');
  }

  bool template_arguments() noexcept {
    write("<...>");
    ++mute_;
    const bool found = take('I') && arguments();
    --mute_;
    return found;
  }
  bool arguments() noexcept {
    const Deeper deeper(depth_);
    if (depth_ > depth_max) return false;
    while (!take('E')) {
      if (take('J')) {
        if (!arguments()) return false;
      } else if (take('L')) {
        if (!literal()) return false;
      } else if (!type()) {
        return false;
      }
    }
    return true;
  }
  bool literal() noexcept {
    if (at_[0] == '_' && at_[1] == 'Z') {
      at_ += 2;
      if (!name()) return false;
      while (*at_ != 'E') {
        if (!type()) return false;
      }
    } else {
      if (!type()) return false;
      take('n');
      while (at_digit() || (*at_ >= 'a' && *at_ <= 'f')) ++at_;
    }
    return take('E');
  }

  bool type() noexcept {
    const Deeper deeper(depth_);
    if (depth_ > depth_max || *at_ == '\0') return false;
    if (std::strchr("rVKPROCG", *at_) != nullptr) {
      ++at_;
      return type();
    }
    if (std::strchr("vwbcahstijlmxynofdegz", *at_) != nullptr) {
      ++at_;
      return true;
    }
    switch (*at_) {
      case 'u':
        ++at_;
        return source_name() && (*at_ != 'I' || template_arguments());
      case 'D':
        ++at_;
        if (take('p')) return type();
        if (take('o')) return type();  // noexcept, before a function type
        if (*at_ == '\0' || std::strchr("defhisuacn", *at_) == nullptr) return false;  // decltype and others
        ++at_;
        return true;
      case 'F':
        ++at_;
        take('Y');
        while (*at_ != 'E') {
          if (*at_ == 'R' || *at_ == 'O') {  // a reference type, or at the very end the function's own qualifier
            if (at_[1] == 'E') {
              ++at_;
              break;
            }
          }
          if (!type()) return false;
        }
        return take('E');
      case 'A':
        ++at_;
        while (at_digit()) ++at_;
        return take('_') && type();
      case 'M': {
        ++at_;
        return type() && type();
      }
      case 'T':
        return template_parameter() && (*at_ != 'I' || template_arguments());
      default:
        return name();
    }
  }

  const char* at_;
  Text& text_;
  std::string_view last_name_;
  int mute_ = 0;
  int depth_ = 0;
};

std::string_view base_name(const char* path) noexcept {
  const char* slash = std::strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

}  // namespace

std::string_view demangle_short(const char* mangled, std::span<char> out) noexcept {
  Text text(out);
  return Demangler(mangled, text).run() ? text.view() : std::string_view();
}

std::string_view describe_address(const void* address, std::span<char> out) noexcept {
  const auto number = reinterpret_cast<std::uintptr_t>(address);
  Text text(out);
  Dl_info info{};
  if (::dladdr(address, &info) == 0 || info.dli_fname == nullptr) {
    text.add_hex(number);
    return text.view();
  }
  if (info.dli_sname != nullptr) {
    const std::string_view name = demangle_short(info.dli_sname, out);
    text = Text(out);
    text.add(name.empty() ? std::string_view(info.dli_sname) : name);  // over itself where it was demangled
    text.add("+");
    text.add_hex(number - reinterpret_cast<std::uintptr_t>(info.dli_saddr));
    text.add(" ");
  }
  text.add("(");
  text.add(base_name(info.dli_fname));
  text.add("+");
  text.add_hex(number - reinterpret_cast<std::uintptr_t>(info.dli_fbase));
  text.add(")");
  return text.view();
}

}  // namespace roost::base
