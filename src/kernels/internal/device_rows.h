// Bodies of a device's kernels (kernels/internal/team.h): rows on their way to experts and back, what an expert does
// between its products, and dropout.
#pragma once

#include "base/random.h"
#include "kernels/activation.h"

#include "kernels/internal/team.h"

namespace chorus::inline kernels {

/// Piece: a token. out = sum_j weight[j] rows[slot[j]].
template <class T>
struct CombineRow {
  const T* rows;        // [M, d]
  const int64_t* slot;  // [N, k]
  const float* weight;  // [N, k]; null: all are 1
  const T* elsewhere;   // rows [first, end); null: none
  int64_t first, end;
  int64_t k, width;
  T* out;  // [N, d]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t token) const {
    for_lanes(team, width, [&](int64_t i) {
      float sum = 0;
      for (int64_t j = token * k; j < (token + 1) * k; ++j) {
        const int64_t row = slot[j];
        if (row < 0) continue;
        const T* const from =
            row >= first && row < end ? elsewhere + (row - first) * width : rows + row * width;
        sum += (weight ? weight[j] : 1) * widen(from[i]);
      }
      out[token * width + i] = narrow<T>(sum);
    });
  }
};

/// The expert of a sorted row; `experts` behind the last one's.
CHORUS_DEVICE inline int64_t expert_of(const int32_t* ends, int64_t experts, int64_t row) {
  int64_t low = 0, high = experts;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    ends[middle] > row ? high = middle : low = middle + 1;
  }
  return low;
}

/// f(element, its sixteen bits) for elements [0, n) of a stretch whose first one is number `first` of those that the key
/// draws for (kernels/dropout.h): eight from one counter, of a block of eight counters for 64 elements.
template <class Team, class F>
CHORUS_DEVICE void for_bits(const Team& team, RandomKey key, int64_t first, int64_t n, const F& f) {
  const int64_t begin = first / 64 * 8, counters = (first + n + 63) / 64 * 8 - begin;
  for_lanes(team, counters, [&](int64_t i) {
    const int64_t counter = begin + i;
    const auto words = philox(key.value(), static_cast<uint64_t>(counter), RandomKey::kDraw);
    for (int64_t part = 0; part < 8; ++part) {
      const int64_t element = counter / 8 * 64 + part * 8 + counter % 8 - first;
      if (element >= 0 && element < n) f(element, words[part / 2] >> (part % 2 * 16) & 0xFFFF);
    }
  });
}

/// A probability of dropout as the sixteen bits see it.
struct DropBy {
  uint32_t threshold = 0;  // less is dropped
  float scale = 1;         // of what is not

  [[nodiscard]] CHORUS_DEVICE float operator()(float x, uint32_t bits) const {
    return bits >= threshold ? x * scale : 0;
  }
};
/// Jitter: x times a factor from `low`, in steps.
struct JitterBy {
  float low, step;

  [[nodiscard]] CHORUS_DEVICE float operator()(float x, uint32_t bits) const {
    return x * (low + step * static_cast<float>(bits));
  }
};

/// Piece: some elements of a stretch. The stretches lie one after the other; the numbers of their elements begin at first,
/// first + distance and so on.
template <class T, class By>
struct DrawStretch {
  static constexpr int64_t kPiece = 4096;
  const T* in;
  T* out;
  By by;
  RandomKey key;
  const int64_t* keys;  // one for each stretch; null: `key` for all
  int64_t length, first, distance;

  [[nodiscard]] CHORUS_DEVICE int64_t pieces() const {
    return (length + kPiece - 1) / kPiece;
  }  // of a stretch

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t piece) const {
    const int64_t stretch = piece / pieces(), begin = piece % pieces() * kPiece;
    const int64_t n = length - begin < kPiece ? length - begin : kPiece;
    const int64_t at = stretch * length + begin;
    for_bits(team, keys ? RandomKey(static_cast<uint64_t>(keys[stretch])) : key,
             first + stretch * distance + begin, n,
             [&](int64_t i, uint32_t bits) { out[at + i] = narrow<T>(by(widen(in[at + i]), bits)); });
  }
};

/// A layer's experts, as far as bodies need them.
struct ExpertRowsOf {
  const int32_t* ends;  // [E]
  int64_t experts;
  // Dropout: keys of tokens, null without; a row's is derived by its expert's number.
  const int64_t *keys, *token;
  int64_t first_expert, first_inner;
  DropBy drop;

  [[nodiscard]] CHORUS_DEVICE RandomKey key_of(int64_t row, int64_t expert) const {
    return RandomKey(static_cast<uint64_t>(keys[token[row]]))
        .derive(static_cast<uint64_t>(first_expert + expert));
  }
  /// f(inner value, what dropout multiplies it by) for the f inner values of a row.
  template <class Team, class F>
  CHORUS_DEVICE void for_inner(const Team& team, int64_t row, int64_t expert, int64_t inner,
                               const F& f) const {
    if (!keys) {
      for_lanes(team, inner, [&](int64_t i) { f(i, 1.0F); });
    } else {
      for_bits(team, key_of(row, expert), first_inner, inner,
               [&](int64_t i, uint32_t bits) { f(i, drop(1, bits)); });
    }
  }
};

CHORUS_DEVICE inline float sigmoid(float x) {
  return 1 / (1 + std::exp(-x));
}
CHORUS_DEVICE inline float normal_below(float x) {  // the share of the normal distribution
  return 0.5F * (1 + std::erf(x * 0.70710678F));
}

/// How far a gate is open, of which it lets x times as much through: sigmoid(u), u = x for swiglu and for geglu
/// 2 sqrt(2 / pi) (x + 0.044715 x^3), which is gelu's approximation by tanh.
CHORUS_DEVICE inline float openness(Activation activation, float x) {
  return sigmoid(activation == Activation::swiglu ? x : 1.59576912F * (x + 0.044715F * x * x * x));
}
/// The derivative of u by x.
CHORUS_DEVICE inline float openness_rate(Activation activation, float x) {
  return activation == Activation::swiglu ? 1 : 1.59576912F * (1 + 0.134145F * x * x);
}

/// Piece: a sorted row. Adds the bias of its expert, and makes of it what the second product takes.
template <class T>
struct ActivateRow {
  ExpertRowsOf of;
  Activation activation;
  const T* bias;  // [E, f']; null: none
  int64_t inner;  // f
  T* kept;        // [M, f'] in: the first product; out: what the activation keeps
  T* out;         // [M, f]; may be `kept` for relu

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t row) const {
    const int64_t e = expert_of(of.ends, of.experts, row);
    if (e == of.experts) return;
    const int64_t width = is_gated(activation) ? 2 * inner : inner;
    const auto biased = [&](int64_t i) {
      const float x = widen(kept[row * width + i]);
      const T sum = narrow<T>(bias ? x + widen(bias[e * width + i]) : x);
      kept[row * width + i] = activation == Activation::relu && widen(sum) < 0 ? T(0) : sum;
      return widen(kept[row * width + i]);
    };
    of.for_inner(team, row, e, inner, [&](int64_t i, float factor) {
      float y = biased(i);
      if (activation == Activation::gelu) y *= normal_below(y);
      if (activation == Activation::silu) y *= sigmoid(y);
      if (is_gated(activation)) y = y * openness(activation, y) * biased(inner + i);
      out[row * inner + i] = narrow<T>(y * factor);
    });
  }
};

/// Piece: a sorted row. From the gradient by what ActivateRow made of it, as if its output had a weight of 1, to that by
/// the first product and that by the weight (kernels/experts.h).
template <class T>
struct ActivateRowBackward {
  ExpertRowsOf of;
  Activation activation;
  const T *by_hidden, *kept;  // [M, f], [M, f']
  int64_t inner, width;
  const T* bias;        // [E, d] of the second product; null: none
  const float* weight;  // [M]
  T* by_output;         // [M, d] becomes weight times itself
  T* by_inner;          // [M, f']; may be by_hidden unless it is gated
  float* by_weight;     // [M]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t row) const {
    const int64_t e = expert_of(of.ends, of.experts, row);
    if (e == of.experts) return;
    const int64_t outer = is_gated(activation) ? 2 * inner : inner;
    float dot = 0;
    of.for_inner(team, row, e, inner, [&](int64_t i, float factor) {
      const float g = widen(by_hidden[row * inner + i]) * factor, x = widen(kept[row * outer + i]);
      T* const to = by_inner + row * outer + i;
      float y = x, slope = x > 0 ? 1 : 0;
      if (activation == Activation::gelu) {
        y = x * normal_below(x);
        slope = normal_below(x) + x * 0.39894228F * std::exp(-0.5F * x * x);
      } else if (activation == Activation::silu) {
        const float s = sigmoid(x);
        y = x * s;
        slope = s * (1 + x * (1 - s));
      } else if (is_gated(activation)) {
        const float s = openness(activation, x), value = widen(kept[row * outer + inner + i]);
        y = x * s * value;
        slope = value * s * (1 + x * (1 - s) * openness_rate(activation, x));
        to[inner] = narrow<T>(weight[row] * g * x * s);
      }
      dot += g * y;
      *to = narrow<T>(weight[row] * g * slope);
    });
    for_lanes(team, width, [&](int64_t i) {
      const float g = widen(by_output[row * width + i]);
      if (bias) dot += g * widen(bias[e * width + i]);
      by_output[row * width + i] = narrow<T>(weight[row] * g);
    });
    dot = team.sum(dot);
    if (team.lane() == 0) by_weight[row] = dot;
  }
};

/// Piece: a sorted row. Adds its expert's bias.
template <class T>
struct AddBiasRow {
  const int32_t* ends;
  int64_t experts, width;
  const T* bias;  // [E, d]
  T* rows;        // [M, d]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t row) const {
    const int64_t e = expert_of(ends, experts, row);
    if (e == experts) return;
    for_lanes(team, width, [&](int64_t i) {
      rows[row * width + i] = narrow<T>(widen(rows[row * width + i]) + widen(bias[e * width + i]));
    });
  }
};

/// Piece: one of kParts parts of an expert's rows. Sums each column.
template <class T>
struct PartOfSum {
  static constexpr int64_t kParts = 16;
  const int32_t* ends;
  int64_t width;
  const T* rows;  // [M, m]
  float* parts;   // [E, kParts, m]

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t piece) const {
    const int64_t e = piece / kParts, part = piece % kParts;
    const int64_t begin = e > 0 ? ends[e - 1] : 0, count = ends[e] - begin;
    const int64_t first = begin + count * part / kParts, last = begin + count * (part + 1) / kParts;
    for_lanes(team, width, [&](int64_t column) {
      float sum = 0;
      for (int64_t row = first; row < last; ++row) sum += widen(rows[row * width + column]);
      parts[piece * width + column] = sum;
    });
  }
};

/// Element: a column of an expert. Adds up its parts.
struct SumOfParts {
  const float* parts;  // [E, kParts, m]
  int64_t width;
  bool overwrite;
  float* sums;  // [E, m]

  CHORUS_DEVICE void operator()(int64_t i) const {
    constexpr int64_t kParts = PartOfSum<float>::kParts;
    float sum = 0;
    for (int64_t part = 0; part < kParts; ++part)
      sum += parts[(i / width * kParts + part) * width + i % width];
    sums[i] = overwrite ? sum : sums[i] + sum;
  }
};

}  // namespace chorus::inline kernels
