#include <roost/sync/object_pool.h>

#include <functional>
#include <thread>

#include "runtime/worker.h"

namespace roost::detail {

std::size_t pool_shard(std::size_t count) noexcept {
  const runtime::Worker* worker = runtime::current_worker();
  return (worker != nullptr ? worker->index() : std::hash<std::thread::id>{}(std::this_thread::get_id())) % count;
}

}  // namespace roost::detail
