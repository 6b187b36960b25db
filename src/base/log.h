// Messages to the person at the terminal: log lines on standard error, and the one status line below them.
//
// Standard output is for results; nothing here touches it.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace chorus::inline base {

/// Where log lines and progress go. On a terminal the status line stays last: a log line clears it, is
/// printed, and the status comes back below. Thread-safe. Most callers want log_info, log_warning and
/// Progress, which use console().
class Console {
 public:
  struct Device {
    std::function<void(std::string_view)> write;
    std::function<int()> width;       // columns of the terminal; 0 when there is none
    std::function<double()> seconds;  // a clock that never goes back
  };
  /// Standard error.
  Console();
  explicit Console(Device device) : device_(std::move(device)) {}

  /// One line of text, even when quiet.
  void print(std::string_view line);
  /// Replaces the status line; cut to the terminal's width. Nothing when this is not a terminal, or quiet.
  void show_status(std::string_view text);
  void clear_status();

  /// Shows nothing from now on: for all ranks of a run but one.
  void mute() { muted_ = true; }
  void set_quiet(bool quiet) { quiet_ = quiet; }
  [[nodiscard]] bool quiet() const { return quiet_ || muted_; }
  [[nodiscard]] bool is_terminal() const { return device_.width() > 0; }
  [[nodiscard]] double seconds() const { return device_.seconds(); }

 private:
  Device device_;
  std::mutex mutex_;
  std::string status_;
  std::atomic<bool> quiet_ = false, muted_ = false;
};

/// The process's console.
Console& console();

/// A line about what is going on; nothing when quiet.
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  if (!console().quiet()) console().print(fmt::format(format, std::forward<Args>(args)...));
}
/// "warning: ...": something a person should look at though the work goes on.
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  console().print("warning: " + fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace chorus::inline base
