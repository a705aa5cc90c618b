// What the doctor calls fit must work and what it calls too low must fail: here both are tried on the real kernel.
//
// Every test runs in a child process with limits or a network namespace of its own, so nothing outside of it changes.
// Where the kernel or the permissions forbid that, the test is skipped and says why. Two settings have no namespace:
// fs.epoll.max_user_watches and vm.overcommit_memory; changing them would disturb whatever else runs here, so they are
// tried only with ROOST_DOCTOR_TRY_HOST=1. ROOST_DOCTOR_TRY_CGROUP=/sys/fs/cgroup/memory (or a v2 folder) lets the
// memory cgroup's verdict be tried in a group that the test makes below it and removes.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tools/doctor/apply.h"
#include "tools/doctor/diagnosis.h"

namespace roost::doctor {
namespace {

// What a child found out: nothing is success, "skip: ..." a reason to skip, anything else a failure.
using Tried = std::string;

Tried in_child(const std::function<Tried()>& body) {
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) return "pipe failed";
  const pid_t child = ::fork();
  if (child < 0) return "fork failed";
  if (child == 0) {
    ::close(pipe_ends[0]);
    ::alarm(60);  // a child that hangs ends itself
    const auto outcome = body();
    [[maybe_unused]] const auto put = ::write(pipe_ends[1], outcome.data(), outcome.size());
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  std::string outcome;
  char chunk[512];
  for (ssize_t got; (got = ::read(pipe_ends[0], chunk, sizeof chunk)) > 0;)
    outcome.append(chunk, static_cast<std::size_t>(got));
  ::close(pipe_ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (outcome.empty() && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
    return fmt::format("the child ended with wait status {:#x}", status);
  }
  return outcome;
}

void expect_success(const Tried& outcome) {
  if (outcome.starts_with("skip: ")) GTEST_SKIP() << outcome.substr(6);
  EXPECT_EQ(outcome, "");
}

bool within_ten_percent(double tried, double predicted) { return tried >= predicted * 0.9 && tried <= predicted * 1.1; }

// A namespace with nothing in it but loopback, up.
Tried enter_network_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) return fmt::format("skip: unshare(CLONE_NEWNET): {}", std::strerror(errno));
  const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  const bool up = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  ::close(fd);
  return up ? "" : fmt::format("skip: bringing loopback up: {}", std::strerror(errno));
}

Tried set_sysctl(const System& system, std::string_view key, std::string_view value) {
  const auto written = system.write(sysctl_path(key), value);
  return written ? "" : fmt::format("skip: {} = {}: {}", key, value, written.error().message());
}

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int listen_on(std::uint16_t port, int backlog) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const auto address = loopback(port);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(fd, backlog) != 0) {
    ::close(fd);
    return -1;
  }
  return fd;
}

int dial(std::uint16_t port, int flags = 0) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | flags, 0);
  const auto address = loopback(port);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && errno != EINPROGRESS) {
    const int error = errno;
    ::close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

// ---- descriptors ---------------------------------------------------------------------------------------------------

Tried open_connections_under_limit(rlim_t limit, std::uint64_t asked, Verdict expected) {
  const rlimit values{limit, limit};
  if (::setrlimit(RLIMIT_NOFILE, &values) != 0) return fmt::format("skip: setrlimit: {}", std::strerror(errno));
  Ask ask;
  ask.connections = asked;
  ask.processes = 1;
  const auto d = diagnose(System{}, ask);
  const auto* finding = d.find("nofile");
  if (finding->verdict != expected)
    return fmt::format("verdict {}, value {}", to_string(finding->verdict), finding->value);
  if (d.lowest_limit != "nofile") return fmt::format("lowest limit {}", d.lowest_limit);
  std::uint64_t opened = 0;
  while (opened < asked) {
    if (::socket(AF_INET, SOCK_STREAM, 0) < 0) {
      if (errno != EMFILE) return fmt::format("socket: {}", std::strerror(errno));
      break;
    }
    ++opened;
  }
  if (expected == Verdict::ok && opened != asked) return fmt::format("called fit, but only {} opened", opened);
  if (expected == Verdict::too_low) {
    if (opened == asked) return "called too low, but all opened";
    if (!within_ten_percent(static_cast<double>(opened), static_cast<double>(*d.capacity))) {
      return fmt::format("headline said {}, {} opened", *d.capacity, opened);
    }
  }
  return "";
}

TEST(tried, a_descriptor_limit_called_too_low_fails_with_emfile_near_the_headlines_number) {
  expect_success(in_child([] { return open_connections_under_limit(2'000, 2'100, Verdict::too_low); }));
}

TEST(tried, a_descriptor_limit_called_fit_opens_every_connection) {
  expect_success(in_child([] { return open_connections_under_limit(2'000, 1'936, Verdict::ok); }));
}

TEST(tried, epoll_watches_called_too_low_fail_with_enospc_near_the_headlines_number) {
  if (std::getenv("ROOST_DOCTOR_TRY_HOST") == nullptr) {
    GTEST_SKIP() << "fs.epoll.max_user_watches belongs to the whole host; ROOST_DOCTOR_TRY_HOST=1 tries it";
  }
  const System system;
  const std::string key = "fs.epoll.max_user_watches";
  const auto before = system.read(sysctl_path(key)).value();
  const auto outcome = in_child([&]() -> Tried {
    if (auto failed = set_sysctl(system, key, "4000"); !failed.empty()) return failed;
    // A user of its own, whom nobody else's registrations count against.
    if (::setuid(54'321) != 0) return fmt::format("skip: setuid: {}", std::strerror(errno));
    Ask ask;
    ask.connections = 5'000;
    const auto d = diagnose(system, ask);
    if (d.find("epoll-watches")->verdict != Verdict::too_low) return "not called too low";
    const int poller = ::epoll_create1(0);
    std::uint64_t watched = 0;
    for (; watched < 5'000; ++watched) {
      const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
      epoll_event event{};
      if (::epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0) break;
    }
    if (errno != ENOSPC) return fmt::format("{} watched, then {}", watched, std::strerror(errno));
    const auto predicted = *d.find("epoll-watches")->capacity;
    return within_ten_percent(static_cast<double>(watched), static_cast<double>(predicted))
               ? ""
               : fmt::format("predicted {}, watched {}", predicted, watched);
  });
  (void)system.write(sysctl_path(key), before);
  expect_success(outcome);
}

// ---- dialing -------------------------------------------------------------------------------------------------------

Tried dial_until_refused(std::uint64_t asked, Verdict expected) {
  if (auto failed = enter_network_namespace(); !failed.empty()) return failed;
  const System system;
  if (auto failed = set_sysctl(system, "net.ipv4.ip_local_port_range", "40000 40299"); !failed.empty()) return failed;
  if (auto failed = set_sysctl(system, "net.ipv4.ip_local_reserved_ports", "40100-40119"); !failed.empty())
    return failed;
  Ask ask;
  ask.role = Role::client;
  ask.connections = asked;
  const auto d = diagnose(system, ask);
  if (d.find("port-range")->verdict != expected)
    return fmt::format("verdict {}", to_string(d.find("port-range")->verdict));
  const int listener = listen_on(9'000, 4'096);
  if (listener < 0) return "listen failed";
  std::uint64_t dialled = 0;
  for (; dialled < asked; ++dialled) {
    if (dial(9'000) < 0) {
      if (errno != EADDRNOTAVAIL) return fmt::format("connect: {}", std::strerror(errno));
      break;
    }
  }
  if (expected == Verdict::ok) return dialled == asked ? "" : fmt::format("called fit, but only {} dialled", dialled);
  if (d.lowest_limit != "port-range") return fmt::format("lowest limit {}", d.lowest_limit);
  return dialled == *d.capacity ? "" : fmt::format("headline said {}, {} dialled", *d.capacity, dialled);
}

TEST(tried, a_port_range_called_too_low_fails_with_eaddrnotavail_at_exactly_the_headlines_number) {
  expect_success(in_child([] { return dial_until_refused(300, Verdict::too_low); }));
}

TEST(tried, a_port_range_called_fit_dials_every_connection) {
  expect_success(in_child([] { return dial_until_refused(280, Verdict::ok); }));
}

TEST(tried, without_tw_reuse_a_closed_port_is_lost_and_the_doctor_advises) {
  expect_success(in_child([]() -> Tried {
    if (auto failed = enter_network_namespace(); !failed.empty()) return failed;
    const System system;
    if (auto failed = set_sysctl(system, "net.ipv4.ip_local_port_range", "40000 40019"); !failed.empty()) return failed;
    if (auto failed = set_sysctl(system, "net.ipv4.tcp_tw_reuse", "0"); !failed.empty()) return failed;
    Ask ask;
    ask.role = Role::both;
    ask.connections = 10;
    if (diagnose(system, ask).find("tw-reuse")->verdict != Verdict::advice) return "no advice";
    const int listener = listen_on(9'000, 4'096);
    int dialled = 0;
    for (; dialled < 40; ++dialled) {
      const int fd = dial(9'000);
      if (fd < 0) break;
      const int accepted = ::accept(listener, nullptr, nullptr);
      ::close(fd);  // this side closes first, so TIME_WAIT is here
      ::close(accepted);
    }
    if (dialled != 20 || errno != EADDRNOTAVAIL) return fmt::format("{} dialled, {}", dialled, std::strerror(errno));
    // With the advice followed, and TIME_WAIT old enough at once, the same ports work again.
    if (auto failed = set_sysctl(system, "net.ipv4.tcp_tw_reuse", "2"); !failed.empty()) return failed;
    if (diagnose(system, ask).find("tw-reuse")->verdict != Verdict::ok) return "still advice";
    if (!system.write(sysctl_path("net.ipv4.tcp_tw_reuse_delay"), "1")) return "";  // Linux before 6.14: it takes 1 s
    // Within a millisecond, then, a port is free; the first call may come too early.
    for (int tries = 0; tries < 1'000; ++tries) {
      if (dial(9'000) >= 0) return "";
    }
    return fmt::format("with tcp_tw_reuse = 2: {}", std::strerror(errno));
  }));
}

// ---- accepting -----------------------------------------------------------------------------------------------------

// How many of `burst` connections stand when nobody accepts.
std::uint64_t connected_without_accept(std::uint16_t port, int burst) {
  std::vector<pollfd> polls;
  for (int i = 0; i < burst; ++i) polls.push_back({dial(port, SOCK_NONBLOCK), POLLOUT, 0});
  // Loopback answers within the call to connect, so whoever is not connected now was dropped.
  ::poll(polls.data(), polls.size(), 0);
  std::uint64_t connected = 0;
  for (const auto& one : polls) {
    connected += (one.revents & POLLOUT) != 0;
    ::close(one.fd);
  }
  return connected;
}

std::uint64_t listen_overflows() {
  std::ifstream in("/proc/net/netstat");
  std::string names;
  std::string values;
  std::getline(in, names);
  std::getline(in, values);
  const auto keys = split(names);
  const auto counts = split(values);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] == "ListenOverflows") return parse_number(counts[i]).value_or(0);
  }
  return 0;
}

TEST(tried, a_backlog_called_too_low_overflows_and_the_recommended_one_does_not) {
  expect_success(in_child([]() -> Tried {
    if (auto failed = enter_network_namespace(); !failed.empty()) return failed;
    const System system;
    if (auto failed = set_sysctl(system, "net.core.somaxconn", "16"); !failed.empty()) return failed;
    Ask ask;
    ask.connections = 1'000;
    ask.rate = 2'000;
    auto d = diagnose(system, ask);
    const auto* finding = d.find("somaxconn");
    if (finding->verdict != Verdict::too_low) return fmt::format("verdict {}", to_string(finding->verdict));
    // Two thousand a second for the fifth of a second in which nobody accepts.
    const int burst = 400;
    (void)listen_on(9'000, 65'535);
    const auto before = listen_overflows();
    // The queue takes one more than its length (sk_acceptq_is_full, include/net/sock.h).
    if (const auto stood = connected_without_accept(9'000, burst); stood != 17)
      return fmt::format("{} of 400 stood", stood);
    if (listen_overflows() - before < 300) return "no overflow was counted";

    const std::string undo_file = fmt::format("/tmp/roost-doctor-tried-{}.json", ::getpid());
    const auto applied = apply(system, d, {"somaxconn"}, undo_file, false);
    if (!applied) return "apply: " + applied.error().message();
    if (diagnose(system, ask).find("somaxconn")->verdict != Verdict::ok) return "apply did not mend it";
    (void)listen_on(9'001, 65'535);
    const auto clean = listen_overflows();
    if (const auto stood = connected_without_accept(9'001, burst); stood != 400)
      return fmt::format("{} of 400 stood", stood);
    if (listen_overflows() != clean) return "an overflow after the mend";
    const auto undone = undo(system, undo_file, false);
    if (!undone || system.read(sysctl_path("net.core.somaxconn")) != "16") return "undo did not restore 16";
    return "";
  }));
}

// ---- memory --------------------------------------------------------------------------------------------------------

struct Slab {
  double objects;
  double bytes_each;
};

std::map<std::string, Slab> read_slabs() {
  std::map<std::string, Slab> slabs;
  std::ifstream in("/proc/slabinfo");
  for (std::string line; std::getline(in, line);) {
    const auto words = split(line);
    if (words.size() < 6 || !parse_number(words[1])) continue;
    slabs[std::string(words[0])] = {static_cast<double>(*parse_number(words[1])),
                                    4096.0 * static_cast<double>(parse_number(words[5]).value_or(0)) /
                                        static_cast<double>(parse_number(words[4]).value_or(1))};
  }
  return slabs;
}

// Connects `pairs` of sockets to each other, each end registered with epoll; false when a call failed.
bool connect_pairs(std::uint16_t port, int pairs, const std::function<void(int)>& made = {}) {
  const int listener = listen_on(port, 4'096);
  const int poller = ::epoll_create1(0);
  for (int i = 0; i < pairs; ++i) {
    const int dialled = dial(port);
    const int accepted = dialled < 0 ? -1 : ::accept(listener, nullptr, nullptr);
    if (accepted < 0) return false;
    for (const int fd : {dialled, accepted}) {
      epoll_event event{};
      event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
      if (::epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0) return false;
    }
    if (made) made(i + 1);
  }
  return true;
}

TEST(tried, the_kernel_memory_of_real_connections_is_within_ten_percent_of_the_forecast) {
  if (read_slabs().empty()) GTEST_SKIP() << "/proc/slabinfo is readable by root only";
  constexpr int pairs = 8'000;
  Tried outcome;
  // Other programs open and close sockets meanwhile; one undisturbed round is enough.
  for (int round = 0; round < 5; ++round) {
    outcome = in_child([]() -> Tried {
      if (auto failed = enter_network_namespace(); !failed.empty()) return failed;
      const System system;
      const rlimit values{2 * pairs + 100, 2 * pairs + 100};
      if (::setrlimit(RLIMIT_NOFILE, &values) != 0) return fmt::format("skip: setrlimit: {}", std::strerror(errno));
      (void)system.write(sysctl_path("net.ipv4.ip_local_port_range"), "10000 65535");
      Ask ask;
      ask.role = Role::both;
      const auto f = forecast(system, ask);
      const auto before = read_slabs();
      if (!connect_pairs(9'000, pairs)) return fmt::format("skip: connecting: {}", std::strerror(errno));
      auto after = read_slabs();
      // Socket-bound slabs alone: dentries and inodes of /proc come and go with every process listing.
      double measured = 0;
      for (const auto name : {"TCP", "sock_inode_cache", "filp"}) {
        measured += (after[name].objects - before.at(name).objects) * after[name].bytes_each / pairs;
      }
      double predicted = 0;
      for (const auto& slab : f.slabs) {
        if (slab.cache == "TCP" || slab.cache == "sock_inode_cache" || slab.cache == "filp") {
          predicted += slab.resident_bytes * (slab.per_server_end + slab.per_client_end);
        }
      }
      return within_ten_percent(measured, predicted)
                 ? ""
                 : fmt::format("predicted {:.0f} B, measured {:.0f} B for a pair", predicted, measured);
    });
    if (outcome.empty() || outcome.starts_with("skip: ")) break;
  }
  expect_success(outcome);
}

TEST(tried, a_memory_cgroup_called_too_low_stops_connections_near_the_headlines_number) {
  const char* parent = std::getenv("ROOST_DOCTOR_TRY_CGROUP");
  if (parent == nullptr) GTEST_SKIP() << "ROOST_DOCTOR_TRY_CGROUP names no folder to make a group in";
  const std::string group = fmt::format("{}/roost-doctor-{}", parent, ::getpid());
  if (::mkdir(group.c_str(), 0755) != 0) GTEST_SKIP() << group << ": " << std::strerror(errno);
  auto* made =
      static_cast<int*>(::mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  auto* predicted =
      static_cast<std::uint64_t*>(::mmap(nullptr, 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const auto outcome = in_child([&]() -> Tried {
    const System system;
    const bool v2 = system.exists(group + "/memory.max");
    if (!system.write(group + "/cgroup.procs", fmt::to_string(::getpid()))) return "skip: joining the group";
    if (!system.write(group + (v2 ? "/memory.max" : "/memory.limit_in_bytes"), "33554432"))
      return "skip: setting the limit";
    if (auto failed = enter_network_namespace(); !failed.empty()) return failed;
    Ask ask;
    ask.role = Role::both;
    ask.connections = 9'000;
    ask.user_bytes = 1;  // this test's connections have no user memory
    ask.client_user_bytes = 0;
    const auto d = diagnose(system, ask);
    if (d.find("cgroup-memory")->verdict != Verdict::too_low)
      return "not called too low: " + d.find("cgroup-memory")->value;
    if (d.lowest_limit != "cgroup-memory") return fmt::format("lowest limit {}", d.lowest_limit);
    *predicted = *d.capacity;
    (void)connect_pairs(9'000, 9'000, [&](int count) { *made = count; });
    return "";
  });
  // The kernel ends a killed process's memory before the group can go.
  for (int tries = 0; tries < 200 && ::rmdir(group.c_str()) != 0; ++tries) ::usleep(10'000);
  if (outcome.starts_with("skip: ")) GTEST_SKIP() << outcome.substr(6);
  if (outcome.starts_with("not called") || outcome.starts_with("lowest")) FAIL() << outcome;
  RecordProperty("predicted", fmt::to_string(*predicted));
  RecordProperty("stood", *made);
  EXPECT_TRUE(within_ten_percent(*made, static_cast<double>(*predicted)))
      << "predicted " << *predicted << ", stood " << *made;
}

TEST(tried, guarded_stacks_made_by_mprotect_stop_at_half_the_mapping_count) {
  expect_success(in_child([]() -> Tried {
    const System system;
    const auto maximum = system.number(sysctl_path("vm.max_map_count"));
    if (!maximum || *maximum > 200'000) return "skip: vm.max_map_count is not at its default";
    // Stacks as roost lays them out: 64 KiB each, the lowest page a guard.
    const std::uint64_t stacks = *maximum;
    void* region = ::mmap(nullptr, stacks * stack_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) return fmt::format("skip: mmap: {}", std::strerror(errno));
    std::uint64_t guarded = 0;
    while (guarded < stacks &&
           ::mprotect(static_cast<std::byte*>(region) + guarded * stack_bytes, 4096, PROT_NONE) == 0) {
      ++guarded;
    }
    const auto predicted = static_cast<double>(*maximum) / 2;
    return within_ten_percent(static_cast<double>(guarded), predicted)
               ? ""
               : fmt::format("predicted {:.0f} stacks, guarded {}", predicted, guarded);
  }));
}

TEST(tried, the_first_touch_of_a_page_takes_time_and_leaves_no_memory_behind) {
  const auto resident = [] {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t size = 0;
    std::uint64_t pages = 0;
    statm >> size >> pages;
    return pages;
  };
  const std::uint64_t before = resident();
  const auto ns = System().first_touch_ns();
  ASSERT_TRUE(ns);
  EXPECT_GT(*ns, 10) << "no machine clears a page in that";
  EXPECT_LT(resident(), before + 1024) << "16 MiB are 4,096 pages";
  EXPECT_FALSE(System("/nonexistent").first_touch_ns()) << "another machine's memory";
}

TEST(tried, guard_install_called_working_really_guards) {
  const System system;
  if (system.guard_install() != Probe::yes) GTEST_SKIP() << "this kernel has no MADV_GUARD_INSTALL";
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    void* pages = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ::madvise(pages, 4096, 102);
    static_cast<volatile char*>(pages)[4096] = 1;  // beside the guard: fine
    static_cast<volatile char*>(pages)[4095] = 1;  // in it: a fault
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << status;
}

TEST(tried, this_machine_can_be_read_without_root_and_gets_a_whole_report) {
  expect_success(in_child([]() -> Tried {
    if (::geteuid() == 0 && ::setuid(54'321) != 0) return fmt::format("skip: setuid: {}", std::strerror(errno));
    const auto d = diagnose(System{}, Ask{});
    if (!d.capacity || *d.capacity == 0) return "no headline";
    if (d.judged.size() != all_checks().size()) return "checks are missing";
    return "";
  }));
}

}  // namespace
}  // namespace roost::doctor
