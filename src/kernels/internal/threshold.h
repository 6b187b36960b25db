// The probability of dropout, in the steps of 2^-16 in which it is drawn.
#pragma once

#include <cmath>
#include <cstdint>

namespace chorus::inline kernels {

inline uint16_t threshold_of(double p) {
  return static_cast<uint16_t>(std::lround(p * 65536.0));
}

inline double keep_of(uint16_t threshold) {
  return 1.0 - threshold / 65536.0;
}

}  // namespace chorus::inline kernels
