// `roost top HOST:PORT`: the live view of a running server, from its metrics endpoint.
#pragma once

namespace CLI {
class App;
}

namespace roost::top {

void add_top_command(CLI::App& app, int& exit_status);

}  // namespace roost::top
