// Bodies of a device's kernels (kernels/internal/team.h): norms of rows (kernels/norm.h).
#pragma once

#include "kernels/internal/device_columns.h"

namespace chorus::inline kernels {

/// Row: of any kind.
template <class T>
struct NormRow {
  const T *rows, *weight, *bias;  // [n, d], [d], [d]; a null bias: root-mean-square normalisation
  int64_t width;
  float epsilon;
  T* out;        // [n, d]
  float* mean;   // [n]; null without a bias
  float* scale;  // [n]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t row) const {
    const T* const x = rows + row * width;
    const bool packs = width % kOfRow == 0 && takes_packs<kOfRow>(rows, weight, bias, out);
    const auto average = [&](const auto& of) {
      float sum = 0;
      for_packs<kOfRow>(team, width, packs, [&](auto n, int64_t i) {
        const auto values = read<decltype(n)::value>(x + i);
        for (const float value : values.x) sum += of(value);
      });
      return team.sum(sum) / static_cast<float>(width);
    };
    const float middle = bias ? average([](float value) { return value; }) : 0;
    const float factor =
        1 / std::sqrt(average([&](float value) { return (value - middle) * (value - middle); }) + epsilon);
    for_packs<kOfRow>(team, width, packs, [&](auto n, int64_t i) {
      constexpr int kN = decltype(n)::value;
      Neighbours<kN> y = read<kN>(x + i), added = {};
      const Neighbours<kN> times = read<kN>(weight + i);
      if (bias) added = read<kN>(bias + i);
      for (int l = 0; l < kN; ++l) {
        const float normal = (y.x[l] - middle) * factor;
        y.x[l] = bias ? normal * times.x[l] + added.x[l] : widen(narrow<T>(normal)) * times.x[l];
      }
      write(out + row * width + i, y);
    });
    if (team.lane() > 0) return;
    if (mean) mean[row] = middle;
    scale[row] = factor;
  }
};

/// What both bodies of the way back read.
template <class T>
struct NormedRowsOf {
  const T *grad, *rows;  // [n, d]
  const float* mean;     // [n]; null: root-mean-square normalisation
  const float* scale;    // [n]
  int64_t width;

  /// Normalised elements of a row.
  template <int N>
  [[nodiscard]] CHORUS_DEVICE Neighbours<N> normal(int64_t row, int64_t i) const {
    Neighbours<N> x = read<N>(rows + row * width + i);
    for (float& value : x.x) value = (value - (mean ? mean[row] : 0)) * scale[row];
    return x;
  }
};

/// Row: with n the normalised row and g the gradient w.r.t. n: scale (g - mean(g) - n mean(g n)); the
/// root-mean-square normalisation has no mean(g).
template <class T>
struct NormRowBackward {
  NormedRowsOf<T> of;
  const T* weight;  // [d]
  T* by_rows;       // [n, d]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t row) const {
    const int64_t width = of.width;
    const bool packs = width % kOfRow == 0 && takes_packs<kOfRow>(of.grad, of.rows, weight, by_rows);
    const auto for_elements = [&](const auto& f) {
      for_packs<kOfRow>(team, width, packs, [&](auto n, int64_t i) {
        constexpr int kN = decltype(n)::value;
        Neighbours<kN> g = read<kN>(of.grad + row * width + i);
        const Neighbours<kN> times = read<kN>(weight + i);
        for (int l = 0; l < kN; ++l) g.x[l] *= times.x[l];
        f(i, g, of.template normal<kN>(row, i));
      });
    };
    float sum = 0, dot = 0;
    for_elements([&]<int N>(int64_t, const Neighbours<N>& g, const Neighbours<N>& normal) {
      for (int l = 0; l < N; ++l) {
        sum += g.x[l];
        dot += g.x[l] * normal.x[l];
      }
    });
    const float mean = of.mean ? team.sum(sum) / static_cast<float>(width) : 0;
    const float along = team.sum(dot) / static_cast<float>(width);
    for_elements([&]<int N>(int64_t i, Neighbours<N>& g, const Neighbours<N>& normal) {
      for (int l = 0; l < N; ++l) g.x[l] = of.scale[row] * (g.x[l] - mean - normal.x[l] * along);
      write(by_rows + row * width + i, g);
    });
  }
};

/// Piece: columns of a segment of rows. Sums the gradients w.r.t. weight and, where there is one, bias.
template <class T>
struct NormSegment {
  Segments segments;
  NormedRowsOf<T> of;
  float* sums;  // [segments, d], with a bias [segments, 2 d]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t piece) const {
    const int64_t width = of.width, segment = piece / pieces_of(width);
    const Segments::Range range = segments.range(segment);
    if (range.begin >= range.end) return;
    float* const to = sums + segment * (of.mean ? 2 * width : width);
    for_columns(
        team, piece % pieces_of(width), width, takes_packs<kOfColumns>(of.grad, of.rows, sums),
        [&](auto count, int64_t column) {
          constexpr int kN = decltype(count)::value;
          Neighbours<kN> by_weight = {}, by_bias = {};
          const auto load = [&](int64_t row) {
            return Both<kN>{read<kN>(of.grad + row * width + column), of.template normal<kN>(row, column)};
          };
          for_batches(range, load, [&](const Both<kN>& x) {
            for (int l = 0; l < kN; ++l) {
              by_weight.x[l] += x.g.x[l] * x.normal.x[l];
              by_bias.x[l] += x.g.x[l];
            }
          });
          write(to + column, by_weight);
          if (of.mean) write(to + width + column, by_bias);
        });
  }

 private:
  template <int N>
  struct Both {
    Neighbours<N> g, normal;
  };
};

}  // namespace chorus::inline kernels
