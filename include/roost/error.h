// Errors of roost: values, never exceptions.
//
// Every call that the network, the kernel or the user can make fail returns a Result. What only a wrong program
// can cause (reading a moved-from connection, unlocking an unlocked mutex) is an assertion and ends the process
// with a message that names the mistake.
//
// Errors of the kernel keep their errno in std::generic_category(). The few that the kernel does not know live in
// roost::error_category(); where a std::errc means the same, the two compare equal:
//
//   if (!got && got.error() == std::errc::timed_out) ...     // a deadline passed
#pragma once

#include <expected>
#include <string_view>
#include <system_error>

namespace roost {

template <class T>
using Result = std::expected<T, std::error_code>;

enum class Errc {
  end_of_stream = 1,      // the peer closed its side and everything was read; a buffered read found less than it needs
  closed = 2,             // this end, or the channel, was closed, here or by another fiber; equals std::errc::bad_file_descriptor
  deadline_exceeded = 3,  // a deadline or idle time-out passed; equals std::errc::timed_out
  canceled = 4,           // the runtime stops, or the fiber's context was canceled; equals std::errc::operation_canceled
  token_too_long = 5,     // a delimiter did not come within the limit; equals std::errc::message_size
  no_progress = 6,        // a source returned nothing, without an error, again and again
  short_write = 7,        // a sink took fewer bytes than it was given, without an error
  bad_address = 8,        // text that is no address, host or port; equals std::errc::invalid_argument
  unknown_network = 9,    // a network name that is not known; equals std::errc::address_family_not_supported
  host_not_found = 10,    // the name does not exist
  name_server_failure = 11,  // no name server gave an answer that could be used; trying again may help
  no_suitable_address = 12,  // the host has no address of the family asked for
  pool_closed = 13,       // the connection pool was closed; equals std::errc::operation_canceled
  buffer_full = 14,       // a slice or peek longer than the buffer; equals std::errc::no_buffer_space
  invalid_unread = 15,    // nothing to unread; equals std::errc::invalid_argument
  missing_address = 16,   // a datagram socket without a peer needs a destination; equals std::errc::destination_address_required
  deadlock = 17,          // equals std::errc::resource_deadlock_would_occur
};

const std::error_category& error_category() noexcept;
std::error_code make_error_code(Errc error) noexcept;

// True for a deadline, an idle time-out, and the kernel's own ETIMEDOUT.
[[nodiscard]] bool is_timeout(std::error_code error) noexcept;

// True where the same call may succeed if it is simply tried again later.
[[nodiscard]] bool is_temporary(std::error_code error) noexcept;

// The name scripts look for: "ECONNREFUSED", "timed_out"; "errno 133" where there is none.
[[nodiscard]] std::string_view error_name(std::error_code error) noexcept;

inline std::unexpected<std::error_code> fail(std::error_code error) noexcept {
  return std::unexpected(error);
}
inline std::unexpected<std::error_code> fail(Errc error) noexcept {
  return std::unexpected(make_error_code(error));
}
inline std::unexpected<std::error_code> fail(std::errc error) noexcept {
  return std::unexpected(std::make_error_code(error));
}

}  // namespace roost

template <>
struct std::is_error_code_enum<roost::Errc> : std::true_type {};
