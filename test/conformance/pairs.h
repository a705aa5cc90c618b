// Connected pairs of every kind of stream, and what tests do with them.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "conformance/setups.h"

namespace roost::test {

struct Pair {
  net::Conn client;
  net::Conn server;
};

// The result, or the end of the test program with the reason: for what a test only needs on its way.
template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "needed for the test: %s\n", result.error().message().c_str());
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

inline Pair pair_over(std::string_view network, std::string_view address) {
  auto listener = must(net::listen(network, address));
  const auto where = must(listener.local_address()).to_string();
  auto dialing = go([&] { return net::dial(network, where); });
  auto server = must(listener.accept());
  return {must(dialing.join()), std::move(server)};
}
inline Pair tcp_pair() { return pair_over("tcp4", "127.0.0.1:0"); }

// A file name that nothing has yet, in a directory of this test's own.
inline std::string fresh_path() {
  static const std::string directory = [] {
    std::string name = (std::filesystem::temp_directory_path() / "roost-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    static const struct Remove {
      std::string path;
      ~Remove() { std::filesystem::remove_all(path); }
    } remove{name};
    return name;
  }();
  static std::atomic<int> number{0};
  return directory + "/s" + std::to_string(number.fetch_add(1));
}
inline Pair unix_pair() { return pair_over("unix", fresh_path()); }
inline Pair unixpacket_pair() { return pair_over("unixpacket", fresh_path()); }

inline constexpr std::array pair_makers{&tcp_pair, &unix_pair, &unixpacket_pair};



inline std::array<std::byte, 4096> some_bytes(unsigned char value = 'x') {
  std::array<std::byte, 4096> bytes;
  bytes.fill(std::byte{value});
  return bytes;
}

inline Result<std::size_t> read_text(io::Source& from, std::string& text, std::size_t bytes_max = 4096) {
  text.resize(bytes_max);
  const auto got = from.read(std::as_writable_bytes(std::span(text)));
  text.resize(got ? *got : 0);
  return got;
}

// Reads exactly so many bytes.
inline Result<std::string> read_exactly(io::Source& from, std::size_t bytes) {
  std::string text(bytes, '\0');
  std::size_t at = 0;
  while (at < bytes) {
    const auto got = from.read(std::as_writable_bytes(std::span(text)).subspan(at));
    if (!got) return fail(got.error());
    if (*got == 0) return fail(Errc::end_of_stream);
    at += *got;
  }
  return text;
}

// Echoes until the stream ends or fails.
inline void echo(io::Stream& conn) {
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const auto got = conn.read(buffer);
    if (!got || *got == 0) return;
    if (!conn.write(std::span<const std::byte>(buffer.data(), *got))) return;
  }
}

// What a long stream carries: bytes that tell where they belong. The period is a prime, so that whatever is lost, doubled or
// comes in another order in units of pages or pieces is seen. `at` is where in the stream, `bytes` at most `pattern_bytes_max`.
inline constexpr std::size_t pattern_bytes_max = 5 << 20;
inline std::span<const std::byte> pattern_at(std::uint64_t at, std::size_t bytes) {
  constexpr std::size_t period = 251;
  static const std::vector<std::byte> pattern = [] {
    std::vector<std::byte> made(pattern_bytes_max + period);
    for (std::size_t i = 0; i < made.size(); ++i) made[i] = static_cast<std::byte>(i % period);
    return made;
  }();
  return std::span(pattern).subspan(at % period, bytes);
}

// Copies `bytes`, written in pieces, from one connection through another; true if each came, in its place.
inline bool copy_through(Pair in, Pair out, std::size_t bytes, std::size_t piece_bytes) {
  auto copying = go([&] {
    auto copied = io::copy(out.client, in.server);
    static_cast<void>(out.client.close_write());
    return copied;
  });
  auto sending = go([&] {
    std::vector<std::byte> piece(piece_bytes);
    for (std::size_t at = 0; at < bytes; at += piece.size()) {
      piece.resize(std::min(piece_bytes, bytes - at));
      std::ranges::copy(pattern_at(at, piece.size()), piece.begin());
      if (!in.client.write(piece)) break;
      std::ranges::fill(piece, std::byte{0xff});  // nothing of it is taken any more; the pattern has no such byte
    }
    static_cast<void>(in.client.close_write());
  });
  std::vector<std::byte> buffer(1 << 20);
  std::uint64_t got_bytes = 0;
  bool same = true;
  for (auto got = out.server.read(buffer); got && *got > 0; got = out.server.read(buffer)) {
    same = same && std::memcmp(buffer.data(), pattern_at(got_bytes, *got).data(), *got) == 0;
    got_bytes += *got;
  }
  sending.join();
  return copying.join().value_or(0) == bytes && got_bytes == bytes && same;
}

}  // namespace roost::test
