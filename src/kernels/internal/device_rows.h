// Bodies of a device's kernels (kernels/internal/team.h): rows on their way to experts and back, what an expert does
// between its products, and dropout.
#pragma once

#include "base/random.h"
#include "kernels/activation.h"

#include "kernels/internal/team.h"

namespace chorus::inline kernels {

/// Elements of a row that are worked on at once.
inline constexpr int kOfRow = 8;

/// Row: a token. out = sum_j weight[j] rows[slot[j]].
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
    const bool packs = width % kOfRow == 0 && takes_packs<kOfRow>(rows, elsewhere, out);
    for_packs<kOfRow>(team, width, packs, [&](auto n, int64_t i) {
      constexpr int kN = decltype(n)::value;
      Neighbours<kN> sum = {};
      for (int64_t j = token * k; j < (token + 1) * k; ++j) {
        const int64_t row = slot[j];
        if (row < 0) continue;
        const T* const from =
            row >= first && row < end ? elsewhere + (row - first) * width : rows + row * width;
        const Neighbours<kN> x = read<kN>(from + i);
        const float factor = weight ? weight[j] : 1;
        for (int l = 0; l < kN; ++l) sum.x[l] += factor * x.x[l];
      }
      write(out + token * width + i, sum);
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

/// f(element, its sixteen bits) for elements [0, n) of a stretch whose first one is number `first` of those that the
/// key draws for (kernels/dropout.h): eight from one counter, of a block of eight counters for 64 elements.
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

/// Piece: some elements of a stretch. The stretches lie one after the other; the numbers of their elements begin at
/// first, first + distance and so on.
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
  /// f(HowMany, first of so many inner values, what dropout multiplies them by) for the f inner values of a row; more
  /// than one at a time where there is no dropout and `packs`.
  template <class Team, class F>
  CHORUS_DEVICE void for_inner(const Team& team, int64_t row, int64_t expert, int64_t inner, bool packs,
                               const F& f) const {
    if (!keys) {
      for_packs<kOfRow>(team, inner, packs && inner % kOfRow == 0, [&](auto n, int64_t i) { f(n, i, 1.0F); });
    } else {
      for_bits(team, key_of(row, expert), first_inner, inner,
               [&](int64_t i, uint32_t bits) { f(HowMany<1>(), i, drop(1, bits)); });
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
/// Returns the derivative du/dx.
CHORUS_DEVICE inline float openness_rate(Activation activation, float x) {
  return activation == Activation::swiglu ? 1 : 1.59576912F * (1 + 0.134145F * x * x);
}

/// Row: a sorted one. Adds the bias of its expert, and makes of it what the second product takes.
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
    T* const row_kept = kept + row * width;
    const T* const row_bias = bias ? bias + e * width : nullptr;
    const bool packs = takes_packs<kOfRow>(kept, bias, out);
    of.for_inner(team, row, e, inner, packs, [&](auto n, int64_t i, float factor) {
      constexpr int kN = decltype(n)::value;
      Neighbours<kN> y = biased<kN>(row_kept + i, row_bias ? row_bias + i : nullptr);
      Neighbours<kN> value = {};
      if (is_gated(activation))
        value = biased<kN>(row_kept + inner + i, row_bias ? row_bias + inner + i : nullptr);
      for (int l = 0; l < kN; ++l) {
        float& x = y.x[l];
        if (activation == Activation::gelu) x *= normal_below(x);
        if (activation == Activation::silu) x *= sigmoid(x);
        if (is_gated(activation)) x = x * openness(activation, x) * value.x[l];
        x *= factor;
      }
      write(out + row * inner + i, y);
    });
  }

 private:
  /// What the activation keeps of these, which it writes there; as the host has it, rounded.
  template <int N>
  CHORUS_DEVICE Neighbours<N> biased(T* at, const T* with) const {
    Neighbours<N> x = read<N>(at);
    if (!with && activation != Activation::relu) return x;
    Neighbours<N> more = {};
    if (with) more = read<N>(with);
    for (int l = 0; l < N; ++l) {
      x.x[l] = widen(narrow<T>(x.x[l] + more.x[l]));
      if (activation == Activation::relu && x.x[l] < 0) x.x[l] = 0;
    }
    write(at, x);
    return x;
  }
};

/// Row: a sorted one. Given the gradient w.r.t. what ActivateRow made of it, as if its output had a weight of 1,
/// computes those w.r.t. the first product and w.r.t. the weight (kernels/experts.h).
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
    const float share = weight[row];
    const bool packs = takes_packs<kOfRow>(by_hidden, kept, by_inner);
    float dot = 0;
    of.for_inner(team, row, e, inner, packs, [&](auto n, int64_t i, float factor) {
      constexpr int kN = decltype(n)::value;
      Neighbours<kN> g = read<kN>(by_hidden + row * inner + i);
      const Neighbours<kN> x = read<kN>(kept + row * outer + i);
      Neighbours<kN> value = {}, by_value = {};
      if (is_gated(activation)) value = read<kN>(kept + row * outer + inner + i);
      for (int l = 0; l < kN; ++l) {
        const Slope slope = slope_at(x.x[l], value.x[l]);
        const float by = g.x[l] * factor;
        dot += by * slope.output;
        g.x[l] = share * by * slope.by_x;
        by_value.x[l] = share * by * slope.by_value;
      }
      write(by_inner + row * outer + i, g);
      if (is_gated(activation)) write(by_inner + row * outer + inner + i, by_value);
    });
    const bool whole = width % kOfRow == 0 && takes_packs<kOfRow>(by_output, bias);
    for_packs<kOfRow>(team, width, whole, [&](auto n, int64_t i) {
      constexpr int kN = decltype(n)::value;
      Neighbours<kN> g = read<kN>(by_output + row * width + i), added = {};
      if (bias) added = read<kN>(bias + e * width + i);
      for (int l = 0; l < kN; ++l) {
        dot += g.x[l] * added.x[l];
        g.x[l] *= share;
      }
      write(by_output + row * width + i, g);
    });
    dot = team.sum(dot);
    if (team.lane() == 0) by_weight[row] = dot;
  }

 private:
  struct Slope {
    float output, by_x, by_value;  // by_value: where it is gated
  };
  /// The activation of x, of which a gate lets `value` through.
  [[nodiscard]] CHORUS_DEVICE Slope slope_at(float x, float value) const {
    if (activation == Activation::gelu)
      return {x * normal_below(x), normal_below(x) + x * 0.39894228F * std::exp(-0.5F * x * x), 0};
    if (activation == Activation::silu) {
      const float s = sigmoid(x);
      return {x * s, s * (1 + x * (1 - s)), 0};
    }
    if (is_gated(activation)) {
      const float s = openness(activation, x);
      return {x * s * value, value * s * (1 + x * (1 - s) * openness_rate(activation, x)), x * s};
    }
    return {x, x > 0 ? 1.0F : 0.0F, 0};
  }
};

/// Row: a sorted one. Adds its expert's bias.
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
    const bool packs = width % kOfRow == 0 && takes_packs<kOfRow>(rows, bias);
    for_packs<kOfRow>(team, width, packs, [&](auto n, int64_t i) {
      constexpr int kN = decltype(n)::value;
      Neighbours<kN> x = read<kN>(rows + row * width + i);
      const Neighbours<kN> more = read<kN>(bias + e * width + i);
      for (int l = 0; l < kN; ++l) x.x[l] += more.x[l];
      write(rows + row * width + i, x);
    });
  }
};

}  // namespace chorus::inline kernels
