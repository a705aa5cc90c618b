// One function for each check, and what they share. The table in checks.cc gives them their ids and reasons.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/doctor/checks.h"

namespace roost::doctor {

inline constexpr std::uint64_t page_bytes = 4096;

[[nodiscard]] std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b);
// Rounds up to two significant digits, so that a recommended value looks like one a person chose.
[[nodiscard]] std::uint64_t round_up_nicely(std::uint64_t value);
// `part` of `whole`, rounded up.
[[nodiscard]] std::uint64_t share(std::uint64_t whole, double part);
// Whether a comma-separated list names `word`.
[[nodiscard]] bool lists(std::string_view list, std::string_view word);

// Adds a sysctl to what mends the finding: the command, the line that keeps it, and the change for --apply.
void mend_sysctl(Finding& finding, std::string_view key, std::string value);
// "Could not tell", for a file that is not there or not as expected.
[[nodiscard]] Finding unreadable(std::string_view what, std::string because = {});
// A finding with a value and nothing to mend.
[[nodiscard]] Finding plain(Verdict verdict, std::string value, std::string because = {});

// descriptors
Finding judge_nofile(const Context& c);
Finding judge_nr_open(const Context& c);
Finding judge_file_max(const Context& c);
Finding judge_epoll_watches(const Context& c);
Finding judge_systemd_limitnofile(const Context& c);

// memory
Finding judge_memory(const Context& c);
Finding judge_cgroup_memory(const Context& c);
Finding judge_overcommit(const Context& c);
Finding judge_thp(const Context& c);
Finding judge_first_touch(const Context& c);
Finding judge_max_map_count(const Context& c);
Finding judge_tcp_mem(const Context& c);
Finding judge_tcp_rmem(const Context& c);
Finding judge_tcp_wmem(const Context& c);
Finding judge_rmem_max(const Context& c);
Finding judge_wmem_max(const Context& c);

// accepting
Finding judge_somaxconn(const Context& c);
Finding judge_syn_backlog(const Context& c);
Finding judge_syncookies(const Context& c);
Finding judge_abort_on_overflow(const Context& c);
Finding judge_netdev_backlog(const Context& c);
Finding judge_ehash(const Context& c);
Finding judge_max_orphans(const Context& c);
Finding judge_tw_buckets(const Context& c);

// dialing
Finding judge_port_range(const Context& c);
Finding judge_tw_reuse(const Context& c);
Finding judge_fin_timeout(const Context& c);

// liveness
Finding judge_keepalive(const Context& c);
Finding judge_timestamps(const Context& c);

// kernel and host
Finding judge_conntrack(const Context& c);
Finding judge_cgroup_cpu(const Context& c);
Finding judge_congestion(const Context& c);
Finding judge_guard_install(const Context& c);
Finding judge_io_uring(const Context& c);
Finding judge_epoll_pwait2(const Context& c);
Finding judge_stale_sysctls(const Context& c);

}  // namespace roost::doctor
