// How questions to name servers are merged, lined up and driven.
//
//   caller --ask()--> Flight --waits its turn--> Lane --c-ares--> sockets
//
// A Flight is one question under way, shared by all who ask the same. A Lane is one c-ares channel with the fiber that drives it;
// it takes up to questions_max questions, and none after resolv.conf has changed or age_max has passed; then a new one is begun. So
// a burst is spread over several sockets and source ports (an answer is harder to forge). Nothing of c-ares is shared: a channel is touched by its lane's fiber alone, which therefore needs no lock. A lane's fiber ends with its last
// question; an idle resolver holds neither fibers nor descriptors.
//
// c-ares opens and closes its sockets through our functions. A socket is watched by a fiber per direction, which does nothing
// but wake the lane's fiber; when c-ares is done with a socket it is only marked, and the lane's fiber closes it later, when it is
// not inside c-ares and may park. Until then the number stays taken, so that no other socket can be mistaken for it.
//
// Locks: ResolverCore::mutex_ guards flights and the lanes' in-trays. It is an OS mutex, held for a few instructions and never
// across a park; under it a fiber may be started, nothing else is locked.
#pragma once

#include <ares.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include <roost/go.h>
#include <roost/net/resolver.h>

#include "net/resolver_files.h"
#include "runtime/netpoll.h"
#include "runtime/parking.h"

namespace roost::net {

class Lane;
class ResolverCore;

struct Question {
  enum class Kind : char { addresses = 'a', names = 'n' };
  Kind kind = Kind::addresses;
  std::string name;                     // lower case; of Kind::addresses
  IpFamily family = IpFamily::any;      // of Kind::addresses
  IpAddress address{};                  // of Kind::names

  // Equal for questions that have the same answer.
  [[nodiscard]] std::string key() const;
};

struct Answer {
  std::error_code error;
  std::vector<IpAddress> addresses;
  std::vector<std::string> names;
};

struct Flight {
  explicit Flight(Question asked) : question(std::move(asked)), key(question.key()) {}

  const Question question;
  const std::string key;

  // Guarded by ResolverCore::mutex_.
  std::vector<runtime::Waiter> waiting;  // an entry per caller
  bool done = false;
  bool in_flight = false;                // counted in ResolverCore::in_flight_
  Lane* lane = nullptr;                  // that counts it as wanted
  Answer answer;                         // not changed any more once `done`

  // The lane's fiber only.
  std::vector<std::string> candidates;   // fully qualified names, first to try last
  std::error_code best_error;            // of the candidates tried
};

class ResolverCore : public std::enable_shared_from_this<ResolverCore> {
 public:
  explicit ResolverCore(ResolverOptions chosen);

  // Parks until the question is answered. Errors: those of Resolver::resolve().
  Result<Answer> ask(Question question, Deadline deadline);

  const ResolverOptions options;
  ParsedFile<HostsTable> hosts;
  ParsedFile<ServicesTable> services;
  ParsedFile<ResolvConf> resolv_conf;

  // `conf` with the options laid over it.
  [[nodiscard]] ResolvConf configuration(const ResolvConf& conf) const;

 private:
  friend class Lane;

  // Starts what may start. mutex_ is held.
  void dispatch();
  // No caller is left. mutex_ is held.
  void drop(Flight& flight);
  void forget(const Flight& flight);
  void finish(const std::shared_ptr<Flight>& flight, Answer answer);

  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<Flight>> flights_;  // those that newcomers may join
  std::deque<std::shared_ptr<Flight>> lined_up_;                      // not given to a lane yet; done ones are skipped
  std::size_t in_flight_ = 0;
  std::shared_ptr<const ResolvConf> newest_conf_;                     // what the latest caller found
  Lane* current_ = nullptr;                                           // takes new questions
};

class Lane {
 public:
  static constexpr unsigned questions_max = 128;
  static constexpr std::chrono::seconds age_max{5};

  Lane(std::shared_ptr<ResolverCore> core, std::shared_ptr<const ResolvConf> conf) noexcept
      : core_(std::move(core)), made_for_(std::move(conf)) {}
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // The lane's fiber: everything from opening the channel to closing the last socket.
  void run();

  // ResolverCore::mutex_ is held for these three.
  [[nodiscard]] bool takes_more() const noexcept {
    return taken_ < questions_max && !too_old_.has_passed() && made_for_ == core_->newest_conf_;
  }
  void take(std::shared_ptr<Flight> flight);
  void lose_one() noexcept;  // a flight that it counts as wanted is not any more

 private:
  struct Watch {
    std::atomic<bool> attention{false};       // set by the watcher, which then waits until the lane's fiber clears it
    std::atomic<std::uintptr_t> watcher{0};   // a Waiter
    Handle<void> fiber{};
  };
  struct Socket {
    explicit Socket(int number, bool is_stream) noexcept : fd(number), stream(is_stream) {}
    const int fd;
    const bool stream;
    bool connected = false;              // connect() was called: only then may a poller see it
    bool wants_write = false;
    bool broken = false;                 // no poller watches it: every call on it fails
    unsigned calls = 0;                  // of receive() and send()
    int error = 0;                       // to be reported by the next receive()
    std::atomic<bool> given_up{false};   // c-ares closed it
    detail::PollDesc* desc = nullptr;
    Watch watches[2];                    // by Direction
  };
  // What a callback of c-ares gets.
  struct Call {
    Lane* lane;
    std::shared_ptr<Flight> flight;
  };

  [[nodiscard]] std::error_code open_channel();
  void begin(const std::shared_ptr<Flight>& flight);
  void ask_next(std::shared_ptr<Flight> flight);
  void finish(const std::shared_ptr<Flight>& flight, Answer answer);
  static void on_addresses(void* argument, int status, int timeouts, ares_addrinfo* found);
  static void on_names(void* argument, int status, int timeouts, hostent* found);

  void adopt_sockets();
  bool process_sockets();
  bool reap_sockets();
  void watch(Socket& socket, runtime::Direction direction);
  void wake() noexcept { runtime::unpark(driver_); }
  [[nodiscard]] Socket* find(int fd) noexcept;
  [[nodiscard]] std::int64_t next_timeout_ns() const noexcept;

  static const ares_socket_functions socket_functions;
  static ares_socket_t open_socket_for(int domain, int type, int protocol, void* lane);
  static int close_socket(ares_socket_t fd, void* lane);
  static int connect_socket(ares_socket_t fd, const sockaddr* to, ares_socklen_t length, void* lane);
  static ares_ssize_t receive(ares_socket_t fd, void* out, size_t size, int flags, sockaddr* from, ares_socklen_t* length,
                              void* lane);
  static ares_ssize_t send(ares_socket_t fd, const iovec* pieces, int count, void* lane);

  const std::shared_ptr<ResolverCore> core_;
  const std::shared_ptr<const ResolvConf> made_for_;
  const Deadline too_old_ = Deadline::after(age_max);

  // Guarded by ResolverCore::mutex_.
  std::vector<std::shared_ptr<Flight>> in_tray_;
  unsigned taken_ = 0;
  unsigned wanted_ = 0;  // of its questions, those somebody waits for
  runtime::Waiter driver_;  // none until run() has begun; constant then

  // The lane's fiber only.
  ares_channel channel_ = nullptr;
  ResolvConf conf_;
  unsigned pending_ = 0;  // questions that c-ares has
  bool opening_failed_for_want_of_descriptors_ = false;
  std::vector<std::shared_ptr<Flight>> again_;  // to be asked with their next candidate
  std::vector<std::unique_ptr<Socket>> sockets_;
};

}  // namespace roost::net
