// The twenty lines of the README, but for the address, which scripts/test-install chooses.
#include <roost/roost.h>

using namespace std::chrono_literals;

int main(int, char** argv) {
  return roost::run([&] {
    auto listener = roost::net::listen("tcp", argv[1]).value();
    while (auto accepted = listener.accept()) {
      roost::go([conn = std::move(*accepted)]() mutable {
        roost::io::Reader in(conn);
        roost::io::Writer out(conn);
        for (;;) {
          conn.set_read_deadline_after(5min);
          auto line = in.read_until('\n');
          if (!line) return;  // timed out, closed or failed: line.error() says which
          if (!out.write(*line) || !out.flush()) return;
        }
      });
    }
  });
}
