#include "kernels/gemm.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/mm.h>

#include "kernels/cpu.h"

#include "kernels/internal/backend.h"
#include "kernels/internal/blocked_product.h"
#include "kernels/internal/transpose.h"

namespace chorus::inline kernels {

namespace {

using at::native::cpublas::brgemm;

constexpr int64_t kTile = 64;  // rows and columns of target that one call of the micro-kernel makes
// How much of the summed dimension is taken at once: two such panels stay in a core's cache.
constexpr int64_t kSlab = 1024;
// The summed dimension is padded with zeros to a multiple of this: the micro-kernel is compiled for each
// depth it sees.
constexpr int64_t kDepthStep = 32;

using Pair = uint32_t;  // two bf16 that are neighbours in the summed dimension, the first in the low half

int64_t tiles(int64_t n) {
  return (n + kTile - 1) / kTile;
}
int64_t padded(int64_t depth) {
  return (depth + kDepthStep - 1) / kDepthStep * kDepthStep;
}

/// A matrix of bf16 with `stride` elements from row to row.
struct Rows {
  const c10::BFloat16* data;
  int64_t stride;
};

/// Rows 0 .. depth of `width` (at most kTile) columns in pairs of rows: out[pair][kTile], zeros up to the
/// padded depth.
CHORUS_INLINE inline void pack_pairs(Rows in, int64_t depth, int64_t width, Pair* out) {
  for (int64_t pair = 0; pair < padded(depth) / 2; ++pair) {
    const auto* low = in.data + 2 * pair * in.stride;
    Pair* const to = out + pair * kTile;
    if (2 * pair + 1 < depth) {
      const auto* high = low + in.stride;
      for (int64_t i = 0; i < width; ++i) {
        to[i] = static_cast<Pair>(low[i].x) | static_cast<Pair>(high[i].x) << 16;
      }
    } else {
      for (int64_t i = 0; i < width; ++i) {
        to[i] = 2 * pair < depth ? low[i].x : 0;
      }
    }
  }
}

/// target (+)= a^T b over all of n, in slabs of kSlab.
void add_product_bf16(float* target, Rows a, Rows b, int64_t n, int64_t rows, int64_t columns,
                      bool overwrite) {
  std::vector<Pair> packed_b(tiles(columns) * padded(std::min(n, kSlab)) / 2 * kTile);
  for (int64_t first = 0; first < n; first += kSlab) {
    const int64_t depth = std::min(kSlab, n - first), pairs = padded(depth) / 2;
    const bool add = !overwrite || first > 0;
    at::parallel_for(0, tiles(columns), 1, [&](int64_t begin, int64_t end) {
      run_kernel([&]() CHORUS_INLINE {
        for (int64_t tile = begin; tile < end; ++tile) {
          const Rows from = {b.data + first * b.stride + tile * kTile, b.stride};
          pack_pairs(from, depth, std::min(kTile, columns - tile * kTile),
                     packed_b.data() + tile * pairs * kTile);
        }
      });
    });
    at::parallel_for(0, tiles(rows), 1, [&](int64_t begin, int64_t end) {
      std::vector<Pair> in_pairs(pairs * kTile), packed_a(pairs * kTile);
      for (int64_t tile = begin; tile < end; ++tile) {
        const int64_t row = tile * kTile, height = std::min(kTile, rows - row);
        run_kernel([&]() CHORUS_INLINE {
          pack_pairs({a.data + first * a.stride + row, a.stride}, depth, height, in_pairs.data());
          transpose(in_pairs.data(), kTile, packed_a.data(), pairs, pairs, height);
        });
        for (int64_t column = 0; column < columns; column += kTile) {
          brgemm(height, std::min(kTile, columns - column), 2 * pairs, 2 * pairs, kTile, columns, add,
                 reinterpret_cast<const at::BFloat16*>(packed_a.data()),
                 reinterpret_cast<const at::BFloat16*>(packed_b.data() + column * pairs),
                 target + row * columns + column);
        }
      }
      at::native::cpublas::brgemm_release();
    });
  }
}

/// out[n, m] = input[n, depth] weight[m, depth]^T, depth even.
void wide_product_bf16(float* out, Rows input, Rows weight, int64_t n, int64_t m, int64_t depth) {
  at::parallel_for(0, tiles(m), 1, [&](int64_t begin, int64_t end) {
    std::vector<Pair> packed(depth / 2 * kTile);
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t column = tile * kTile, width = std::min(kTile, m - column);
      run_kernel([&]() CHORUS_INLINE {
        transpose(reinterpret_cast<const Pair*>(weight.data + column * weight.stride), weight.stride / 2,
                  packed.data(), kTile, width, depth / 2);
      });
      for (int64_t row = 0; row < n; row += kTile) {
        brgemm(std::min(kTile, n - row), width, depth, input.stride, kTile, m, false,
               input.data + row * input.stride, reinterpret_cast<const at::BFloat16*>(packed.data()),
               out + row * m + column);
      }
    }
    at::native::cpublas::brgemm_release();
  });
}

bool widens(const at::Tensor& target, const at::Tensor& a) {
  return target.scalar_type() == at::kFloat && a.scalar_type() == at::kBFloat16;
}

/// With unit stride along the columns.
at::Tensor row_major(const at::Tensor& x) {
  return x.stride(1) == 1 ? x : x.contiguous();
}

Rows rows_of(const at::Tensor& x) {
  return {x.const_data_ptr<c10::BFloat16>(), x.stride(0)};
}

enum class Gives { rows, weight };  // a product of activations' rows, or a weight's gradient

/// Whether a product over the rows of `a` is made in our blocks: where they are faster than MKL, and than
/// oneDNN's bf16 without bf16 arithmetic (docs/performance.md has the times). With fewer than kFewRows, MKL
/// streams a matrix from memory faster than we pack it.
bool in_blocks(const at::Tensor& a, Gives product) {
  constexpr int64_t kFewRows = 4;
  const int64_t rows = a.size(0);
  const bool bf16 = a.scalar_type() == at::kBFloat16;
  if (rows == 0 || !(bf16 || a.scalar_type() == at::kFloat)) return false;
  switch (cpu_isa()) {
    case Isa::plain:
      return bf16 || ((rows >= kFewRows || product == Gives::weight) && rows <= 256);
    case Isa::avx512:  // MKL writes a weight's gradient faster
      return product == Gives::rows && (bf16 || (rows >= kFewRows && rows <= 128));
    case Isa::avx512_bf16:
      break;
  }
  return false;
}

/// [n, m] cut into blocks; f(first row, rows, first column, columns). Wide ones where other threads have work
/// of their own: the rows are packed once for each. The bits do not depend on how it is cut.
template <class F>
void for_blocks(int64_t n, int64_t m, const F& f) {
  constexpr int64_t kBlockRows = 240;
  const int64_t width = at::in_parallel_region() || at::get_num_threads() == 1 ? 1024 : 256;
  const int64_t across = (m + width - 1) / width;
  at::parallel_for(0, (n + kBlockRows - 1) / kBlockRows * across, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t row = block / across * kBlockRows, column = block % across * width;
      f(row, std::min(kBlockRows, n - row), column, std::min(width, m - column));
    }
  });
}

template <class T>
const T* data_or_null(const at::Tensor& x) {
  return x.defined() ? x.const_data_ptr<T>() : nullptr;
}

/// out [n, m] = a b + bias, a: [n, depth], b: [depth, m].
template <class T, class Out>
void product_in_blocks(Out* out, Strided<T> a, Strided<T> b, const T* bias, int64_t n, int64_t m,
                       int64_t depth) {
  for_blocks(n, m, [&](int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const Strided<T> left = {a.data + row * a.row, a.row, a.column};
    const Strided<T> right = {b.data + column * b.column, b.row, b.column};
    Out* const to = out + row * m + column;
    float* sums = nullptr;
    int64_t stride = m;
    if constexpr (std::is_same_v<Out, float>) {
      sums = to;
    } else {
      thread_local std::vector<float> room;
      room.resize(rows * columns);
      sums = room.data();
      stride = columns;
    }
    blocked_product<T>({rows, columns, depth, left, right, sums, stride, Store::overwrite});
    if (bias || !std::is_same_v<Out, float>) {
      run_kernel([&]() CHORUS_INLINE {
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < columns; ++j) {
            to[i * m + j] = narrow<Out>(sums[i * stride + j] + (bias ? widen(bias[column + j]) : 0.0F));
          }
        }
      });
    }
  });
}

template <class T>
Strided<T> strided(const at::Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0), 1};
}
template <class T>
Strided<T> transposed(const at::Tensor& x) {
  return {x.const_data_ptr<T>(), 1, x.stride(0)};
}

/// target [rows, columns] (+)= a^T b
template <class T>
void add_product_in_blocks(float* target, const at::Tensor& a, const at::Tensor& b, bool overwrite) {
  const int64_t columns = b.size(1);
  const Strided<T> left = transposed<T>(a), right = strided<T>(b);
  for_blocks(a.size(1), columns, [&](int64_t row, int64_t rows, int64_t column, int64_t width) {
    blocked_product<T>({.m = rows,
                        .n = width,
                        .depth = a.size(0),
                        .a = {left.data + row, 1, left.column},
                        .b = {right.data + column, right.row, 1},
                        .c = target + row * columns + column,
                        .c_stride = columns,
                        .store = overwrite ? Store::stream : Store::add});
  });
}

}  // namespace

void HostBackend::linear_product(const at::Tensor& out, const at::Tensor& input, const at::Tensor& weight,
                                 const at::Tensor& bias) const {
  if (in_blocks(input, Gives::rows)) {
    const at::Tensor x = row_major(input), w = row_major(weight);
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "linear_product", [&] {
      if constexpr (!std::is_same_v<scalar_t, double>) {
        product_in_blocks(out.mutable_data_ptr<scalar_t>(), strided<scalar_t>(x), transposed<scalar_t>(w),
                          data_or_null<scalar_t>(bias), x.size(0), w.size(0), x.size(1));
      }
    });
  } else {
    Backend::linear_product(out, input, weight, bias);
  }
}

void HostBackend::plain_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) const {
  if (in_blocks(a, Gives::rows)) {
    const at::Tensor left = row_major(a), right = row_major(b);
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, left.scalar_type(), "plain_product", [&] {
      if constexpr (!std::is_same_v<scalar_t, double>) {
        product_in_blocks<scalar_t>(out.mutable_data_ptr<scalar_t>(), strided<scalar_t>(left),
                                    strided<scalar_t>(right), nullptr, left.size(0), right.size(1),
                                    left.size(1));
      }
    });
  } else {
    Backend::plain_product(out, a, b);
  }
}

void HostBackend::add_product(const at::Tensor& target, const at::Tensor& a, const at::Tensor& b,
                              bool overwrite) const {
  if (widens(target, a) && cpu_isa() == Isa::avx512_bf16 && a.size(0) > 0) {
    const at::Tensor left = row_major(a), right = row_major(b);
    add_product_bf16(target.mutable_data_ptr<float>(), rows_of(left), rows_of(right), a.size(0), a.size(1),
                     b.size(1), overwrite);
  } else if (target.scalar_type() == at::kFloat && in_blocks(a, Gives::weight)) {
    const at::Tensor left = row_major(a), right = row_major(b);
    widens(target, a)
        ? add_product_in_blocks<c10::BFloat16>(target.mutable_data_ptr<float>(), left, right, overwrite)
        : add_product_in_blocks<float>(target.mutable_data_ptr<float>(), left, right, overwrite);
  } else {
    target.addmm_(a.to(target.scalar_type()).t(), b.to(target.scalar_type()), overwrite ? 0 : 1);
  }
}

void HostBackend::wide_product(const at::Tensor& given, const at::Tensor& input,
                               const at::Tensor& weight) const {
  at::Tensor out = given;
  if (widens(out, input) && cpu_isa() == Isa::avx512_bf16 && weight.size(1) % 2 == 0 &&
      weight.is_contiguous() && input.size(0) > 0) {
    const at::Tensor left = row_major(input);
    wide_product_bf16(out.mutable_data_ptr<float>(), rows_of(left), rows_of(weight), input.size(0),
                      weight.size(0), weight.size(1));
  } else if (widens(out, input) && in_blocks(input, Gives::rows)) {
    const at::Tensor x = row_major(input), w = row_major(weight);
    product_in_blocks<c10::BFloat16>(out.mutable_data_ptr<float>(), strided<c10::BFloat16>(x),
                                     transposed<c10::BFloat16>(w), nullptr, x.size(0), w.size(0), x.size(1));
  } else {
    at::mm_out(out, input.to(out.scalar_type()), weight.to(out.scalar_type()).t());
  }
}

}  // namespace chorus::inline kernels
