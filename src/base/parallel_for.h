// A loop over independent items on a few threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/cores.h"

namespace chorus::inline base {

/// Threads for `wanted`: 0 means as many as this process may keep busy.
inline int thread_count(int wanted) {
  return wanted > 0 ? wanted : default_threads();
}

/// Calls f(i) once for every i in [0, n), on `threads` threads. After an exception the rest is left out and
/// the first one is thrown again.
template <class F>
void parallel_for(int threads, int64_t n, const F& f) {
  std::atomic<int64_t> next = 0;
  std::exception_ptr failure;
  std::mutex mutex;
  const auto work = [&] {
    try {
      for (int64_t i = next++; i < n; i = next++) f(i);
    } catch (...) {
      next = n;
      const std::scoped_lock lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (int64_t i = 1; i < std::min<int64_t>(threads, n); ++i) others.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace chorus::inline base
