// Who may ask, and how much: API keys with limits of their own.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline server {

struct AccessKey {
  std::string key;
  int64_t requests = 0, characters = 0;  // a minute, at most; 0: no limit
};

/// A file of lines "KEY [REQUESTS [CHARACTERS]]", the limits a minute's; empty lines and those that begin with '#' are
/// passed over. UserError naming file and line, never a key: on a key that is there twice, or has not 16 to 128
/// characters, and on numbers that are none; also on a file without keys, and one that others than its owner and group
/// may read.
std::vector<AccessKey> read_keys(const std::filesystem::path& file);

/// Threads may share one.
class AccessControl {
 public:
  using Clock = std::chrono::steady_clock;

  /// Without keys everyone may do everything.
  explicit AccessControl(std::vector<AccessKey> keys = {});
  [[nodiscard]] bool needs_key() const { return !states_.empty(); }
  /// Counts a request with so many characters. A key's limits are refilled evenly over the minute, up to a minute's.
  /// Refusal 400 without a key, 403 on one that is not known (its time does not depend on how much of it is right), and
  /// 429 beyond the limits, where nothing is counted.
  void admit(std::string_view key, int64_t characters, Clock::time_point now = Clock::now());

 private:
  struct Allowance {
    double left = 0;  // of a minute's
    Clock::time_point at = {};
  };
  struct KeyState {
    AccessKey key;
    Allowance requests, characters;
  };
  std::mutex mutex_;
  std::vector<KeyState> states_;
};

}  // namespace chorus::inline server
