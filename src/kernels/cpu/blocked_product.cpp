#include "kernels/internal/blocked_product.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <type_traits>
#include <utility>

#include <immintrin.h>

#include "kernels/cpu.h"

#include "kernels/internal/transpose.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kDepth = 256;       // taken at once
constexpr int64_t kRowBlock = 240;    // rows of a packed at once: with kDepth, half of a core's second cache
constexpr int64_t kColumnBlock = 64;  // columns of b packed at once where they are whole
constexpr int64_t kLine = 64;         // bytes the machine fetches at once
constexpr int64_t kMostRows = 12, kMostWidth = 32, kMostPiece = 256;  // of the register tiles below

/// The columns of b that are packed next. Tiles ask for two lines of them now and then: memory works while
/// the tiles compute. Asked for at once, they would fill the queue, and the tiles would wait behind it.
struct Ahead {
  const char* data;     // null: nothing
  int64_t stride, run;  // bytes from column to column, and of one that are wanted
  int64_t every;        // steps of a tile
  int64_t done = 0;     // of the run

  CHORUS_INLINE void fetch() {
    __builtin_prefetch(data + done);
    __builtin_prefetch(data + done + kLine);
    done += 2 * kLine;
    if (done >= run) {
      data += stride;
      done = 0;
    }
  }
};

// A register tile makes kRows rows and kWidth columns of c. tile: c [kTileRows, kWidth] (+)= a^T b;
// a: [depth, kTileRows], b: [depth, kWidth], both packed.
//
// Where b's rows are whole, kPiece columns of it are packed at once, and with kFetchesRows the next piece is
// asked for meanwhile. On a CPU with AVX-512 long pieces, which its prefetchers follow, were measured to be
// faster; in AVX2 code short ones that are asked for.

struct Plain {
  static constexpr int64_t kRows = 6, kWidth = 16;  // 12 sums in 16 registers
  static constexpr int64_t kPiece = 64;
  static constexpr bool kFetchesRows = true;

  template <int kTileRows>
  static void tile(int64_t depth, const float* a, const float* b, float* c, int64_t c_stride, Store store,
                   Ahead& ahead) {
    int64_t due = ahead.data ? 0 : -1;
    __m256 sum[kTileRows][2];
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) {
      sum[r][0] = sum[r][1] = _mm256_setzero_ps();
    }
    for (int64_t k = 0; k < depth; ++k, a += kTileRows, b += kWidth) {
      if (k == due) {
        ahead.fetch();
        due += ahead.every;
      }
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
};

struct Avx512 {
  static constexpr int64_t kRows = 12, kWidth = 32;  // 24 sums in 32 registers
  static constexpr int64_t kPiece = 256;
  static constexpr bool kFetchesRows = false;

  template <int kTileRows>
  __attribute__((target(CHORUS_AVX512))) static void tile(int64_t depth, const float* a, const float* b,
                                                          float* c, int64_t c_stride, Store store,
                                                          Ahead& ahead) {
    int64_t due = ahead.data ? 0 : -1;
    __m512 sum[kTileRows][2];
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
      sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < depth; ++k, a += kTileRows, b += kWidth) {
      if (k == due) {
        ahead.fetch();
        due += ahead.every;
      }
      const __m512 left = _mm512_loadu_ps(b), right = _mm512_loadu_ps(b + 16);
#pragma GCC unroll 16
      for (int r = 0; r < kTileRows; ++r) {
        const __m512 x = _mm512_set1_ps(a[r]);
        sum[r][0] = _mm512_fmadd_ps(x, left, sum[r][0]);
        sum[r][1] = _mm512_fmadd_ps(x, right, sum[r][1]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
      float* const row = c + r * c_stride;
      if (store == Store::stream) {
        _mm512_stream_ps(row, sum[r][0]);
        _mm512_stream_ps(row + 16, sum[r][1]);
      } else if (store == Store::add) {
        _mm512_storeu_ps(row, _mm512_add_ps(_mm512_loadu_ps(row), sum[r][0]));
        _mm512_storeu_ps(row + 16, _mm512_add_ps(_mm512_loadu_ps(row + 16), sum[r][1]));
      } else {
        _mm512_storeu_ps(row, sum[r][0]);
        _mm512_storeu_ps(row + 16, sum[r][1]);
      }
    }
  }
};

/// Makes what was streamed visible to other threads like any store.
void end_streaming() {
  _mm_sfence();
}

/// Whether every tile's rows are whole cache lines.
bool streamable(const float* c, int64_t c_stride) {
  return reinterpret_cast<uintptr_t>(c) % kLine == 0 && c_stride * sizeof(float) % kLine == 0;
}

using Tile = void (*)(int64_t, const float*, const float*, float*, int64_t, Store, Ahead&);

/// By rows - 1.
template <class Shape>
constexpr auto kTiles = []<size_t... kIndex>(std::index_sequence<kIndex...>) {
  return std::array<Tile, Shape::kRows>{Shape::template tile<kIndex + 1>...};
}
(std::make_index_sequence<Shape::kRows>());

/// One thread's room for packed operands; kept, so that its pages are touched once.
struct Room {
  alignas(64) float a[kRowBlock * kDepth];
  alignas(64) float b[kMostPiece * kDepth];
  alignas(64) float wide[kMostWidth * kDepth];     // rows of bf16, widened
  alignas(64) float edge[kMostRows * kMostWidth];  // a tile that reaches beyond c
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
  if constexpr (std::is_same_v<T, float>) {
    if (a.column == 1) {
      transpose(reinterpret_cast<const uint32_t*>(from), a.row, reinterpret_cast<uint32_t*>(out), rows, rows,
                depth);
      return;
    }
  }
  for (int64_t i = 0; i < depth; ++i) {
    for (int64_t r = 0; r < rows; ++r) {
      out[i * rows + r] = widen(from[r * a.row + i * a.column]);
    }
  }
}

/// Panels of kWidth columns, each [depth, kWidth], zeros beyond `columns`, of b [depth, columns] at `from`,
/// whose rows are whole.
template <class Shape, class T>
CHORUS_INLINE inline void pack_rows(const T* from, int64_t stride, int64_t columns, int64_t depth,
                                    float* out) {
  constexpr int64_t kWidth = Shape::kWidth;
  for (int64_t i = 0; i < depth; ++i) {
    for (int64_t j = 0; j < columns; j += kWidth) {
      float* const to = out + j * depth + i * kWidth;
      const int64_t width = std::min(kWidth, columns - j);
      if constexpr (Shape::kFetchesRows) {
        __builtin_prefetch(from + i * stride + j + Shape::kPiece);
      }
      if (width == kWidth) {
        for (int64_t lane = 0; lane < kWidth; ++lane) {
          to[lane] = widen(from[i * stride + j + lane]);
        }
        continue;
      }
      for (int64_t lane = 0; lane < kWidth; ++lane) {
        to[lane] = lane < width ? widen(from[i * stride + j + lane]) : 0.0F;
      }
    }
  }
}

/// One such panel of b whose columns are whole, `columns` of kWidth.
template <int64_t kWidth, class T>
CHORUS_INLINE inline void pack_columns(const T* from, int64_t stride, int64_t columns, int64_t depth,
                                       float* wide, float* out) {
  if (columns < kWidth) {
    std::fill_n(out, depth * kWidth, 0.0F);
  }
  const auto* rows = reinterpret_cast<const uint32_t*>(from);
  if constexpr (!std::is_same_v<T, float>) {
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t i = 0; i < depth; ++i) {
        wide[j * kDepth + i] = widen(from[j * stride + i]);
      }
    }
    rows = reinterpret_cast<const uint32_t*>(wide);
    stride = kDepth;
  }
  transpose(rows, stride, reinterpret_cast<uint32_t*>(out), kWidth, columns, depth);
}

/// For `steps` of depth in all to fetch `columns` of b, whose columns are whole, from (k, first) on.
template <class T>
Ahead ahead_of(const Strided<T>& b, int64_t k, int64_t first, int64_t depth, int64_t columns, int64_t steps) {
  const int64_t size = sizeof(T), run = depth * size, pairs = columns * ((run + 2 * kLine - 1) / (2 * kLine));
  return {.data = reinterpret_cast<const char*>(b.data + k + first * b.column),
          .stride = b.column * size,
          .run = run,
          .every = std::max<int64_t>(1, steps / pairs)};
}

template <class Shape, class T>
void product(const BlockedProduct<T>& p) {
  const int64_t m = p.m, n = p.n, depth = p.depth, c_stride = p.c_stride;
  const Strided<T> a = p.a, b = p.b;
  float* const c = p.c;
  Store store = p.store;
  constexpr int64_t kRows = Shape::kRows, kWidth = Shape::kWidth;
  static_assert(kRows <= kMostRows && kWidth <= kMostWidth);
  const int64_t block = b.column == 1 ? Shape::kPiece : kColumnBlock;
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
      // Strips of nearly one height: a tile of one row takes as long as one of four.
      const int64_t strips = (height + kRows - 1) / kRows, strip = (height + strips - 1) / strips;
      run_kernel([&]() CHORUS_INLINE {
        for (int64_t i = 0; i < height; i += strip) {
          pack_strip(a, top + i, k, std::min(strip, height - i), slab, room.a + i * slab);
        }
      });
      for (int64_t left = 0; left < n; left += block) {
        const int64_t columns = std::min(block, n - left);
        run_kernel([&]() CHORUS_INLINE {
          const T* const from = b.data + k * b.row + left * b.column;
          if (b.column == 1) {
            pack_rows<Shape>(from, b.row, columns, slab, room.b);
            return;
          }
          for (int64_t j = 0; j < columns; j += kWidth) {
            pack_columns<kWidth>(from + j * b.column, b.column, std::min(kWidth, columns - j), slab,
                                 room.wide, room.b + j * slab);
          }
        });
        Ahead ahead = {};
        if (b.column != 1 && left + block < n) {
          const int64_t tiles = strips * ((columns + kWidth - 1) / kWidth);
          ahead = ahead_of(b, k, left + block, slab, std::min(block, n - left - block), tiles * slab);
        }
        for (int64_t j = 0; j < columns; j += kWidth) {
          const int64_t width = std::min(kWidth, columns - j);
          for (int64_t i = 0; i < height; i += strip) {
            const int64_t rows = std::min(strip, height - i);
            float* const out = c + (top + i) * c_stride + left + j;
            const Tile tile = kTiles<Shape>[rows - 1];
            if (width == kWidth) {
              tile(slab, room.a + i * slab, room.b + j * slab, out, c_stride, how, ahead);
              continue;
            }
            tile(slab, room.a + i * slab, room.b + j * slab, room.edge, kWidth, Store::overwrite, ahead);
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

}  // namespace

template <class T>
void blocked_product(const BlockedProduct<T>& p) {
  cpu_isa() == Isa::plain ? product<Plain>(p) : product<Avx512>(p);
}

template void blocked_product(const BlockedProduct<float>&);
template void blocked_product(const BlockedProduct<c10::BFloat16>&);

}  // namespace chorus::inline kernels
