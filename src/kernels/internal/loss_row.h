// What a loss is made of, given the sums over a row of logits (kernels/cross_entropy.h): the same on every device.
#pragma once

#include <cmath>

#include "kernels/cross_entropy.h"

#include "kernels/internal/team.h"

namespace chorus::inline kernels {

/// A row of cross_entropy_parts().
struct CrossEntropyPart {
  double max, exponentials, sum, label;
};
static_assert(sizeof(CrossEntropyPart) == 4 * sizeof(double));

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

/// Writes a row of the result; returns its log of the sum of all exponentials.
CHORUS_EVERYWHERE double finish_row(const CrossEntropyPart& part, const LossWeights& w, double* row) {
  const double partition = part.max + std::log(part.exponentials);
  row[kNll] = partition - part.label;
  row[kLoss] = (1 - w.smoothing) * row[kNll] + w.smoothing * (partition - part.sum / w.columns);
  row[kCorrect] = part.label >= part.max ? 1 : 0;
  return partition;
}

}  // namespace chorus::inline kernels
