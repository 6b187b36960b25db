#include <ATen/ops/full.h>
#include <ATen/ops/logsumexp.h>

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

std::vector<double> to_vector(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kCPU, at::kDouble).contiguous();
  const auto* data = wide.const_data_ptr<double>();
  return {data, data + wide.numel()};
}

}  // namespace

CrossEntropyRows Backend::cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                             const CrossEntropyOptions& options,
                                             const at::Tensor& gradient) const {
  const double smoothing = options.label_smoothing, scale = options.gradient_scale;
  const at::Tensor column = labels.unsqueeze(1), partition = at::logsumexp(logits, {1}, true);
  const at::Tensor label_logit = logits.gather(1, column);
  const at::Tensor nll = partition - label_logit;
  const at::Tensor loss = nll * (1 - smoothing) + (partition - logits.mean(1, true)) * smoothing;
  const std::vector<double> right = to_vector(label_logit >= logits.amax(1, true));
  CrossEntropyRows rows = {
      .nll = to_vector(nll), .loss = to_vector(loss), .correct = {right.begin(), right.end()}};
  if (gradient.defined()) {
    at::Tensor grad = (logits - partition).exp_().mul_(scale);
    grad.sub_(smoothing * scale / static_cast<double>(logits.size(1)));
    grad.scatter_add_(1, column, at::full(column.sizes(), -(1 - smoothing) * scale, grad.options()));
    gradient.copy_(grad);
  }
  return rows;
}

}  // namespace chorus::inline kernels
