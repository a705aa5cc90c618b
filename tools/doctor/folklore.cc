#include "tools/doctor/folklore.h"

#include "tools/doctor/checks.h"

namespace roost::doctor {
namespace {

constexpr Folklore folklore[] = {
    {"ulimit -n 1048576", "/proc/self/limits", Worth::depends,
     "Right for one process with a million connections, but only just: it is the default of fs.nr_open, so 48,576 are "
     "left for everything else and two million need both raised. It holds for this shell and its children; a service "
     "takes LimitNOFILE from its unit. roost needs no such limit, since it spreads over processes.",
     true},
    {"net.core.rmem_max = 134217728", "/proc/sys/net/core/rmem_max", Worth::pointless,
     "It caps setsockopt(SO_RCVBUF). TCP sizes its buffers by tcp_rmem and does not ask this setting, and an idle "
     "connection holds no buffer at either value. What it does: any program may now pin 128 MiB in one socket, and "
     "a program that sets SO_RCVBUF turns TCP's own sizing off.",
     true},
    {"net.core.wmem_max = 134217728", "/proc/sys/net/core/wmem_max", Worth::pointless,
     "The same for SO_SNDBUF. A server with very many connections wants the opposite: a small tcp_wmem maximum, since "
     "peers that never read make the kernel hold that much for each of them.",
     true},
    {"net.ipv4.tcp_tw_reuse = 1", "/proc/sys/net/ipv4/tcp_tw_reuse", Worth::depends,
     "For the side that dials (a proxy, a load generator): a port in TIME_WAIT may be dialled from again after a "
     "second. "
     "For a server's incoming connections it does nothing. The default 2 already does it on loopback.",
     true},
    {"net.core.somaxconn = 65535", "/proc/sys/net/core/somaxconn", Worth::helps,
     "Useful for bursts, and free: it is a ceiling, not an allocation. It works only for listeners that ask for such a "
     "backlog in listen(), and it cannot replace accepting in time. 4096 has been the default since Linux 5.4.",
     true},
    {"net.ipv4.tcp_max_syn_backlog = 8192", "/proc/sys/net/ipv4/tcp_max_syn_backlog", Worth::pointless,
     "Ignored while tcp_syncookies is 1, its default: then half-open connections are bounded by the listen backlog "
     "alone. "
     "With SYN cookies off it counts, three quarters of it for unknown peers.",
     true},
    {"net.ipv4.ip_local_port_range = 10000 65535", "/proc/sys/net/ipv4/ip_local_port_range", Worth::depends,
     "For the side that dials: 55,536 instead of 28,232 connections for each source address and target. A server "
     "needs none of these ports, however many connections it accepts. A service that listens above 10000 can lose its "
     "port to an outgoing connection: list it in ip_local_reserved_ports.",
     true},
    {"SO_REUSEADDR and SO_REUSEPORT on the listener", "", Worth::depends,
     "SO_REUSEADDR is right: a server that starts again may bind while old connections are in TIME_WAIT (roost sets it). "
     "SO_REUSEPORT is for several processes on one port, as roost echo --processes uses it: the kernel deals connections "
     "by a hash, so some get more than their share, and those in the queue of a process that ends are reset. One process "
     "alone gains nothing, and a second server started by mistake takes half of the connections without an error.",
     true},
    {"TCP_NODELAY on every connection", "", Worth::helps,
     "Small answers go out at once instead of waiting for an acknowledgement. roost sets it on the listener, from which "
     "the kernel hands it on, so it costs no call a connection. Who writes in small pieces should buffer them instead.",
     true},
    {"keep-alive every 3 minutes on every connection", "/proc/sys/net/ipv4/tcp_keepalive_time", Worth::depends,
     "The first probe goes out after 3 minutes of silence; with the kernel's 9 probes of 75 s a vanished peer is given up "
     "after 14 minutes and 15 seconds, so set those as well. A million idle connections send 5,556 probes a second. It finds "
     "peers that are gone, never those that hang or attack: for these it takes a read deadline.",
     true},
    {"net.ipv4.tcp_tw_recycle = 1", "/proc/sys/net/ipv4/tcp_tw_recycle", Worth::gone,
     "Removed in Linux 4.12, because it dropped connections from clients behind one NAT address. The line now only "
     "makes "
     "sysctl -p report an error; delete it.",
     false},
    {"net.ipv4.tcp_mem = 131072 262144 524288", "/proc/sys/net/ipv4/tcp_mem", Worth::harmful,
     "These are pages of 4 KiB, not bytes: this sets 2 GiB, which on a machine with more than 22 GiB is less than the "
     "kernel's own choice. Copies with 94500000 915000000 927000000 allow 3.5 TiB, which is no limit at all. Leave it; "
     "idle "
     "connections use none of it.",
     false},
    {"LimitNOFILE=infinity", "/proc/sys/fs/nr_open", Worth::harmful,
     "infinity means fs.nr_open, on some distributions 1,073,741,816. Programs that close every possible descriptor, "
     "or size a table by the limit, then take minutes or gigabytes. Name a number.",
     false},
    {"net.ipv4.tcp_fin_timeout = 1", "/proc/sys/net/ipv4/tcp_fin_timeout", Worth::harmful,
     "Does not shorten TIME_WAIT, which is 60 s in the source code. It bounds FIN_WAIT2 of sockets that the program "
     "has closed, so a small value cuts slow peers off while they close.",
     false},
    {"net.ipv4.tcp_timestamps = 0", "/proc/sys/net/ipv4/tcp_timestamps", Worth::harmful,
     "Saves 12 bytes a packet and gives up tcp_tw_reuse, round-trip measurement and the protection against old "
     "segments.",
     false},
    {"net.ipv4.tcp_max_tw_buckets = 6000", "/proc/sys/net/ipv4/tcp_max_tw_buckets", Worth::harmful,
     "Ends TIME_WAIT early for all beyond it, to save 256 bytes each. Let the clients close first instead.", false},
    {"net.core.rmem_default = 16777216", "/proc/sys/net/core/rmem_default", Worth::pointless,
     "TCP never uses it: tcp_rmem's second value takes its place. It only lets UDP and Unix sockets queue more.",
     false},
    {"net.ipv4.tcp_syncookies = 0", "/proc/sys/net/ipv4/tcp_syncookies", Worth::harmful,
     "Cookies cost nothing until a listener's queue is full, and are then the only way in.", false},
    {"kernel.threads-max, kernel.pid_max", "/proc/sys/kernel/threads-max", Worth::pointless,
     "They count for a thread per connection. Fibers are not threads.", false},
};

}  // namespace

std::span<const Folklore> all_folklore() { return folklore; }

std::vector<FolkloreNow> folklore_here(const System& system) {
  std::vector<FolkloreNow> result;
  for (const auto& entry : folklore) {
    std::string value;
    if (entry.path == "/proc/self/limits") {
      const auto limit = system.descriptor_limit();
      if (limit) value = limit->hard == unlimited ? "unlimited" : std::to_string(limit->hard);
    } else if (auto text = system.read(entry.path)) {
      for (const auto word : split(*text)) value += (value.empty() ? "" : " ") + std::string(word);
    } else if (entry.worth == Worth::gone) {
      value = "no such setting";
    }
    result.push_back({&entry, std::move(value)});
  }
  return result;
}

std::string_view to_string(Worth worth) {
  switch (worth) {
    case Worth::helps:
      return "helps";
    case Worth::depends:
      return "depends";
    case Worth::pointless:
      return "pointless";
    case Worth::harmful:
      return "harmful";
    case Worth::gone:
      return "gone";
  }
  return "";
}

}  // namespace roost::doctor
