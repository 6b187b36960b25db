// Transposition of 32-bit elements in blocks of 8 by 8.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu.h"

namespace chorus::inline kernels {

using Words = uint32_t __attribute__((vector_size(32)));
constexpr int64_t kWords = 8;

/// Transposes 8 by 8 elements.
CHORUS_INLINE inline void transpose_words(Words (&r)[kWords]) {
  Words s[kWords];
  for (int i = 0; i < 8; i += 2) {
    s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      r[i + 2 * j] = __builtin_shufflevector(s[i + j], s[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      r[i + 2 * j + 1] = __builtin_shufflevector(s[i + j], s[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; ++i) {
    s[i] = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    s[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
  for (int i = 0; i < 8; ++i) r[i] = s[i];
}

/// Transposes the 8 by 8 block at `in` into `out`; strides in elements.
CHORUS_INLINE inline void transpose_block(const uint32_t* in, int64_t in_stride, uint32_t* out,
                                          int64_t out_stride) {
  Words r[kWords];
  for (int64_t i = 0; i < kWords; ++i) {
    std::memcpy(&r[i], in + i * in_stride, sizeof(Words));
  }
  transpose_words(r);
  for (int64_t i = 0; i < kWords; ++i) {
    std::memcpy(out + i * out_stride, &r[i], sizeof(Words));
  }
}

/// out[c][r] = in[r][c]; in: [rows, columns].
CHORUS_INLINE inline void transpose(const uint32_t* in, int64_t in_stride, uint32_t* out, int64_t out_stride,
                                    int64_t rows, int64_t columns) {
  const int64_t whole_rows = rows / kWords * kWords, whole_columns = columns / kWords * kWords;
  for (int64_t r = 0; r < whole_rows; r += kWords) {
    for (int64_t c = 0; c < whole_columns; c += kWords) {
      transpose_block(in + r * in_stride + c, in_stride, out + c * out_stride + r, out_stride);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c) {
      std::memcpy(out + c * out_stride + r, in + r * in_stride + c, sizeof(uint32_t));
    }
  }
}

}  // namespace chorus::inline kernels
