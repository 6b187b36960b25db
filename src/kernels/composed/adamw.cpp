#include "kernels/adamw.h"

#include <cmath>

#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

void advance_weight(AdamWTensor& tensor, const AdamWStep& s) {
  const auto t = static_cast<double>(s.step);
  at::Tensor p = tensor.master.defined() ? tensor.master : tensor.value;
  const at::Tensor g = tensor.gradient * s.gradient_scale;
  if (tensor.decay) {
    p.mul_(1 - s.learning_rate * s.weight_decay);
  }
  tensor.m.lerp_(g, 1 - s.beta1);
  tensor.v.mul_(s.beta2).addcmul_(g, g, 1 - s.beta2);
  const at::Tensor root = tensor.v.sqrt().div_(std::sqrt(1 - std::pow(s.beta2, t))).add_(s.epsilon);
  p.addcdiv_(tensor.m, root, -s.learning_rate / (1 - std::pow(s.beta1, t)));
  if (tensor.master.defined()) {
    tensor.value.copy_(tensor.master);
  }
}

}  // namespace

void Backend::adamw_step(std::span<AdamWTensor> tensors, const AdamWStep& step) const {
  for (AdamWTensor& tensor : tensors) advance_weight(tensor, step);
}

void Backend::adamw_catch_up(AdamWTensor& tensor, std::span<const AdamWStep> missed) const {
  AdamWTensor idle = tensor;
  idle.gradient = at::zeros_like(tensor.m);
  for (const AdamWStep& step : missed) advance_weight(idle, step);
}

at::Tensor Backend::sums_of_squares(std::span<const at::Tensor> tensors) const {
  std::vector<at::Tensor> norms;
  norms.reserve(tensors.size());
  for (const at::Tensor& x : tensors)
    norms.push_back(at::linalg_vector_norm(x, 2, std::nullopt, false, at::kDouble));
  return at::stack(norms).square_();
}

}  // namespace chorus::inline kernels
