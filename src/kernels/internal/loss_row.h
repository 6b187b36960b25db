// What a loss is made of, given the sums over a row of logits (kernels/cross_entropy.h): the same on every device.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/cpu.h"
#include "kernels/cross_entropy.h"

namespace chorus::inline kernels {

/// What the options make of one row.
struct LossWeights {
  LossWeights(const CrossEntropyOptions& options, int64_t width)
      : smoothing(options.label_smoothing),
        factor(options.gradient_scale),
        uniform(smoothing * factor / static_cast<double>(width)),
        on_label((1 - smoothing) * factor),
        columns(static_cast<double>(width)) {}
  double smoothing, factor, uniform, on_label, columns;
};

/// Row number `row` of the result, and its log of the sum of all exponentials.
CHORUS_INLINE inline double finish_row(const CrossEntropyPart& part, const LossWeights& w, int64_t row,
                                       CrossEntropyRows& rows, char& correct) {
  const double partition = part.max + std::log(part.exponentials);
  rows.nll[row] = partition - part.label;
  rows.loss[row] = (1 - w.smoothing) * rows.nll[row] + w.smoothing * (partition - part.sum / w.columns);
  correct = part.label >= part.max;
  return partition;
}

inline CrossEntropyRows make_rows(int64_t count) {
  return {.nll = std::vector<double>(count), .loss = std::vector<double>(count), .correct = {}};
}

}  // namespace chorus::inline kernels
