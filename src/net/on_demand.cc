#include <roost/net/on_demand.h>

#include <roost/go.h>

#include "runtime/netpoll.h"

namespace roost::net {

bool OnDemand::sleep(Conn& conn) noexcept {
  detail::PollDesc* desc = conn.poll_desc();
  return desc != nullptr && desc->sleep(*this);
}

bool OnDemand::take_back(Conn& conn) noexcept {
  detail::PollDesc* desc = conn.poll_desc();
  return desc != nullptr && desc->take_sleeper();
}

void OnDemand::start(detail::Sleeper& self) noexcept {
  auto* woken = static_cast<OnDemand*>(&self);
  go(SpawnOptions{.name = "on-demand"}, [woken] { woken->on_ready(); });
}

}  // namespace roost::net
