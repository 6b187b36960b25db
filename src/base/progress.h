// How far long work has come.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <string_view>

#include "base/log.h"

namespace chorus::inline base {

struct ProgressOptions {
  std::string task;      // "training"
  std::string unit;      // "update": what is counted
  int64_t total = 0;     // 0: not known
  int64_t start = 0;     // done before this process began; it does not count in the rate
  double interval = 10;  // seconds between two lines where there is no terminal
};

/// One line on a terminal, rewritten in place; elsewhere a line at first, every `interval` seconds, and at
/// last:
///
///   training  12%  1200/10000 updates  3.20/s  left 45m50s  loss 4.32
///
/// The rate is that of the last 10 to 20 seconds. Nothing when the console is quiet. Thread-safe; advance()
/// costs a few nanoseconds and a look at the clock when there is nothing to show.
class Progress {
 public:
  explicit Progress(ProgressOptions options, Console& where = console());
  /// Ends as finish() does, without a last line when an exception is passing.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(int64_t more = 1);
  /// Sets what is done; `note` (the loss, say) is shown behind until the next one.
  void update(int64_t done, std::string_view note = {});
  /// Sets, for work of no known total, what it is likely to come to, which gives the share done and the time left.
  void expect(int64_t total);
  /// Says that the work also ends after `seconds`, of which `passed` have passed now.
  void limit(double passed, double seconds);
  /// The last line: what was done, in what time.
  void finish();

 private:
  struct Mark {
    double time = 0;
    int64_t done = 0;
  };
  void show(double now);
  [[nodiscard]] std::string line(double now) const;

  const ProgressOptions options_;
  Console& console_;
  const int exceptions_;  // passing when this was made
  std::atomic<int64_t> done_, expected_;
  std::atomic<double> next_show_;
  std::atomic<double> ends_ = std::numeric_limits<double>::infinity();  // by limit()
  std::atomic<double> lasts_ = 1;                                       // seconds, likewise
  std::mutex mutex_;
  std::string note_;
  double began_ = 0;
  Mark older_, newer_;  // the rate counts from older_
  bool finished_ = false;
};

}  // namespace chorus::inline base
