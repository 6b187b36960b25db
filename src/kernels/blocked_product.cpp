#include "kernels/blocked_product.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "chorus/kernels/cpu.h"

#include "kernels/transpose.h"

namespace chorus {

namespace {

constexpr int64_t kRows = 6;          // of a register tile: with kWidth, 12 of AVX2's 16 registers
constexpr int64_t kWidth = 16;        // columns of it
constexpr int64_t kDepth = 256;       // taken at once
constexpr int64_t kRowBlock = 240;    // rows of a packed at once: with kDepth, half of a core's second cache
constexpr int64_t kColumnBlock = 64;  // columns of b packed at once
constexpr int64_t kLine = 64;         // bytes the machine fetches at once

/// c [kTileRows, kWidth] (+)= a^T b; a: [depth, kTileRows], b: [depth, kWidth], both packed.
#if defined(__AVX2__)

template <int kTileRows>
void tile(int64_t depth, const float* a, const float* b, float* c, int64_t c_stride, Store store) {
  __m256 sum[kTileRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r) {
    sum[r][0] = sum[r][1] = _mm256_setzero_ps();
  }
  for (int64_t k = 0; k < depth; ++k, a += kTileRows, b += kWidth) {
    const __m256 left = _mm256_loadu_ps(b), right = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) {
      const __m256 x = _mm256_broadcast_ss(a + r);
      sum[r][0] = _mm256_fmadd_ps(x, left, sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(x, right, sum[r][1]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r) {
    float* const row = c + r * c_stride;
    if (store == Store::stream) {
      _mm256_stream_ps(row, sum[r][0]);
      _mm256_stream_ps(row + 8, sum[r][1]);
    } else if (store == Store::add) {
      _mm256_storeu_ps(row, _mm256_add_ps(_mm256_loadu_ps(row), sum[r][0]));
      _mm256_storeu_ps(row + 8, _mm256_add_ps(_mm256_loadu_ps(row + 8), sum[r][1]));
    } else {
      _mm256_storeu_ps(row, sum[r][0]);
      _mm256_storeu_ps(row + 8, sum[r][1]);
    }
  }
}

/// Makes what was streamed visible to other threads like any store.
void end_streaming() {
  _mm_sfence();
}

/// Whether every tile's rows are whole cache lines.
bool streamable(const float* c, int64_t c_stride) {
  return reinterpret_cast<uintptr_t>(c) % kLine == 0 && c_stride % kWidth == 0;
}

#else

template <int kTileRows>
void tile(int64_t depth, const float* a, const float* b, float* c, int64_t c_stride, Store store) {
  float sum[kTileRows][kWidth] = {};
  for (int64_t k = 0; k < depth; ++k) {
    for (int r = 0; r < kTileRows; ++r) {
      for (int i = 0; i < kWidth; ++i) {
        sum[r][i] = std::fma(a[k * kTileRows + r], b[k * kWidth + i], sum[r][i]);
      }
    }
  }
  for (int r = 0; r < kTileRows; ++r) {
    for (int i = 0; i < kWidth; ++i) {
      c[r * c_stride + i] = store == Store::add ? c[r * c_stride + i] + sum[r][i] : sum[r][i];
    }
  }
}

void end_streaming() {}

bool streamable(const float* /*c*/, int64_t /*c_stride*/) {
  return false;
}

#endif

/// By rows - 1.
constexpr std::array<void (*)(int64_t, const float*, const float*, float*, int64_t, Store), kRows> kTiles = {
    tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

/// One thread's room for packed operands; kept, so that its pages are touched once.
struct Room {
  alignas(64) float a[kRowBlock * kDepth];
  alignas(64) float b[kColumnBlock * kDepth];
  alignas(64) float wide[kWidth * kDepth];  // rows of bf16, widened
  alignas(64) float edge[kRows * kWidth];   // a tile that reaches beyond c
};

Room& room() {
  thread_local const std::unique_ptr<Room> mine = std::make_unique<Room>();
  return *mine;
}

/// out [depth, rows] = a [rows, depth] from its row `first` and its column `k`.
template <class T>
CHORUS_INLINE inline void pack_strip(const Strided<T>& a, int64_t first, int64_t k, int64_t rows,
                                     int64_t depth, float* out) {
  const T* const from = a.data + first * a.row + k * a.column;
  for (int64_t i = 0; i < depth; ++i) {
    for (int64_t r = 0; r < rows; ++r) {
      out[i * rows + r] = widen(from[r * a.row + i * a.column]);
    }
  }
}

/// out [depth, kWidth] = b [depth, columns] from its row `k` and its column `first`; zeros beyond `columns`.
template <class T>
CHORUS_INLINE inline void pack_panel(const Strided<T>& b, int64_t first, int64_t k, int64_t columns,
                                     int64_t depth, float* wide, float* out) {
  const T* const from = b.data + k * b.row + first * b.column;
  if (columns < kWidth) {
    std::fill_n(out, depth * kWidth, 0.0F);
  }
  // Where few rows of c make little work of each panel, what counts is to have the next ones on their way.
  if (b.column == 1) {
    for (int64_t i = 0; i < depth; ++i) {
      __builtin_prefetch(from + i * b.row + kColumnBlock);
      for (int64_t j = 0; j < columns; ++j) {
        out[i * kWidth + j] = widen(from[i * b.row + j]);
      }
    }
    return;
  }
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < depth; i += kLine / static_cast<int64_t>(sizeof(T))) {
      __builtin_prefetch(from + (j + kColumnBlock) * b.column + i);
    }
  }
  const auto* rows = reinterpret_cast<const uint32_t*>(from);
  int64_t stride = b.column;
  if constexpr (!std::is_same_v<T, float>) {
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t i = 0; i < depth; ++i) {
        wide[j * kDepth + i] = widen(from[j * b.column + i]);
      }
    }
    rows = reinterpret_cast<const uint32_t*>(wide);
    stride = kDepth;
  }
  transpose(rows, stride, reinterpret_cast<uint32_t*>(out), kWidth, columns, depth);
}

}  // namespace

template <class T>
void blocked_product(int64_t m, int64_t n, int64_t depth, Strided<T> a, Strided<T> b, float* c,
                     int64_t c_stride, Store store) {
  Room& room = chorus::room();
  if (store == Store::stream && (depth > kDepth || !streamable(c, c_stride))) {
    store = Store::overwrite;
  }
  if (depth == 0 && store != Store::add) {
    for (int64_t i = 0; i < m; ++i) {
      std::fill_n(c + i * c_stride, n, 0.0F);
    }
  }
  for (int64_t k = 0; k < depth; k += kDepth) {
    const int64_t slab = std::min(kDepth, depth - k);
    const Store how = k > 0 ? Store::add : store;
    for (int64_t top = 0; top < m; top += kRowBlock) {
      const int64_t height = std::min(kRowBlock, m - top);
      run_kernel([&]() CHORUS_INLINE {
        for (int64_t i = 0; i < height; i += kRows) {
          pack_strip(a, top + i, k, std::min(kRows, height - i), slab, room.a + i * slab);
        }
      });
      for (int64_t left = 0; left < n; left += kColumnBlock) {
        const int64_t columns = std::min(kColumnBlock, n - left);
        run_kernel([&]() CHORUS_INLINE {
          for (int64_t j = 0; j < columns; j += kWidth) {
            pack_panel(b, left + j, k, std::min(kWidth, columns - j), slab, room.wide, room.b + j * slab);
          }
        });
        for (int64_t j = 0; j < columns; j += kWidth) {
          const int64_t width = std::min(kWidth, columns - j);
          for (int64_t i = 0; i < height; i += kRows) {
            const int64_t rows = std::min(kRows, height - i);
            float* const out = c + (top + i) * c_stride + left + j;
            const auto tile_of = kTiles[rows - 1];
            if (width == kWidth) {
              tile_of(slab, room.a + i * slab, room.b + j * slab, out, c_stride, how);
              continue;
            }
            tile_of(slab, room.a + i * slab, room.b + j * slab, room.edge, kWidth, Store::overwrite);
            for (int64_t r = 0; r < rows; ++r) {
              for (int64_t column = 0; column < width; ++column) {
                float& to = out[r * c_stride + column];
                const float sum = room.edge[r * kWidth + column];
                to = how == Store::add ? to + sum : sum;
              }
            }
          }
        }
      }
    }
  }
  if (store == Store::stream) {
    end_streaming();
  }
}

template void blocked_product(int64_t, int64_t, int64_t, Strided<float>, Strided<float>, float*, int64_t,
                              Store);
template void blocked_product(int64_t, int64_t, int64_t, Strided<c10::BFloat16>, Strided<c10::BFloat16>,
                              float*, int64_t, Store);

}  // namespace chorus
