#include <roost/error.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace roost {
namespace {

// One row says all there is to know of an error: the text for people, the name for scripts, and the std::errc it equals
// (0 where the standard has no such condition).
struct Description {
  Errc error;
  std::string_view name;
  std::string_view message;
  std::errc condition;
};
constexpr std::errc no_condition{};

constexpr Description descriptions[] = {
    {Errc::end_of_stream, "end_of_stream", "end of stream", no_condition},
    {Errc::closed, "closed", "use of a closed connection, listener, socket or channel", std::errc::bad_file_descriptor},
    {Errc::deadline_exceeded, "timed_out", "deadline exceeded", std::errc::timed_out},
    {Errc::canceled, "canceled", "canceled", std::errc::operation_canceled},
    {Errc::token_too_long, "token_too_long", "no delimiter within the longest token allowed", std::errc::message_size},
    {Errc::no_progress, "no_progress", "many reads in a row returned neither data nor an error", no_condition},
    {Errc::short_write, "short_write", "the sink took fewer bytes than it was given", no_condition},
    {Errc::bad_address, "bad_address", "malformed address, host or port", std::errc::invalid_argument},
    {Errc::unknown_network, "unknown_network", "unknown network name or address family",
     std::errc::address_family_not_supported},
    {Errc::host_not_found, "host_not_found", "no such host", no_condition},
    {Errc::name_server_failure, "name_server_failure", "no name server gave a usable answer", no_condition},
    {Errc::no_suitable_address, "no_suitable_address", "the host has no address of the network's family",
     no_condition},
    {Errc::pool_closed, "pool_closed", "the connection pool is closed", std::errc::operation_canceled},
    {Errc::buffer_full, "buffer_full", "the buffer is smaller than what was asked for", std::errc::no_buffer_space},
    {Errc::invalid_unread, "invalid_unread", "nothing to unread", std::errc::invalid_argument},
    {Errc::missing_address, "missing_address", "a destination address is needed",
     std::errc::destination_address_required},
    {Errc::deadlock, "deadlock", "deadlock", std::errc::resource_deadlock_would_occur},
};

constexpr bool rows_follow_their_numbers() {
  int number = 1;
  for (const Description& row : descriptions) {
    if (static_cast<int>(row.error) != number++) return false;
  }
  return true;
}
static_assert(rows_follow_their_numbers(), "describe() finds a row by its number");

constexpr const Description* describe(int value) noexcept {
  if (value < 1 || value > static_cast<int>(std::size(descriptions))) return nullptr;
  return &descriptions[value - 1];
}

class ErrorCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "roost"; }

  std::string message(int value) const override {
    const Description* row = describe(value);
    return row != nullptr ? std::string(row->message) : "unknown roost error " + std::to_string(value);
  }

  // What makes `error == std::errc::timed_out` true.
  std::error_condition default_error_condition(int value) const noexcept override {
    const Description* row = describe(value);
    if (row == nullptr || row->condition == no_condition) return {value, *this};
    return std::make_error_condition(row->condition);
  }
};

// Built by the compiler and never destroyed, so that errors can be compared before main and after it.
union Immortal {
  constexpr Immortal() noexcept : value() {}
  constexpr ~Immortal() {}
  ErrorCategory value;
};
constinit const Immortal immortal;
constexpr const ErrorCategory& category = immortal.value;

// "errno 200": a string_view must outlive the call, so the numbers that have no name are spelled out here.
constexpr int spelled_errno_end = 256;
struct SpelledErrno {
  char text[12];
};
constexpr auto spelled_errnos = [] {
  std::array<SpelledErrno, spelled_errno_end> all{};
  for (int value = 0; value < spelled_errno_end; ++value) {
    char* to = all[static_cast<std::size_t>(value)].text;
    for (const char letter : std::string_view("errno ")) *to++ = letter;
    if (value >= 100) *to++ = static_cast<char>('0' + value / 100);
    if (value >= 10) *to++ = static_cast<char>('0' + value / 10 % 10);
    *to = static_cast<char>('0' + value % 10);
  }
  return all;
}();

std::string_view errno_name(int value) noexcept {
  if (value == 0) return "success";
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 32)
  if (const char* name = ::strerrorname_np(value)) return name;
#endif
  if (value > 0 && value < spelled_errno_end) return spelled_errnos[static_cast<std::size_t>(value)].text;
  return "errno out of range";
}

bool is_errno(std::error_code error) noexcept {
  return error.category() == std::generic_category() || error.category() == std::system_category();
}

}  // namespace

const std::error_category& error_category() noexcept { return category; }

std::error_code make_error_code(Errc error) noexcept { return {static_cast<int>(error), category}; }

bool is_timeout(std::error_code error) noexcept { return error == std::errc::timed_out; }

bool is_temporary(std::error_code error) noexcept {
  // Not a deadline that passed: the same call fails again until somebody moves the deadline. Not a peek that exceeds the
  // buffer either, although it equals ENOBUFS.
  if (error.category() == category) return error == Errc::name_server_failure;
  if (!is_errno(error)) return false;
  switch (error.value()) {
    case EINTR:
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ECONNABORTED:  // accept(2): the connection went before it was taken; the next one is fine
      return true;
    default:
      return false;
  }
}

std::string_view error_name(std::error_code error) noexcept {
  if (error.category() == category) {
    const Description* row = describe(error.value());
    return row != nullptr ? row->name : "unknown roost error";
  }
  if (is_errno(error)) return errno_name(error.value());
  return error.category().name();
}

}  // namespace roost
