// What /metrics says of requests, in Prometheus' text form.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "server/batcher.h"

namespace chorus::inline server {

/// Threads may share one.
class RequestCounters {
 public:
  /// A request to an endpoint (of those there are, so that labels stay few) was answered after so many seconds.
  void count(const std::string& endpoint, int status, double seconds);
  void count_characters(int64_t characters);
  [[nodiscard]] std::string text(const Batcher::Load& load) const;

 private:
  static constexpr std::array<double, 12> kBounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                     0.5,   1,    2.5,   5,    10,  30};  // seconds
  struct Durations {
    std::array<int64_t, kBounds.size()> within = {};
    int64_t count = 0;
    double sum = 0;
  };
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> requests_;
  std::map<std::string, Durations> durations_;
  int64_t characters_ = 0;
};

}  // namespace chorus::inline server
