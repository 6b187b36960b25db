#include "kernels/adamw.h"

#include <cmath>

#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

void Backend::adamw_step(AdamWTensor& tensor, const AdamWStep& s) const {
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

void Backend::adamw_catch_up(AdamWTensor& tensor, std::span<const AdamWStep> missed) const {
  AdamWTensor idle = tensor;
  idle.gradient = at::zeros_like(tensor.m);
  for (const AdamWStep& step : missed) adamw_step(idle, step);
}

double Backend::squared_norm(const at::Tensor& tensor) const {
  const auto norm = at::linalg_vector_norm(tensor, 2, std::nullopt, false, at::kDouble).item<double>();
  return norm * norm;
}

}  // namespace chorus::inline kernels
