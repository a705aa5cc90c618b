// What do a dial, a datagram and a batch of datagrams cost? Printed as time per operation on one worker; docs/benchmarks.md sets
// them beside Go's, measured in the same minutes by bench/micro/go_peers.
//
// Both ends are in this process, over loopback, so the kernel's work is most of every figure, and it is the same on both sides
// of the comparison. What would make the numbers wrong: see runtime_bench.cc; and a machine whose loopback ports are all in
// TIME_WAIT, which each run avoids by a listener on a port of its own.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <roost/roost.h>

#include "micro.h"

namespace {

using roost::bench::check;
using roost::bench::must;
using roost::bench::on_workers;
namespace net = roost::net;

constexpr std::size_t datagram_bytes = 64;

// A connection is dialled; the other end accepts and closes it at once; the dialler reads that end and closes, too.
void dial_accept_close(benchmark::State& state) {
  on_workers(1, [&] {
    auto listener = must(net::listen("tcp4", "127.0.0.1:0"), "listen");
    const auto where = must(listener.local_endpoint(), "local_endpoint");
    std::int64_t accepted = 0;
    auto accepting = roost::go([&] {
      while (auto conn = listener.accept()) {
        ++accepted;
        check(conn->close().has_value(), "closed");
      }
    });
    std::int64_t dialled = 0;
    std::array<std::byte, 1> nothing;
    for (auto _ : state) {
      auto conn = must(net::dial(where), "dial");
      check(must(conn.read(nothing), "read") == 0, "the end of the stream");
      check(conn.close().has_value(), "closed");
      ++dialled;
    }
    check(listener.close().has_value(), "closed");
    accepting.join();
    check(accepted == dialled, "every connection was accepted");
  });
}
ROOST_BENCHMARK(dial_accept_close);

// The numbers 0, 1, 2, ... in the first bytes of a datagram.
void number(std::span<std::byte> bytes, std::int64_t value) { std::memcpy(bytes.data(), &value, sizeof value); }
std::int64_t number(std::span<const std::byte> bytes) {
  std::int64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// A datagram goes to an echo fiber and comes back: time for the round trip.
void udp_round_trip(benchmark::State& state) {
  on_workers(1, [&] {
    auto here = must(net::listen_packet("udp4", "127.0.0.1:0"), "listen_packet");
    auto there = must(net::listen_packet("udp4", "127.0.0.1:0"), "listen_packet");
    const auto target = must(there.local_address(), "local_address");
    auto echo = roost::go([&] {
      std::array<std::byte, datagram_bytes> bytes;
      while (const auto got = there.read_from(bytes)) {
        check(must(there.write_to(std::span(bytes).first(got->bytes), got->from), "write_to") == got->bytes, "all of it");
      }
    });
    std::array<std::byte, datagram_bytes> out{};
    std::array<std::byte, datagram_bytes> in{};
    std::int64_t rounds = 0;
    for (auto _ : state) {
      number(out, rounds);
      must(here.write_to(out, target), "write_to");
      const auto got = must(here.read_from(in), "read_from");
      check(got.bytes == datagram_bytes && number(in) == rounds && got.from == target, "the same datagram");
      ++rounds;
    }
    check(there.close().has_value(), "closed");
    echo.join();
  });
}
ROOST_BENCHMARK(udp_round_trip);

// Datagrams are sent and received in batches of 64, by one system call each: time per datagram, in and out.
void udp_batch(benchmark::State& state) {
  on_workers(1, [&] {
    constexpr std::size_t batch = net::PacketConn::batch_max;
    auto here = must(net::listen_packet("udp4", "127.0.0.1:0"), "listen_packet");
    auto there = must(net::listen_packet("udp4", "127.0.0.1:0"), "listen_packet");
    const auto source = must(here.local_address(), "local_address");
    const auto target = must(there.local_address(), "local_address");
    std::array<std::array<std::byte, datagram_bytes>, batch> sent{};
    std::array<std::array<std::byte, datagram_bytes>, batch> received{};
    std::vector<net::PacketOut> out(batch);
    std::vector<net::PacketSlot> slots(batch);
    for (std::size_t i = 0; i < batch; ++i) {
      out[i] = {sent[i], target};
      slots[i].buffer = received[i];
    }
    std::int64_t next_out = 0;
    std::int64_t next_in = 0;
    while (state.KeepRunningBatch(batch)) {
      for (auto& bytes : sent) number(bytes, next_out++);
      check(must(here.write_batch(out), "write_batch") == batch, "all were sent");
      for (std::size_t left = batch; left > 0;) {
        const std::size_t got = must(there.read_batch(slots), "read_batch");
        for (std::size_t i = 0; i < got; ++i) {
          check(slots[i].bytes == datagram_bytes && number(received[i]) == next_in++ && slots[i].from == source, "in order");
        }
        left -= got;
      }
    }
  });
}
ROOST_BENCHMARK(udp_batch);

}  // namespace

BENCHMARK_MAIN();
