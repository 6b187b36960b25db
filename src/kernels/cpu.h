// CPU kernels: written once as plain loops, compiled for several instruction sets, chosen at run time.
//
//   run_kernel([&]() CHORUS_INLINE { for (int64_t i = 0; i < n; ++i) out[i] = a[i] * b[i]; });
//
// The lambda's body is inlined into a function compiled for each instruction set, so what it calls must be
// inline as well. Reductions keep a fixed number of partial sums and say std::fma where they fuse, so that
// every instruction set gives the same bits (the build forbids the compiler to fuse by itself).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include <ATen/core/Tensor.h>

#include "kernels/bfloat16.h"

#define CHORUS_INLINE __attribute__((always_inline))

namespace chorus::inline kernels {

/// Instruction sets, in rising order. `plain` is what the whole program is compiled for (x86-64-v3: AVX2 and
/// FMA).
enum class Isa { plain, avx512, avx512_vnni, avx512_bf16 };

/// The instruction set kernels use now: the best this machine has, unless limited.
Isa cpu_isa();

/// Lets kernels use at most `most` from here on (tests and benchmarks; not while kernels are running).
void limit_isa(Isa most);

// CHORUS_INLINE_AVX512: for a function with assembler on vectors of 512 bits. The fuzzers' clang knows no preferred
// width, and takes such operands only in functions compiled for them.
#ifdef __clang__
#define CHORUS_AVX512 "avx512f,avx512bw,avx512dq,avx512vl"
#define CHORUS_INLINE_AVX512 __attribute__((target(CHORUS_AVX512)))
#else
#define CHORUS_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512"
#define CHORUS_INLINE_AVX512 CHORUS_INLINE
#endif
template <class Kernel>
__attribute__((target(CHORUS_AVX512))) void run_kernel_avx512(const Kernel& kernel) {
  kernel();
}
template <class Kernel>
void run_kernel(const Kernel& kernel) {
  cpu_isa() == Isa::plain ? kernel() : run_kernel_avx512(kernel);
}

/// Fewest elements that are worth a thread of their own, for kernels that do little with each.
inline constexpr int64_t kGrain = 1 << 14;

/// The type sums of T are accumulated in.
template <class T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// exp(x) for x <= 0 to 1.5 units in the last place, branch-free so that loops vectorise; below -87 it stays
/// at exp(-87) (1.6e-38). NaN stays NaN. The polynomial is Cephes' expf.
CHORUS_INLINE inline float exponential(float x) {
  constexpr float kLog2E = 1.44269504F, kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  x = x < -87.0F ? -87.0F : x;
  const float shifted = std::fma(x, kLog2E, kRound), n = shifted - kRound;
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, x));
  float p = 1.9875691500e-4F;
  p = std::fma(p, r, 1.3981999507e-3F);
  p = std::fma(p, r, 8.3334519073e-3F);
  p = std::fma(p, r, 4.1665795894e-2F);
  p = std::fma(p, r, 1.6666665459e-1F);
  p = std::fma(p, r, 5.0000001201e-1F);
  p = std::fma(p * r, r, r) + 1.0F;
  return p * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3F800000U);
}
inline double exponential(double x) {
  return std::exp(x);
}

}  // namespace chorus::inline kernels
