// Bodies of a device's kernels (kernels/internal/team.h): the loss of rows of logits, AdamW and norms of many weights.
#pragma once

#include "kernels/internal/adamw_element.h"
#include "kernels/internal/loss_row.h"
#include "kernels/internal/team.h"

namespace chorus::inline kernels {

/// Piece: a row of logits, fp32.
template <class G>
struct LossOfRow {
  const float* logits;            // [R, V]
  const int64_t* labels;          // [R]
  const CrossEntropyPart* parts;  // [R] of the whole rows; null: they are whole
  CrossEntropyPart* own_parts;    // [R] written instead of a loss; null: it is asked for
  int64_t width;
  LossWeights weights;
  double* rows;  // [R, kCrossEntropyColumns]
  G* gradient;   // [R, V], may be the logits; null: none is asked for

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t row) const {
    const float* const x = logits + row * width;
    const int64_t label = labels[row];
    const bool here = label >= 0 && label < width;
    const float on_label = here ? x[label] : 0;
    const CrossEntropyPart part = parts ? parts[row] : part_of(team, x, here, on_label);
    if (own_parts) {
      if (team.lane() == 0) own_parts[row] = part;
      return;
    }
    double ignored[kCrossEntropyColumns];
    const auto shift = static_cast<float>(
        finish_row(part, weights, team.lane() == 0 ? rows + row * kCrossEntropyColumns : ignored));
    if (!gradient) return;
    const auto factor = static_cast<float>(weights.factor), uniform = static_cast<float>(weights.uniform),
               less = static_cast<float>(weights.on_label);
    team.sync();  // all have read x[label], which may be overwritten now
    for_lanes(team, width, [&](int64_t i) {
      const float g = std::fma(std::exp(x[i] - shift), factor, -uniform);
      gradient[row * width + i] = narrow<G>(here && i == label ? g - less : g);
    });
  }

 private:
  template <class Team>
  CHORUS_DEVICE CrossEntropyPart part_of(Team& team, const float* x, bool here, float on_label) const {
    float most = -INFINITY;
    double sum = 0, exponentials = 0;  // one lane may have the whole row
    for_lanes(team, width, [&](int64_t i) {
      most = x[i] > most ? x[i] : most;
      sum += x[i];
    });
    most = team.max(most);
    for_lanes(team, width, [&](int64_t i) { exponentials += std::exp(x[i] - most); });
    return {.max = most,
            .exponentials = team.sum(exponentials),
            .sum = team.sum(sum),
            .label = here ? on_label : -INFINITY};
  }
};

/// Weights that one kernel goes over, in pieces of kPiece elements.
inline constexpr int kManyWeights = 48, kOfWeight = 4;
template <class Weight>
struct ManyWeights {
  static constexpr int64_t kPiece = 8192;
  Weight weights[kManyWeights];
  int64_t counts[kManyWeights], first_piece[kManyWeights + 1];
  int size = 0;

  void add(const Weight& weight, int64_t count) {
    if (size == 0) first_piece[0] = 0;
    weights[size] = weight;
    counts[size] = count;
    first_piece[size + 1] = first_piece[size] + (count + kPiece - 1) / kPiece;
    ++size;
  }
  [[nodiscard]] int64_t pieces() const { return size == 0 ? 0 : first_piece[size]; }

  /// f(weight, HowMany, first of so many elements) for those of a piece; more than one at a time where packs(weight).
  template <class Team, class Packs, class F>
  CHORUS_DEVICE void for_elements(const Team& team, int64_t piece, const Packs& packs, const F& f) const {
    int i = 0;
    while (first_piece[i + 1] <= piece) ++i;
    const int64_t first = (piece - first_piece[i]) * kPiece, left = counts[i] - first;
    for_packs<kOfWeight>(team, left < kPiece ? left : kPiece, packs(weights[i]),
                         [&](auto n, int64_t at) { f(weights[i], n, first + at); });
  }
};

struct AdamWWeight {
  float *p, *m, *v;
  const float* gradient;  // null: 0
  c10::BFloat16* copy;    // bf16 values; null: `p` is the value
  float shrink;           // AdamWFactors::shrink
};

/// Piece: of the weights.
struct AdamWOfWeights {
  ManyWeights<AdamWWeight> many;
  AdamWFactors factors;

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t piece) const {
    const auto packs = [](const AdamWWeight& w) {
      return takes_packs<kOfWeight>(w.p, w.m, w.v, w.gradient, w.copy);
    };
    many.for_elements(team, piece, packs, [&](const AdamWWeight& w, auto n, int64_t i) {
      constexpr int kN = decltype(n)::value;
      AdamWFactors own = factors;
      own.shrink = w.shrink;
      Neighbours<kN> p = read<kN>(w.p + i), m = read<kN>(w.m + i), v = read<kN>(w.v + i), g = {};
      if (w.gradient) g = read<kN>(w.gradient + i);
      for (int l = 0; l < kN; ++l) advance(p.x[l], m.x[l], v.x[l], w.gradient ? g.x[l] * own.scale : 0, own);
      write(w.p + i, p);
      write(w.m + i, m);
      write(w.v + i, v);
      if (w.copy) write(w.copy + i, p);
    });
  }
};

/// Piece: of the stretches, whose sum of squares becomes sums[piece].
struct SquaresOfStretches {
  ManyWeights<const float*> many;
  double* sums;

  template <class Team>
  CHORUS_DEVICE void operator()(Team& team, int64_t piece) const {
    double sum = 0;
    const auto packs = [](const float* x) { return takes_packs<kOfWeight>(x); };
    many.for_elements(team, piece, packs, [&](const float* x, auto n, int64_t i) {
      const auto values = read<decltype(n)::value>(x + i);
      for (const float value : values.x) sum += static_cast<double>(value) * value;
    });
    sum = team.sum(sum);
    if (team.lane() == 0) sums[piece] = sum;
  }
};

}  // namespace chorus::inline kernels
