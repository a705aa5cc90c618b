// The terminal while `roost top` runs: the alternate screen, without echo or cursor, put back when it ends.
#pragma once

#include <termios.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace roost::top {

struct ScreenSize {
  std::size_t columns = 80;
  std::size_t rows = 24;
};
// Of standard output; 80 times 24 when it does not tell.
ScreenSize screen_size();

class Screen {
 public:
  // Takes the terminal over. Keys arrive at keys_fd(), without waiting for a line.
  Screen();
  // As it was before.
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // The terminal, opened anew, so that making it non-blocking concerns nobody who shares standard input; -1: there is none. The
  // caller may take it over.
  [[nodiscard]] int keys_fd() const noexcept { return keys_; }

  // Draws over what stands there.
  void draw(const std::vector<std::string>& lines);

 private:
  int keys_ = -1;
  std::optional<termios> before_;
};

}  // namespace roost::top
