// Judges what matters while connections are made, kept alive and closed.
#include "tools/doctor/judges.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace roost::doctor {

Finding judge_somaxconn(const Context& c) {
  const auto value = c.system.number(sysctl_path("net.core.somaxconn"));
  if (!value) return unreadable("net.core.somaxconn");
  if (!c.ask.serves()) return plain(Verdict::ok, with_commas(*value), "Only a listener needs it.");
  const auto need = share(c.ask.rate, 0.2);
  Finding finding;
  finding.value = with_commas(*value);
  finding.need = with_commas(need);
  finding.because = fmt::format("{} a second x 0.2 s in which nobody accepts", with_commas(c.ask.rate));
  if (*value >= need) return finding;
  finding.verdict = *value < share(c.ask.rate, 0.05) ? Verdict::too_low : Verdict::advice;
  finding.effect =
      fmt::format("A stall of {:.0f} ms fills the queue; a client whose SYN is dropped tries again after 1 s.",
                  static_cast<double>(*value) * 1'000 / static_cast<double>(c.ask.rate));
  mend_sysctl(finding, "net.core.somaxconn", fmt::to_string(std::max<std::uint64_t>(4'096, round_up_nicely(need))));
  return finding;
}

Finding judge_syn_backlog(const Context& c) {
  const auto value = c.system.number(sysctl_path("net.ipv4.tcp_max_syn_backlog"));
  if (!value) return unreadable("net.ipv4.tcp_max_syn_backlog");
  if (!c.ask.serves()) return plain(Verdict::ok, with_commas(*value), "Only a listener needs it.");
  const auto cookies = c.system.number(sysctl_path("net.ipv4.tcp_syncookies"));
  if (!cookies || *cookies != 0) {
    return plain(Verdict::ok, with_commas(*value),
                 "Ignored while SYN cookies are on: half-open connections are bounded by the listen backlog.");
  }
  const auto need = ceil_div(share(c.ask.rate, 0.1) * 4, 3);
  Finding finding;
  finding.value = with_commas(*value);
  finding.need = with_commas(need);
  finding.because =
      fmt::format("{} a second x 0.1 s round trip x 4/3 (a quarter is kept for known peers)", with_commas(c.ask.rate));
  if (*value >= need) return finding;
  finding.verdict = Verdict::advice;
  finding.effect = "SYNs beyond three quarters of it are dropped; their clients try again after 1 s.";
  mend_sysctl(finding, "net.ipv4.tcp_max_syn_backlog", fmt::to_string(round_up_nicely(need)));
  return finding;
}

Finding judge_syncookies(const Context& c) {
  const auto value = c.system.number(sysctl_path("net.ipv4.tcp_syncookies"));
  if (!value) return unreadable("net.ipv4.tcp_syncookies");
  Finding finding;
  finding.value = fmt::to_string(*value);
  finding.need = "1";
  if (*value == 1 || !c.ask.serves()) return finding;
  finding.verdict = Verdict::advice;
  finding.effect = *value == 0 ? "A SYN flood, or an honest burst beyond the backlog, locks everyone else out."
                               : "2 is for tests: every connection loses TCP options that cookies cannot carry.";
  mend_sysctl(finding, "net.ipv4.tcp_syncookies", "1");
  return finding;
}

Finding judge_abort_on_overflow(const Context& c) {
  const auto value = c.system.number(sysctl_path("net.ipv4.tcp_abort_on_overflow"));
  if (!value) return unreadable("net.ipv4.tcp_abort_on_overflow");
  Finding finding;
  finding.value = fmt::to_string(*value);
  finding.need = "0";
  if (*value == 0 || !c.ask.serves()) return finding;
  finding.verdict = Verdict::advice;
  finding.effect = "A full accept queue answers with a reset, where a second's patience would have connected.";
  mend_sysctl(finding, "net.ipv4.tcp_abort_on_overflow", "0");
  return finding;
}

Finding judge_netdev_backlog(const Context& c) {
  const auto value = c.system.number(sysctl_path("net.core.netdev_max_backlog"));
  if (!value) return unreadable("net.core.netdev_max_backlog");
  std::uint64_t dropped = 0;
  const auto softnet = c.system.read("/proc/net/softnet_stat");
  if (softnet) {
    for (const auto line : lines_of(*softnet)) {
      const auto words = split(line);
      if (words.size() > 1) dropped += std::strtoull(std::string(words[1]).c_str(), nullptr, 16);
    }
  }
  Finding finding;
  finding.value = with_commas(*value);
  finding.because = softnet ? fmt::format("{} packets dropped since boot (/proc/net/softnet_stat, second column)",
                                          with_commas(dropped))
                            : "/proc/net/softnet_stat cannot be read";
  if (dropped == 0) return finding;
  finding.verdict = Verdict::advice;
  finding.need = with_commas(std::max<std::uint64_t>(10'000, *value * 2));
  finding.effect = "Loopback and steered packets beyond this queue are lost and sent again by TCP.";
  mend_sysctl(finding, "net.core.netdev_max_backlog", fmt::to_string(std::max<std::uint64_t>(10'000, *value * 2)));
  return finding;
}

Finding judge_ehash(const Context& c) {
  // A network namespace without a table of its own shows the host's size as a negative number.
  const auto text = c.system.read(sysctl_path("net.ipv4.tcp_ehash_entries"));
  const auto value = text ? parse_number(std::string_view(*text).substr(text->starts_with("-") ? 1 : 0)) : std::nullopt;
  if (!value || *value == 0) return unreadable("net.ipv4.tcp_ehash_entries", "Linux 6.1 and later show it.");
  const auto need = c.ask.connections * c.ask.ends() / 4;
  Finding finding;
  finding.value = with_commas(*value) + " buckets";
  finding.need = with_commas(need);
  finding.because = fmt::format("{} sockets / 4; a packet walks {:.1f} sockets of its bucket on average",
                                with_commas(c.ask.connections * c.ask.ends()),
                                static_cast<double>(c.ask.connections * c.ask.ends()) / static_cast<double>(*value));
  if (*value >= need) return finding;
  finding.verdict = Verdict::advice;
  finding.effect = "Every packet and every new connection walks longer chains; nothing fails.";
  const auto buckets = std::bit_ceil(need);
  finding.keep.push_back({"the kernel's command line", fmt::format("thash_entries={}", buckets)});
  return finding;
}

Finding judge_max_orphans(const Context& c) {
  const auto value = c.system.number(sysctl_path("net.ipv4.tcp_max_orphans"));
  if (!value) return unreadable("net.ipv4.tcp_max_orphans");
  Finding finding;
  finding.value = with_commas(*value);
  finding.need = with_commas(c.ask.connections);
  finding.because = "all connections closed at once, when the process ends";
  if (*value >= c.ask.connections) return finding;
  finding.verdict = Verdict::advice;
  finding.effect = "At shutdown the connections beyond it are reset and lose data that was still under way.";
  mend_sysctl(finding, "net.ipv4.tcp_max_orphans", fmt::to_string(round_up_nicely(c.ask.connections)));
  return finding;
}

Finding judge_tw_buckets(const Context& c) {
  const auto value = c.system.number(sysctl_path("net.ipv4.tcp_max_tw_buckets"));
  if (!value) return unreadable("net.ipv4.tcp_max_tw_buckets");
  const std::uint64_t need = std::min<std::uint64_t>(c.ask.rate * 60, 65'536);
  Finding finding;
  finding.value = with_commas(*value);
  finding.need = with_commas(need);
  finding.because =
      fmt::format("{} closes a second x 60 s, but no more than 65,536 (256 B each)", with_commas(c.ask.rate));
  if (*value >= need) return finding;
  finding.verdict = Verdict::advice;
  finding.effect = "TIME_WAIT ends early for connections beyond it, and late segments reach the next connection.";
  mend_sysctl(finding, "net.ipv4.tcp_max_tw_buckets", fmt::to_string(round_up_nicely(need)));
  return finding;
}

namespace {

std::uint64_t reserved_in(std::string_view list, std::uint64_t first, std::uint64_t last) {
  std::uint64_t count = 0;
  for (const auto range : split(list, ", ")) {
    const auto ends = split(range, "-");
    if (ends.empty()) continue;
    const auto low = parse_number(ends.front());
    const auto high = parse_number(ends.back());
    if (!low || !high || *high < first || *low > last) continue;
    count += std::min(*high, last) - std::max(*low, first) + 1;
  }
  return count;
}

}  // namespace

Finding judge_port_range(const Context& c) {
  const auto range = c.system.numbers(sysctl_path("net.ipv4.ip_local_port_range"));
  if (range.size() != 2 || range[1] < range[0]) return unreadable("net.ipv4.ip_local_port_range");
  const auto reserved = c.system.read(sysctl_path("net.ipv4.ip_local_reserved_ports")).value_or("");
  const auto ports = range[1] - range[0] + 1 - reserved_in(reserved, range[0], range[1]);
  Finding finding;
  finding.value = fmt::format("{}-{} ({} ports)", range[0], range[1], with_commas(ports));
  if (!c.ask.dials()) {
    finding.because = "A server's connections all share its listening port; only dialling uses these.";
    return finding;
  }
  const bool any_number = c.ask.role == Role::both && c.ask.sources == 0;
  const std::uint64_t sources = c.ask.sources == 0 ? 1 : c.ask.sources;
  if (ports == 0) {
    finding.verdict = Verdict::too_low;
    finding.capacity = 0;
    finding.effect = "No port is left to dial from.";
    mend_sysctl(finding, "net.ipv4.ip_local_port_range", "10240 65535");
    return finding;
  }
  const auto sources_needed = ceil_div(c.ask.connections, ports * c.ask.targets);
  if (any_number) {
    finding.because = fmt::format("Loopback has 16 million source addresses; {} of them carry {} connections.",
                                  with_commas(sources_needed), with_commas(c.ask.connections));
    return finding;
  }
  const auto need = ceil_div(c.ask.connections, sources * c.ask.targets);
  finding.need = with_commas(need) + " ports";
  finding.because = fmt::format("{} connections / ({} source address{} x {} target{})", with_commas(c.ask.connections),
                                sources, sources == 1 ? "" : "es", c.ask.targets, c.ask.targets == 1 ? "" : "s");
  finding.capacity = ports * sources * c.ask.targets;
  if (ports >= need) return finding;
  finding.verdict = Verdict::too_low;
  finding.effect = "connect fails with EADDRNOTAVAIL.";
  constexpr std::uint64_t widest = 65'535 - 1'024 + 1;
  const std::string wide = need <= 65'535 - 10'240 + 1 ? "10240 65535" : "1024 65535";
  if (need > widest) {
    finding.effect += fmt::format(" Even the widest range needs {} source addresses (--sources).",
                                  ceil_div(c.ask.connections, widest * c.ask.targets));
  }
  if (ports < widest) mend_sysctl(finding, "net.ipv4.ip_local_port_range", wide);
  return finding;
}

Finding judge_tw_reuse(const Context& c) {
  const auto value = c.system.number(sysctl_path("net.ipv4.tcp_tw_reuse"));
  if (!value) return unreadable("net.ipv4.tcp_tw_reuse");
  Finding finding;
  finding.value = fmt::to_string(*value);
  if (!c.ask.dials()) {
    finding.because = "It helps the side that dials; a server's incoming connections ignore it.";
    return finding;
  }
  const bool loopback = c.ask.role == Role::both;
  finding.need = loopback ? "1 or 2" : "1";
  finding.because = "2, the default, covers loopback only";
  if (*value == 1 || (*value == 2 && loopback)) return finding;
  finding.verdict = Verdict::advice;
  finding.effect = "A port whose connection this side closed is lost to the same target for 60 s.";
  mend_sysctl(finding, "net.ipv4.tcp_tw_reuse", "1");
  return finding;
}

Finding judge_fin_timeout(const Context& c) {
  const auto value = c.system.number(sysctl_path("net.ipv4.tcp_fin_timeout"));
  if (!value) return unreadable("net.ipv4.tcp_fin_timeout");
  Finding finding;
  finding.value = fmt::format("{} s", *value);
  finding.need = "10 s or more";
  finding.because = "It bounds FIN_WAIT2; TIME_WAIT always lasts 60 s, whatever this says.";
  if (*value >= 10) return finding;
  finding.verdict = Verdict::advice;
  finding.effect = "Slow peers are cut off in the middle of closing.";
  mend_sysctl(finding, "net.ipv4.tcp_fin_timeout", "60");
  return finding;
}

Finding judge_keepalive(const Context& c) {
  const auto time = c.system.number(sysctl_path("net.ipv4.tcp_keepalive_time"));
  const auto interval = c.system.number(sysctl_path("net.ipv4.tcp_keepalive_intvl"));
  const auto probes = c.system.number(sysctl_path("net.ipv4.tcp_keepalive_probes"));
  if (!time || !interval || !probes || *time == 0) return unreadable("net.ipv4.tcp_keepalive_*");
  const auto detect = *time + *interval * *probes;
  const auto rate = c.ask.connections / *time;
  Finding finding;
  finding.value = fmt::format("{} s, then {} x {} s", *time, *probes, *interval);
  finding.need = "dead peers found within an hour";
  finding.because = fmt::format("found after {} min; {} probes a second if all {} are idle", detect / 60,
                                with_commas(rate), with_commas(c.ask.connections));
  if (rate > 20'000) {
    finding.verdict = Verdict::advice;
    finding.effect = "Probes alone are a load of their own. Ask less often, or rely on the protocol's own heartbeat.";
    mend_sysctl(finding, "net.ipv4.tcp_keepalive_time", fmt::to_string(round_up_nicely(c.ask.connections / 10'000)));
  } else if (detect > 3'600 && c.ask.serves()) {
    finding.verdict = Verdict::advice;
    finding.effect =
        "A peer that lost power keeps its descriptor and memory that long, unless the program sets a read "
        "deadline or its own keep-alive (roost can do both).";
    const auto calm = std::max<std::uint64_t>(300, round_up_nicely(c.ask.connections / 10'000));
    mend_sysctl(finding, "net.ipv4.tcp_keepalive_time", fmt::to_string(calm));
    mend_sysctl(finding, "net.ipv4.tcp_keepalive_intvl", "30");
    mend_sysctl(finding, "net.ipv4.tcp_keepalive_probes", "4");
  }
  return finding;
}

Finding judge_timestamps(const Context& c) {
  const auto value = c.system.number(sysctl_path("net.ipv4.tcp_timestamps"));
  if (!value) return unreadable("net.ipv4.tcp_timestamps");
  Finding finding;
  finding.value = fmt::to_string(*value);
  finding.need = "1";
  if (*value != 0) return finding;
  finding.verdict = Verdict::advice;
  finding.effect = "tcp_tw_reuse stops working, and so does the protection against old segments.";
  mend_sysctl(finding, "net.ipv4.tcp_timestamps", "1");
  return finding;
}

}  // namespace roost::doctor
