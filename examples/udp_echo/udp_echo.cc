// udp_echo: sends every datagram back to where it came from. As many as have come are read by one system call and
// answered by another.
//
//   udp_echo [ADDRESS]      ":9000" unless told otherwise
#include <array>
#include <cstdio>
#include <string>

#include <roost/roost.h>

using roost::net::PacketConn;

int main(int argc, char** argv) {
  const std::string address = argc > 1 ? argv[1] : ":9000";
  if (argc > 2 || address.starts_with('-')) {
    const bool asked = address == "--help" || address == "-h";
    std::fprintf(asked ? stdout : stderr, "usage: udp_echo [ADDRESS], for example: udp_echo 127.0.0.1:9000; otherwise :9000\n");
    return asked ? 0 : 2;
  }
  return roost::run([&] {
    auto socket = roost::net::listen_packet("udp", address);
    if (!socket) {
      std::fprintf(stderr, "%s\n", roost::net::describe_failure("listen", "udp", address, socket.error()).c_str());
      return 2;
    }
    std::printf("listening on %s\n", socket->local_endpoint()->to_string().c_str());
    std::fflush(stdout);

    static std::array<std::array<std::byte, 65536>, PacketConn::batch_max> buffers;  // 4 MiB: not for a fiber's stack
    static std::array<roost::net::PacketSlot, PacketConn::batch_max> slots;
    static std::array<roost::net::PacketOut, PacketConn::batch_max> answers;
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i].buffer = buffers[i];
    for (;;) {
      const auto got = socket->read_batch(slots);
      if (!got) return got.error() == std::errc::operation_canceled ? 0 : 1;
      for (std::size_t i = 0; i < *got; ++i) answers[i] = {{slots[i].buffer.data(), slots[i].bytes}, slots[i].from};
      // One that cannot be answered (no route, say) is lost, as datagrams are; those behind it are sent all the same.
      for (std::span<const roost::net::PacketOut> left(answers.data(), *got); !left.empty();) {
        const auto sent = socket->write_batch(left);
        left = left.subspan(sent ? *sent : 1);
      }
    }
  });
}
