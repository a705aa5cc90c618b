#include <roost/net/address.h>

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace roost::net {

static_assert(sizeof(sockaddr_un::sun_path) == UnixName::bytes_max + 1);

Result<UnixName> UnixName::parse(std::string_view text) {
  if (text.size() > bytes_max) return fail(std::errc::filename_too_long);
  // A path ends at its zero; an abstract name may hold any byte.
  if (!text.starts_with('@') && text.contains('\0')) return fail(Errc::bad_address);
  UnixName name;
  std::ranges::copy(text, name.text_.begin());
  name.length_ = static_cast<std::uint8_t>(text.size());
  return name;
}

std::string Address::to_string() const {
  if (is_ip()) return endpoint().to_string();
  return std::string(unix_name().text());
}

unsigned Address::to_sockaddr(sockaddr_storage& out) const noexcept {
  if (is_none()) return 0;
  if (is_ip()) return endpoint().to_sockaddr(out);
  const UnixName name = unix_name();
  sockaddr_un form{};
  form.sun_family = AF_UNIX;
  std::ranges::copy(name.text(), form.sun_path);
  std::size_t length = offsetof(sockaddr_un, sun_path) + name.text().size();
  if (name.is_abstract()) {
    form.sun_path[0] = '\0';
  } else if (!name.empty()) {
    ++length;  // the terminating zero; an empty name has none: the kernel chooses one (autobind)
  }
  std::memcpy(&out, &form, sizeof form);
  return static_cast<unsigned>(length);
}

Address Address::from_sockaddr(const sockaddr* address, unsigned length) noexcept {
  if (address == nullptr || length < sizeof(sa_family_t)) return {};
  if (address->sa_family != AF_UNIX) {
    auto endpoint = Endpoint::from_sockaddr(address, length);
    if (!endpoint) return {};
    endpoint->address = endpoint->address.unmapped();
    return *endpoint;
  }
  if (length <= offsetof(sockaddr_un, sun_path)) return {};
  std::array<char, sizeof(sockaddr_un::sun_path)> path{};
  std::size_t size = std::min<std::size_t>(length - offsetof(sockaddr_un, sun_path), path.size());
  std::memcpy(path.data(), reinterpret_cast<const char*>(address) + offsetof(sockaddr_un, sun_path), size);
  if (path[0] == '\0') {
    path[0] = '@';
  } else {
    size = ::strnlen(path.data(), size);
  }
  // A path may fill all 108 bytes, without its zero; such a name does not fit what a program could have bound with us.
  const auto name = UnixName::parse({path.data(), std::min<std::size_t>(size, UnixName::bytes_max)});
  return name ? Address(*name) : Address();
}

}  // namespace roost::net
