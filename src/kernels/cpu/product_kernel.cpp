#include "kernels/internal/product_kernel.h"

#include <algorithm>
#include <type_traits>

#include <ATen/Parallel.h>
#include <immintrin.h>

#include "kernels/cpu.h"

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

/// Sums [outputs][width] become outputs `first` .. of the part's rows.
template <class Out>
void write(const Target<Out>& target, const float* sums, int64_t width, const RowRange& outputs,
           const RowRange& rows) {
  ProductRoom& own = product_room();
  const Epilogue& e = target.epilogue;
  run_kernel([&]() CHORUS_INLINE {
    transpose(reinterpret_cast<const uint32_t*>(sums), width, reinterpret_cast<uint32_t*>(own.outputs),
              kLeftGroup, outputs.count, rows.count);
    for (int64_t i = 0; i < rows.count; ++i) {
      float* const sum = own.outputs + i * kLeftGroup;
      const int64_t row = rows.first + i;
      if (e.bias)
        for (int64_t j = 0; j < outputs.count; ++j) sum[j] += e.bias[outputs.first + j];
      if (e.relu)
        for (int64_t j = 0; j < outputs.count; ++j) sum[j] = sum[j] < 0 ? 0 : sum[j];
      if (e.residual) {
        const float* const residual = e.residual + row * e.residual_stride + outputs.first;
        for (int64_t j = 0; j < outputs.count; ++j) sum[j] += residual[j];
      }
      Out* const to = target.data + row * target.stride + outputs.first;
      for (int64_t j = 0; j < outputs.count; ++j) to[j] = narrow<Out>(sum[j]);
    }
  });
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

template <class Mode, class Shape, RowsLie kLie, class Left, class Right, class Out>
void run_by_right(const Product<Left, Right>& p, const Part& part, const Target<Out>& target) {
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
  LeftBlocks<Mode, kLie, Left> blocks(p.left, p.depth);
  for (int64_t first = 0; first < elements; first += at_once) {
    const int64_t count = std::min(at_once, elements - first);
    const RightPanels right = pack_right<Mode, Shape>(rows_from(p.right, part.right.first), part.right.count,
                                                      p.depth, first, count);
    const std::vector<LeftStep> steps = steps_of(part.left, kLeftGroup, first, count);
    for (size_t i = 0; i < steps.size(); ++i) {
      const LeftStep& step = steps[i];
      const int64_t row = step.row - part.left.first, group = row / kLeftGroup * kLeftGroup;
      float* const sums = kept + (keeps ? row : row - group) * width;
      auto left = blocks.block(step, std::span(steps).subspan(i + 1));
      for (size_t panel = 0; panel < right.panels.size(); ++panel) {
        multiply<Mode, Shape>(left, right, panel, step.first - first, step.count,
                              sums + right.panels[panel].first, width,
                              step.first == 0 ? Store::overwrite : Store::add);
      }
      const bool ends = step.first + step.count == elements &&
                        (row - group + step.rows == std::min(kLeftGroup, part.left.count - group));
      if (ends) {
        write(target, kept + (keeps ? group : 0) * width, width,
              {part.left.first + group, row - group + step.rows}, part.right);
      }
    }
  }
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
  const int64_t elements = elements_of<Mode>(p), at_once = packed_at_once(part.right.count);
  if (store == Store::stream && (elements > kSlab || !streamable(out, stride))) store = Store::overwrite;
  float* const edge = product_room().edge;
  LeftBlocks<Mode, kLie, T> blocks(p.left, p.depth);
  for (int64_t first = 0; first < elements; first += at_once) {
    const int64_t count = std::min(at_once, elements - first);
    const RightPanels right = pack_right<Mode, Shape>(rows_from(p.right, part.right.first), part.right.count,
                                                      p.depth, first, count);
    const std::vector<LeftStep> steps = steps_of(part.left, kLeftRows, first, count);
    for (size_t i = 0; i < steps.size(); ++i) {
      const LeftStep& step = steps[i];
      auto left = blocks.block(step, std::span(steps).subspan(i + 1));
      const Store how = step.first == 0 ? store : Store::add;
      for (size_t panel = 0; panel < right.panels.size(); ++panel) {
        const int64_t begin = right.panels[panel].first,
                      width = right.panels[panel].vectors * kTileLanes<Shape>;
        const int64_t columns = std::min(width, part.right.count - begin);
        float* const to = out + step.row * stride + part.right.first + begin;
        const bool whole = step.rows == kLeftRows && columns == width;
        multiply<Mode, Shape>(left, right, panel, step.first - first, step.count, whole ? to : edge,
                              whole ? stride : width, whole ? how : Store::overwrite);
        if (!whole) copy_edge(edge, width, step.rows, columns, to, stride, how == Store::add);
      }
    }
  }
  if (store == Store::stream) _mm_sfence();  // now other threads see it like any store
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
      by_lie.template operator()<PairElements, WideTiles>();
      return;
    }
  }
  rows <= HalfTiles::kVectors* kTileLanes<HalfTiles>
      ? by_lie.template operator()<SingleElements, HalfTiles>()
      : by_lie.template operator()<SingleElements, WideTiles>();
}

/// f(part) by threads: of all rows of right at most kMostRight in each, and of left as many parts as give each
/// thread its share.
void for_parts(int64_t m, int64_t n, int64_t depth, const auto& f) {
  constexpr int64_t kWork = 4 * kGrain;  // multiply-adds that are worth a thread of their own
  const int64_t blocks = (n + kMostRight - 1) / kMostRight, groups = (m + kLeftGroup - 1) / kLeftGroup;
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  const int64_t parts =
      blocks % threads == 0 ? 1 : std::clamp<int64_t>(n * m * depth / kWork, 1, std::min(groups, threads));
  at::parallel_for(0, blocks * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t part = i % parts, row = i / parts * kMostRight;
      const int64_t first = groups * part / parts * kLeftGroup;
      f(Part{.left = {first, std::min(m, groups * (part + 1) / parts * kLeftGroup) - first},
             .right = {row, std::min(kMostRight, n - row)}});
    }
  });
}

}  // namespace

template <class Left, class Right, class Out>
void product_by_right(const Product<Left, Right>& p, Out* out, int64_t stride, const Epilogue& epilogue) {
  for_parts(p.m, p.n, p.depth, [&](const Part& part) {
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
  for_parts(p.m, p.n, p.depth, [&](const Part& part) {
    choose(p, part.right.count, [&]<class Mode, class Shape, RowsLie kLie>() {
      run_by_left<Mode, Shape, kLie>(p, part, out, stride, store);
    });
  });
}

template void product_by_left(const Product<float, float>&, float*, int64_t, Store);
template void product_by_left(const Product<c10::BFloat16, c10::BFloat16>&, float*, int64_t, Store);

}  // namespace chorus::inline kernels
