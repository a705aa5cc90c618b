#include "runtime/dump_signal.h"

#include <fmt/format.h>
#include <chrono>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "runtime/fiber_dump.h"

namespace roost::runtime {
namespace {

sem_t asked;
struct sigaction before;

void on_signal(int) noexcept {
  const int saved_errno = errno;
  ::sem_post(&asked);
  errno = saved_errno;
}

}  // namespace

DumpSignal::DumpSignal(Runtime& runtime) : runtime_(runtime) {
  ::sem_init(&asked, 0, 0);
  thread_ = std::thread([this] { thread_main(); });
  struct sigaction action {};
  action.sa_handler = &on_signal;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  ::sigaction(SIGQUIT, &action, &before);
}

DumpSignal::~DumpSignal() {
  ::sigaction(SIGQUIT, &before, nullptr);
  stop_.store(true, std::memory_order_release);
  ::sem_post(&asked);
  thread_.join();
}

void DumpSignal::thread_main() noexcept {
  ::pthread_setname_np(::pthread_self(), "roost-dump");
  for (;;) {
    while (::sem_wait(&asked) != 0) {
    }
    if (stop_.load(std::memory_order_acquire)) return;
    while (::sem_trywait(&asked) == 0) {  // several in a row want one answer
      if (stop_.load(std::memory_order_acquire)) return;
    }
    const FiberDump dump = collect_fibers(runtime_, {});
    const std::string text = fmt::format("roost: SIGQUIT: {}(pid {}, {} ms)\n", to_text(dump), ::getpid(),
                                         std::chrono::duration_cast<std::chrono::milliseconds>(dump.took).count());
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  }
}

}  // namespace roost::runtime
