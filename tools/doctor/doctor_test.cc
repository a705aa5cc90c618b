// Tests of the doctor against machines made of files: a directory stands in for /proc and /sys.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tools/doctor/apply.h"
#include "tools/doctor/diagnosis.h"
#include "tools/doctor/doctor.h"
#include "tools/doctor/folklore.h"
#include "tools/doctor/render.h"
#include "tools/doctor/spread.h"

namespace roost::doctor {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
namespace fs = std::filesystem;

// A machine in a temporary directory, with the settings of the reference machine unless a test says otherwise.
class Machine : public System {
 public:
  Machine() : Machine(make_root()) {}
  ~Machine() override { fs::remove_all(root()); }

  void set(const std::string& path, const std::string& text) {
    const fs::path file = root() + path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  void set_sysctl(const std::string& key, const std::string& text) { set(sysctl_path(key), text); }
  void remove(const std::string& path) { fs::remove_all(root() + path); }
  void set_descriptor_limit(const std::string& soft, const std::string& hard) {
    set("/proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            " +
            soft + "                " + hard + "                files     ");
  }
  [[nodiscard]] std::string get(const std::string& path) const { return read(path).value_or("(missing)"); }

  [[nodiscard]] Probe guard_install() const override { return guard; }
  [[nodiscard]] Probe io_uring() const override { return uring; }
  [[nodiscard]] Probe epoll_pwait2() const override { return pwait2; }
  [[nodiscard]] std::optional<double> first_touch_ns() const override { return touch_ns; }

  Probe guard = Probe::yes;
  Probe uring = Probe::yes;
  Probe pwait2 = Probe::yes;
  std::optional<double> touch_ns = 400;

 private:
  static std::string make_root() {
    std::string name = (fs::temp_directory_path() / "roost-doctor-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    return name;
  }
  explicit Machine(const std::string& directory) : System(directory) {
    const std::map<std::string, std::string> sysctls{{"fs.nr_open", "1048576"},
                                                     {"fs.file-max", "9223372036854775807"},
                                                     {"fs.file-nr", "412\t0\t2466183"},
                                                     {"fs.epoll.max_user_watches", "5491533"},
                                                     {"kernel.osrelease", "6.18.44"},
                                                     {"kernel.io_uring_disabled", "0"},
                                                     {"vm.max_map_count", "65530"},
                                                     {"vm.overcommit_memory", "0"},
                                                     {"net.core.somaxconn", "4096"},
                                                     {"net.core.netdev_max_backlog", "1000"},
                                                     {"net.core.rmem_max", "212992"},
                                                     {"net.core.wmem_max", "212992"},
                                                     {"net.core.default_qdisc", "fq_codel"},
                                                     {"net.ipv4.tcp_congestion_control", "cubic"},
                                                     {"net.ipv4.tcp_max_syn_backlog", "2048"},
                                                     {"net.ipv4.tcp_syncookies", "1"},
                                                     {"net.ipv4.tcp_abort_on_overflow", "0"},
                                                     {"net.ipv4.tcp_ehash_entries", "262144"},
                                                     {"net.ipv4.tcp_max_orphans", "1000000"},
                                                     {"net.ipv4.tcp_max_tw_buckets", "131072"},
                                                     {"net.ipv4.ip_local_port_range", "32768\t60999"},
                                                     {"net.ipv4.ip_local_reserved_ports", ""},
                                                     {"net.ipv4.tcp_tw_reuse", "2"},
                                                     {"net.ipv4.tcp_fin_timeout", "60"},
                                                     {"net.ipv4.tcp_keepalive_time", "600"},
                                                     {"net.ipv4.tcp_keepalive_intvl", "30"},
                                                     {"net.ipv4.tcp_keepalive_probes", "4"},
                                                     {"net.ipv4.tcp_timestamps", "1"},
                                                     {"net.ipv4.tcp_mem", "287901\t383869\t575802"},
                                                     {"net.ipv4.tcp_rmem", "4096\t131072\t6291456"},
                                                     {"net.ipv4.tcp_wmem", "4096\t16384\t131072"}};
    for (const auto& [key, value] : sysctls) set_sysctl(key, value);
    set_descriptor_limit("1024", "20000");
    set("/proc/self/status", "Name:\ttest\nCapEff:\t0000000000000000");
    set("/proc/self/cgroup", "0::/");
    set("/proc/meminfo",
        "MemTotal:       24684000 kB\nMemAvailable:   24000000 kB\n"
        "CommitLimit:    12342000 kB\nCommitted_AS:     342000 kB");
    set("/proc/slabinfo",
        "slabinfo - version: 2.1\n# name ...\n"
        "TCP 26 26 2368 13 8 : tunables 0 0 0 : slabdata 2 2 0\n"
        "TCPv6 26 26 2496 13 8 : tunables 0 0 0 : slabdata 2 2 0\n"
        "sock_inode_cache 76 76 832 19 4 : tunables 0 0 0 : slabdata 4 4 0\n"
        "filp 609 609 192 21 1 : tunables 0 0 0 : slabdata 29 29 0\n"
        "dentry 88255 94290 192 21 1 : tunables 0 0 0 : slabdata 4490 4490 0\n"
        "lsm_inode_cache 62257 62464 32 128 1 : tunables 0 0 0 : slabdata 488 488 0\n"
        "lsm_file_cache 850 850 24 170 1 : tunables 0 0 0 : slabdata 5 5 0\n"
        "eventpoll_epi 256 256 128 32 1 : tunables 0 0 0 : slabdata 8 8 0\n"
        "ep_head 512 512 16 256 1 : tunables 0 0 0 : slabdata 2 2 0\n"
        "kmalloc-128 6272 6272 128 32 1 : tunables 0 0 0 : slabdata 196 196 0\n"
        "kmalloc-64 2136 2304 64 64 1 : tunables 0 0 0 : slabdata 36 36 0");
    set("/proc/net/softnet_stat", "00000014 00000000 00000000\n00000929 00000000 00000000");
    set("/sys/devices/system/cpu/online", "0-1");
    set("/sys/fs/cgroup/cgroup.controllers", "cpu memory");
    set("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
  }
};

Ask million() { return Ask{}; }

std::string slurp(const std::string& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

Verdict verdict_of(const System& machine, const Ask& ask, std::string_view id) {
  const auto d = diagnose(machine, ask);
  const auto* finding = d.find(id);
  EXPECT_NE(finding, nullptr) << id;
  return finding == nullptr ? Verdict::unknown : finding->verdict;
}

// ---- the checks as a whole -----------------------------------------------------------------------------------------

TEST(doctor, every_check_has_a_section_in_its_manual_and_the_manual_names_no_other) {
  const auto page = slurp(ROOST_DOCTOR_PAGE);
  ASSERT_FALSE(page.empty()) << ROOST_DOCTOR_PAGE;
  std::set<std::string> sections;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("### ")) sections.insert(line.substr(4));
  }
  for (const auto& check : all_checks()) {
    EXPECT_EQ(sections.erase(std::string(check.id)), 1u) << "no section '### " << check.id << "'";
  }
  EXPECT_TRUE(sections.empty()) << "a section without a check: " << *sections.begin();
}

TEST(doctor, check_ids_are_unique_and_can_stand_in_a_url) {
  std::set<std::string_view> ids;
  for (const auto& check : all_checks()) {
    EXPECT_TRUE(ids.insert(check.id).second) << check.id;
    EXPECT_EQ(check.id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"), std::string_view::npos) << check.id;
    EXPECT_FALSE(check.reason.empty()) << check.id;
  }
}

TEST(doctor, a_machine_in_good_order_is_fit_and_nothing_but_in_order) {
  const Machine machine;
  const auto d = diagnose(machine, million());
  EXPECT_TRUE(d.fit);
  for (const auto& [check, finding] : d.judged) {
    EXPECT_EQ(finding.verdict, Verdict::ok) << check->id << ": " << finding.value << " / " << finding.need;
    EXPECT_TRUE(finding.effect.empty()) << check->id;
    EXPECT_TRUE(finding.changes.empty()) << check->id;
  }
}

TEST(doctor, an_unreadable_machine_is_judged_could_not_tell_and_never_too_low) {
  Machine machine;
  machine.guard = machine.uring = machine.pwait2 = Probe::unknown;
  machine.touch_ns.reset();
  machine.remove("/proc");
  machine.remove("/sys");
  const auto d = diagnose(machine, million());
  EXPECT_EQ(d.find("nofile")->verdict, Verdict::unknown);
  EXPECT_EQ(d.find("memory")->verdict, Verdict::unknown);
  for (const auto& [check, finding] : d.judged) EXPECT_NE(finding.verdict, Verdict::too_low) << check->id;
  EXPECT_FALSE(d.capacity.has_value());
  EXPECT_THAT(d.headline(), HasSubstr("could not be told"));
  EXPECT_FALSE(render_text(d, Look{}).empty());
  EXPECT_FALSE(render_json(d).empty());
}

TEST(doctor, garbage_in_a_file_is_could_not_tell_and_never_a_number) {
  Machine machine;
  for (const std::string key : {"fs.nr_open", "fs.file-max", "net.core.somaxconn", "net.ipv4.ip_local_port_range",
                                "net.ipv4.tcp_mem", "vm.max_map_count", "net.ipv4.tcp_keepalive_time"}) {
    machine.set_sysctl(key, "12x 99999999999999999999999");
  }
  machine.set_descriptor_limit("many", "more");
  const auto d = diagnose(machine, million());
  for (const auto id :
       {"nr-open", "file-max", "somaxconn", "port-range", "tcp-mem", "max-map-count", "keepalive", "nofile"}) {
    EXPECT_EQ(d.find(id)->verdict, Verdict::unknown) << id;
  }
}

TEST(doctor, the_headline_names_the_lowest_limit) {
  const Machine machine;
  auto ask = million();
  ask.processes = 1;
  const auto d = diagnose(machine, ask);
  EXPECT_EQ(d.headline(), "This machine holds at most 19,936 connections; the lowest limit is nofile.");
  EXPECT_FALSE(d.fit);
}

TEST(doctor, processes_by_default_lift_the_descriptor_limit_and_the_report_says_how_many_are_needed) {
  const Machine machine;
  const auto d = diagnose(machine, million());
  EXPECT_EQ(d.lowest_limit, "memory");
  EXPECT_EQ(d.processes_needed, 53u);
  ASSERT_GE(d.by_processes.size(), 3u);
  EXPECT_EQ(d.by_processes[0].processes, 1u);
  EXPECT_EQ(d.by_processes[0].connections, 19'936u);
  EXPECT_EQ(d.by_processes[0].lowest, "nofile");
  EXPECT_EQ(d.by_processes[1].processes, 53u);
  EXPECT_GE(d.by_processes[1].connections, 1'000'000u);
  EXPECT_LT(d.by_processes[1].connections, 53u * 19'936u) << "the kernel deals by a hash, so the fullest has more";
  EXPECT_EQ(d.by_processes.back().lowest, "memory");
  EXPECT_EQ(d.by_processes.back().connections, d.capacity);
}

TEST(doctor, a_limit_is_called_too_low_exactly_when_it_holds_fewer_connections_than_asked_for) {
  Machine machine;
  machine.set_sysctl("net.netfilter.nf_conntrack_max", "262144");
  machine.set_sysctl("net.netfilter.nf_conntrack_count", "100");
  machine.set("/proc/self/cgroup", "0::/svc");
  machine.set("/sys/fs/cgroup/svc/memory.max", "4294967296");
  machine.set("/sys/fs/cgroup/svc/memory.current", "104857600");
  for (const auto role : {Role::server, Role::client, Role::both}) {
    for (const std::uint64_t n : {1ull, 19'936ull, 19'937ull, 28'232ull, 28'233ull, 262'044ull, 262'045ull, 500'000ull,
                                  1'233'000ull, 2'466'000ull, 5'491'533ull, 5'491'534ull, 100'000'000ull}) {
      for (const std::uint32_t processes : {0u, 1u, 7u}) {
        Ask ask;
        ask.connections = n;
        ask.role = role;
        ask.processes = processes;
        const auto d = diagnose(machine, ask);
        for (const auto& [check, finding] : d.judged) {
          if (!finding.capacity) continue;
          EXPECT_EQ(finding.verdict == Verdict::too_low, *finding.capacity < n)
              << check->id << " n=" << n << " role=" << to_string(role) << " processes=" << processes
              << " capacity=" << *finding.capacity;
        }
      }
    }
  }
}

// ---- one check at a time -------------------------------------------------------------------------------------------

struct Case {
  std::string_view id;
  std::string path;
  std::string text;
  Verdict expected;
  Role role = Role::server;
};

TEST(doctor, each_setting_gets_the_verdict_that_its_value_deserves) {
  const std::vector<Case> cases{
      {"file-max", sysctl_path("fs.file-max"), "900000", Verdict::too_low},
      {"file-max", sysctl_path("fs.file-max"), "1005000", Verdict::advice},
      {"file-max", sysctl_path("fs.file-max"), "9223372036854775807", Verdict::ok},
      {"file-max", sysctl_path("fs.file-max"), "1900000", Verdict::too_low, Role::both},
      {"epoll-watches", sysctl_path("fs.epoll.max_user_watches"), "500000", Verdict::too_low},
      {"epoll-watches", sysctl_path("fs.epoll.max_user_watches"), "1500000", Verdict::too_low, Role::both},
      {"memory", "/proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB", Verdict::too_low},
      {"memory", "/proc/meminfo", "MemTotal: 8700000 kB\nMemAvailable: 8630000 kB", Verdict::advice},
      {"overcommit", sysctl_path("vm.overcommit_memory"), "2", Verdict::too_low},
      {"overcommit", sysctl_path("vm.overcommit_memory"), "1", Verdict::ok},
      {"thp", "/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never", Verdict::advice},
      {"tcp-mem", sysctl_path("net.ipv4.tcp_mem"), "20000 30000 40000", Verdict::too_low},
      {"tcp-mem", sysctl_path("net.ipv4.tcp_mem"), "50000 60000 400000", Verdict::advice},
      {"tcp-mem", sysctl_path("net.ipv4.tcp_mem"), "94500000 915000000 927000000", Verdict::advice},
      {"tcp-mem", sysctl_path("net.ipv4.tcp_mem"), "400000 400000 400000", Verdict::advice},
      {"tcp-wmem", sysctl_path("net.ipv4.tcp_wmem"), "4096 16384 4194304", Verdict::advice},
      {"tcp-wmem", sysctl_path("net.ipv4.tcp_wmem"), "4096 16384 4194304", Verdict::ok, Role::client},
      {"tcp-rmem", sysctl_path("net.ipv4.tcp_rmem"), "4096 131072 33554432", Verdict::ok},
      {"tcp-rmem", sysctl_path("net.ipv4.tcp_rmem"), "4096 4194304 33554432", Verdict::advice},
      {"tcp-rmem", sysctl_path("net.ipv4.tcp_rmem"), "4096 4096 8192", Verdict::advice},
      {"rmem-max", sysctl_path("net.core.rmem_max"), "134217728", Verdict::advice},
      {"wmem-max", sysctl_path("net.core.wmem_max"), "134217728", Verdict::advice},
      {"somaxconn", sysctl_path("net.core.somaxconn"), "128", Verdict::too_low},
      {"somaxconn", sysctl_path("net.core.somaxconn"), "2000", Verdict::advice},
      {"somaxconn", sysctl_path("net.core.somaxconn"), "128", Verdict::ok, Role::client},
      {"syncookies", sysctl_path("net.ipv4.tcp_syncookies"), "0", Verdict::advice},
      {"syncookies", sysctl_path("net.ipv4.tcp_syncookies"), "2", Verdict::advice},
      {"syn-backlog", sysctl_path("net.ipv4.tcp_syncookies"), "0", Verdict::advice},
      {"syn-backlog", sysctl_path("net.ipv4.tcp_max_syn_backlog"), "64", Verdict::ok},
      {"abort-on-overflow", sysctl_path("net.ipv4.tcp_abort_on_overflow"), "1", Verdict::advice},
      {"netdev-backlog", "/proc/net/softnet_stat", "00000014 0000001f 00000000", Verdict::advice},
      {"ehash", sysctl_path("net.ipv4.tcp_ehash_entries"), "65536", Verdict::advice},
      {"ehash", sysctl_path("net.ipv4.tcp_ehash_entries"), "-262144", Verdict::ok},
      {"max-orphans", sysctl_path("net.ipv4.tcp_max_orphans"), "131072", Verdict::advice},
      {"tw-buckets", sysctl_path("net.ipv4.tcp_max_tw_buckets"), "6000", Verdict::advice},
      {"port-range", sysctl_path("net.ipv4.ip_local_port_range"), "32768 60999", Verdict::too_low, Role::client},
      {"port-range", sysctl_path("net.ipv4.ip_local_port_range"), "32768 60999", Verdict::ok, Role::both},
      {"port-range", sysctl_path("net.ipv4.ip_local_port_range"), "1024 1025", Verdict::ok, Role::server},
      {"tw-reuse", sysctl_path("net.ipv4.tcp_tw_reuse"), "2", Verdict::advice, Role::client},
      {"tw-reuse", sysctl_path("net.ipv4.tcp_tw_reuse"), "0", Verdict::advice, Role::both},
      {"tw-reuse", sysctl_path("net.ipv4.tcp_tw_reuse"), "1", Verdict::ok, Role::client},
      {"tw-reuse", sysctl_path("net.ipv4.tcp_tw_reuse"), "0", Verdict::ok, Role::server},
      {"fin-timeout", sysctl_path("net.ipv4.tcp_fin_timeout"), "1", Verdict::advice},
      {"keepalive", sysctl_path("net.ipv4.tcp_keepalive_time"), "7200", Verdict::advice},
      {"keepalive", sysctl_path("net.ipv4.tcp_keepalive_time"), "10", Verdict::advice},
      {"timestamps", sysctl_path("net.ipv4.tcp_timestamps"), "0", Verdict::advice},
      {"congestion", sysctl_path("net.ipv4.tcp_congestion_control"), "bbr", Verdict::advice},
      {"stale-sysctls", "/etc/sysctl.d/99-old.conf", "net.ipv4.tcp_tw_recycle = 1", Verdict::advice},
      {"stale-sysctls", "/etc/sysctl.d/99-ok.conf", "# net.ipv4.gone = 1\n-net.ipv4.gone = 1\nnet.core.somaxconn = 9",
       Verdict::ok},
      {"cgroup-cpu", "/sys/fs/cgroup/cpu.max", "50000 100000", Verdict::advice},
      {"cgroup-cpu", "/sys/fs/cgroup/cpu.max", "max 100000", Verdict::ok},
      {"systemd-limitnofile", "/run/systemd/system/x", "", Verdict::ok},
      {"systemd-limitnofile", "/proc/self/cgroup", "0::/", Verdict::ok},
  };
  for (const auto& one : cases) {
    Machine machine;
    machine.set(one.path, one.text);
    auto ask = million();
    ask.role = one.role;
    EXPECT_EQ(to_string(verdict_of(machine, ask, one.id)), to_string(one.expected))
        << one.id << " with " << one.path << " = " << one.text << ", role " << to_string(one.role);
  }
}

TEST(doctor, the_descriptor_limit_that_counts_is_the_hard_one_divided_among_the_processes) {
  Machine machine;
  machine.set_descriptor_limit("1024", "100000");
  auto ask = million();
  ask.processes = 10;
  ask.role = Role::client;
  EXPECT_EQ(diagnose(machine, ask).find("nofile")->verdict, Verdict::too_low);
  EXPECT_EQ(diagnose(machine, ask).find("nofile")->capacity, 10u * (100'000 - 64));
  ask.processes = 11;
  EXPECT_EQ(diagnose(machine, ask).find("nofile")->verdict, Verdict::ok);
  machine.set_descriptor_limit("unlimited", "unlimited");
  EXPECT_EQ(diagnose(machine, ask).find("nofile")->verdict, Verdict::ok);
  machine.set_descriptor_limit("64", "64");
  ask.processes = 0;
  EXPECT_EQ(diagnose(machine, ask).capacity, 0u);
}

TEST(doctor, connections_spread_so_that_the_fullest_process_still_fits) {
  EXPECT_EQ(fullest_share(1'000'000, 1, true), 1'000'000u);
  EXPECT_EQ(fullest_share(1'000'000, 50, false), 20'000u);
  EXPECT_EQ(fullest_share(1'000'000, 50, true), 20'840u);  // 20,000 + 6 x sqrt(20,000 x 0.98)
  for (const bool by_hash : {false, true}) {
    for (const std::uint64_t per_process : {1ull, 2ull, 64ull, 960ull, 19'936ull, 1'048'512ull}) {
      for (const std::uint64_t connections : {1ull, 2ull, 1'000ull, 19'936ull, 19'937ull, 250'000ull, 1'000'000ull}) {
        const auto processes = fewest_processes(connections, per_process, by_hash);
        const bool fits = fullest_share(connections, processes, by_hash) <= per_process;
        // One connection a process by hash is no promise any count of processes can keep.
        if (per_process > 2 || !by_hash) {
          EXPECT_TRUE(fits) << connections << " over " << processes;
        }
        if (processes > 1) {
          EXPECT_GT(fullest_share(connections, processes - 1, by_hash), per_process);
        }
        const auto held = connections_held(processes, per_process, by_hash);
        EXPECT_LE(fullest_share(held, processes, by_hash), per_process);
        EXPECT_GT(fullest_share(held + 1, processes, by_hash), per_process);
      }
    }
  }
}

TEST(doctor, the_recommended_descriptor_limit_stays_within_nr_open_for_a_million) {
  const Machine machine;
  auto ask = million();
  ask.processes = 1;
  EXPECT_EQ(diagnose(machine, ask).find("nofile")->mend_now, "prlimit --pid $$ --nofile=1000448:1000448");
  EXPECT_EQ(diagnose(machine, ask).find("nr-open")->verdict, Verdict::ok);
  ask.connections = 2'000'000;
  const auto d = diagnose(machine, ask);
  EXPECT_EQ(d.find("nr-open")->verdict, Verdict::too_low);
  EXPECT_EQ(d.find("nr-open")->mend_now, "sysctl -w fs.nr_open=2097152");
}

TEST(doctor, a_user_with_cap_sys_admin_is_exempt_from_file_max_and_is_told_so) {
  Machine machine;
  machine.set_sysctl("fs.file-max", "900000");
  machine.set("/proc/self/status", "CapEff:\t000001ffffffffff");
  const auto d = diagnose(machine, million());
  EXPECT_EQ(d.find("file-max")->verdict, Verdict::advice);
  EXPECT_FALSE(d.find("file-max")->capacity.has_value());
  EXPECT_THAT(d.find("file-max")->effect, HasSubstr("exempt"));
}

TEST(doctor, ports_multiply_with_sources_and_targets_and_reserved_ones_do_not_count) {
  Machine machine;
  Ask ask;
  ask.role = Role::client;
  ask.connections = 100'000;
  machine.set_sysctl("net.ipv4.ip_local_port_range", "10000\t19999");
  EXPECT_EQ(diagnose(machine, ask).find("port-range")->capacity, 10'000u);
  machine.set_sysctl("net.ipv4.ip_local_reserved_ports", "80,10000-10009,19990-20100");
  EXPECT_EQ(diagnose(machine, ask).find("port-range")->capacity, 9'980u);
  ask.sources = 3;
  ask.targets = 4;
  EXPECT_EQ(diagnose(machine, ask).find("port-range")->capacity, 12u * 9'980u);
  EXPECT_EQ(diagnose(machine, ask).find("port-range")->verdict, Verdict::ok);
}

TEST(doctor, a_memory_cgroup_binds_by_its_tightest_ancestor_and_page_cache_does_not_count_as_used) {
  Machine machine;
  machine.set("/proc/self/cgroup", "0::/pod/app");
  machine.set("/sys/fs/cgroup/pod/app/memory.max", "max");
  machine.set("/sys/fs/cgroup/pod/app/memory.current", "1000000");
  machine.set("/sys/fs/cgroup/pod/memory.max", "2000000000");
  machine.set("/sys/fs/cgroup/pod/memory.current", "1500000000");
  machine.set("/sys/fs/cgroup/pod/memory.stat", "anon 5\ninactive_file 500000000");
  const auto d = diagnose(machine, million());
  const auto* finding = d.find("cgroup-memory");
  EXPECT_EQ(finding->verdict, Verdict::too_low);
  const auto expected = static_cast<std::uint64_t>(1'000'000'000 / d.forecast.cgroup_bytes_per_connection);
  EXPECT_EQ(finding->capacity, expected);
  EXPECT_EQ(d.lowest_limit, "cgroup-memory");
  EXPECT_THAT(finding->mend_now, HasSubstr("/sys/fs/cgroup/pod/memory.max"));
}

TEST(doctor, version_one_cgroups_are_understood_and_their_huge_number_means_no_limit) {
  Machine machine;
  machine.remove("/sys/fs/cgroup/cgroup.controllers");
  machine.set("/proc/self/cgroup", "4:memory:/box\n1:cpu,cpuacct:/box\n0::/");
  machine.set("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  machine.set("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712");
  machine.set("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1");
  machine.set("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000");
  EXPECT_EQ(diagnose(machine, million()).find("cgroup-memory")->value, "no limit");
  EXPECT_EQ(verdict_of(machine, million(), "cgroup-cpu"), Verdict::ok);
  machine.set("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1000000000");
  machine.set("/sys/fs/cgroup/memory/box/memory.usage_in_bytes", "0");
  machine.set("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "150000");
  EXPECT_EQ(verdict_of(machine, million(), "cgroup-memory"), Verdict::too_low);
  EXPECT_EQ(diagnose(machine, million()).find("cgroup-cpu")->value, "1.50 of 2 CPUs");
}

TEST(doctor, conntrack_counts_only_where_something_tracks) {
  Machine machine;
  EXPECT_EQ(diagnose(machine, million()).find("conntrack")->value, "not loaded");
  machine.set_sysctl("net.netfilter.nf_conntrack_max", "262144");
  machine.set_sysctl("net.netfilter.nf_conntrack_count", "0");
  EXPECT_EQ(verdict_of(machine, million(), "conntrack"), Verdict::ok);
  machine.set_sysctl("net.netfilter.nf_conntrack_count", "44");
  const auto d = diagnose(machine, million());
  EXPECT_EQ(d.find("conntrack")->verdict, Verdict::too_low);
  EXPECT_EQ(d.find("conntrack")->capacity, 262'100u);
}

TEST(doctor, without_guard_install_the_mapping_count_bounds_guarded_stacks) {
  Machine machine;
  EXPECT_EQ(verdict_of(machine, million(), "max-map-count"), Verdict::ok);
  machine.guard = Probe::no;
  machine.set_descriptor_limit("2000000", "2000000");
  EXPECT_EQ(verdict_of(machine, million(), "guard-install"), Verdict::advice);
  EXPECT_EQ(verdict_of(machine, million(), "max-map-count"), Verdict::advice);
  auto on_demand = million();
  on_demand.handler = Handler::on_demand;
  EXPECT_EQ(verdict_of(machine, on_demand, "max-map-count"), Verdict::ok);
  machine.set_sysctl("vm.max_map_count", "3100000");
  EXPECT_EQ(verdict_of(machine, million(), "max-map-count"), Verdict::ok);
}

TEST(doctor, dear_fresh_memory_is_told_with_what_it_adds_to_the_opening) {
  Machine machine;
  machine.touch_ns = 5000;
  const auto d = diagnose(machine, million());
  const auto* finding = d.find("first-touch");
  EXPECT_EQ(finding->verdict, Verdict::advice);
  EXPECT_EQ(finding->value, "5 us a page");
  const double seconds = d.forecast.bytes_per_connection() * 1e6 / 4096 * 5000 / 1e9;
  EXPECT_THAT(finding->because, HasSubstr(fmt::format("{:.1f} s of processor time", seconds)));
  EXPECT_TRUE(d.fit) << "slower, not smaller";
  machine.touch_ns.reset();
  EXPECT_EQ(verdict_of(machine, million(), "first-touch"), Verdict::unknown);
}

TEST(doctor, fresh_memory_is_not_tried_where_little_of_it_is_left) {
  Machine machine;
  EXPECT_EQ(verdict_of(machine, million(), "first-touch"), Verdict::ok);
  machine.set("/proc/self/cgroup", "0::/box");
  machine.set("/sys/fs/cgroup/box/memory.max", "200000000");
  machine.set("/sys/fs/cgroup/box/memory.current", "20000000");
  EXPECT_EQ(verdict_of(machine, million(), "first-touch"), Verdict::ok);
  machine.set("/sys/fs/cgroup/box/memory.current", "100000000");
  EXPECT_EQ(verdict_of(machine, million(), "first-touch"), Verdict::unknown);
}

TEST(doctor, a_forbidden_io_uring_is_told_apart_from_a_missing_one) {
  Machine machine;
  machine.uring = Probe::denied;
  EXPECT_THAT(diagnose(machine, million()).find("io-uring")->value, HasSubstr("seccomp"));
  machine.set_sysctl("kernel.io_uring_disabled", "2");
  EXPECT_THAT(diagnose(machine, million()).find("io-uring")->value, HasSubstr("io_uring_disabled = 2"));
  machine.uring = Probe::no;
  EXPECT_EQ(diagnose(machine, million()).find("io-uring")->value, "not in this kernel");
  machine.pwait2 = Probe::no;
  EXPECT_EQ(verdict_of(machine, million(), "epoll-pwait2"), Verdict::advice);
}

TEST(doctor, a_unit_is_read_with_its_drop_ins_and_the_last_one_wins) {
  Machine machine;
  auto ask = million();
  ask.unit = "hub.service";
  ask.processes = 1;
  EXPECT_THAT(diagnose(machine, ask).find("systemd-limitnofile")->value, HasSubstr("1024:524288"));
  machine.set("/usr/lib/systemd/system/hub.service", "[Service]\nExecStart=/x\nLimitNOFILE=infinity");
  EXPECT_EQ(verdict_of(machine, ask, "systemd-limitnofile"), Verdict::advice);
  machine.set("/etc/systemd/system/hub.service.d/a.conf", "[Service]\nLimitNOFILE = 65536");
  const auto d = diagnose(machine, ask);
  EXPECT_EQ(d.find("systemd-limitnofile")->verdict, Verdict::too_low);
  EXPECT_EQ(d.find("systemd-limitnofile")->capacity, 65'536u - 64);
  machine.set("/etc/systemd/system/hub.service.d/b.conf", "[Service]\nLimitNOFILE=1200000:1200000");
  EXPECT_EQ(verdict_of(machine, ask, "systemd-limitnofile"), Verdict::ok);
}

// ---- the forecast --------------------------------------------------------------------------------------------------

TEST(doctor, the_forecast_adds_up_this_machines_slabs_with_their_page_rounding) {
  Machine machine;
  const auto f = forecast(machine, million());
  EXPECT_TRUE(f.from_this_machine);
  // 32 KiB / 13 + 16 KiB / 19 + 4 KiB / 21 twice + 32 + 4 KiB / 170 + 128 + 64 + 16, and 12 for the descriptor's slot
  EXPECT_NEAR(f.kernel_bytes_server_end, 2520.6 + 862.3 + 2 * 195.05 + 32 + 24.1 + 128 + 64 + 16 + 12, 0.5);
  EXPECT_NEAR(f.kernel_bytes_client_end, f.kernel_bytes_server_end + 128, 0.01);
  EXPECT_DOUBLE_EQ(f.kernel_bytes_per_connection, f.kernel_bytes_server_end);
  EXPECT_DOUBLE_EQ(f.user_bytes_per_connection, 4'300);
  Ask both;
  both.role = Role::both;
  both.handler = Handler::on_demand;
  EXPECT_NEAR(forecast(machine, both).kernel_bytes_per_connection,
              f.kernel_bytes_server_end + f.kernel_bytes_client_end, 0.01);
  EXPECT_DOUBLE_EQ(forecast(machine, both).user_bytes_per_connection, 600 + 470);
}

TEST(doctor, sysfs_knows_slabs_that_slabinfo_hides_by_merging) {
  Machine machine;
  machine.set("/sys/kernel/slab/eventpoll_pwq/slab_size", "72");
  machine.set("/sys/kernel/slab/eventpoll_pwq/order", "0");
  machine.set("/sys/kernel/slab/eventpoll_pwq/objs_per_slab", "56");
  const auto f = forecast(machine, million());
  const auto found = std::ranges::find(f.slabs, "eventpoll_pwq", &SlabCost::cache);
  ASSERT_NE(found, f.slabs.end());
  EXPECT_EQ(found->object_bytes, 72u);
}

TEST(doctor, without_slab_sizes_the_forecast_falls_back_and_admits_it) {
  Machine machine;
  const double known = forecast(machine, million()).kernel_bytes_server_end;
  machine.remove("/proc/slabinfo");
  const auto f = forecast(machine, million());
  EXPECT_FALSE(f.from_this_machine);
  EXPECT_NEAR(f.kernel_bytes_server_end, known, 1);
  EXPECT_THAT(render_text(diagnose(machine, million()), Look{}), HasSubstr("Linux 6.18"));
}

TEST(doctor, a_cgroup_is_charged_less_for_accepted_sockets_where_the_kernel_does_not_charge_them) {
  Machine machine;
  const double with_socket = forecast(machine, million()).cgroup_bytes_per_connection;
  machine.set_sysctl("kernel.osrelease", "6.1.0-18-amd64");
  EXPECT_NEAR(with_socket - forecast(machine, million()).cgroup_bytes_per_connection, 2368 + 8, 0.01);
}

// ---- the report ----------------------------------------------------------------------------------------------------

std::size_t columns_of(std::string_view line) {
  return static_cast<std::size_t>(std::ranges::count_if(line, [](char c) { return (c & 0xC0) != 0x80; }));
}

TEST(doctor, the_report_keeps_to_the_terminals_width_save_for_commands_and_paths) {
  Machine machine;
  machine.set("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never");
  machine.set_sysctl("net.core.somaxconn", "128");
  machine.set_sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304");
  for (const std::size_t columns : {80u, 100u, 120u, 300u}) {
    auto ask = million();
    ask.role = Role::both;
    ask.processes = 1;
    for (const bool details : {false, true}) {
      Look look;
      look.columns = columns;
      look.details = details;
      const auto text = render_text(diagnose(machine, ask), look);
      std::istringstream lines(text);
      for (std::string line; std::getline(lines, line);) {
        if (line.contains("sysctl") || line.contains("/sys/") || line.contains("prlimit")) continue;
        EXPECT_LE(columns_of(line), columns) << line;
        EXPECT_FALSE(line.ends_with(' ')) << "'" << line << "'";
      }
    }
  }
}

TEST(doctor, colour_appears_only_when_asked_for_and_ascii_suffices_where_the_locale_says_so) {
  const Machine machine;
  auto ask = million();
  ask.processes = 1;
  const auto d = diagnose(machine, ask);
  Look look;
  EXPECT_THAT(render_text(d, look), Not(HasSubstr("\x1b")));
  look.color = true;
  EXPECT_THAT(render_text(d, look), HasSubstr("\x1b[31;1m"));
  look.color = false;
  look.utf8 = false;
  for (const char c : render_text(d, look)) EXPECT_GE(c, 0) << "beyond ASCII";
}

TEST(doctor, the_report_shows_value_need_command_and_line_of_what_is_too_low) {
  Machine machine;
  machine.set_sysctl("net.core.somaxconn", "128");
  const auto text = render_text(diagnose(machine, million()), Look{});
  EXPECT_THAT(text, AllOf(HasSubstr("Not fit for 1,000,000 connections."), HasSubstr("now   128"),
                          HasSubstr("need  4,000"), HasSubstr("mend  sysctl -w net.core.somaxconn=4096"),
                          HasSubstr("keep  net.core.somaxconn = 4096  in /etc/sysctl.d/90-roost.conf")));
}

TEST(doctor, json_carries_every_check_with_verdict_need_formula_and_remedies) {
  Machine machine;
  machine.set_sysctl("net.core.somaxconn", "128");
  const auto json = nlohmann::json::parse(render_json(diagnose(machine, million())));
  EXPECT_EQ(json["schema"], "roost.doctor/1");
  EXPECT_EQ(json["fit"], false);
  EXPECT_EQ(json["lowest_limit"], "memory");
  EXPECT_EQ(json["processes"]["needed"], 53);
  EXPECT_GT(json["memory"]["kernel_bytes"], 4'000'000'000);
  ASSERT_EQ(json["checks"].size(), all_checks().size());
  for (const auto& check : json["checks"]) {
    if (check["id"] != "somaxconn") continue;
    EXPECT_EQ(check["verdict"], "too low");
    EXPECT_EQ(check["value"], "128");
    EXPECT_EQ(check["formula"], "rate x 0.2 s");
    EXPECT_EQ(check["keep"][0]["line"], "net.core.somaxconn = 4096");
    EXPECT_EQ(check["docs"], "docs/doctor.md#somaxconn");
  }
}

TEST(doctor, the_sysctl_file_holds_settings_and_comments_alone_and_marks_what_has_a_price) {
  Machine machine;
  machine.set_sysctl("net.core.somaxconn", "128");
  machine.set_sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304");
  const auto file = render_sysctl_file(diagnose(machine, million()));
  EXPECT_THAT(file, HasSubstr("\nnet.core.somaxconn = 4096\n"));
  EXPECT_THAT(file, HasSubstr("\n#net.ipv4.tcp_wmem = 4096 16384 131072\n"));
  std::istringstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    EXPECT_THAT(line, testing::ContainsRegex("^[a-z0-9_.-]+ = [0-9 ]+$"));
  }
  EXPECT_THAT(render_sysctl_file(diagnose(Machine(), million())), HasSubstr("Nothing to change"));
}

TEST(doctor, folklore_comments_each_of_the_articles_values_and_the_classic_mistakes) {
  const Machine machine;
  Look look;
  look.columns = 300;
  const auto text = render_text(folklore_here(machine), look);
  for (const auto advice : {"ulimit -n 1048576", "rmem_max = 134217728", "wmem_max = 134217728", "tcp_tw_reuse = 1",
                            "somaxconn = 65535", "tcp_max_syn_backlog = 8192", "ip_local_port_range = 10000 65535",
                            "tcp_tw_recycle", "tcp_mem", "LimitNOFILE=infinity"}) {
    EXPECT_THAT(text, HasSubstr(advice));
  }
  EXPECT_EQ(std::ranges::count_if(all_folklore(), &Folklore::from_the_article), 10);
  const auto json = nlohmann::json::parse(render_json(folklore_here(machine)));
  EXPECT_EQ(json["folklore"].size(), all_folklore().size());
  EXPECT_EQ(json["folklore"][0]["here"], "20000");
}

// ---- changing and changing back ------------------------------------------------------------------------------------

class Changing : public testing::Test {
 protected:
  Changing() {
    machine.set_sysctl("net.core.somaxconn", "128");
    machine.set_sysctl("net.ipv4.tcp_wmem", "4096\t16384\t4194304");
  }
  [[nodiscard]] std::vector<Applied> apply_all(bool dry_run = false, const std::vector<std::string>& only = {}) const {
    return apply(machine, diagnose(machine, million()), only, undo_file, dry_run).value();
  }
  [[nodiscard]] std::string somaxconn() const { return machine.get("/proc/sys/net/core/somaxconn"); }

  Machine machine;
  std::string undo_file = machine.root() + "/undo.json";
};

TEST_F(Changing, a_dry_run_tells_what_it_would_do_and_touches_nothing) {
  const auto plan = apply_all(true);
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].setting, "net.core.somaxconn");
  EXPECT_EQ(plan[0].before, "128");
  EXPECT_EQ(plan[0].wanted, "4096");
  EXPECT_EQ(plan[0].outcome, Outcome::would_change);
  EXPECT_EQ(somaxconn(), "128");
  EXPECT_FALSE(fs::exists(undo_file));
}

TEST_F(Changing, apply_shows_before_and_after_and_undo_restores) {
  const auto applied = apply_all();
  ASSERT_EQ(applied.size(), 1u);
  EXPECT_EQ(applied[0].outcome, Outcome::changed);
  EXPECT_EQ(applied[0].after, "4096");
  EXPECT_EQ(somaxconn(), "4096");
  EXPECT_THAT(render_text(applied, "Applied", Look{}), HasSubstr("net.core.somaxconn  128 → 4096  changed"));
  const auto undone = undo(machine, undo_file, false).value();
  ASSERT_EQ(undone.size(), 1u);
  EXPECT_EQ(undone[0].outcome, Outcome::changed);
  EXPECT_EQ(somaxconn(), "128");
  EXPECT_FALSE(fs::exists(undo_file));
  EXPECT_EQ(undo(machine, undo_file, false).error(), std::errc::no_such_file_or_directory);
}

TEST_F(Changing, what_has_a_price_is_changed_only_when_it_is_named) {
  (void)apply_all();
  EXPECT_EQ(machine.get("/proc/sys/net/ipv4/tcp_wmem"), "4096 16384 4194304");
  const auto applied = apply_all(false, {"tcp-wmem"});
  ASSERT_EQ(applied.size(), 1u);
  EXPECT_EQ(machine.get("/proc/sys/net/ipv4/tcp_wmem"), "4096 16384 131072");
  EXPECT_EQ(undo(machine, undo_file, false)->size(), 2u);
  EXPECT_EQ(machine.get("/proc/sys/net/ipv4/tcp_wmem"), "4096 16384 4194304");
  EXPECT_EQ(somaxconn(), "128");
}

TEST_F(Changing, applying_twice_still_undoes_to_the_beginning) {
  (void)apply_all();
  auto ask = million();
  ask.rate = 100'000;
  (void)apply(machine, diagnose(machine, ask), {}, undo_file, false).value();
  EXPECT_EQ(somaxconn(), "20000");
  (void)undo(machine, undo_file, false).value();
  EXPECT_EQ(somaxconn(), "128");
}

TEST_F(Changing, undo_leaves_alone_what_somebody_else_has_changed_since) {
  (void)apply_all();
  machine.set_sysctl("net.core.somaxconn", "9999");
  const auto undone = undo(machine, undo_file, false).value();
  EXPECT_EQ(undone[0].outcome, Outcome::left_alone);
  EXPECT_EQ(somaxconn(), "9999");
}

TEST_F(Changing, nothing_is_changed_when_the_undo_file_cannot_be_written) {
  const auto applied = apply(machine, diagnose(machine, million()), {}, machine.root() + "/no/such/folder/undo", false);
  ASSERT_FALSE(applied.has_value());
  EXPECT_EQ(somaxconn(), "128");
}

TEST_F(Changing, a_refusal_is_reported_and_the_rest_goes_on) {
  machine.set("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never");
  const auto d = diagnose(machine, million());
  machine.remove("/proc/sys/net/core/somaxconn");
  const auto applied = apply(machine, d, {}, undo_file, false).value();
  ASSERT_EQ(applied.size(), 2u);
  EXPECT_EQ(applied[0].setting, "/sys/kernel/mm/transparent_hugepage/enabled");
  EXPECT_EQ(applied[0].before, "always");
  EXPECT_EQ(applied[0].outcome, Outcome::changed);
  EXPECT_EQ(applied[1].outcome, Outcome::refused);
  EXPECT_FALSE(applied[1].why.empty());
  EXPECT_FALSE(fs::exists(machine.root() + "/proc/sys/net/core/somaxconn"));
}

TEST_F(Changing, an_undo_file_that_names_anything_but_a_setting_is_refused) {
  for (
      const std::string text :
      {R"({"schema":"roost.doctor-undo/1","changes":[{"check":"x","setting":"x","path":"/etc/passwd","before":"a","after":"b"}]})",
       R"({"schema":"roost.doctor-undo/1","changes":[{"check":"x","setting":"x","path":"/proc/sys/../../etc/passwd","before":"a","after":"b"}]})",
       R"({"schema":"other","changes":[]})", "not json", R"({"schema":"roost.doctor-undo/1","changes":[7]})", "[]"}) {
    std::ofstream(undo_file) << text;
    EXPECT_EQ(undo(machine, undo_file, false).error(), std::errc::invalid_argument) << text;
  }
}

// ---- the command ---------------------------------------------------------------------------------------------------

struct Ran {
  int status;
  std::string out;
  std::string error;
};

Ran run_doctor(std::vector<std::string> arguments) {
  CLI::App app;
  int status = -1;
  add_doctor_command(app, status);
  arguments.insert(arguments.begin(), "doctor");
  std::ranges::reverse(arguments);  // as CLI11 wants a vector
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  app.parse(arguments);
  return {status, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

TEST(doctor_command, exits_with_0_when_fit_and_1_when_not) {
  const Machine machine;
  EXPECT_EQ(run_doctor({"--root", machine.root()}).status, 0);
  const auto ran = run_doctor({"--root", machine.root(), "--processes", "1", "--connections", "100k"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.out, HasSubstr("at most 19,936 connections"));
}

TEST(doctor_command, answers_bad_input_with_one_line_and_exit_status_2) {
  const std::vector<std::vector<std::string>> all{{"--connections", "0"},
                                                  {"--connections", "1x"},
                                                  {"--connections", "-5"},
                                                  {"--connections", ""},
                                                  {"--connections", "99999999999999999999"},
                                                  {"--role", "Server"},
                                                  {"--processes", "0"},
                                                  {"--processes", "all"},
                                                  {"--rate", "0"},
                                                  {"--handler", "thread"},
                                                  {"--user-bytes", "4KB"},
                                                  {"--only", "nofile,nonsense"},
                                                  {"--only", ","},
                                                  {"--write", "sysctl"},
                                                  {"--write", "sysctl.d", "--json"},
                                                  {"--apply", "--undo"},
                                                  {"--dry-run"},
                                                  {"--root", "/nonexistent"},
                                                  {"--unit", "../x"},
                                                  {"--sources", "0"},
                                                  {"--targets", "-1"},
                                                  {"--write", "systemd", "--apply"}};
  for (const auto& arguments : all) {
    const auto ran = run_doctor(arguments);
    EXPECT_EQ(ran.status, 2) << arguments[0];
    EXPECT_EQ(ran.out, "") << arguments[0];
    EXPECT_THAT(ran.error, StartsWith("roost doctor: ")) << arguments[0];
    EXPECT_EQ(std::ranges::count(ran.error, '\n'), 1) << ran.error;
  }
}

TEST(doctor_command, changes_nothing_unless_told_to_apply) {
  Machine machine;
  machine.set_sysctl("net.core.somaxconn", "128");
  const auto undo_file = machine.root() + "/undo.json";
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{},
                                                    {"--json"},
                                                    {"--write", "sysctl.d"},
                                                    {"--apply", "--dry-run"},
                                                    {"--folklore"},
                                                    {"--all"}}) {
    auto full = arguments;
    full.insert(full.end(), {"--root", machine.root(), "--undo-file", undo_file});
    (void)run_doctor(full);
    EXPECT_EQ(machine.get("/proc/sys/net/core/somaxconn"), "128");
    EXPECT_FALSE(fs::exists(undo_file));
  }
  const auto applied = run_doctor({"--apply", "--root", machine.root(), "--undo-file", undo_file});
  EXPECT_EQ(applied.status, 0);
  EXPECT_EQ(machine.get("/proc/sys/net/core/somaxconn"), "4096");
  EXPECT_EQ(run_doctor({"--undo", "--root", machine.root(), "--undo-file", undo_file}).status, 0);
  EXPECT_EQ(machine.get("/proc/sys/net/core/somaxconn"), "128");
}

TEST(doctor_command, only_restricts_the_report_to_the_checks_that_were_named) {
  const Machine machine;
  const auto ran = run_doctor({"--root", machine.root(), "--only", "somaxconn,thp", "--json"});
  EXPECT_EQ(nlohmann::json::parse(ran.out)["checks"].size(), 2u);
}

}  // namespace
}  // namespace roost::doctor
