#include "chorus/kernels/gemm.h"

#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/mm.h>

#include "chorus/kernels/cpu.h"

namespace chorus {

namespace {

using at::native::cpublas::brgemm;

constexpr int64_t kTile = 64;  // rows and columns of target that one call of the micro-kernel makes
constexpr int64_t kDepth =
    1024;  // of the summed dimension taken at once: two such panels stay in a core's cache
// The summed dimension is padded with zeros to a multiple of this: the micro-kernel is compiled for each
// depth it sees.
constexpr int64_t kDepthStep = 32;

using Pair = uint32_t;  // two bf16 that are neighbours in the summed dimension, the first in the low half
using Pairs = Pair __attribute__((vector_size(32)));
constexpr int64_t kPairs = 8;

int64_t tiles(int64_t n) {
  return (n + kTile - 1) / kTile;
}
int64_t padded(int64_t depth) {
  return (depth + kDepthStep - 1) / kDepthStep * kDepthStep;
}

/// Transposes the 8 by 8 block at `in` into `out`; strides in elements.
CHORUS_INLINE inline void transpose_block(const Pair* in, int64_t in_stride, Pair* out, int64_t out_stride) {
  Pairs r[kPairs], s[kPairs];
  for (int64_t i = 0; i < kPairs; ++i) {
    std::memcpy(&r[i], in + i * in_stride, sizeof(Pairs));
  }
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
  for (int64_t i = 0; i < kPairs; ++i) {
    std::memcpy(out + i * out_stride, &s[i], sizeof(Pairs));
  }
}

/// out[c][r] = in[r][c]; in: [rows, columns].
CHORUS_INLINE inline void transpose(const Pair* in, int64_t in_stride, Pair* out, int64_t out_stride,
                                    int64_t rows, int64_t columns) {
  const int64_t whole_rows = rows / kPairs * kPairs, whole_columns = columns / kPairs * kPairs;
  for (int64_t r = 0; r < whole_rows; r += kPairs) {
    for (int64_t c = 0; c < whole_columns; c += kPairs) {
      transpose_block(in + r * in_stride + c, in_stride, out + c * out_stride + r, out_stride);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c) {
      std::memcpy(out + c * out_stride + r, in + r * in_stride + c, sizeof(Pair));
    }
  }
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

/// target (+)= a^T b over all of n, in slabs of kDepth.
void add_product_bf16(float* target, Rows a, Rows b, int64_t n, int64_t rows, int64_t columns,
                      bool overwrite) {
  std::vector<Pair> packed_b(tiles(columns) * padded(std::min(n, kDepth)) / 2 * kTile);
  for (int64_t first = 0; first < n; first += kDepth) {
    const int64_t depth = std::min(kDepth, n - first), pairs = padded(depth) / 2;
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

}  // namespace

void add_product(const at::Tensor& target, const at::Tensor& a, const at::Tensor& b, bool overwrite) {
  if (widens(target, a) && a.is_cpu() && cpu_isa() == Isa::avx512_bf16 && a.size(0) > 0) {
    const at::Tensor left = row_major(a), right = row_major(b);
    add_product_bf16(target.mutable_data_ptr<float>(), rows_of(left), rows_of(right), a.size(0), a.size(1),
                     b.size(1), overwrite);
  } else if (widens(target, a) && !a.is_cpu()) {
    const at::Tensor product = at::mm(a.t(), b);
    overwrite ? target.copy_(product) : target.add_(product);
  } else {
    target.addmm_(a.to(target.scalar_type()).t(), b.to(target.scalar_type()), overwrite ? 0 : 1);
  }
}

void wide_product(at::Tensor out, const at::Tensor& input, const at::Tensor& weight) {
  if (widens(out, input) && input.is_cpu() && cpu_isa() == Isa::avx512_bf16 && weight.size(1) % 2 == 0 &&
      weight.is_contiguous() && input.size(0) > 0) {
    const at::Tensor left = row_major(input);
    wide_product_bf16(out.mutable_data_ptr<float>(), rows_of(left), rows_of(weight), input.size(0),
                      weight.size(0), weight.size(1));
  } else if (widens(out, input) && !input.is_cpu()) {
    out.copy_(at::mm(input, weight.t()));
  } else {
    at::mm_out(out, input.to(out.scalar_type()), weight.to(out.scalar_type()).t());
  }
}

}  // namespace chorus
