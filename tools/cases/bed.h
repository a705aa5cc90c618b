// The test bed of a case: child processes for servers, clients and whole turns, which cannot outlive the program.
//
// A turn runs in a child of its own, where the kernel allows it in a network namespace of its own, so that nothing that it
// does (closed connections in TIME_WAIT, sysctls, ports) reaches the machine or the next turn. The turn's server and
// helpers are children of that child. Each child is killed when its parent ends, however that happens: Ctrl-C leaves no
// process, and the namespace goes with its last process.
//
// Only the program's own process reads options and prints. It starts no thread and no runtime, so it may fork at any time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <stdexcept>
#include <string>

#include <roost/runtime.h>

#include "tools/cases/sample.h"

namespace roost::cases {

// What ends a turn early: thrown anywhere inside of one, reported by run_turn().
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// "connect: Connection refused", from errno.
[[noreturn]] void fail_errno(const std::string& what);

template <class T>
using Tried = std::expected<T, std::string>;

enum class Network {
  own_if_possible,  // else the machine's
  own,              // else the turn fails
};

// True when a child may have a network namespace of its own: as root, or through a user namespace.
[[nodiscard]] bool can_have_own_network();

// Runs `turn` in a child and returns what it returned. Errors: what it threw; how the child ended otherwise; that it took
// longer than two minutes.
[[nodiscard]] Tried<Sample> run_turn(Network network, const std::function<Sample()>& turn);

// A helper process that tells one number once it is ready and then goes on until it is killed, at the latest by the destructor.
class Helper {
 public:
  using Tell = std::function<void(std::uint64_t)>;
  // `body` runs in the child; what it throws is told to the parent, which throws it.
  explicit Helper(const std::function<void(const Tell& tell)>& body);
  ~Helper();
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;

  // What the child told. Blocks until it has; throws Failure when it ends before, or takes longer than a minute.
  std::uint64_t await();
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int from_child_ = -1;
};

// Runs `main` on a runtime of one worker, as run() does, and throws what it threw. What it threw must not leave fibers behind
// that use its locals.
void run_on_fibers(const std::function<void()>& main, RuntimeOptions options = {});

struct ServerSetup {
  std::uint64_t descriptors = 0;       // RLIMIT_NOFILE of the process; 0: as it is
  std::uint64_t descriptors_soft = 0;  // the soft limit, where it is another one
  bool raise_descriptor_limit = true;  // the runtime's way: the soft limit becomes the hard one
};
// Starts a process that runs `serve` on a runtime and waits until it has told its port.
class ServerProcess {
 public:
  ServerProcess(const ServerSetup& setup, const std::function<void(const Helper::Tell& listening)>& serve);

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] pid_t pid() const { return helper_.pid(); }

 private:
  Helper helper_;
  std::uint16_t port_;
};

// Binds the calling thread to the `index`-th processor that it may use (modulo their number).
void pin_to_processor(unsigned index);

// Writes a sysctl of this turn's network namespace; throws Failure when the kernel refuses.
void set_sysctl(const std::string& key, const std::string& value);
// Connections in TIME_WAIT in this network namespace.
[[nodiscard]] std::uint64_t count_time_wait();

}  // namespace roost::cases
