// What the tiles of kernels/internal/product_tile.h read: rows of `right` in panels, and blocks of `left`.
#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>
#include <type_traits>
#include <vector>

#include "kernels/internal/product_tile.h"
#include "kernels/internal/transpose.h"

namespace chorus::inline kernels {

/// One thread's room; kept, so that its pages are touched once.
struct ProductRoom {
  std::vector<float> right, sums;
  alignas(kLine) float rows[kMostPanel * kSlab];  // of right, converted
  alignas(kLine) float left[2][kLeftRows * kCopyStride];
  alignas(kLine) float edge[kLeftRows * kMostPanel];
};

inline ProductRoom& product_room() {
  thread_local const std::unique_ptr<ProductRoom> mine = std::make_unique<ProductRoom>();
  return *mine;
}

inline float* aligned_room(std::vector<float>& room, int64_t size) {
  constexpr int64_t kFloats = kLine / sizeof(float);
  if (std::ssize(room) < size + kFloats) room.resize(size + kFloats);
  const auto address = reinterpret_cast<uintptr_t>(room.data());
  return room.data() + (kLine - address % kLine) % kLine / sizeof(float);
}

/// to[i] = element `first` + i of a row of `depth` numbers, zero beyond them.
template <class Mode, class T>
CHORUS_INLINE inline void convert_elements(const T* from, int64_t depth, int64_t first, int64_t count,
                                           typename Mode::Element* to) {
  if constexpr (std::is_same_v<Mode, SingleElements>) {
    for (int64_t i = 0; i < count; ++i) to[i] = widen(from[first + i]);
  } else {
    const T* const pair = from + 2 * first;
    const int64_t whole = std::min(count, depth / 2 - first);
    for (int64_t i = 0; i < whole; ++i) to[i] = bits_of(pair[2 * i]) | bits_of(pair[2 * i + 1]) << 16;
    if (whole < count) to[whole] = bits_of(from[depth - 1]);
  }
}

/// to[k * width + j] = element `first` + k of row j, for `count` elements of `rows` rows that lie across depth,
/// zeros up to `width`.
template <class Mode, class T>
CHORUS_INLINE inline void copy_across(const Strided<T>& from, int64_t rows, int64_t depth, int64_t first,
                                      int64_t count, int64_t width, typename Mode::Element* to) {
  for (int64_t k = first; k < first + count; ++k, to += width) {
    const T* const low = from.data + k * Mode::kDepth * from.column;
    const T* const high = (k + 1) * Mode::kDepth <= depth ? low + from.column : nullptr;
    rows == kLeftRows ? copy_elements<Mode>(low, high, kLeftRows, to)
                      : copy_elements<Mode>(low, high, rows, to);
    for (int64_t j = rows; j < width; ++j) to[j] = {};
  }
}

/// [count][width] of `rows` rows of right, element by element, zeros beyond them.
template <class Mode, class T>
void pack_panel(const Strided<T>& right, int64_t rows, int64_t depth, int64_t first, int64_t count,
                int64_t width, float* out) {
  using Element = typename Mode::Element;
  run_kernel([&]() CHORUS_INLINE {
    if (right.row == 1 && right.column != 1) {
      copy_across<Mode>(right, rows, depth, first, count, width, reinterpret_cast<Element*>(out));
      return;
    }
    auto* const to = reinterpret_cast<uint32_t*>(out);
    if (rows < width) std::fill_n(to, count * width, 0);
    if constexpr (std::is_same_v<Mode, SingleElements> && std::is_same_v<T, float>) {
      transpose(reinterpret_cast<const uint32_t*>(right.data + first), right.row, to, width, rows, count);
    } else {
      auto* const converted = reinterpret_cast<Element*>(product_room().rows);
      for (int64_t r = 0; r < rows; ++r)
        convert_elements<Mode>(right.data + r * right.row, depth, first, count, converted + r * kSlab);
      transpose(reinterpret_cast<const uint32_t*>(converted), kSlab, to, width, rows, count);
    }
  });
}

/// Rows of right, of which elements first .. first + count are packed.
template <class Mode, class Shape, class T>
RightPanels pack_right(const Strided<T>& right, int64_t rows, int64_t depth, int64_t first, int64_t count) {
  RightPanels x;
  const int64_t vectors = (rows + kTileLanes<Shape> - 1) / kTileLanes<Shape>;
  const int64_t panels = (vectors + Shape::kVectors - 1) / Shape::kVectors;
  x.width = vectors * kTileLanes<Shape>;
  float* const packed = aligned_room(product_room().right, x.width * count);
  x.data = packed;
  for (int64_t i = 0; i < panels; ++i) {
    const int64_t begin = vectors * i / panels, end = vectors * (i + 1) / panels;
    x.panels.push_back({begin * kTileLanes<Shape>, end - begin});
  }
  for (int64_t k = 0; k < count; k += kSlab) {
    const int64_t slab = std::min(kSlab, count - k);
    for (const RightPanels::Panel& panel : x.panels) {
      const int64_t width = panel.vectors * kTileLanes<Shape>;
      pack_panel<Mode>(Strided<T>{right.data + panel.first * right.row, right.row, right.column},
                       std::min(width, rows - panel.first), depth, first + k, slab, width,
                       packed + k * x.width + panel.first * slab);
    }
  }
  return x;
}

/// Of left, what is multiplied at once: rows `row` .. `row + rows`, elements `first` .. `first + count`.
struct LeftStep {
  int64_t row, rows, first, count;
  bool operator==(const LeftStep&) const = default;
};

/// Whether `rows` rows, `stride` bytes apart, are more than a core's first cache can have side by side: lines that
/// are 4096 bytes apart share a set of 8.
inline bool conflict(int64_t rows, int64_t stride) {
  constexpr int64_t kWay = 4096, kWays = 8;
  return rows > kWays * (kWay / std::gcd(stride, kWay));
}

/// The blocks of left one after the other. What can be read where it lies is; the rest is copied, as far as
/// possible by the tiles of the block before: with zeros for rows that are not there.
template <class Mode, RowsLie kLie, class T>
class LeftBlocks {
 public:
  /// A tile reads `tile_rows` rows at once.
  LeftBlocks(const Strided<T>& left, int64_t depth, int64_t tile_rows)
      : left_(left),
        depth_(depth),
        readable_(kAlong && sizeof(T) * Mode::kDepth == sizeof(Element) && depth % Mode::kDepth == 0 &&
                  left.row % Mode::kDepth == 0 &&
                  reinterpret_cast<uintptr_t>(left.data) % sizeof(Element) == 0 &&
                  !conflict(tile_rows, left.row * static_cast<int64_t>(sizeof(T)))) {}

  /// `later`: what follows `step`.
  LeftBlock<Mode, kLie, T> block(const LeftStep& step, std::span<const LeftStep> later) {
    LeftBlock<Mode, kLie, T> block;
    if (readable_ && step.rows == kLeftRows) {
      block.data = reinterpret_cast<const Element*>(source(step).from);
      block.stride = left_.row / Mode::kDepth;
      if (!later.empty()) block.asked = source(later[0]);
      return block;
    }
    if (!(step == prepared_)) copy(step);
    block.data = room();
    block.stride = kCopyStride;
    if (!later.empty() && !readable_ && fits(step, later[0])) {
      other_ = !other_;
      block.copied = source(later[0]);
      block.copy = room();
      prepared_ = later[0];
    }
    if (later.size() > 1) block.asked = source(later[1]);
    return block;
  }

 private:
  using Element = typename Mode::Element;
  using Source = typename LeftBlock<Mode, kLie, T>::Source;
  static constexpr bool kAlong = kLie == RowsLie::along_depth;

  [[nodiscard]] Source source(const LeftStep& step) const {
    return {left_.data + step.row * left_.row + step.first * Mode::kDepth * left_.column,
            kAlong ? left_.row : left_.column};
  }
  [[nodiscard]] Element* room() const {
    return reinterpret_cast<Element*>(product_room().left[other_ ? 1 : 0]);
  }
  /// Whether tiles can copy all of `next` while they multiply `step`.
  [[nodiscard]] bool fits(const LeftStep& step, const LeftStep& next) const {
    return next.rows == kLeftRows && next.count == step.count && step.count % kStep == 0 &&
           (next.first + next.count) * Mode::kDepth <= depth_;
  }
  void copy(const LeftStep& step) {
    Element* const out = room();
    const T* const rows = left_.data + step.row * left_.row;
    run_kernel([&]() CHORUS_INLINE {
      if constexpr (kAlong) {
        for (int64_t r = 0; r < step.rows; ++r)
          convert_elements<Mode>(rows + r * left_.row, depth_, step.first, step.count, out + r * kCopyStride);
        std::fill(out + step.rows * kCopyStride, out + kLeftRows * kCopyStride, Element{});
      } else {
        copy_across<Mode>(Strided<T>{rows, left_.row, left_.column}, step.rows, depth_, step.first,
                          step.count, kLeftRows, out);
      }
    });
  }

  Strided<T> left_;
  int64_t depth_;
  bool readable_;       // where it lies
  bool other_ = false;  // of the two rooms for copies
  LeftStep prepared_ = {};
};

}  // namespace chorus::inline kernels
