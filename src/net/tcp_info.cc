// TCP_INFO. Apart from the rest, because the kernel's header and the C library's do not go together.
#include <linux/tcp.h>

#include <netinet/in.h>

#include "net/socket.h"

namespace roost::net {

Result<TcpInfo> tcp_info_of(int fd) noexcept {
  tcp_info raw{};  // an older kernel fills only the front
  socklen_t length = sizeof raw;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &raw, &length) != 0) return fail(last_error());
  using std::chrono::microseconds;
  TcpInfo info;
  info.state = raw.tcpi_state;
  info.rtt = microseconds(raw.tcpi_rtt);
  info.rtt_variance = microseconds(raw.tcpi_rttvar);
  info.rtt_min = microseconds(raw.tcpi_min_rtt);
  info.retransmit_timeout = microseconds(raw.tcpi_rto);
  info.send_window_segments = raw.tcpi_snd_cwnd;
  info.send_segment_bytes = raw.tcpi_snd_mss;
  info.receive_segment_bytes = raw.tcpi_rcv_mss;
  info.unacknowledged_segments = raw.tcpi_unacked;
  info.lost_segments = raw.tcpi_lost;
  info.retransmits_total = raw.tcpi_total_retrans;
  info.bytes_acknowledged = raw.tcpi_bytes_acked;
  info.bytes_received = raw.tcpi_bytes_received;
  info.not_sent_bytes = raw.tcpi_notsent_bytes;
  info.delivery_bytes_per_second = raw.tcpi_delivery_rate;
  return info;
}

}  // namespace roost::net
