#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/loss_row.h"

namespace chorus::inline kernels {

namespace {

/// Where labels are in rows of `width`: [R] of bool, and [R, 1] of int64, 0 where they are elsewhere.
std::pair<at::Tensor, at::Tensor> places(const at::Tensor& labels, int64_t width) {
  const at::Tensor here = labels.ge(0).logical_and_(labels.lt(width));
  return {here, at::where(here, labels, 0).unsqueeze(1)};
}

}  // namespace

CrossEntropyRows Backend::cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                             const CrossEntropyOptions& options,
                                             const at::Tensor& gradient) const {
  return cross_entropy_rows_of(logits, labels, cross_entropy_parts(logits, labels), logits.size(1), options,
                               gradient);
}

std::vector<CrossEntropyPart> Backend::cross_entropy_parts(const at::Tensor& logits,
                                                           const at::Tensor& labels) const {
  const auto [here, column] = places(labels, logits.size(1));
  const at::Tensor most = logits.amax({1}), label = logits.gather(1, column).squeeze(1);
  const at::Tensor sums = at::stack({most, (logits - most.unsqueeze(1)).exp_().sum({1}), logits.sum({1}),
                                     at::where(here, label, -std::numeric_limits<double>::infinity())},
                                    1)
                              .to(at::kCPU, at::kDouble)
                              .contiguous();
  static_assert(sizeof(CrossEntropyPart) == 4 * sizeof(double));
  const auto* const first = reinterpret_cast<const CrossEntropyPart*>(sums.const_data_ptr<double>());
  return {first, first + logits.size(0)};
}

CrossEntropyRows Backend::cross_entropy_rows_of(const at::Tensor& logits, const at::Tensor& labels,
                                                std::span<const CrossEntropyPart> parts, int64_t width,
                                                const CrossEntropyOptions& options,
                                                const at::Tensor& gradient) const {
  const LossWeights weights(options, width);
  CrossEntropyRows rows = make_rows(logits.size(0));
  std::vector<double> partition(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    char correct = 0;
    partition[i] = finish_row(parts[i], weights, static_cast<int64_t>(i), rows, correct);
    rows.correct.push_back(correct != 0);
  }
  if (!gradient.defined()) return rows;
  const auto [here, column] = places(labels, logits.size(1));
  const at::Tensor shift = at::tensor(partition, at::kDouble).to(logits.options()).unsqueeze(1);
  at::Tensor grad = (logits - shift).exp_().mul_(weights.factor).sub_(weights.uniform);
  grad.scatter_add_(1, column, here.to(grad.scalar_type()).mul_(-weights.on_label).unsqueeze(1));
  gradient.copy_(grad);
  return rows;
}

}  // namespace chorus::inline kernels
