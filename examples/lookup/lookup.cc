// lookup: the addresses of names, and the names of addresses; all of them asked for at once.
//
//   lookup [--server ADDRESS:PORT]... [--timeout MILLISECONDS] NAME...
//
// NAME may be a host ("www.example.org"), a host and a service ("www.example.org:https"), or an address, whose names
// are looked up. Ends with status 1 if one of them was not found.
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <roost/net/resolver.h>
#include <roost/roost.h>

namespace net = roost::net;

namespace {

struct Arguments {
  net::ResolverOptions resolver;
  std::chrono::milliseconds timeout{10'000};
  std::vector<std::string> names;
};

int usage_error(std::string_view what, std::string_view value, std::string_view remedy) {
  std::fprintf(stderr, "lookup: %.*s '%.*s': %.*s\n", static_cast<int>(what.size()), what.data(),
               static_cast<int>(value.size()), value.data(), static_cast<int>(remedy.size()), remedy.data());
  return 2;
}

// 0, or the exit status.
int parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word != "--server" && word != "--timeout") {
      if (word.starts_with("-")) return usage_error("unknown option", word, "there are --server and --timeout");
      arguments.names.emplace_back(word);
      continue;
    }
    const std::string_view value = ++i < argc ? argv[i] : "";
    if (word == "--server") {
      const auto server = net::Endpoint::parse(value);
      if (!server) return usage_error("--server", value, "expected ADDRESS:PORT, as in 192.0.2.53:53");
      arguments.resolver.servers.push_back(*server);
    } else {
      int milliseconds = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), milliseconds);
      if (error != std::errc() || end != value.data() + value.size() || milliseconds <= 0) {
        return usage_error("--timeout", value, "expected milliseconds, 1 or more");
      }
      arguments.timeout = std::chrono::milliseconds(milliseconds);
    }
  }
  if (arguments.names.empty()) {
    std::fprintf(stderr, "usage: lookup [--server ADDRESS:PORT]... [--timeout MILLISECONDS] NAME...\n");
    return 2;
  }
  return 0;
}

// What there is to print for `name`, a line each.
roost::Result<std::vector<std::string>> look_up(net::Resolver& resolver, const std::string& name, roost::Deadline deadline) {
  if (const auto address = net::IpAddress::parse(name)) return resolver.names_of(*address, deadline);
  std::vector<std::string> lines;
  if (name.find(':') != std::string::npos) {
    const auto endpoints = resolver.resolve_endpoints("tcp", name, {.deadline = deadline});
    if (!endpoints) return roost::fail(endpoints.error());
    for (const auto& endpoint : *endpoints) lines.push_back(endpoint.to_string());
  } else {
    const auto addresses = resolver.resolve(name, {.deadline = deadline});
    if (!addresses) return roost::fail(addresses.error());
    for (const auto& address : *addresses) lines.push_back(address.to_string());
  }
  return lines;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (const int status = parse(argc, argv, arguments); status != 0) return status;
  return roost::run([&] {
    net::Resolver resolver(arguments.resolver);
    const auto deadline = roost::Deadline::after(arguments.timeout);
    std::vector<roost::Handle<roost::Result<std::vector<std::string>>>> fibers;
    for (const std::string& name : arguments.names) {
      fibers.push_back(roost::go([&] { return look_up(resolver, name, deadline); }));
    }
    int status = 0;
    for (std::size_t i = 0; i < fibers.size(); ++i) {
      const auto lines = fibers[i].join();
      if (!lines) {
        std::fprintf(stderr, "lookup: %s: %s\n", arguments.names[i].c_str(), lines.error().message().c_str());
        status = 1;
        continue;
      }
      for (const std::string& line : *lines) std::printf("%s %s\n", arguments.names[i].c_str(), line.c_str());
    }
    return status;
  });
}
