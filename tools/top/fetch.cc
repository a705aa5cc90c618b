#include "tools/top/fetch.h"

#include <array>
#include <chrono>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <roost/metrics.h>
#include <roost/net/conn.h>
#include <roost/net/dial.h>

#include "tools/common/format.h"

namespace roost::top {
namespace {

constexpr std::size_t answer_bytes_max = 64 * 1024 * 1024;  // an endless one must not fill the memory

std::string what_went_wrong(std::error_code error, std::chrono::nanoseconds timeout) {
  if (error == std::errc::connection_refused) return "nobody listens there; is the server running, with --metrics?";
  if (is_timeout(error)) return fmt::format("no answer within {}", tools::format_span(timeout));
  if (error == std::errc::connection_reset) return "the connection was reset; it may be busy with other readers";
  return error.message();
}

}  // namespace

std::expected<std::string, std::string> http_get(const net::Endpoint& endpoint, const std::string& path,
                                                 std::chrono::nanoseconds timeout) {
  const Deadline deadline = Deadline::after(timeout);
  auto conn = net::dial(endpoint, deadline);
  if (!conn) return std::unexpected(what_went_wrong(conn.error(), timeout));
  conn->set_deadline(deadline);
  // By its address, which every endpoint answers to.
  const std::string request = fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: roost-top\r\nConnection: close\r\n\r\n", path, endpoint.to_string());
  if (const auto sent = conn->write(request); !sent) return std::unexpected(what_went_wrong(sent.error(), timeout));
  std::string answer;
  std::array<std::byte, 16 * 1024> part;
  for (;;) {
    const auto got = conn->read(part);
    if (!got) return std::unexpected(what_went_wrong(got.error(), timeout));
    if (*got == 0) break;
    answer.append(reinterpret_cast<const char*>(part.data()), *got);
    if (answer.size() > answer_bytes_max) return std::unexpected("its answer does not end");
  }
  const std::size_t head_end = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.") || head_end == std::string::npos) return std::unexpected("what listens there does not speak HTTP");
  const std::string_view status = std::string_view(answer).substr(0, answer.find("\r\n"));
  const std::size_t code = status.find(' ');
  if (code == std::string_view::npos || status.substr(code + 1, 3) != "200") {
    return std::unexpected(fmt::format("it answered `{}` to GET {}", status, path));
  }
  return answer.substr(head_end + 4);
}

std::expected<Snapshot, std::string> fetch_snapshot(const net::Endpoint& endpoint, std::chrono::nanoseconds timeout) {
  const auto text = http_get(endpoint, "/metrics", timeout);
  if (!text) return std::unexpected(text.error());
  const double now_s = monotonic_s();
  const auto families = metrics::parse_text(*text);
  auto snapshot = families ? snapshot_of(*families, now_s) : Result<Snapshot>(fail(std::errc::invalid_argument));
  if (!snapshot) return std::unexpected("its /metrics is not that of a program on roost (there is no roost_workers)");
  return std::move(*snapshot);
}

std::expected<Sample, std::string> fetch(const net::Endpoint& endpoint, std::chrono::nanoseconds timeout) {
  auto snapshot = fetch_snapshot(endpoint, timeout);
  if (!snapshot) return std::unexpected(std::move(snapshot.error()));
  Sample sample{.snapshot = std::move(*snapshot), .fibers = {}};
  // A program may leave its fibers out.
  if (const auto json = http_get(endpoint, "/fibers.json", timeout)) {
    if (auto fibers = metrics::parse_fibers(*json)) {
      sample.fibers = std::move(*fibers);
      sample.has_fibers = true;
    }
  }
  return sample;
}

}  // namespace roost::top
