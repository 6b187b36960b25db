// The register tiles of kernels/internal/product_kernel.h: what they multiply, in which shapes, and how they ask
// memory for what comes next.
#pragma once

#include <cstring>
#include <type_traits>
#include <vector>

#include <c10/util/BFloat16.h>

#include "kernels/cpu.h"

#include "kernels/internal/fused.h"
#include "kernels/internal/product_kernel.h"

namespace chorus::inline kernels {

// In elements (below), rows or bytes.
inline constexpr int64_t kSlab = 256;       // elements of a chain
inline constexpr int64_t kLeftRows = 24;    // of left, that tiles make together: whole tiles of all shapes
inline constexpr int64_t kLeftGroup = 48;   // of left, written out together
inline constexpr int64_t kMostRight = 256;  // rows of right, taken at once
inline constexpr int64_t kMostPanel = 64;   // of them, in a panel
inline constexpr int64_t kStep = 16;        // elements after which a tile prepares more of what is next
inline constexpr int64_t kLine = 64;        // bytes that memory gives at once
// Elements of right, packed at once: they stay in near caches.
inline constexpr int64_t kMostPacked = 512 * 1024;
// Elements from row to row of copies: no power of two (see conflict()).
inline constexpr int64_t kCopyStride = kSlab + 2;

// What is multiplied. An element is what a tile broadcasts: one fp32, or two bf16 that are neighbours in depth.

struct SingleElements {
  using Element = float;
  static constexpr int64_t kDepth = 1;  // of an element
  template <class V>
  CHORUS_INLINE static void add_product(V& sum, const Element& left, const V& right) {
    sum += left * right;
  }
};

struct PairElements {
  using Element = uint32_t;
  static constexpr int64_t kDepth = 2;
  template <class V>
  CHORUS_INLINE_AVX512 static void add_product(V& sum, const Element& left, const V& right) {
    if constexpr (sizeof(V) == 64) {
      asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(right), "m"(left));
    } else {
      asm("vdpbf16ps %2%{1to8%}, %1, %0" : "+v"(sum) : "v"(right), "m"(left));
    }
  }
};

// Shapes of tiles: so many rows of left by 1, 2 .. vectors of right's rows, as registers allow.

struct PlainTiles {
  static constexpr int64_t kBytes = 32;
  static constexpr int64_t kVectors = 3;
  static constexpr int64_t kRows[] = {12, 6, 4};  // 12 sums in 16 registers
};
struct WideTiles {
  static constexpr int64_t kBytes = 64;
  static constexpr int64_t kVectors = 4;
  static constexpr int64_t kRows[] = {24, 12, 8, 6};  // 24 sums in 32 registers
};
/// For few rows on CPUs with AVX-512, which would leave half of a wide vector empty.
struct HalfTiles {
  static constexpr int64_t kBytes = 32;
  static constexpr int64_t kVectors = 4;
  static constexpr int64_t kRows[] = {24, 12, 8, 6};
};

template <class Shape>
inline constexpr int64_t kTileLanes = Shape::kBytes / static_cast<int64_t>(sizeof(float));

/// How the rows of left lie in memory.
enum class RowsLie { along_depth, across_depth };

/// bf16 bits of a number.
CHORUS_INLINE inline uint32_t bits_of(c10::BFloat16 x) {
  return x.x;
}
CHORUS_INLINE inline uint32_t bits_of(float x) {
  return narrow<c10::BFloat16>(x).x;
}

/// to[i] = the element of row i, for `count` rows that lie across depth; `high`: the number after `low` in depth,
/// null where there is none.
template <class Mode, class T>
CHORUS_INLINE inline void copy_elements(const T* low, const T* high, int64_t count,
                                        typename Mode::Element* to) {
  if constexpr (std::is_same_v<Mode, SingleElements>) {
    for (int64_t i = 0; i < count; ++i) to[i] = widen(low[i]);
  } else if (high) {
    for (int64_t i = 0; i < count; ++i) to[i] = bits_of(low[i]) | bits_of(high[i]) << 16;
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = bits_of(low[i]);
  }
}

/// to[i] = element i of a row that lies along depth.
template <class Mode, class T>
CHORUS_INLINE inline void copy_along(const T* from, int64_t count, typename Mode::Element* to) {
  if constexpr (sizeof(T) * Mode::kDepth == sizeof(*to)) {
    std::memcpy(to, from, count * sizeof(*to));
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = widen(from[i]);
  }
}

/// kLeftRows rows of left over a slab, of numbers T in memory.
template <class Mode, RowsLie kLie, class T>
struct LeftBlock {
  using Element = typename Mode::Element;
  static constexpr bool kAlong = kLie == RowsLie::along_depth;
  /// Where its numbers lie, and how far it is from row to row, or from number to number of a row.
  struct Source {
    const T* from = nullptr;  // null: nothing
    int64_t stride = 0;
  };

  const Element* data = nullptr;
  // Elements from row to row, along depth; across depth kLeftRows elements lie side by side.
  int64_t stride = 0;
  Source copied;  // the next block, which tiles copy meanwhile, each panel its share
  Element* copy = nullptr;
  Source asked;  // a block that memory is asked for: the next, or the one after where the next is copied
  int64_t panel = 0, panels = 1;

  [[nodiscard]] CHORUS_INLINE const Element* at(int64_t row, int64_t k) const {
    return kAlong ? data + row * stride + k : data + k * kLeftRows + row;
  }

  /// Elements k .. k + kStep of later blocks, by the tile of kTileRows rows that begins with `row`.
  template <int64_t kTileRows>
  CHORUS_INLINE void prepare(int64_t row, int64_t k) const {
    if constexpr (kAlong) {
      if (k / kStep % panels != panel) return;
      const int64_t first = k * Mode::kDepth;
      if (asked.from) {
        CHORUS_UNROLL
        for (int64_t r = row; r < row + kTileRows; ++r)
          __builtin_prefetch(asked.from + r * asked.stride + first, 0, kTileRows > 8 ? 2 : 3);
      }
      if (copied.from) {
        for (int64_t r = row; r < row + kTileRows; ++r)
          copy_along<Mode>(copied.from + r * copied.stride + first, kStep, copy + r * kCopyStride + k);
      }
    } else {
      const int64_t tile = panel * kLeftRows + row, all = panels * kLeftRows;
      const int64_t end = k + (tile + kTileRows) * kStep / all;
      for (int64_t i = k + tile * kStep / all; i < end; ++i) {
        if (asked.from) {
          for (int64_t number = i * Mode::kDepth; number < (i + 1) * Mode::kDepth; ++number) {
            __builtin_prefetch(asked.from + number * asked.stride, 0, 2);
            __builtin_prefetch(asked.from + number * asked.stride + kLeftRows - 1, 0, 2);
          }
        }
        if (copied.from) {
          const T* const low = copied.from + i * Mode::kDepth * copied.stride;
          copy_elements<Mode>(low, low + copied.stride, kLeftRows, copy + i * kLeftRows);
        }
      }
    }
  }
};

template <class V>
CHORUS_INLINE_AVX512 inline void stream_store(float* to, const V& x) {
  asm("vmovntps %1, %0" : "=m"(*reinterpret_cast<V*>(to)) : "v"(x));
}

/// sums [kTileRows, width], `stride` from row to row, = or += the products of the rows from `row` on and a
/// panel, while later blocks of left are prepared.
template <class Mode, class Shape, int64_t kVectors, class Left>
CHORUS_INLINE inline void multiply_tile(const Left& left, int64_t row, const float* right, int64_t depth,
                                        float* sums, int64_t stride, Store store) {
  using V = Floats<Shape::kBytes>;
  constexpr int64_t kTileRows = Shape::kRows[kVectors - 1];
  // Many rows that lie apart have too few registers for their addresses: each is used several times.
  constexpr int64_t kUnroll = Left::kAlong && kVectors == 1 && kTileRows == 24 ? 4 : 1;
  V total[kTileRows][kVectors] = {};
  const auto steps = [&]<int64_t kCount>(int64_t k) CHORUS_INLINE {
    V x[kCount][kVectors];
    CHORUS_UNROLL
    for (int64_t i = 0; i < kCount; ++i) {
      CHORUS_UNROLL
      for (int64_t v = 0; v < kVectors; ++v)
        load(right + ((k + i) * kVectors + v) * kTileLanes<Shape>, x[i][v]);
    }
    CHORUS_UNROLL
    for (int64_t r = 0; r < kTileRows; ++r) {
      const auto* const from = left.at(row + r, k);
      CHORUS_UNROLL
      for (int64_t i = 0; i < kCount; ++i) {
        CHORUS_UNROLL
        for (int64_t v = 0; v < kVectors; ++v) Mode::add_product(total[r][v], from[i], x[i][v]);
      }
    }
  };
  int64_t k = 0;
  for (; k + kStep <= depth; k += kStep) {
    left.template prepare<kTileRows>(row, k);
    for (int64_t i = 0; i < kStep; i += kUnroll) steps.template operator()<kUnroll>(k + i);
  }
  for (; k < depth; ++k) steps.template operator()<1>(k);
  CHORUS_UNROLL
  for (int64_t r = 0; r < kTileRows; ++r) {
    CHORUS_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) {
      float* const to = sums + (row + r) * stride + v * kTileLanes<Shape>;
      if (store == Store::stream) {
        stream_store(to, total[r][v]);
        continue;
      }
      if (store == Store::add) {
        V before;
        load(to, before);
        total[r][v] += before;
      }
      std::memcpy(to, &total[r][v], sizeof(V));
    }
  }
}

/// A block of left by one panel of right.
template <class Mode, class Shape, int64_t kVectors, class Left>
CHORUS_INLINE inline void multiply_block(const Left& left, const float* right, int64_t depth, float* sums,
                                         int64_t stride, Store store) {
  for (int64_t row = 0; row < kLeftRows; row += Shape::kRows[kVectors - 1])
    multiply_tile<Mode, Shape, kVectors>(left, row, right, depth, sums, stride, store);
}

/// Rows of right, packed: for each slab, for each panel, [elements][rows of the panel].
struct RightPanels {
  /// Rows `first` .. `first + vectors * lanes`, zeros beyond the last there is.
  struct Panel {
    int64_t first, vectors;
  };
  std::vector<Panel> panels;
  int64_t width = 0;  // of all panels
  const float* data = nullptr;
};

}  // namespace chorus::inline kernels
