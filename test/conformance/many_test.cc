// Many connections at once.
#include <random>

#include "conformance/conn_suite.h"

namespace roost::test {
namespace {

ROOST_SUITE(Many);

// A server that answers each line and, now and then, closes instead of waiting for the next.
class MoodyServer {
 public:
  explicit MoodyServer(unsigned closes_one_in) : listener_(must(net::listen("tcp", "127.0.0.1:0"))), odds_(closes_one_in) {
    accepting_ = go([this] {
      for (auto conn = listener_.accept(); conn; conn = listener_.accept()) {
        ++open;
        most_open = std::max(most_open.load(), open.load());
        go([this, held = std::move(*conn), random = std::minstd_rand(static_cast<unsigned>(++accepted))]() mutable {
          serve(held, random);
          static_cast<void>(held.close());
          --open;
        }).detach();
      }
    });
  }
  ~MoodyServer() {
    static_cast<void>(listener_.close());
    accepting_.join();
    EXPECT_TRUE(eventually([this] { return open == 0; }));
  }
  [[nodiscard]] net::Endpoint at() const { return must(listener_.local_endpoint()); }

  std::atomic<int> accepted{0};
  std::atomic<int> open{0};
  std::atomic<int> most_open{0};

 private:
  void serve(net::Conn& conn, std::minstd_rand& random) const {
    for (;;) {
      if (!read_exactly(conn, 8) || !conn.write("answered")) return;
      if (odds_ > 0 && random() % odds_ == 0) return;
    }
  }

  net::Listener listener_;
  const unsigned odds_;
  Handle<void> accepting_;
};

// MC-01
ROOST_CASE(Many, ClientsOfAServerThatClosesAtRandomAllGetTheirAnswers) {
  constexpr int clients = 200;  // on each of six set-ups
  constexpr int requests = 10;
  const auto descriptors_before = runtime_stats().descriptors;
  {
    MoodyServer server(3);
    const auto where = server.at();
    std::vector<Handle<int>> running;
    for (int i = 0; i < clients; ++i) {
      running.push_back(go([&where] {
        int answers = 0;
        net::Conn conn;
        for (int tries = 0; answers < requests && tries < 20 * requests; ++tries) {
          if (!conn.is_open()) {
            auto dialled = net::dial(where);
            if (!dialled) continue;
            conn = std::move(*dialled);
          }
          // The server may have closed meanwhile: a request that is not answered is asked anew, on another connection.
          if (conn.write("question") && read_exactly(conn, 8) == "answered") {
            ++answers;
          } else {
            static_cast<void>(conn.close());
          }
        }
        return answers;
      }));
    }
    within(60s, [&] {
      for (auto& client : running) EXPECT_EQ(client.join(), requests);
    });
    EXPECT_GT(server.accepted.load(), clients);  // it did close
    EXPECT_LE(server.most_open.load(), 2 * clients);
  }
  EXPECT_TRUE(eventually([&] { return runtime_stats().descriptors == descriptors_before; }));
}

// MC-04
ROOST_CASE(Many, FibersWithManyRequestsEachAllSucceed) {
  MoodyServer server(0);
  const auto where = server.at();
  constexpr int fibers = 50;
  constexpr int requests = 100;
  std::atomic<int> answered{0};
  std::vector<Handle<void>> running;
  for (int i = 0; i < fibers; ++i) {
    running.push_back(go([&] {
      auto conn = must(net::dial(where));
      for (int k = 0; k < requests; ++k) {
        if (conn.write("question") && read_exactly(conn, 8) == "answered") ++answered;
      }
    }));
  }
  within(60s, [&] {
    for (auto& fiber : running) fiber.join();
  });
  EXPECT_EQ(answered.load(), fibers * requests);
  EXPECT_EQ(server.accepted.load(), fibers);
}

}  // namespace
}  // namespace roost::test
