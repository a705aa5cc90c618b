// The HTTP endpoint: a request a connection, GET and HEAD, nothing else of HTTP.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include <roost/go.h>
#include <roost/io/reader.h>
#include <roost/metrics.h>
#include <roost/net/conn.h>
#include <roost/net/listener.h>
#include <roost/net/server.h>
#include <roost/sync/mutex.h>

namespace roost::metrics {
namespace {

constexpr std::size_t header_lines_max = 100;
constexpr std::size_t line_bytes_max = 8 * 1024;
constexpr const char* text_type = "text/plain; charset=utf-8";

struct Answer {
  int status;
  const char* reason;
  std::string content_type = text_type;
  std::string body;
};

struct Request {
  std::string method;
  std::string path;  // without the query
  std::string host;
  bool has_host = false;
};

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& letter : result) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return result;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The host of "host:port", "[v6]:port", "host".
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) {
    const std::size_t end = host.find(']');
    return end == std::string_view::npos ? host : host.substr(1, end - 1);
  }
  return host.substr(0, host.rfind(':'));
}

// Reads the head of a request. An answer: it is refused.
std::expected<Request, Answer> read_request(io::Reader& in) {
  const auto bad = [](int status, const char* reason, const char* why) {
    return std::unexpected(Answer{status, reason, text_type, std::string(why) + "\n"});
  };
  const auto unreadable = [&](std::error_code error) {
    if (error == Errc::token_too_long) return bad(431, "Request Header Fields Too Large", "a line of the request is too long");
    if (is_timeout(error)) return bad(408, "Request Timeout", "the request did not come in time");
    return bad(0, "", "");  // nobody is there to be answered
  };
  Request request;
  const auto first = in.read_line();
  if (!first) return unreadable(first.error());
  const std::size_t space = first->find(' ');
  const std::size_t version = first->rfind(" HTTP/1.");
  if (space == std::string_view::npos || version == std::string_view::npos || version <= space) {
    return bad(400, "Bad Request", "this is no HTTP/1 request");
  }
  request.method = first->substr(0, space);
  const std::string_view target = first->substr(space + 1, version - space - 1);
  request.path = target.substr(0, target.find('?'));
  for (std::size_t lines = 0;; ++lines) {
    if (lines == header_lines_max) return bad(431, "Request Header Fields Too Large", "the request has too many header lines");
    const auto line = in.read_line();
    if (!line) return unreadable(line.error());
    if (line->empty()) return request;
    const std::size_t colon = line->find(':');
    if (colon == std::string_view::npos) return bad(400, "Bad Request", "a header line lacks its colon");
    if (lower(line->substr(0, colon)) != "host") continue;
    if (request.has_host) return bad(400, "Bad Request", "the request names two hosts");
    request.has_host = true;
    request.host = lower(without_port(trimmed(line->substr(colon + 1))));
  }
}

}  // namespace

struct Exporter::State {
  explicit State(ServeOptions given)
      : options(std::move(given)), server(net::ServerOptions{.connections_max = std::max<std::size_t>(options.requests_max, 1)}) {
    for (std::string& host : options.hosts) host = lower(host);
    if (options.with_runtime) options.collectables.insert(options.collectables.begin(), runtime());
  }

  [[nodiscard]] bool knows_host(const Request& request) const {
    if (!request.has_host) return true;  // HTTP/1.0; a browser always names one
    if (request.host == "localhost" || net::IpAddress::parse(request.host)) return true;
    return std::find(options.hosts.begin(), options.hosts.end(), request.host) != options.hosts.end();
  }

  [[nodiscard]] std::string scrape() const {
    // Files of /proc are read, and every fiber is visited: no work for a worker.
    return blocking([this] {
      Families all;
      for (const auto& collectable : options.collectables) merge(all, collectable->Collect());
      return to_text(all);
    });
  }

  // What is collected is answered again for a while, to all who ask.
  [[nodiscard]] std::shared_ptr<const FiberDump> fibers() {
    constexpr std::size_t examples_max = 10;
    constexpr std::chrono::seconds fresh{1};
    const LockGuard lock(fibers_mutex);
    if (!dump || fibers_stale.has_passed()) {
      dump = std::make_shared<FiberDump>(options.fibers ? options.fibers() : collect_fibers({.examples_max = examples_max}));
      fibers_stale = Deadline::after(std::max<std::chrono::nanoseconds>(fresh, 20 * dump->took));
    }
    return dump;
  }

  [[nodiscard]] Answer answer(const Request& request) {
    if (request.method != "GET" && request.method != "HEAD") {
      return {405, "Method Not Allowed", text_type, "only GET and HEAD\n"};
    }
    if (!knows_host(request)) {
      return {421, "Misdirected Request", text_type, "this host is not known here by that name; use its address, or let the program allow the name\n"};
    }
    for (const Page& page : options.pages) {
      if (page.path != request.path) continue;
      auto body = page.body();
      if (!body) return {502, "Bad Gateway", text_type, body.error() + '\n'};
      return {200, "OK", page.content_type, std::move(*body)};
    }
    if (request.path == "/metrics") return {200, "OK", "text/plain; version=0.0.4; charset=utf-8", scrape()};
    if (options.with_fibers && request.path == "/fibers") return {200, "OK", text_type, to_text(*fibers())};
    if (options.with_fibers && request.path == "/fibers.json") return {200, "OK", "application/json", to_json(*fibers())};
    if (request.path == "/") {
      std::string index = options.with_fibers ? "/metrics\n/fibers\n/fibers.json\n" : "/metrics\n";
      for (const Page& page : options.pages) {
        if (!index.contains(page.path + "\n")) index += page.path + "\n";
      }
      return {200, "OK", text_type, index};
    }
    return {404, "Not Found", text_type, "there is /metrics\n"};
  }

  void serve_one(net::Conn& conn) {
    conn.set_read_deadline(Deadline::after(options.request_timeout));
    io::Reader in(conn, {.token_bytes_max = line_bytes_max});
    const auto request = read_request(in);
    const Answer reply = request ? answer(*request) : request.error();
    if (reply.status == 0) return;
    conn.set_write_deadline(Deadline::after(options.request_timeout));
    const std::string head = fmt::format(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n{}Connection: close\r\n\r\n",
        reply.status, reply.reason, reply.content_type, reply.body.size(), reply.status == 405 ? "Allow: GET, HEAD\r\n" : "");
    const bool with_body = !request || request->method != "HEAD";
    const std::array<std::span<const std::byte>, 2> pieces{io::as_bytes(head),
                                                           io::as_bytes(with_body ? std::string_view(reply.body) : "")};
    if (!conn.write_vectored(pieces)) return;
    requests.fetch_add(1, std::memory_order_relaxed);
    // Unread bytes would turn the close into a reset, which may overtake the answer.
    conn.close_write();
    std::array<std::byte, 512> rest;
    for (int reads = 0; reads < 64; ++reads) {
      const auto got = conn.read(rest);
      if (!got || *got == 0) return;
    }
  }

  ServeOptions options;
  net::Server server;
  net::Listener listener;
  net::Endpoint endpoint;
  std::atomic<std::uint64_t> requests{0};
  Mutex fibers_mutex;
  std::shared_ptr<const FiberDump> dump;  // guarded by fibers_mutex, as fibers_stale
  Deadline fibers_stale;
  Handle<void> accepting;
};

Exporter::Exporter(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Exporter::Exporter(Exporter&&) noexcept = default;
Exporter& Exporter::operator=(Exporter&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
Exporter::~Exporter() {
  if (state_ == nullptr) return;
  state_->listener.close();
  state_->server.close();
  state_->accepting.join();
}

net::Endpoint Exporter::endpoint() const noexcept { return state_->endpoint; }
std::uint64_t Exporter::requests() const noexcept { return state_->requests.load(std::memory_order_relaxed); }

Result<Exporter> serve(std::string_view address, ServeOptions options) {
  // ":9100" would mean every interface to listen(); what a process tells of itself is not for everybody.
  const std::string full = address.starts_with(':') ? "127.0.0.1" + std::string(address) : std::string(address);
  auto listener = net::listen("tcp", full);
  if (!listener) return fail(listener.error());
  const auto endpoint = listener->local_endpoint();
  if (!endpoint) return fail(endpoint.error());
  auto state = std::make_unique<Exporter::State>(std::move(options));
  state->listener = std::move(*listener);
  state->endpoint = *endpoint;
  state->accepting = go({.name = "metrics"}, [state = state.get()] {
    static_cast<void>(state->server.serve(state->listener, [state](net::Conn& conn) { state->serve_one(conn); }));
  });
  return Exporter(std::move(state));
}

}  // namespace roost::metrics
