// chat: what a client writes, all others read.
//
//   chat [ADDRESS]      ":7000" unless told otherwise; talk to it with `nc localhost 7000`; the first line is your name
//
// Nothing is shared and nothing locked: the room's fiber alone knows who is there. It waits for all that can happen with one
// select. Each client has two fibers, one that reads its connection and one that writes to it. A client that reads too slowly to keep
// up is shown out, so that nobody waits for him.
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include <roost/roost.h>

namespace {

struct Client {
  roost::net::Conn conn;
  std::string name;
  roost::Chan<std::string> lines{64};  // to be written to this client; closed when he has left the room
};
using ClientPtr = std::shared_ptr<Client>;

struct Message {
  ClientPtr from;
  std::string text;
};

struct Room {
  roost::Chan<ClientPtr> joins;
  roost::Chan<ClientPtr> leaves;
  roost::Chan<Message> messages;

  void run() const {
    std::map<Client*, ClientPtr> present;
    const auto remove = [&](const ClientPtr& client) {
      if (present.erase(client.get()) > 0) client->lines.close();
    };
    const auto tell = [&](const std::string& text, const Client* except) {
      for (auto at = present.begin(); at != present.end();) {
        const ClientPtr client = (at++)->second;
        if (client.get() == except || client->lines.try_send(text)) continue;
        remove(client);
        static_cast<void>(client->conn.close());  // wakes his two fibers, which leave
      }
    };
    const auto on_join = [&](roost::Result<ClientPtr> client) {
      if (!client) return;
      std::string others;
      for (const auto& [_, other] : present) others += " " + other->name;
      static_cast<void>((*client)->lines.try_send("* here:" + (others.empty() ? " nobody" : others) + "\n"));
      tell("* " + (*client)->name + " has come\n", nullptr);
      present.emplace(client->get(), *client);
    };
    const auto on_leave = [&](roost::Result<ClientPtr> client) {
      if (!client) return;
      remove(*client);
      tell("* " + (*client)->name + " has left\n", nullptr);
    };
    const auto on_message = [&](roost::Result<Message> message) {
      if (message) tell(message->from->name + ": " + message->text + "\n", message->from.get());
    };
    // Ends when the program does: the select then reports operation_canceled.
    while (roost::select(roost::on_receive(joins, on_join), roost::on_receive(leaves, on_leave),
                         roost::on_receive(messages, on_message))) {
    }
  }
};

void serve(roost::net::Conn accepted, const Room& room) {
  const auto client = std::make_shared<Client>();
  client->conn = std::move(accepted);
  roost::io::Reader in(client->conn, {.token_bytes_max = 1024});  // a longer line ends the connection
  const auto first_line = in.read_line();
  if (!first_line) return;
  client->name = *first_line;
  if (!room.joins.send(client)) return;

  auto writing = roost::go([client] {
    for (const std::string& line : client->lines) {
      if (!client->conn.write(line)) break;
    }
    static_cast<void>(client->conn.close());  // ends the loop below, if it is this one that ended first
  });
  while (const auto line = in.read_line()) {
    if (!room.messages.send({client, std::string(*line)})) break;
  }
  static_cast<void>(room.leaves.send(client));
  writing.join();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string address = argc > 1 ? argv[1] : ":7000";
  if (argc > 2 || address.starts_with('-')) {
    const bool asked = address == "--help" || address == "-h";
    std::fprintf(asked ? stdout : stderr, "usage: chat [ADDRESS], for example: chat 127.0.0.1:7000; otherwise :7000\n");
    return asked ? 0 : 2;
  }
  return roost::run([&] {
    auto listener = roost::net::listen("tcp", address);
    if (!listener) {
      std::fprintf(stderr, "%s\n", roost::net::describe_failure("listen", "tcp", address, listener.error()).c_str());
      return 2;
    }
    std::printf("listening on %s\n", listener->local_endpoint()->to_string().c_str());
    std::fflush(stdout);
    const Room room;
    roost::go([room] { room.run(); });  // a channel is a handle: both copies of the room mean the same
    while (auto accepted = listener->accept()) {
      roost::go([conn = std::move(*accepted), room]() mutable { serve(std::move(conn), room); });
    }
    return 0;
  });
}
