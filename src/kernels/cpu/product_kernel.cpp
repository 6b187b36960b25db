#include "kernels/internal/product_kernel.h"

#include <algorithm>
#include <span>
#include <type_traits>
#include <vector>

#include <ATen/Parallel.h>
#include <immintrin.h>

#include "kernels/cpu.h"
#include "kernels/peak.h"

#include "kernels/internal/product_epilogue.h"
#include "kernels/internal/product_few_rows.h"
#include "kernels/internal/product_packing.h"

namespace chorus::inline kernels {

namespace {

template <class Shape, class Kernel>
void run_for(const Kernel& kernel) {
  if constexpr (std::is_same_v<Shape, PlainTiles>) {
    run_fused_plain(kernel);
  } else {
    run_fused_avx512(kernel);
  }
}

/// sums, `stride` from row to row, (+)= a block of left by panel `p` of right, over `slab` elements from `k` on
/// of those packed.
template <class Mode, class Shape, class Left>
void multiply(Left& left, const RightPanels& right, size_t p, int64_t k, int64_t slab, float* sums,
              int64_t stride, Store store) {
  const RightPanels::Panel& panel = right.panels[p];
  left.panel = static_cast<int64_t>(p);
  left.panels = std::ssize(right.panels);
  const float* const from = right.data + k * right.width + panel.first * slab;
  const auto multiply = [&]<int64_t kVectors>() {
    if constexpr (kVectors <= Shape::kVectors) {
      run_for<Shape>([&]() CHORUS_INLINE {
        multiply_block<Mode, Shape, kVectors>(left, from, slab, sums, stride, store);
      });
    }
  };
  switch (panel.vectors) {
    case 1:
      multiply.template operator()<1>();
      break;
    case 2:
      multiply.template operator()<2>();
      break;
    case 3:
      multiply.template operator()<3>();
      break;
    default:
      multiply.template operator()<4>();
  }
}

struct RowRange {
  int64_t first, count;
};

/// Rows of left and of right of which one thread makes the outputs.
struct Part {
  RowRange left, right;
};

/// Returns the most rows of left that a tile takes with so many rows of right.
template <class Shape>
int64_t most_tile_rows(int64_t rows) {
  const int64_t vectors = (rows + kTileLanes<Shape> - 1) / kTileLanes<Shape>;
  const int64_t panels = (vectors + Shape::kVectors - 1) / Shape::kVectors;
  return Shape::kRows[vectors / panels - 1];
}

template <class Mode, class T>
int64_t elements_of(const T& product) {
  return (product.depth + Mode::kDepth - 1) / Mode::kDepth;
}

/// How many elements of so many rows are packed at once.
int64_t packed_at_once(int64_t rows) {
  return std::max(kSlab, kMostPacked / std::max<int64_t>(1, rows) / kSlab * kSlab);
}

template <class T>
Strided<T> rows_from(const Strided<T>& x, int64_t first) {
  return {x.data + first * x.row, x.row, x.column};
}

/// Where the sums of product_by_right() go.
template <class Out>
struct Target {
  Out* data;
  int64_t stride;
  const Epilogue& epilogue;
};

/// Sums [outputs][width], in rows of whole vectors, become outputs of rows.
template <class Out>
void write(const Target<Out>& target, const float* sums, int64_t width, const RowRange& outputs,
           const RowRange& rows) {
  run_kernel([&]() CHORUS_INLINE {
    for (int64_t i = 0; i < rows.count; i += kWords) {
      alignas(kLine) float strip[kWords * kLeftGroup];  // [row][output]
      for (int64_t j = 0; j < outputs.count; j += kWords) {
        transpose_block(reinterpret_cast<const uint32_t*>(sums + j * width + i), width,
                        reinterpret_cast<uint32_t*>(strip) + j, kLeftGroup);
      }
      for (int64_t r = 0; r < std::min(kWords, rows.count - i); ++r) {
        const int64_t row = rows.first + i + r;
        Out* const out = target.data + row * target.stride + outputs.first;
        float* const from = strip + r * kLeftGroup;
        outputs.count == kLeftGroup ? finish(from, target.epilogue, row, outputs.first, kLeftGroup, out)
                                    : finish(from, target.epilogue, row, outputs.first, outputs.count, out);
      }
    }
  });
}

/// Asks memory for rows that will be written.
template <class Out>
void ask_for(const Out* out, int64_t stride, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; ++row) {
    const auto* const first = reinterpret_cast<const char*>(out + row * stride);
    for (int64_t at = 0; at < columns * static_cast<int64_t>(sizeof(Out)); at += kLine)
      __builtin_prefetch(first + at, 1);
  }
}

template <class Mode, class Shape, int64_t kRows, class Left, class Right, class Out>
void run_few(const Product<Left, Right>& p, const Part& part, const Target<Out>& target) {
  using Element = typename Mode::Element;
  // So that chains and a block of the weight fit the registers.
  constexpr int64_t kBlocks = kRows <= 2 ? 3 : 2;
  constexpr int64_t kTogether = kBlocks * kWords;
  const int64_t elements = elements_of<Mode>(p), stride = (elements + kWords - 1) / kWords * kWords;
  auto* const x = reinterpret_cast<Element*>(aligned_room(product_room().right, kRows * stride));
  for (int64_t r = 0; r < kRows; ++r) {
    convert_elements<Mode>(p.right.data + (part.right.first + r) * p.right.row, p.depth, 0, elements,
                           x + r * stride);
    std::fill(x + r * stride + elements, x + (r + 1) * stride, Element{});
  }
  const int64_t end = part.left.first + part.left.count;
  for (int64_t first = part.left.first; first < end; first += kTogether) {
    const Left* row[kTogether];
    for (int64_t i = 0; i < kTogether; ++i) row[i] = p.left.data + std::min(first + i, end - 1) * p.left.row;
    float sums[kRows][kTogether];
    run_for<Shape>([&]() CHORUS_INLINE {
      multiply_few<Mode, kRows, kBlocks>(row, p.depth, kTogether * p.left.row, x, stride, elements,
                                         &sums[0][0]);
    });
    for (int64_t r = 0; r < kRows; ++r) {
      const int64_t to = part.right.first + r;
      for (int64_t i = 0; i < kTogether && first + i < end; i += kWords) {
        finish(sums[r] + i, target.epilogue, to, first + i, std::min(kWords, end - first - i),
               target.data + to * target.stride + first + i);
      }
    }
  }
}

/// The order in which left is taken: of `together` rows all slabs of elements first .. first + count, then of
/// the next.
std::vector<LeftStep> steps_of(const RowRange& left, int64_t together, int64_t first, int64_t count) {
  std::vector<LeftStep> steps;
  const int64_t end = left.first + left.count;
  for (int64_t group = left.first; group < end; group += together) {
    const int64_t group_end = std::min(end, group + together);
    for (int64_t k = first; k < first + count; k += kSlab) {
      for (int64_t row = group; row < group_end; row += kLeftRows)
        steps.push_back({row, std::min(kLeftRows, group_end - row), k, std::min(kSlab, first + count - k)});
    }
  }
  return steps;
}

/// f(step, left, right, k, next) for each step, k being where its slab begins in what is packed of right, and `next`
/// the step after it, null where right is packed anew before it.
template <class Mode, class Shape, RowsLie kLie, class Left, class Right>
void for_steps(const Product<Left, Right>& p, const Part& part, int64_t together, const auto& f) {
  const int64_t elements = elements_of<Mode>(p), at_once = packed_at_once(part.right.count);
  LeftBlocks<Mode, kLie, Left> blocks(p.left, p.depth, most_tile_rows<Shape>(part.right.count));
  for (int64_t first = 0; first < elements; first += at_once) {
    const int64_t count = std::min(at_once, elements - first);
    const RightPanels right = pack_right<Mode, Shape>(rows_from(p.right, part.right.first), part.right.count,
                                                      p.depth, first, count);
    const std::vector<LeftStep> steps = steps_of(part.left, together, first, count);
    for (size_t i = 0; i < steps.size(); ++i) {
      const std::span<const LeftStep> later = std::span(steps).subspan(i + 1);
      auto left = blocks.block(steps[i], later);
      f(steps[i], left, right, steps[i].first - first, later.empty() ? nullptr : &later[0]);
    }
  }
}

template <class Mode, class Shape, RowsLie kLie, class Left, class Right, class Out>
void run_by_right(const Product<Left, Right>& p, const Part& part, const Target<Out>& target) {
  if constexpr (kLie == RowsLie::along_depth) {
    if (p.depth > 0 && p.right.column == 1 && part.right.count <= kFewRows) {
      const auto run = [&]<int64_t kRows>() { run_few<Mode, Shape, kRows>(p, part, target); };
      switch (part.right.count) {
        case 1:
          return run.template operator()<1>();
        case 2:
          return run.template operator()<2>();
        case 3:
          return run.template operator()<3>();
        default:
          return run.template operator()<4>();
      }
    }
  }
  const int64_t elements = elements_of<Mode>(p), at_once = packed_at_once(part.right.count);
  const int64_t width = (part.right.count + kTileLanes<Shape> - 1) / kTileLanes<Shape> * kTileLanes<Shape>;
  const bool keeps = elements > at_once;  // sums of all groups from one pass to the next
  float* const kept =
      aligned_room(product_room().sums, (keeps ? part.left.count + kLeftGroup : kLeftGroup) * width);
  if (elements == 0) {
    std::fill_n(kept, kLeftGroup * width, 0.0F);
    for (int64_t row = 0; row < part.left.count; row += kLeftGroup) {
      write(target, kept, width, {part.left.first + row, std::min(kLeftGroup, part.left.count - row)},
            part.right);
    }
  }
  for_steps<Mode, Shape, kLie>(
      p, part, kLeftGroup,
      [&](const LeftStep& step, auto& left, const RightPanels& right, int64_t k, const LeftStep* /*next*/) {
        const int64_t row = step.row - part.left.first, group = row / kLeftGroup * kLeftGroup;
        const RowRange outputs = {part.left.first + group, std::min(kLeftGroup, part.left.count - group)};
        const bool last_slab = step.first + step.count == elements;
        if (last_slab && row == group) {
          ask_for(target.data + part.right.first * target.stride + outputs.first, target.stride,
                  part.right.count, outputs.count);
        }
        float* const sums = kept + (keeps ? row : row - group) * width;
        for (size_t panel = 0; panel < right.panels.size(); ++panel) {
          multiply<Mode, Shape>(left, right, panel, k, step.count, sums + right.panels[panel].first, width,
                                step.first == 0 ? Store::overwrite : Store::add);
        }
        if (last_slab && row - group + step.rows == outputs.count)
          write(target, kept + (keeps ? group : 0) * width, width, outputs, part.right);
      });
}

/// Whether whole vectors of every row can be streamed.
bool streamable(const float* out, int64_t stride) {
  return reinterpret_cast<uintptr_t>(out) % kLine == 0 &&
         stride * static_cast<int64_t>(sizeof(float)) % kLine == 0;
}

/// to [rows, columns] = or += from, of `width` columns.
void copy_edge(const float* from, int64_t width, int64_t rows, int64_t columns, float* to, int64_t stride,
               bool add) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      float& sum = to[r * stride + j];
      sum = add ? sum + from[r * width + j] : from[r * width + j];
    }
  }
}

template <class Mode, class Shape, RowsLie kLie, class T>
void run_by_left(const Product<T, T>& p, const Part& part, float* out, int64_t stride, Store store) {
  if (store == Store::stream && (elements_of<Mode>(p) > kSlab || !streamable(out, stride)))
    store = Store::overwrite;
  float* const edge = product_room().edge;
  for_steps<Mode, Shape, kLie>(
      p, part, kLeftRows,
      [&](const LeftStep& step, auto& left, const RightPanels& right, int64_t k, const LeftStep* next) {
        const Store how = step.first == 0 ? store : Store::add;
        for (size_t panel = 0; panel < right.panels.size(); ++panel) {
          const int64_t begin = right.panels[panel].first,
                        width = right.panels[panel].vectors * kTileLanes<Shape>;
          const int64_t columns = std::min(width, part.right.count - begin);
          float* const to = out + step.row * stride + part.right.first + begin;
          const bool whole = step.rows == kLeftRows && columns == width;
          if (how == Store::add && next && next->row != step.row)
            ask_for(to + kLeftRows * stride, stride, next->rows, columns);
          multiply<Mode, Shape>(left, right, panel, k, step.count, whole ? to : edge, whole ? stride : width,
                                whole ? how : Store::overwrite);
          if (!whole) copy_edge(edge, width, step.rows, columns, to, stride, how == Store::add);
        }
      });
  if (store == Store::stream) _mm_sfence();  // now other threads see it like any store
}

/// Whether so many rows are made faster in vectors of 256 bits, where there are those of 512.
bool half_tiles(int64_t rows) {
  constexpr int64_t kHalf = kTileLanes<HalfTiles>, kWide = kTileLanes<WideTiles>;
  if (wide_vectors_pay()) return rows <= kHalf;
  // Both do as much, so that what counts is how much of the last one is empty; few rows need smaller tiles.
  return rows <= 2 * kWide || (rows - 1) % kWide < kHalf;
}

/// Calls f<Mode, Shape, RowsLie>() as operands and processor are.
template <class Left, class Right>
void choose(const Product<Left, Right>& p, int64_t rows, const auto& f) {
  const auto by_lie = [&]<class Mode, class Shape>() {
    p.left.column == 1 ? f.template operator()<Mode, Shape, RowsLie::along_depth>()
                       : f.template operator()<Mode, Shape, RowsLie::across_depth>();
  };
  if (cpu_isa() == Isa::plain) {
    by_lie.template operator()<SingleElements, PlainTiles>();
    return;
  }
  if constexpr (std::is_same_v<Left, c10::BFloat16>) {
    if (cpu_isa() == Isa::avx512_bf16) {
      rows <= kTileLanes<HalfTiles> ? by_lie.template operator()<PairElements, HalfTiles>()
                                    : by_lie.template operator()<PairElements, WideTiles>();
      return;
    }
  }
  half_tiles(rows) ? by_lie.template operator()<SingleElements, HalfTiles>()
                   : by_lie.template operator()<SingleElements, WideTiles>();
}

/// f(part) by threads: of right at most `most` rows in each, and of left as many parts as give each thread its
/// share. `by_left`: left is cut anyway, so that outputs that follow each other in memory are one thread's.
template <class Left, class Right>
void for_parts(const Product<Left, Right>& p, int64_t most, bool by_left, const auto& f) {
  constexpr int64_t kWork = 4 * kGrain;  // multiply-adds that are worth a thread of their own
  if (p.m == 0 || p.n == 0) return;
  const int64_t blocks = (p.n + most - 1) / most, groups = (p.m + kLeftGroup - 1) / kLeftGroup;
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  const int64_t parts = !by_left && blocks % threads == 0
                            ? 1
                            : std::clamp<int64_t>(p.n * p.m * p.depth / kWork, 1, std::min(groups, threads));
  at::parallel_for(0, blocks * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t part = by_left ? i / blocks : i % parts, row = (by_left ? i % blocks : i / parts) * most;
      const int64_t first = groups * part / parts * kLeftGroup;
      f(Part{.left = {first, std::min(p.m, groups * (part + 1) / parts * kLeftGroup) - first},
             .right = {row, std::min(most, p.n - row)}});
    }
  });
}

}  // namespace

template <class Left, class Right, class Out>
void product_by_right(const Product<Left, Right>& p, Out* out, int64_t stride, const Epilogue& epilogue) {
  for_parts(p, kMostRight, false, [&](const Part& part) {
    choose(p, part.right.count, [&]<class Mode, class Shape, RowsLie kLie>() {
      run_by_right<Mode, Shape, kLie>(p, part, Target<Out>{out, stride, epilogue});
    });
  });
}

template void product_by_right(const Product<float, float>&, float*, int64_t, const Epilogue&);
template void product_by_right(const Product<c10::BFloat16, float>&, float*, int64_t, const Epilogue&);
template void product_by_right(const Product<c10::BFloat16, c10::BFloat16>&, float*, int64_t,
                               const Epilogue&);
template void product_by_right(const Product<c10::BFloat16, c10::BFloat16>&, c10::BFloat16*, int64_t,
                               const Epilogue&);

template <class T>
void product_by_left(const Product<T, T>& p, float* out, int64_t stride, Store store) {
  if (p.depth == 0 && store != Store::add) {
    for (int64_t row = 0; row < p.m; ++row) std::fill_n(out + row * stride, p.n, 0.0F);
  }
  // The less depth, the more columns at once: then it is the outputs that memory moves.
  const int64_t most =
      std::max(kMostRight, kMostPacked / 8 / std::max<int64_t>(1, p.depth) / kMostRight * kMostRight);
  for_parts(p, most, true, [&](const Part& part) {
    choose(p, part.right.count, [&]<class Mode, class Shape, RowsLie kLie>() {
      run_by_left<Mode, Shape, kLie>(p, part, out, stride, store);
    });
  });
}

template void product_by_left(const Product<float, float>&, float*, int64_t, Store);
template void product_by_left(const Product<c10::BFloat16, c10::BFloat16>&, float*, int64_t, Store);

}  // namespace chorus::inline kernels
