// How much time has passed.
#pragma once

#include <chrono>

namespace chorus::inline base {

/// Seconds since some moment, by a clock that nobody sets back.
inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace chorus::inline base
