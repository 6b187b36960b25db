// The register tiles of kernels/internal/quantized_product.h: exact sums over a group, by instruction set and type.
//
// A mode's vector holds the sums of some rows of the weight, one after the other: all 16 of a block, or half of them.
#pragma once

#include <cstring>
#include <type_traits>

#include <immintrin.h>

#include "kernels/cpu.h"

#include "kernels/internal/fused.h"
#include "kernels/internal/quantized_product.h"

namespace chorus::inline kernels {

inline constexpr int64_t kFewInputs = 4;       // rows
inline constexpr int64_t kQuantizedLine = 64;  // bytes: four columns of a block in int8, eight in int4

/// A group of some rows of input.
template <class Value>
struct InputGroup {
  const Value* values;
  const float* scales;
  const int32_t* offsets;  // what sums begin with
  int64_t groups;          // from row to row, of each of them
};

/// By vpdpbusd, which adds the products of four bytes of the weight, unsigned, and four of the input, signed.
template <Quantization kType>
struct VnniTiles {
  using Input = int8_t;
  using Ints __attribute__((vector_size(64))) = int32_t;
  using Bytes __attribute__((vector_size(64))) = uint8_t;

  CHORUS_INLINE_AVX512 static void add_products(Ints& sum, const Bytes& weight, const Ints& input) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weight), "v"(input));
  }
  /// Four columns of the input, for all rows of the weight.
  CHORUS_INLINE_AVX512 static void broadcast(const void* input, Ints& to) {
    asm("vpbroadcastd %1, %0" : "=v"(to) : "m"(*static_cast<const float*>(input)));
  }
  /// sums [kRows][kVectors] of the group at weight[vector] by that of the input; for few rows memory is asked for what
  /// lies `ahead` bytes further.
  template <int64_t kRows, int64_t kVectors>
  CHORUS_INLINE static void multiply(const uint8_t* const* weight, int64_t ahead,
                                     const InputGroup<Input>& input, Ints (&sums)[kRows][kVectors]) {
    constexpr int64_t kColumns = kType == Quantization::int8 ? 4 : 8;  // of a line
    Ints sum[kRows][kVectors];
    CHORUS_UNROLL
    for (int64_t r = 0; r < kRows; ++r) {
      CHORUS_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) broadcast(input.offsets + r * input.groups, sum[r][v]);
    }
    CHORUS_UNROLL
    for (int64_t i = 0; i < kQuantizedGroup / kColumns; ++i) {
      Bytes low[kVectors], high[kVectors];
      CHORUS_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) {
        if constexpr (kRows <= kFewInputs) __builtin_prefetch(weight[v] + i * kQuantizedLine + ahead, 0, 2);
        std::memcpy(&low[v], weight[v] + i * kQuantizedLine, sizeof(Bytes));
        if constexpr (kType == Quantization::int4) {
          high[v] = low[v] >> 4;
          low[v] = low[v] & 15;
        }
      }
      CHORUS_UNROLL
      for (int64_t r = 0; r < kRows; ++r) {
        const int8_t* const x = input.values + r * input.groups * kQuantizedGroup + i * kColumns;
        Ints four;
        broadcast(x, four);
        CHORUS_UNROLL
        for (int64_t v = 0; v < kVectors; ++v) add_products(sum[r][v], low[v], four);
        if constexpr (kType == Quantization::int4) {
          broadcast(x + 4, four);
          CHORUS_UNROLL
          for (int64_t v = 0; v < kVectors; ++v) add_products(sum[r][v], high[v], four);
        }
      }
    }
    CHORUS_UNROLL
    for (int64_t r = 0; r < kRows; ++r) {
      CHORUS_UNROLL
      for (int64_t v = 0; v < kVectors; ++v) sums[r][v] = sum[r][v];
    }
  }
};

/// By AVX2. Products of two bytes, summed, do not fit 16 bits; so int8 is widened to 16 bits before. Those with four
/// bits do, and sums of eight such do.
template <Quantization kType>
struct WideningTiles {
  using Input = std::conditional_t<kType == Quantization::int8, int16_t, int8_t>;
  using Ints __attribute__((vector_size(32))) = int32_t;

  template <int64_t kRows, int64_t kVectors>
  CHORUS_INLINE static void multiply(const uint8_t* const* weight, int64_t ahead,
                                     const InputGroup<Input>& input, Ints (&sums)[kRows][kVectors]) {
    if constexpr (kType == Quantization::int8) {
      __m256i half[kRows][kVectors][2];  // of each sum the parts of the first two columns and of the last
      CHORUS_UNROLL
      for (int64_t r = 0; r < kRows; ++r) {
        CHORUS_UNROLL
        for (int64_t v = 0; v < kVectors; ++v) half[r][v][0] = half[r][v][1] = _mm256_setzero_si256();
      }
      CHORUS_UNROLL
      for (int64_t i = 0; i < kQuantizedGroup / 4; ++i) {
        CHORUS_UNROLL
        for (int64_t v = 0; v < kVectors; ++v) {
          const __m256i w = load_line<kRows>(weight[v], i, ahead), zero = _mm256_setzero_si256();
          const __m256i low = _mm256_unpacklo_epi8(w, zero), high = _mm256_unpackhi_epi8(w, zero);
          CHORUS_UNROLL
          for (int64_t r = 0; r < kRows; ++r) {
            const __m256i x = broadcast<int64_t>(input.values + r * input.groups * kQuantizedGroup + i * 4);
            add32(half[r][v][0], _mm256_madd_epi16(low, x));
            add32(half[r][v][1], _mm256_madd_epi16(high, x));
          }
        }
      }
      CHORUS_UNROLL
      for (int64_t r = 0; r < kRows; ++r) {
        CHORUS_UNROLL
        for (int64_t v = 0; v < kVectors; ++v)
          sums[r][v] = reinterpret_cast<Ints>(_mm256_hadd_epi32(half[r][v][0], half[r][v][1])) +
                       input.offsets[r * input.groups];
      }
    } else {
      // Lines whose products are summed up in 16 bits: 8 * 2 * 15 * 127 < 2^15.
      constexpr int64_t kTogether = 4;
      const __m256i low_bits = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
      CHORUS_UNROLL
      for (int64_t part = 0; part < kQuantizedGroup / 8; part += kTogether) {
        __m256i sum[kRows][kVectors];
        CHORUS_UNROLL
        for (int64_t r = 0; r < kRows; ++r) {
          CHORUS_UNROLL
          for (int64_t v = 0; v < kVectors; ++v) sum[r][v] = _mm256_setzero_si256();
        }
        CHORUS_UNROLL
        for (int64_t i = part; i < part + kTogether; ++i) {
          CHORUS_UNROLL
          for (int64_t v = 0; v < kVectors; ++v) {
            const __m256i w = load_line<kRows>(weight[v], i, ahead);
            const __m256i low = _mm256_and_si256(w, low_bits),
                          high = _mm256_and_si256(_mm256_srli_epi16(w, 4), low_bits);
            CHORUS_UNROLL
            for (int64_t r = 0; r < kRows; ++r) {
              const Input* const x = input.values + r * input.groups * kQuantizedGroup + i * 8;
              add16(sum[r][v], _mm256_maddubs_epi16(low, broadcast<int32_t>(x)));
              add16(sum[r][v], _mm256_maddubs_epi16(high, broadcast<int32_t>(x + 4)));
            }
          }
        }
        CHORUS_UNROLL
        for (int64_t r = 0; r < kRows; ++r) {
          CHORUS_UNROLL
          for (int64_t v = 0; v < kVectors; ++v) {
            const auto whole = reinterpret_cast<Ints>(_mm256_madd_epi16(sum[r][v], ones));
            sums[r][v] = whole + (part == 0 ? input.offsets[r * input.groups] - Ints{} : sums[r][v]);
          }
        }
      }
    }
  }

 private:
  // In place: g++ 12 copies sums around a loop otherwise, and keeps one in memory, which all then wait for.
  CHORUS_INLINE static void add32(__m256i& sum, __m256i what) {
    asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(what));
  }
  CHORUS_INLINE static void add16(__m256i& sum, __m256i what) {
    asm("vpaddw %1, %0, %0" : "+x"(sum) : "x"(what));
  }
  template <int64_t kRows>
  CHORUS_INLINE static __m256i load_line(const uint8_t* weight, int64_t i, int64_t ahead) {
    if constexpr (kRows <= kFewInputs) __builtin_prefetch(weight + i * kQuantizedLine + ahead, 0, 2);
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weight + i * kQuantizedLine));
  }
  /// The four columns at x, for all rows.
  template <class Word>
  CHORUS_INLINE static __m256i broadcast(const Input* x) {
    Word four;
    std::memcpy(&four, x, sizeof four);
    if constexpr (sizeof four == 8) return _mm256_set1_epi64x(four);
    return _mm256_set1_epi32(static_cast<int>(four));
  }
};

}  // namespace chorus::inline kernels
