#include "base/log.h"

#include <cstdio>

#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/message.h"

namespace chorus::inline base {
namespace {

constexpr std::string_view kClearLine = "\r\x1b[K";

void write_stderr(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

int stderr_width() {
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  if (!terminal) return 0;
  winsize size = {};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// The beginning of UTF-8 text that fits in so many columns, one per code point.
std::string_view fit(std::string_view text, int columns) {
  int used = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool continuation = (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
    if (!continuation && ++used > columns) return text.substr(0, i);
  }
  return text;
}

}  // namespace

Console::Console() : Console(Device{write_stderr, stderr_width, steady_seconds}) {}

void Console::print(std::string_view line) {
  if (muted_) return;
  const std::lock_guard lock(mutex_);
  const std::string_view clear = status_.empty() ? std::string_view() : kClearLine;
  device_.write(fmt::format("{}{}\n{}", clear, message_line(line), status_));
}

void Console::show_status(std::string_view text) {
  const std::lock_guard lock(mutex_);
  const int width = device_.width();
  if (width == 0 || quiet()) return;
  status_ = fit(message_line(text), width - 1);
  device_.write(fmt::format("{}{}", kClearLine, status_));
}

void Console::clear_status() {
  const std::lock_guard lock(mutex_);
  if (status_.empty()) return;
  status_.clear();
  device_.write(kClearLine);
}

Console& console() {
  static Console instance;
  return instance;
}

}  // namespace chorus::inline base
