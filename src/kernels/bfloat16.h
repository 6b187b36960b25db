// Between bf16 and fp32, in every kernel: the host's (kernels/cpu.h), and those that nvcc compiles
// (kernels/internal/team.h).
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include <c10/util/BFloat16.h>

#ifdef __CUDACC__
#define CHORUS_EVERYWHERE __device__ inline
#else
#define CHORUS_EVERYWHERE __attribute__((always_inline)) inline
#endif

namespace chorus::inline kernels {

CHORUS_EVERYWHERE float widen(float x) {
  return x;
}
CHORUS_EVERYWHERE double widen(double x) {
  return x;
}
CHORUS_EVERYWHERE float widen(c10::BFloat16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.x) << 16);
}

/// Rounds to nearest even; NaN stays NaN. Without the branch of c10's own conversion, so that loops
/// vectorise.
template <class T>
CHORUS_EVERYWHERE T narrow(std::floating_point auto x) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    const auto bits = std::bit_cast<uint32_t>(static_cast<float>(x));
    const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    return {static_cast<uint16_t>(nan ? 0x7FC0 : rounded), c10::BFloat16::from_bits()};
  } else {
    return x;
  }
}

}  // namespace chorus::inline kernels
