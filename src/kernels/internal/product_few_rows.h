// Products of up to four rows with a weight whose rows lie along depth: what bounds them is reading the weight.
//
// Tiles would leave most of a register empty, and load each element of the weight alone. Here a register holds
// eight rows of the weight, transposed in registers, and the input's elements are broadcast. The chains, and so
// the bits, are those of kernels/internal/product_kernel.h.
#pragma once

#include <algorithm>

#include "kernels/internal/product_packing.h"
#include "kernels/internal/transpose.h"

namespace chorus::inline kernels {

inline constexpr int64_t kFewRows = 4;

/// Eight elements of a row of the weight; fewer than eight: zeros for the others.
template <class Mode, class T>
CHORUS_INLINE inline void load_elements(const T* from, Words& to) {
  if constexpr (sizeof(T) * Mode::kDepth == sizeof(uint32_t)) {
    std::memcpy(&to, from, sizeof to);
  } else {
    uint16_t narrow __attribute__((vector_size(16)));
    std::memcpy(&narrow, from, sizeof narrow);
    to = __builtin_convertvector(narrow, Words) << 16;
  }
}

/// sums [kRows][8 kBlocks] of one chain after the other: kRows rows of `elements` elements, with as many zeros
/// behind them as make the number whole eights, by the rows of a weight that begin at `row` [8 kBlocks].
template <class Mode, int64_t kRows, int64_t kBlocks, class T>
CHORUS_INLINE inline void multiply_few(const T* const* row, int64_t depth, int64_t ahead,
                                       const typename Mode::Element* x, int64_t x_stride, int64_t elements,
                                       float* sums) {
  using V = Floats<sizeof(Words)>;
  const auto multiply = [&](V(&chain)[kRows][kBlocks], int64_t block, int64_t k, const auto& load_row)
                            CHORUS_INLINE {
                              Words w[kWords];
                              CHORUS_UNROLL
                              for (int64_t i = 0; i < kWords; ++i)
                                load_row(row[block * kWords + i] + k * Mode::kDepth, w[i]);
                              transpose_words(w);
                              CHORUS_UNROLL
                              for (int64_t i = 0; i < kWords; ++i) {
                                V column;
                                std::memcpy(&column, &w[i], sizeof column);
                                CHORUS_UNROLL
                                for (int64_t r = 0; r < kRows; ++r)
                                  Mode::add_product(chain[r][block], x[r * x_stride + k + i], column);
                              }
                            };
  const auto load_whole = [](const T* from, Words& to) CHORUS_INLINE { load_elements<Mode>(from, to); };
  const int64_t whole = depth / Mode::kDepth / kWords * kWords;  // elements that are there
  for (int64_t first = 0; first < elements; first += kSlab) {
    V chain[kRows][kBlocks] = {};
    const int64_t end = std::min(elements, first + kSlab), whole_end = std::min(whole, end);
    int64_t k = first;
    for (; k + kStep <= whole_end; k += kStep) {  // of each row a cache line
      CHORUS_UNROLL
      for (int64_t block = 0; block < kBlocks; ++block) {
        CHORUS_UNROLL
        for (int64_t i = block * kWords; i < (block + 1) * kWords; ++i)
          __builtin_prefetch(row[i] + ahead + k * Mode::kDepth, 0, 2);
        CHORUS_UNROLL
        for (int64_t i = 0; i < kStep; i += kWords) multiply(chain, block, k + i, load_whole);
      }
    }
    for (; k < whole_end; k += kWords) {
      CHORUS_UNROLL
      for (int64_t block = 0; block < kBlocks; ++block) multiply(chain, block, k, load_whole);
    }
    if (k < end) {
      const int64_t left = depth - k * Mode::kDepth;
      const auto load_rest = [left](const T* from, Words& to) CHORUS_INLINE {
        T padded[kWords * Mode::kDepth] = {};
        std::memcpy(padded, from, left * sizeof(T));
        load_elements<Mode>(padded, to);
      };
      CHORUS_UNROLL
      for (int64_t block = 0; block < kBlocks; ++block) multiply(chain, block, k, load_rest);
    }
    CHORUS_UNROLL
    for (int64_t r = 0; r < kRows; ++r) {
      CHORUS_UNROLL
      for (int64_t block = 0; block < kBlocks; ++block) {
        float* const to = sums + (r * kBlocks + block) * kWords;
        if (first > 0) {
          V before;
          load(to, before);
          chain[r][block] += before;
        }
        std::memcpy(to, &chain[r][block], sizeof(V));
      }
    }
  }
}

}  // namespace chorus::inline kernels
