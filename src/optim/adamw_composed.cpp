#include "optim/adamw_composed.h"

namespace chorus {

void adamw_step_composed(AdamWTensor& tensor, const AdamWStep& s) {
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

}  // namespace chorus
