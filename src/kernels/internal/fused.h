// Kernels in which products and sums fuse, unlike in kernels/cpu.h: fast sums of products, whose bits differ
// between instruction sets where the order of the sums does. Vectors, because the compiler does not make them out
// of loops here.
#pragma once

#include "kernels/cpu.h"

namespace chorus::inline kernels {

// Fusing is among the expensive optimizations, which -O1 leaves out: with them, every build gives the same bits.
#define CHORUS_FUSE __attribute__((optimize("fp-contract=fast", "expensive-optimizations")))
// Before a loop over an array of accumulators: unrolled, they stay in registers.
#define CHORUS_UNROLL _Pragma("GCC unroll 32")

template <class Kernel>
CHORUS_FUSE void run_fused_plain(const Kernel& kernel) {
  kernel();
}
template <class Kernel>
__attribute__((target(CHORUS_AVX512))) CHORUS_FUSE void run_fused_avx512(const Kernel& kernel) {
  kernel();
}

template <int64_t kBytes>
struct FloatsOf {
  using type __attribute__((vector_size(kBytes))) = float;
};
/// kBytes / 4 floats.
template <int64_t kBytes>
using Floats = typename FloatsOf<kBytes>::type;

template <class V>
CHORUS_INLINE inline void load(const float* from, V& to) {
  std::memcpy(&to, from, sizeof to);
}
template <class V>
CHORUS_INLINE inline void load(const c10::BFloat16* from, V& to) {
  uint16_t bits __attribute__((vector_size(sizeof(V) / 2)));
  using Words __attribute__((vector_size(sizeof(V)))) = uint32_t;
  std::memcpy(&bits, from, sizeof bits);
  const Words wide = __builtin_convertvector(bits, Words) << 16;
  std::memcpy(&to, &wide, sizeof to);
}
/// The first `count` floats, the others 0.
template <class V>
CHORUS_INLINE inline void load_some(const float* from, int64_t count, V& to) {
  float whole[sizeof(V) / sizeof(float)] = {};
  std::memcpy(whole, from, count * sizeof(float));
  load(whole, to);
}
template <class V>
CHORUS_INLINE inline float sum_of(const V& x) {
  constexpr int64_t kLanes = sizeof(V) / sizeof(float);
  float lanes[kLanes];
  std::memcpy(lanes, &x, sizeof lanes);
  for (int64_t step = kLanes / 2; step > 0; step /= 2)
    for (int64_t lane = 0; lane < step; ++lane) lanes[lane] += lanes[lane + step];
  return lanes[0];
}

}  // namespace chorus::inline kernels
