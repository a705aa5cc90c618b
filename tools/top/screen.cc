#include "tools/top/screen.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

namespace roost::top {

ScreenSize screen_size() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

Screen::Screen() {
  termios now{};
  if (::tcgetattr(STDIN_FILENO, &now) == 0) {
    before_ = now;
    // Keys at once and unseen; Ctrl-C and Ctrl-Z stay signals.
    now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    now.c_cc[VMIN] = 1;
    now.c_cc[VTIME] = 0;
    ::tcsetattr(STDIN_FILENO, TCSANOW, &now);
    keys_ = ::open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  }
  std::fputs("\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J", stdout);  // alternate screen, no cursor, clear
  std::fflush(stdout);
}

Screen::~Screen() {
  std::fputs("\x1b[?25h\x1b[?1049l", stdout);
  std::fflush(stdout);
  if (before_) ::tcsetattr(STDIN_FILENO, TCSANOW, &*before_);
}

void Screen::draw(const std::vector<std::string>& lines) {
  // One write a picture, and each line cleared behind its text and not before it: nothing flickers.
  std::string picture = "\x1b[H";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) picture += "\r\n";
    picture += lines[i] + "\x1b[K";
  }
  picture += "\x1b[J";
  std::fwrite(picture.data(), 1, picture.size(), stdout);
  std::fflush(stdout);
}

}  // namespace roost::top
