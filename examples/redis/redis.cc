// redis: many fibers talk to a Redis server over a few pooled connections.
//
//   redis [ADDRESS [FIBERS [REQUESTS]]]      127.0.0.1:6379, 100 fibers, 100 requests each, unless told otherwise
#include <charconv>
#include <cstdio>
#include <cstring>

#include "client.h"

using namespace std::chrono_literals;

namespace {

// Each fiber writes a key of its own and reads it back.
roost::Result<void> talk(redis::Client& client, unsigned number, unsigned requests) {
  const std::string key = "roost:example:" + std::to_string(number);
  for (unsigned i = 0; i < requests; ++i) {
    const std::string value = std::to_string(i);
    const auto set = client.command({"SET", key, value}, redis::Repeat::harmless, roost::Deadline::after(10s));
    if (!set) return roost::fail(set.error());
    const auto got = client.command({"GET", key}, redis::Repeat::harmless, roost::Deadline::after(10s));
    if (!got) return roost::fail(got.error());
    if (got->text != value) return roost::fail(std::errc::protocol_error);
  }
  const auto deleted = client.command({"DEL", key}, redis::Repeat::harmless, roost::Deadline::after(10s));
  if (!deleted) return roost::fail(deleted.error());
  return {};
}

bool parse(const char* text, unsigned& number) {
  const char* end = text + std::strlen(text);
  return std::from_chars(text, end, number) == std::from_chars_result{end, std::errc()} && number > 0 && number <= 100'000;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string address = argc > 1 ? argv[1] : "127.0.0.1:6379";
  unsigned fibers = 100;
  unsigned requests = 100;
  const bool asked = address == "--help" || address == "-h";
  if (argc > 4 || address.starts_with('-') || (argc > 2 && !parse(argv[2], fibers)) || (argc > 3 && !parse(argv[3], requests))) {
    std::fprintf(asked ? stdout : stderr, "usage: redis [ADDRESS [FIBERS [REQUESTS]]], with numbers from 1 to 100000\n");
    return asked ? 0 : 2;
  }
  return roost::run([&] {
    redis::Client client(address, {.max_open = 8});
    const auto pong = client.command({"PING"}, redis::Repeat::harmless, roost::Deadline::after(10s));
    if (!pong) {
      std::fprintf(stderr, "redis: no answer from %s: %s; start a server there or name another address\n", address.c_str(),
                   pong.error().message().c_str());
      return pong.error() == roost::Errc::bad_address ? 2 : 1;
    }
    std::printf("PING: %s\n", pong->text.c_str());

    roost::TaskGroup group;
    for (unsigned i = 0; i < fibers; ++i) {
      group.go([&, i] { return talk(client, i, requests); });
    }
    if (const auto all = group.wait(); !all) {
      std::fprintf(stderr, "redis: %s\n", all.error().message().c_str());
      return 1;
    }
    static_cast<void>(client.close());
    const auto stats = client.stats();
    std::printf("%llu commands over %llu connections, %llu of them had to wait for one\n",
                static_cast<unsigned long long>(stats.acquired_total), static_cast<unsigned long long>(stats.dialed_total),
                static_cast<unsigned long long>(stats.waited_total));
    return 0;
  });
}
