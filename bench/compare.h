// Two ways of one thing, timed in turn in the same run, so that a change of the machine's speed hits both.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include <benchmark/benchmark.h>

namespace chorus::bench {

inline double median(std::vector<double> seconds) {
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<int64_t>(seconds.size() / 2),
                   seconds.end());
  return seconds[seconds.size() / 2];
}

template <class Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// For a benchmark with UseManualTime(): the time is that of `ours`; counters give the medians in
/// milliseconds and "speedup", the median of `peer` over that of `ours`.
template <class Ours, class Peer>
void compare(benchmark::State& state, const Ours& ours, const Peer& peer) {
  ours();
  peer();
  std::vector<double> our_seconds, peer_seconds;
  for ([[maybe_unused]] const auto unused : state) {
    peer_seconds.push_back(seconds_of(peer));
    our_seconds.push_back(seconds_of(ours));
    state.SetIterationTime(our_seconds.back());
  }
  state.counters["ours_ms"] = median(our_seconds) * 1e3;
  state.counters["peer_ms"] = median(peer_seconds) * 1e3;
  state.counters["speedup"] = median(peer_seconds) / median(our_seconds);
}

}  // namespace chorus::bench
