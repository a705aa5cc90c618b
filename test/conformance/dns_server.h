// A small DNS server on loopback, UDP and TCP on one port, that answers as it is told: for the resolver's tests.
//
// It runs on a plain thread of its own with plain sockets, so that nothing it does rests on what is tested.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <roost/net/endpoint.h>

namespace roost::test {

class DnsServer {
 public:
  enum class Manner {
    answers,          // with the records
    does_not_exist,   // NXDOMAIN; also for every name that is not known
    fails,            // SERVFAIL
    refuses,          // REFUSED
    is_silent,        // over UDP and TCP
    waits,            // until release(), then answers
    truncates,        // over UDP: no records and the TC bit; over TCP it answers
    cuts_records,     // the answer ends in the middle of a record
    loops_names,      // the record's name points at itself
    babbles,          // first rubbish in several forms, then the answer
  };
  struct Host {
    Manner manner = Manner::answers;
    std::vector<net::IpAddress> addresses{};
    std::string name{};  // of a PTR record
  };

  explicit DnsServer(std::map<std::string, Host> hosts) : hosts_(std::move(hosts)) {
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    // A port that is free for both.
    for (int tries = 0; tries < 20; ++tries) {
      tcp_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      udp_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      sockaddr_in own{};
      own.sin_family = AF_INET;
      own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t length = sizeof own;
      auto* any = reinterpret_cast<sockaddr*>(&own);
      if (::bind(tcp_, any, length) == 0 && ::listen(tcp_, 128) == 0 && ::getsockname(tcp_, any, &length) == 0 &&
          ::bind(udp_, any, length) == 0) {
        port_ = ntohs(own.sin_port);
        break;
      }
      ::close(tcp_);
      ::close(udp_);
    }
    if (port_ == 0) {
      std::fprintf(stderr, "no port for the test's DNS server\n");
      std::abort();
    }
    constexpr int buffer_bytes = 4 << 20;
    ::setsockopt(udp_, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
    thread_ = std::thread([this] { serve(); });
  }
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;
  ~DnsServer() {
    stopping_.store(true);
    poke();
    thread_.join();
    for (const auto& conn : conns_) ::close(conn.first);
    for (const int fd : {tcp_, udp_, wake_}) ::close(fd);
  }

  [[nodiscard]] net::Endpoint endpoint() const { return {net::IpAddress::loopback_v4(), port_}; }

  // Questions received for a name, of all types; for all names without one.
  [[nodiscard]] int questions(const std::string& name = "") {
    const std::lock_guard lock(mutex_);
    int count = 0;
    for (const auto& [asked, times] : asked_) {
      if (name.empty() || asked == name) count += times;
    }
    return count;
  }
  [[nodiscard]] int questions_over_tcp() const { return over_tcp_.load(); }
  // From how many ports it was asked.
  [[nodiscard]] std::size_t source_ports() {
    const std::lock_guard lock(mutex_);
    return ports_.size();
  }
  // Lets go of everything that waits, now and from here on.
  void release() {
    released_.store(true);
    poke();
  }

 private:
  static constexpr std::uint16_t type_a = 1;
  static constexpr std::uint16_t type_ptr = 12;
  static constexpr std::uint16_t type_aaaa = 28;
  static constexpr std::size_t header_bytes = 12;

  struct Asked {
    std::uint16_t id = 0;
    std::string name;           // lower case
    std::uint16_t type = 0;
    std::string question;       // as it came, to be repeated
  };
  struct Held {
    Asked asked;
    sockaddr_in from;
  };

  void poke() {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(wake_, &one, sizeof one));
  }

  static void put16(std::string& to, unsigned value) {
    to += static_cast<char>(value >> 8);
    to += static_cast<char>(value & 0xff);
  }
  static void put_name(std::string& to, const std::string& name) {
    for (std::size_t at = 0; at < name.size();) {
      const std::size_t end = std::min(name.find('.', at), name.size());
      to += static_cast<char>(end - at);
      to.append(name, at, end - at);
      at = end + 1;
    }
    to += '\0';
  }
  static unsigned get16(const std::string& from, std::size_t at) {
    return static_cast<unsigned>(static_cast<unsigned char>(from[at])) << 8 | static_cast<unsigned char>(from[at + 1]);
  }

  static bool parse(const std::string& packet, Asked& asked) {
    if (packet.size() < header_bytes + 5) return false;
    asked.id = static_cast<std::uint16_t>(get16(packet, 0));
    std::size_t at = header_bytes;
    while (at < packet.size() && packet[at] != '\0') {
      const auto length = static_cast<unsigned char>(packet[at]);
      if (at + 1 + length >= packet.size()) return false;
      if (!asked.name.empty()) asked.name += '.';
      for (std::size_t i = 0; i < length; ++i) {
        const char c = packet[at + 1 + i];
        asked.name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      }
      at += 1u + length;
    }
    if (at + 5 > packet.size()) return false;
    asked.type = static_cast<std::uint16_t>(get16(packet, at + 1));
    asked.question = packet.substr(header_bytes, at + 5 - header_bytes);
    return true;
  }

  static std::string header(const Asked& asked, unsigned flags, std::size_t answers) {
    std::string packet;
    put16(packet, asked.id);
    put16(packet, 0x8180u | flags);  // an answer, recursion wanted and had
    put16(packet, 1);
    put16(packet, static_cast<unsigned>(answers));
    put16(packet, 0);
    put16(packet, 0);
    return packet + asked.question;
  }

  static std::string answer(const Asked& asked, const Host& host) {
    std::vector<std::string> records;
    const auto begin = [&] {
      std::string record;
      put16(record, 0xc000u + header_bytes);  // the question's name
      put16(record, asked.type);
      put16(record, 1);
      put16(record, 0);
      put16(record, 60);
      return record;
    };
    for (const net::IpAddress& address : host.addresses) {
      if (asked.type != (address.is_v6() ? type_aaaa : type_a)) continue;
      const unsigned bytes = address.is_v6() ? 16 : 4;
      records.push_back(begin());
      put16(records.back(), bytes);
      records.back().append(reinterpret_cast<const char*>(address.bytes().data()), bytes);
    }
    if (asked.type == type_ptr && !host.name.empty()) {
      std::string name;
      put_name(name, host.name);
      records.push_back(begin());
      put16(records.back(), static_cast<unsigned>(name.size()));
      records.back() += name;
    }
    std::string packet = header(asked, 0, records.size());
    for (const std::string& record : records) packet += record;
    return packet;
  }

  // What to send, in this order.
  std::vector<std::string> replies(const Asked& asked, bool over_tcp) {
    constexpr unsigned truncated = 0x0200, nxdomain = 3, servfail = 2, refused = 5;
    const auto found = hosts_.find(asked.name);
    if (found == hosts_.end()) return {header(asked, nxdomain, 0)};
    const Host& host = found->second;
    const std::string full = answer(asked, host);
    switch (host.manner) {
      case Manner::answers:
      case Manner::waits: return {full};
      case Manner::does_not_exist: return {header(asked, nxdomain, 0)};
      case Manner::fails: return {header(asked, servfail, 0)};
      case Manner::refuses: return {header(asked, refused, 0)};
      case Manner::is_silent: return {};
      case Manner::truncates: return {over_tcp ? full : header(asked, truncated, 0)};
      case Manner::cuts_records: return {full.substr(0, full.size() - 2)};
      case Manner::loops_names: {
        std::string packet = header(asked, 0, 1);
        put16(packet, 0xc000u + static_cast<unsigned>(packet.size()));
        put16(packet, asked.type);
        return {packet + std::string("\0\1\0\0\0\x3c\0\4abcd", 12)};
      }
      case Manner::babbles: {
        std::string other_id = full;
        other_id[0] = static_cast<char>(other_id[0] ^ 0x55);
        std::string other_question = full;
        other_question[header_bytes + 1] = '#';
        return {"abc", full.substr(0, header_bytes), std::string(40, '\xff'), other_id, other_question, full};
      }
    }
    return {};
  }

  void note(const Asked& asked, std::uint16_t port) {
    const std::lock_guard lock(mutex_);
    ++asked_[asked.name];
    ports_.insert(port);
  }

  void send_datagrams(const Asked& asked, const sockaddr_in& to) {
    for (const std::string& reply : replies(asked, false)) {
      ::sendto(udp_, reply.data(), reply.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }
  }

  void take_datagrams() {
    char buffer[1500];
    for (;;) {
      sockaddr_in from{};
      socklen_t length = sizeof from;
      const ssize_t got = ::recvfrom(udp_, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &length);
      if (got < 0) return;
      Asked asked;
      if (!parse(std::string(buffer, static_cast<std::size_t>(got)), asked)) continue;
      note(asked, from.sin_port);
      const auto found = hosts_.find(asked.name);
      if (found != hosts_.end() && found->second.manner == Manner::waits && !released_.load()) {
        held_.push_back({asked, from});
      } else {
        send_datagrams(asked, from);
      }
    }
  }

  // False: the connection is over.
  bool take_stream(int fd, std::string& unread) {
    char buffer[1500];
    for (;;) {
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got == 0) return false;
      if (got < 0) break;
      unread.append(buffer, static_cast<std::size_t>(got));
    }
    while (unread.size() >= 2 && unread.size() >= 2 + get16(unread, 0)) {
      const std::size_t length = get16(unread, 0);
      Asked asked;
      const bool good = parse(unread.substr(2, length), asked);
      unread.erase(0, 2 + length);
      if (!good) continue;
      note(asked, 0);
      over_tcp_.fetch_add(1);
      for (const std::string& reply : replies(asked, true)) {
        std::string framed;
        put16(framed, static_cast<unsigned>(reply.size()));
        framed += reply;
        // In two pieces, the first of them the shortest possible: a reader must put answers together.
        ::send(fd, framed.data(), 1, MSG_NOSIGNAL);
        ::send(fd, framed.data() + 1, framed.size() - 1, MSG_NOSIGNAL);
      }
    }
    return true;
  }

  void serve() {
    while (!stopping_.load()) {
      std::vector<pollfd> polled{{wake_, POLLIN, 0}, {udp_, POLLIN, 0}, {tcp_, POLLIN, 0}};
      for (const auto& conn : conns_) polled.push_back({conn.first, POLLIN, 0});
      if (::poll(polled.data(), polled.size(), -1) < 0) continue;
      std::uint64_t count;
      static_cast<void>(!::read(wake_, &count, sizeof count));
      if (released_.load()) {
        for (const Held& held : std::exchange(held_, {})) send_datagrams(held.asked, held.from);
      }
      take_datagrams();
      for (std::size_t i = 3; i < polled.size(); ++i) {
        if (polled[i].revents == 0 || take_stream(polled[i].fd, conns_[polled[i].fd])) continue;
        ::close(polled[i].fd);
        conns_.erase(polled[i].fd);
      }
      for (int fd; (fd = ::accept4(tcp_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) conns_[fd];
    }
  }

  const std::map<std::string, Host> hosts_;
  int wake_ = -1;
  int udp_ = -1;
  int tcp_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> released_{false};
  std::atomic<int> over_tcp_{0};
  std::mutex mutex_;  // guards the next two
  std::map<std::string, int> asked_;
  std::set<std::uint16_t> ports_;
  // The server's thread only.
  std::vector<Held> held_;
  std::map<int, std::string> conns_;  // what was read of the next question
  std::thread thread_;
};

}  // namespace roost::test
