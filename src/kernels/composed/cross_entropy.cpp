#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/loss_row.h"

namespace chorus::inline kernels {

namespace {

/// Returns whether labels lie in rows of `width`, [R] of bool, and where, [R, 1] of int64; 0 for those that lie
/// elsewhere.
std::pair<at::Tensor, at::Tensor> places(const at::Tensor& labels, int64_t width) {
  const at::Tensor here = labels.ge(0).logical_and_(labels.lt(width));
  return {here, at::where(here, labels, 0).unsqueeze(1)};
}

}  // namespace

at::Tensor join_cross_entropy_parts(const at::Tensor& parts) {
  const at::Tensor most = parts.select(2, 0), all = most.amax({0});
  const at::Tensor exponentials = (parts.select(2, 1) * (most - all).exp_()).sum({0});
  return at::stack({all, exponentials, parts.select(2, 2).sum({0}), parts.select(2, 3).amax({0})}, 1);
}

at::Tensor Backend::cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                       const CrossEntropyOptions& options, const at::Tensor& gradient) const {
  return cross_entropy_rows_of(logits, labels, cross_entropy_parts(logits, labels), logits.size(1), options,
                               gradient);
}

at::Tensor Backend::cross_entropy_parts(const at::Tensor& logits, const at::Tensor& labels) const {
  const auto [here, column] = places(labels, logits.size(1));
  const at::Tensor most = logits.amax({1}), label = logits.gather(1, column).squeeze(1);
  return at::stack({most, (logits - most.unsqueeze(1)).exp_().sum({1}), logits.sum({1}),
                    at::where(here, label, -std::numeric_limits<double>::infinity())},
                   1)
      .to(at::kDouble);
}

at::Tensor Backend::cross_entropy_rows_of(const at::Tensor& logits, const at::Tensor& labels,
                                          const at::Tensor& parts, int64_t width,
                                          const CrossEntropyOptions& options,
                                          const at::Tensor& gradient) const {
  const LossWeights w(options, width);
  const at::Tensor most = parts.select(1, 0), label = parts.select(1, 3);
  const at::Tensor partition = most + parts.select(1, 1).log(), nll = partition - label;
  at::Tensor rows =
      at::stack({nll, nll * (1 - w.smoothing) + (partition - parts.select(1, 2) / w.columns) * w.smoothing,
                 label.ge(most).to(at::kDouble)},
                1);
  if (!gradient.defined()) return rows;
  const auto [here, column] = places(labels, logits.size(1));
  at::Tensor grad =
      (logits - partition.to(logits.scalar_type()).unsqueeze(1)).exp_().mul_(w.factor).sub_(w.uniform);
  grad.scatter_add_(1, column, here.to(grad.scalar_type()).mul_(-w.on_label).unsqueeze(1));
  gradient.copy_(grad);
  return rows;
}

}  // namespace chorus::inline kernels
