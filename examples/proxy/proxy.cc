// proxy: carries TCP connections to another address, both ways at once.
//
//   proxy LISTEN TARGET      for example: proxy :8080 127.0.0.1:80
//
// The end of one direction is passed on, and the other one goes on until its own end ("half close"): a client may end its
// request with it and still read the answer. io::copy between two connections moves the bytes inside the kernel (splice).
#include <cstdio>
#include <string>

#include <roost/roost.h>

namespace {

using roost::net::Conn;

// Until `from` ends. A failure of one direction ends the other one, too.
void carry(Conn& to, Conn& from) {
  if (roost::io::copy(to, from) && to.close_write()) return;
  static_cast<void>(to.close());
  static_cast<void>(from.close());
}

void serve(Conn client, const std::string& target) {
  auto server = roost::net::Dialer{.timeout = std::chrono::seconds(10)}.dial("tcp", target);
  if (!server) {
    std::fprintf(stderr, "%s\n", roost::net::describe_failure("dial", "tcp", target, server.error()).c_str());
    return;
  }
  auto requests = roost::go([&] { carry(*server, client); });
  carry(client, *server);
  requests.join();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: proxy LISTEN TARGET, for example: proxy :8080 127.0.0.1:80\n");
    return 2;
  }
  return roost::run([&] {
    auto listener = roost::net::listen("tcp", argv[1]);
    if (!listener) {
      std::fprintf(stderr, "%s\n", roost::net::describe_failure("listen", "tcp", argv[1], listener.error()).c_str());
      return 2;
    }
    std::printf("listening on %s\n", listener->local_endpoint()->to_string().c_str());
    std::fflush(stdout);
    while (auto accepted = listener->accept()) {
      roost::go([client = std::move(*accepted), target = std::string(argv[2])]() mutable { serve(std::move(client), target); });
    }
    return 0;
  });
}
