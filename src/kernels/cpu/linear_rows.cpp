#include "kernels/linear_rows.h"

#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include "kernels/gemm.h"

#include "kernels/internal/fused.h"

namespace chorus::inline kernels {

namespace {

// A tile is kRows rows of the input times kColumns rows of the weight, both read along k: a pair has one
// accumulator, a vector of partial sums.
struct Plain {
  static constexpr int64_t kBytes = 32;
  static constexpr int64_t kRows = 4, kColumns = 3;  // 12 accumulators and 4 operands in 16 registers
};
struct Wide {
  static constexpr int64_t kBytes = 64;
  static constexpr int64_t kRows = 4, kColumns = 6;  // 24 accumulators and 7 operands in 32 registers
};

// The weight is taken in blocks that stay in a core's second cache while all rows of the input pass.
constexpr int64_t kDepth = 512;        // of k
constexpr int64_t kBlockColumns = 60;  // rows of the weight
constexpr int64_t kGroup = 6;          // of them, what threads share out: whole tiles of either shape

/// A matrix of `stride` elements from row to row.
template <class T>
struct View {
  T* data;
  int64_t stride;
  CHORUS_INLINE T* row(int64_t i) const { return data + i * stride; }
};

/// One input row range and weight row range, both `depth` long.
struct Product {
  View<const float> input, weight;
  View<float> out;
  int64_t depth;
};

/// out = or += the products of a tile. kAhead: the weight comes from memory, so the next tile's is asked for:
/// its rows are too short for the CPU to see a pattern in time.
template <class Shape, int64_t kRows, int64_t kColumns, bool kAhead>
CHORUS_INLINE inline void multiply_tile(const Product& p, int64_t row, int64_t column, bool add) {
  using V = Floats<Shape::kBytes>;
  constexpr int64_t kLanes = Shape::kBytes / static_cast<int64_t>(sizeof(float));
  const View<const float> a = {p.input.row(row), p.input.stride}, b = {p.weight.row(column), p.weight.stride};
  V total[kRows][kColumns] = {};
  const auto add_products = [&](const auto& take) CHORUS_INLINE {
    V right[kColumns];
    CHORUS_UNROLL
    for (int64_t j = 0; j < kColumns; ++j) take(b.row(j), right[j]);
    CHORUS_UNROLL
    for (int64_t i = 0; i < kRows; ++i) {
      V left;
      take(a.row(i), left);
      CHORUS_UNROLL
      for (int64_t j = 0; j < kColumns; ++j) total[i][j] += left * right[j];
    }
  };
  int64_t k = 0;
  for (; k + kLanes <= p.depth; k += kLanes) {
    if constexpr (kAhead) {
      CHORUS_UNROLL
      for (int64_t j = 0; j < kColumns; ++j) __builtin_prefetch(b.row(j + kColumns) + k);
    }
    add_products([&](const float* from, V& to) CHORUS_INLINE { load(from + k, to); });
  }
  if (k < p.depth)
    add_products([&](const float* from, V& to) CHORUS_INLINE { load_some(from + k, p.depth - k, to); });
  CHORUS_UNROLL
  for (int64_t i = 0; i < kRows; ++i) {
    CHORUS_UNROLL
    for (int64_t j = 0; j < kColumns; ++j) {
      const float sum = sum_of(total[i][j]);
      float& out = p.out.row(row + i)[column + j];
      out = add ? out + sum : sum;
    }
  }
}

/// All columns of some rows: whole tiles, then one column at a time.
template <class Shape, int64_t kRows, bool kAhead>
CHORUS_INLINE inline void multiply_rows(const Product& p, int64_t row, int64_t columns, bool add) {
  int64_t column = 0;
  for (; column + Shape::kColumns <= columns; column += Shape::kColumns)
    multiply_tile<Shape, kRows, Shape::kColumns, kAhead>(p, row, column, add);
  for (; column < columns; ++column) multiply_tile<Shape, kRows, 1, kAhead>(p, row, column, add);
}

template <class Shape>
CHORUS_INLINE inline void multiply(const Product& p, int64_t rows, int64_t columns, bool add) {
  static_assert(Shape::kRows == 4);
  int64_t row = 0;
  if (rows >= 4) {
    multiply_rows<Shape, 4, true>(p, 0, columns, add);
    for (row = 4; row + 4 <= rows; row += 4) multiply_rows<Shape, 4, false>(p, row, columns, add);
  }
  if (rows - row == 3) multiply_rows<Shape, 3, true>(p, row, columns, add);
  if (rows - row == 2) multiply_rows<Shape, 2, true>(p, row, columns, add);
  if (rows - row == 1) multiply_rows<Shape, 1, true>(p, row, columns, add);
}

void multiply(const Product& p, int64_t rows, int64_t columns, bool add) {
  if (cpu_isa() != Isa::plain) {
    run_fused_avx512([&]() CHORUS_INLINE { multiply<Wide>(p, rows, columns, add); });
    return;
  }
  run_fused_plain([&]() CHORUS_INLINE { multiply<Plain>(p, rows, columns, add); });
}

/// Bias, relu and residual on columns `first` .. `last` of out.
struct Epilogue {
  const float* bias;           // or null
  View<const float> residual;  // data null: none
  bool relu;

  void apply(View<float> out, int64_t first_row, int64_t last_row, int64_t first, int64_t last) const {
    if (!bias && !residual.data && !relu) return;
    run_kernel([&]() CHORUS_INLINE {
      for (int64_t row = first_row; row < last_row; ++row) {
        float* const to = out.row(row);
        if (bias)
          for (int64_t i = first; i < last; ++i) to[i] += bias[i];
        if (relu)
          for (int64_t i = first; i < last; ++i) to[i] = to[i] < 0 ? 0 : to[i];
        if (residual.data) {
          const float* const from = residual.row(row);
          for (int64_t i = first; i < last; ++i) to[i] += from[i];
        }
      }
    });
  }
};

/// A block of the weight in fp32; what is made of another type lasts until the thread's next call.
View<const float> widened(View<const float> weight, int64_t /*columns*/, int64_t /*depth*/) {
  return weight;
}
View<const float> widened(View<const c10::BFloat16> weight, int64_t columns, int64_t depth) {
  thread_local std::vector<float> block(kBlockColumns * kDepth);
  float* const out = block.data();
  run_kernel([&]() CHORUS_INLINE {
    for (int64_t column = 0; column < columns; ++column) {
      const c10::BFloat16* const from = weight.row(column);
      float* const to = out + column * kDepth;
      for (int64_t k = 0; k < depth; ++k) to[k] = widen(from[k]);
    }
  });
  return {out, kDepth};
}

template <class T>
void run(View<float> out, View<const float> input, View<const T> weight, const Epilogue& epilogue,
         int64_t rows, int64_t columns, int64_t depth) {
  const int64_t groups = (columns + kGroup - 1) / kGroup;
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, depth * kGroup));
  at::parallel_for(0, groups, grain, [&](int64_t begin, int64_t end) {
    const int64_t last = std::min(columns, end * kGroup);
    for (int64_t column = begin * kGroup; column < last; column += kBlockColumns) {
      const int64_t width = std::min(kBlockColumns, last - column);
      for (int64_t k = 0; k < depth; k += kDepth) {
        const int64_t length = std::min(kDepth, depth - k);
        const View<const T> block = {weight.row(column) + k, weight.stride};
        multiply({.input = {input.data + k, input.stride},
                  .weight = widened(block, width, length),
                  .out = {out.data + column, out.stride},
                  .depth = length},
                 rows, width, k > 0);
      }
      epilogue.apply(out, 0, rows, column, column + width);
    }
  });
}

/// Whether libtorch's GEMMs, which pack the weight, beat reading it as it lies.
bool library_is_faster(int64_t rows, at::ScalarType type) {
  constexpr int64_t kFewRows = 8;
  const Isa isa = cpu_isa();
  return rows > kFewRows && (type == at::kBFloat16 ? isa == Isa::avx512_bf16 : isa != Isa::plain);
}

}  // namespace

void linear_rows(at::Tensor out, const at::Tensor& input, const at::Tensor& weight,
                 const LinearRowsOptions& o) {
  const int64_t rows = input.size(0), depth = input.size(1),
                columns = weight.numel() / std::max<int64_t>(1, depth);
  const at::Tensor bias = o.bias.defined() ? o.bias.to(at::kFloat).view(-1) : at::Tensor();
  const Epilogue epilogue = {
      .bias = o.bias.defined() ? bias.const_data_ptr<float>() : nullptr,
      .residual = o.residual.defined()
                      ? View<const float>{o.residual.const_data_ptr<float>(), o.residual.stride(0)}
                      : View<const float>{},
      .relu = o.relu};
  const View<float> to = {out.mutable_data_ptr<float>(), out.stride(0)};
  const View<const float> from = {input.const_data_ptr<float>(), depth};
  if (const at::Tensor flat = weight.view({columns, depth}); library_is_faster(rows, weight.scalar_type())) {
    if (weight.scalar_type() == at::kBFloat16)
      wide_product(out, input.to(at::kBFloat16), flat);
    else
      at::mm_out(out, input, flat.t());
    at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / columns),
                     [&](int64_t begin, int64_t end) { epilogue.apply(to, begin, end, 0, columns); });
  } else if (weight.scalar_type() == at::kBFloat16) {
    run<c10::BFloat16>(to, from, {weight.const_data_ptr<c10::BFloat16>(), depth}, epilogue, rows, columns,
                       depth);
  } else {
    run<float>(to, from, {weight.const_data_ptr<float>(), depth}, epilogue, rows, columns, depth);
  }
}

at::Tensor linear_rows(const at::Tensor& input, const at::Tensor& weight, const LinearRowsOptions& options) {
  const int64_t columns = weight.numel() / std::max<int64_t>(1, input.size(1));
  at::Tensor out = at::empty({input.size(0), columns}, input.options());
  linear_rows(out, input, weight, options);
  return out;
}

}  // namespace chorus::inline kernels
