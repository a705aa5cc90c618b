// echo: sends every line back. One fiber a connection, plain blocking code, a time limit on every wait.
//
//   echo [ADDRESS]      ":8080" unless told otherwise
#include <cstdio>

#include <roost/roost.h>

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  return roost::run([&] {
    auto listener = roost::net::listen("tcp", argc > 1 ? argv[1] : ":8080").value();
    std::printf("listening on %s\n", listener.local_endpoint()->to_string().c_str());
    std::fflush(stdout);
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
