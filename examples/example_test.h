// What the examples' tests share: starting a server of examples/ on a free port.
#pragma once

#include <algorithm>

#include "test/tools/program.h"

namespace roost::test {

// An example that prints "listening on ADDRESS" once it does.
class ExampleServer {
 public:
  explicit ExampleServer(std::vector<std::string> arguments) : program_(std::move(arguments)) {
    EXPECT_TRUE(program_.wait_for_output("\n")) << program_.err();
    const std::string& out = program_.out();
    const std::size_t colon = out.rfind(':');
    if (colon != std::string::npos) port_ = static_cast<std::uint16_t>(std::stoul(out.substr(colon + 1)));
  }

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] Socket connect() const { return Socket::connect(port_); }
  [[nodiscard]] Program& program() { return program_; }

 private:
  Program program_;
  std::uint16_t port_ = 0;
};

}  // namespace roost::test
